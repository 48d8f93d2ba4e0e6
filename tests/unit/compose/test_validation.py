"""What `validate` finds: all faults at once, their places, order and fingerprints, and where a value came from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from unit.compose.sample_rules import installed
from unit.compose.stack_files import Stack

from stackrun.compose.validation import IN_BASELINE, Finding, Validation, validate
from stackrun.errors import Diagnostic, InvalidArgument, NoStackFile
from stackrun.stack.graph import cycle_faults


@pytest.fixture(autouse=True)
def catalogue() -> Iterator[None]:
    with installed():
        yield


def looked_at(stack: Stack, text: str, *, files: dict[str, str] | None = None, **words: object) -> Validation:
    stack.write({"stack.yaml": text} | (files or {}))
    return validate(stack.source("stack.yaml"), graph_faults=cycle_faults, **words)  # type: ignore[arg-type]


def told(found: Validation) -> list[str]:
    return [f"{one.place} {one.level} {one.code}" for one in found.findings]


def only(found: Validation, code: str) -> Finding:
    (one,) = [one for one in found.findings if one.code == code]
    return one


TEN = """\
version: "3"
services:
  web:
    image: nginx
    user: "1"
    comand: [sleep]
    privileged: true
    restart: sometimes
    depends_on: [nobody]
    networks: [missing]
    labels: {a: LOUD}
    stop_grace_period: 5
    image: caddy
  db:
    user: "1"
    environment: {A: "${UNSET}"}
