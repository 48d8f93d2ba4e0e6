"""`stackrun validate` from its command line to its exit code."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.compose.sample_rules import installed

from stackrun.cli import exit, fixing, main
from stackrun.cli.reports import sarif
from stackrun.errors import InvalidArgument, PermissionDenied, StackrunError

SANE = "services:\n  web:\n    image: nginx\n    user: '1'\n"
LOUD = SANE + "    labels: {a: LOUD}\n"
WRONG = LOUD + "    comand: a\n"


@pytest.fixture(autouse=True)
def catalogue() -> Iterator[None]:
    with installed():
        yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GITHUB_WORKSPACE", "GITHUB_STEP_SUMMARY", "CI_PROJECT_DIR", "COMPOSE_FILE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(text: str, name: str = "stack.yaml") -> Path:
    file = Path(name)
    file.write_bytes(text.encode())
    return file


def code(*argv: str) -> int:
    """As the program ends."""
    try:
        return main.run(["validate", *argv])
    except StackrunError as error:
        return exit.report(error)


# --- exit codes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "argv", "expected"),
    [
        (SANE, [], 0),
        (SANE, ["--fail-on", "note"], 0),
        (LOUD, [], 0),
        (LOUD, ["--fail-on", "warning"], 1),
        (LOUD, ["--fail-on", "note"], 1),
        (SANE.replace("    user: '1'\n", ""), ["--fail-on", "warning"], 0),
        (SANE.replace("    user: '1'\n", ""), ["--fail-on", "note"], 1),
        (WRONG, [], 1),
        (WRONG, ["--ignore", "unknown-key"], 1),
        (LOUD, ["--fail-on", "warning", "--ignore", "label"], 0),
        (LOUD, ["--fail-on", "warning", "--select", "privileged,host", "--select", "note"], 0),
        ("services: [\n", [], 2),
        ("include: [nowhere.yaml]\n" + SANE, [], 2),
        (SANE, ["--select", "nonsense"], 2),
        (SANE, ["--apply"], 2),
        (SANE, ["--explain", "nonsense"], 2),
        (SANE, ["--baseline", "nowhere"], 2),
        (SANE, ["--format", "yaml"], 2),
        (SANE, ["-o", "no/where"], 2),
        (SANE, ["nowhere.yaml"], 2),
    ],
)
def test_the_exit_code(here: Path, text: str, argv: list[str], expected: int) -> None:
    write(text)
    assert code(*argv) == expected


def test_without_a_file_it_could_not_be_checked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code() == 2 and "no stack file" in capsys.readouterr().err


# --- what is read ---------------------------------------------------------------------------------


def test_the_report_is_on_stdout_and_nothing_else(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(WRONG)
    assert code() == 1
    out, err = capsys.readouterr()
    assert "stack.yaml:6:5: error[unknown-key] " in out and not err


def test_stdin_is_read(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(WRONG))
    assert code("-") == 1
    out = capsys.readouterr().out
    assert out.startswith("-:5:17: warning[label]") and "    6 |     comand: a" in out


def test_several_files_are_one_stack(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("services:\n  web:\n    labels: {a: LOUD}\n", "a.yaml")
    write("services:\n  web:\n    image: nginx\n", "b.yaml")
    assert code("a.yaml") == 1
    assert code("a.yaml", "b.yaml") == 0
    out = capsys.readouterr().out
    assert "no-image" in out and out.endswith("1 warning, 1 note in 2 files (--level note shows the 1 note)\n")


def test_f_before_the_verb_does_the_same(here: Path) -> None:
    write(WRONG, "other.yaml")
    assert main.run(["-f", "other.yaml", "validate"]) == 1 and main.run(["validate", "-f", "other.yaml"]) == 1


# --- what is shown --------------------------------------------------------------------------------


def test_what_fails_is_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(SANE.replace("    user: '1'\n", ""))
    assert code("--fail-on", "note") == 1 and "note[root-user]" in capsys.readouterr().out
    assert code() == 0 and "root-user" not in capsys.readouterr().out
    assert code("--level", "note") == 0 and "note[root-user]" in capsys.readouterr().out


def test_o_writes_the_report_to_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(WRONG)
    assert code("--format", "json", "-o", "report.json") == 1
    assert capsys.readouterr().out == "" and json.loads(Path("report.json").read_text())["findings"]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "argv", "coloured"),
    [
        ({"TERM": "xterm"}, [], True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, [], False),
        ({"TERM": "dumb"}, [], False),
        ({"TERM": "xterm"}, ["--no-color"], False),
        ({"TERM": "xterm"}, ["--ansi", "never"], False),
        ({"TERM": "dumb"}, ["--ansi", "always"], True),
        ({"TERM": "xterm"}, ["-o", "report"], False),
    ],
)
def test_a_terminal_gets_colours_unless_somebody_says_no(
    here: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], argv: list[str], coloured: bool
) -> None:
    write(WRONG)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    assert code(*argv) == 1
    out = terminal.getvalue() + (Path("report").read_text() if Path("report").exists() else "")
    assert ("\033[" in out) is coloured and "unknown-key" in out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_cannot_show_a_character_gets_an_escape(here: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    write("services:\n  漢:\n    image: x\n    labels: {a: LOUD}\n")
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert code() == 1
    __import__("sys").stdout.flush()
    assert b"\\u6f22" in raw.getvalue()


def test_a_file_name_that_is_no_text_is_written_as_an_escape(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sarif, "page", lambda code: f"# {code}\n\nWhy.\n")
    name = os.fsdecode(b"st\xffack.yaml")
    write(WRONG, name)
    for form in ("text", "json", "sarif", "github", "gitlab", "junit"):
        assert code(name, "--format", form, "-o", form) == 1
        Path(form).read_text(encoding="utf-8")


def test_a_rule_is_explained(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code("--explain", "unused-suppression") == 0
    assert capsys.readouterr().out.startswith("# unused-suppression\n")


def test_rules_are_listed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["rules", "suppression"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0].split(None, 3)[:3] == ["unused-suppression", "warning", "suppression"]
    assert main.run(["rules", "unused-suppression", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (one,) = document["rules"]
    assert document["version"] == 1 and one.keys() == {"code", "group", "level", "stage", "summary", "page", "fix"} and one["fix"] is True
    with pytest.raises(InvalidArgument):
        main.run(["rules", "nonsense"])


# --- baseline -------------------------------------------------------------------------------------


def test_only_what_is_new_counts_beside_a_baseline(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(LOUD)
    assert code("--write-baseline", "known.json") == 0 and "1 finding noted" in capsys.readouterr().err
    assert code("--baseline", "known.json", "--fail-on", "warning") == 0
    assert "1 suppressed" in capsys.readouterr().out
    write("# moved\n" + LOUD + "    privileged: true\n")
    assert code("--baseline", "known.json", "--fail-on", "warning") == 1
    out = capsys.readouterr().out
    assert "privileged" in out and "LOUD" not in out


# --- fixes ----------------------------------------------------------------------------------------

FIXABLE = "# ünïcode\nversion: '3'\n" + SANE + "    comand: a\n    stop_grace_period: 5  # seconds\n"
FIXED = "# ünïcode\n" + SANE + "    command: a\n    stop_grace_period: 5s  # seconds\n"


def test_a_diff_is_shown_and_patch_takes_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(FIXABLE)
    assert code("--fix") == 1
    out = capsys.readouterr().out
    assert file.read_text() == FIXABLE and out.startswith("--- a/stack.yaml\n+++ b/stack.yaml\n@@ ")
    assert patched(out) == 0 and file.read_text() == FIXED and code() == 0


def patched(diff: str) -> int:
    return subprocess.run(["patch", "-p1", "--quiet"], input=diff.encode(), check=False).returncode


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("stack.yaml", lambda text: text.replace("\n", "\r\n")),
        ("stack.yaml", lambda text: text.rstrip("\n")),
        ("stack.yaml", lambda text: text.replace("ünïcode", "a\u2028# b\x85# c")),
        ("my stack.yaml", lambda text: text),
        ("sub/stack.yaml", lambda text: "\ufeff" + text),
    ],
    ids=["crlf", "no newline", "other breaks", "blank in the name", "bom"],
)
def test_patch_takes_it_whatever_the_file_is_like(here: Path, capsys: pytest.CaptureFixture[str], name: str, change: object) -> None:
    assert callable(change)
    Path("sub").mkdir()
    file = write(change(FIXABLE), name)
    assert code(name, "--fix") == 1
    assert "--binary" not in (out := capsys.readouterr().out)
    assert subprocess.run(["patch", "-p1", "--quiet", "--binary"], input=out.encode(), check=False).returncode == 0
    assert file.read_bytes() == change(FIXED).encode()


def test_apply_writes_and_looks_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(FIXABLE)
    assert code("--fix", "--apply") == 0
    out, err = capsys.readouterr()
    assert file.read_text() == FIXED and "stack.yaml: 3 fixed" in err and out == "no findings in 1 file\n"


def test_mode_owner_and_link_stay(here: Path) -> None:
    file = write(FIXABLE, "real.yaml")
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 1234, 2345)
    before = file.stat()
    Path("stack.yaml").symlink_to("real.yaml")
    assert code("--fix", "--apply") == 0
    after = file.stat()
    assert Path("stack.yaml").is_symlink() and file.read_text() == FIXED
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert sorted(os.listdir()) == ["real.yaml", "stack.yaml"]


def test_every_file_of_the_stack_is_written(here: Path) -> None:
    write("include: [b.yaml]\n" + FIXABLE)
    write(FIXABLE.replace("web", "db"), "b.yaml")
    assert code("--fix", "--apply") == 0
    assert Path("b.yaml").read_text() == FIXED.replace("web", "db")


def test_a_file_that_has_changed_meanwhile_is_left_alone(here: Path) -> None:
    file = write("new")
    with pytest.raises(InvalidArgument, match="changed meanwhile"):
        fixing.write(str(here), "stack.yaml", "old", "better")
    assert file.read_text() == "new" and os.listdir() == ["stack.yaml"]


def test_a_file_that_cannot_be_replaced_is_left_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("old")

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionDenied, match="read-only file system"):
        fixing.write(str(here), "stack.yaml", "old", "new")
    assert file.read_text() == "old" and os.listdir() == ["stack.yaml"]
    assert stat.S_IMODE(file.stat().st_mode) & 0o400


def test_stdin_gets_a_diff_and_is_not_written(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(FIXABLE))
    assert code("-", "--fix") == 1 and "+    command: a" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(FIXABLE))
    assert code("-", "--fix", "--apply") == 2


def test_a_file_in_utf_16_is_not_written(here: Path) -> None:
    Path("stack.yaml").write_bytes(FIXABLE.encode("utf-16"))
    assert code("--fix", "--apply") == 2 and Path("stack.yaml").read_bytes() == FIXABLE.encode("utf-16")


def test_what_changes_the_stack_is_fixed_when_it_is_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = SANE + "    depends_on: [bb1]\n  bb:\n    image: x\n"
    file = write(text)
    assert code("--fix") == 1 and "nothing that could be fixed" in capsys.readouterr().err
    assert code("--fix", "--unsafe-fixes", "--apply") == 0 and file.read_text() == text.replace("bb1", "bb")


def test_a_fix_that_brings_an_error_is_not_made_and_the_others_are(here: Path) -> None:
    file = write("version: '3'\n" + SANE + "    volums: [not-absolute]\n    hostname: 12\n")
    assert code("--fix", "--apply") == 1
    assert file.read_text() == SANE + '    volums: [not-absolute]\n    hostname: "12"\n'


def test_one_fix_that_does_harm_does_not_hold_up_many(here: Path) -> None:
    services = "".join(f"  s{number}:\n    image: x\n    hostname: {number}\n" for number in range(40))
    file = write("services:\n" + services.replace("    hostname: 17\n", "    volums: [not-absolute]\n"))
    assert code("--fix", "--apply") == 1
    assert file.read_text().count('hostname: "') == 39 and "volums" in file.read_text()


def test_a_suppressed_finding_is_not_fixed(here: Path) -> None:
    file = write("# stackrun: ignore[obsolete-version] an old tool reads it too\nversion: '3'\n" + SANE)
    before = file.read_text()
    assert code("--fix", "--apply") == 0 and file.read_text() == before


def test_a_diff_on_a_terminal_has_no_control_characters(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("# \x1b[2J\n" + FIXABLE)
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    code("--fix")
    assert "command: a" in terminal.getvalue() and "\x1b[2J" not in terminal.getvalue()