"""


def test_faults_of_every_stage_are_told_in_one_run_and_in_the_order_of_the_file(stack: Stack) -> None:
    found = looked_at(stack, TEN)
    assert [(one.place.line, one.code) for one in found.findings] == [
        (1, "obsolete-version"),
        (6, "unknown-key"),
        (7, "privileged"),
        (8, "invalid-restart-policy"),
        (9, "undefined-service"),
        (10, "undefined-network"),
        (11, "label"),
        (12, "wrong-type"),
        (13, "duplicate-key"),
        (14, "no-image"),
        (16, "unset-variable"),
    ]
    assert found.complete and found.worst() == "error" and found.files == ("stack.yaml",)
    assert told(looked_at(stack, TEN)) == told(found)


def test_a_finding_says_where_it_ends_and_what_it_leads_to(stack: Stack) -> None:
    one = only(looked_at(stack, TEN), "unknown-key")
    assert (one.place.line, one.place.column, one.end) == (6, 5, (6, 11))
    assert one.path == ("services", "web", "comand") and one.service == "web"


def test_what_is_below_several_lines_is_marked_where_it_begins(stack: Stack) -> None:
    one = only(looked_at(stack, "services:\n  a:\n    image: x\n    user: a\n    restart:\n      on: [1,\n        2]\n"), "wrong-type")
    assert one.end[0] == one.place.line


SANE = "services:\n  web:\n    image: nginx\n    user: '1'\n    privileged: true\n"


@pytest.mark.parametrize(
    ("words", "codes"),
    [
        ({}, ["root-user", "privileged", "label"]),
        ({"select": ["privileged"]}, ["privileged"]),
        ({"select": ["warning"]}, ["privileged", "label"]),
        ({"select": ["security"], "ignore": ["label"]}, ["root-user", "privileged"]),
        ({"ignore": ["lint"]}, []),
        ({"select": ["all"], "ignore": ["note"]}, ["privileged", "label"]),
        ({"select": ["host"]}, []),
    ],
)
def test_rules_groups_levels_and_stages_are_selected_and_ignored(stack: Stack, words: dict[str, list[str]], codes: list[str]) -> None:
    text = "services:\n  web:\n    image: nginx\n    privileged: true\n    labels: {a: LOUD}\n"
    assert [one.code for one in looked_at(stack, text, **words).findings] == codes


def test_what_keeps_the_stack_from_being_read_is_told_whatever_is_selected(stack: Stack) -> None:
    text = "services:\n  web:\n    image: nginx\n    comand: 1\n    privileged: true\n"
    assert [one.code for one in looked_at(stack, text, select=["label"], ignore=["unknown-key"]).findings] == ["unknown-key"]


def test_a_word_that_is_no_rule_is_an_error_with_a_proposal(stack: Stack) -> None:
    with pytest.raises(InvalidArgument, match="priviledged") as error:
        looked_at(stack, SANE, select=["priviledged"])
    assert error.value.hint == 'did you mean "privileged"?'


def test_without_a_stack_file_there_is_nothing_to_say(stack: Stack) -> None:
    with pytest.raises(NoStackFile):
        validate(stack.source())


# --- fingerprints ---------------------------------------------------------------------------------


def prints(found: Validation) -> dict[str, str]:
    return {f"{one.code} {one.message}": one.fingerprint for one in found.findings}


def test_a_fingerprint_stays_when_lines_are_put_above(stack: Stack) -> None:
    before = prints(looked_at(stack, TEN))
    after = prints(looked_at(stack, "# a\n# comment\n\n" + TEN.replace("  db:", "  # more\n\n  db:")))
    assert before == after and len(set(before.values())) == len(before)


def test_a_fingerprint_stays_when_services_change_places_and_items_are_put_before(stack: Stack) -> None:
    web, db = "  web:\n    image: a\n    privileged: true\n", "  db:\n    image: a\n    ports:\n      - {}80:80\n"
    first = prints(looked_at(stack, "services:\n" + web + db.format("")))
    second = prints(looked_at(stack, "services:\n" + db.format("90:90\n      - ") + web))
    assert first == second and len(first) == 4


def test_the_same_fault_twice_has_two_fingerprints(stack: Stack) -> None:
    found = looked_at(
        stack, 'services:\n  a:\n    image: x\n    user: "1"\n    ports: ["80:80", "80:81", "80:80/udp"]\n', select=["fixed-port"]
    )
    assert len(found.findings) == 3 == len({one.fingerprint for one in found.findings})


def test_what_is_in_the_baseline_does_not_count(stack: Stack) -> None:
    before = looked_at(stack, SANE)
    known = frozenset(one.fingerprint for one in before.open)
    after = looked_at(stack, "# moved\n" + SANE + "    labels: {a: LOUD}\n", baseline=known)
    assert [(one.code, one.suppressed) for one in after.findings] == [("privileged", IN_BASELINE), ("label", "")]
    assert [one.code for one in after.open] == ["label"]


def test_an_error_that_keeps_the_stack_down_counts_though_it_is_in_the_baseline(stack: Stack) -> None:
    known = frozenset(one.fingerprint for one in looked_at(stack, TEN).findings)
    after = looked_at(stack, TEN, baseline=known)
    assert {one.level for one in after.open} == {"error"} and len(after.open) == 7


# --- where a value came from ----------------------------------------------------------------------


def notes(found: Validation, code: str) -> list[str]:
    return [f"{f'{place}: ' if place.line else ''}{text}" for place, text in only(found, code).notes]


def test_a_variable_is_traced_to_its_line_in_the_env_file(stack: Stack) -> None:
    text = "services:\n  a:\n    image: x\n    user: '1'\n    restart: ${POLICY}\n"
    found = looked_at(stack, text, files={".env": "# mine\nPOLICY=sometimes\n"})
    assert notes(found, "invalid-restart-policy") == [".env:2:1: POLICY is given here"]
    assert found.files == ("stack.yaml", ".env")


def test_a_variable_of_the_environment_and_one_that_is_not_set(stack: Stack) -> None:
    stack.environment["POLICY"] = "sometimes"
    text = "services:\n  a:\n    image: x\n    user: '1'\n    restart: ${POLICY}${TAIL:-}\n"
    assert notes(looked_at(stack, text), "invalid-restart-policy") == ["POLICY comes from the environment", "TAIL is not set"]


def test_the_environment_wins_over_the_env_file(stack: Stack) -> None:
    stack.environment["POLICY"] = "sometimes"
    text = "services:\n  a:\n    image: x\n    user: '1'\n    restart: ${POLICY}\n"
    assert notes(looked_at(stack, text, files={".env": "POLICY=always\n"}), "invalid-restart-policy") == [
        "POLICY comes from the environment"
    ]


def test_an_override_says_what_it_replaces(stack: Stack) -> None:
    stack.write(
        {
            "stack.yaml": "services:\n  a:\n    image: x\n    user: '1'\n    restart: always\n",
            "more.yaml": "services:\n  a:\n    restart: sometimes\n",
        }
    )
    found = validate(stack.source("stack.yaml", "more.yaml"))
    one = only(found, "invalid-restart-policy")
    assert str(one.place) == "more.yaml:3:14" and notes(found, "invalid-restart-policy") == [
        "stack.yaml:5:14: it replaces the value given here"
    ]
    assert found.files == ("stack.yaml", "more.yaml")


def test_what_is_included_or_extended_says_by_whom(stack: Stack) -> None:
    base = "services:\n  {}:\n    image: x\n    user: '1'\n    restart: sometimes\n"
    text = "include: [inc.yaml]\nservices:\n  a:\n    extends: {file: base.yaml, service: b}\n"
    stack.write({"stack.yaml": text, "inc.yaml": base.format("i"), "base.yaml": base.format("b")})
    found = validate(stack.source("stack.yaml"))
    assert [(one.place.path, [f"{at}: {text}" for at, text in one.notes]) for one in found.findings] == [
        ("base.yaml", ["stack.yaml:4:14: base.yaml is extended here"]),
        ("inc.yaml", ["stack.yaml:1:11: inc.yaml is included here"]),
    ]
    assert found.files == ("stack.yaml", "base.yaml", "inc.yaml")


# --- what cannot be read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"services: [\n", "yaml-syntax"),
        (b"services:\n  a:\n    image: \xff\n", "yaml-encoding"),
        (b"- 1\n", "no-mapping"),
    ],
)
def test_what_could_not_be_read_whole_is_not_complete(stack: Stack, content: bytes, code: str) -> None:
    (stack.directory / "stack.yaml").write_bytes(content)
    found = validate(stack.source("stack.yaml"))
    assert code in {one.code for one in found.findings} and not found.complete and found.worst() == "error"


def test_a_missing_include_is_not_complete_and_the_rest_is_still_looked_at(stack: Stack) -> None:
    found = looked_at(stack, "include: [nowhere.yaml]\n" + SANE)
    assert [one.code for one in found.findings] == ["missing-file", "privileged"] and not found.complete


def test_a_file_in_utf_16_has_its_excerpts(stack: Stack) -> None:
    (stack.directory / "stack.yaml").write_bytes(SANE.encode("utf-16"))
    found = validate(stack.source("stack.yaml"))
    assert only(found, "privileged").path == ("services", "web", "privileged")
    assert found.sources["stack.yaml"].line(5) == "    privileged: true"


def test_a_fault_of_an_env_file_has_its_line(stack: Stack) -> None:
    found = looked_at(stack, SANE, files={".env": "A=1\nB='open\n"})
    one = only(found, "env-file")
    assert one.place.path == ".env" and found.sources[".env"].line(one.place.line) in ("A=1", "B='open")


def test_control_characters_of_a_value_are_written_out(stack: Stack) -> None:
    found = looked_at(stack, 'services:\n  web:\n    image: x\n    user: "1"\n    labels: {"a\\e[31m": "LOUD\\e[2J"}\n')
    one = only(found, "label")
    assert one.message.isprintable() and "\\x1b" in one.message


def test_a_text_is_tried_out_before_it_is_written(stack: Stack) -> None:
    found = looked_at(stack, SANE, unsaved={"stack.yaml": SANE.replace("privileged: true", "privileged: false")})
    assert not found.findings


def test_findings_of_the_host_go_through_the_same_selection(stack: Stack) -> None:
    def extra(_: object) -> list[Diagnostic]:
        return [Diagnostic("stack.yaml", 5, 5, "it is taken", code="host-port-taken")]

    assert [one.code for one in looked_at(stack, SANE, extra=extra).findings] == ["host-port-taken", "privileged"]
    assert [one.code for one in looked_at(stack, SANE, extra=extra, ignore=["host"]).findings] == ["privileged"]
