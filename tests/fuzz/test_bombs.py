"""No input under a megabyte takes four gigabytes, five seconds, or the command line down.

Each runs in a child that the kernel would stop. STACKRUN_FUZZ_SECONDS also tries every field with long strings of every
shape, as many as there is time for.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fuzz.bombs import BOMBS, LONG_STRINGS, Files
from fuzz.child import Ended, stackrun

from stackrun.compose.document import MAX_NODES

LONGER_S = float(os.environ.get("STACKRUN_FUZZ_SECONDS", "0"))
CHOSEN_LONG_STRINGS = sorted(LONG_STRINGS)[:: max(1, len(LONG_STRINGS) // 12)]


def write(directory: Path, files: Files) -> None:
    for name, content in files.items():
        (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def holds(ended: Ended) -> None:
    assert ended.code in (0, 1, 2), f"{ended.code} after {ended.seconds:.1f} s: {ended.said[-2000:]}"
    assert "Traceback" not in ended.said
    if ended.code:
        assert "\x1b" not in ended.said.replace("\x1b[31m", "").replace("\x1b[0m", "")


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_told_or_read(name: str, tmp_path: Path) -> None:
    write(tmp_path, BOMBS[name]())
    ended = stackrun(tmp_path, "config")
    holds(ended)
    assert ended.megabytes < 1000
    if not LONGER_S:
        return
    for verb in (("config", "--variables"), ("config", "--format", "json"), ("graph",)):
        holds(stackrun(tmp_path, *verb))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_validated(name: str, tmp_path: Path) -> None:
    write(tmp_path, BOMBS[name]())
    ended = stackrun(tmp_path, "validate")
    holds(ended)
    assert ended.megabytes < 1000


@pytest.mark.parametrize("name", CHOSEN_LONG_STRINGS)
def test_a_long_string_is_told_or_read(name: str, tmp_path: Path) -> None:
    write(tmp_path, LONG_STRINGS[name]())
    holds(stackrun(tmp_path, "config", "-q"))


@pytest.mark.skipif(not LONGER_S, reason="STACKRUN_FUZZ_SECONDS is not set")
def test_every_long_string(tmp_path: Path) -> None:
    end = time.monotonic() + LONGER_S
    for make in LONG_STRINGS.values():
        if time.monotonic() > end:
            break
        write(tmp_path, make())
        holds(stackrun(tmp_path, "config", "-q"))


FINDINGS = [
    ("empty", b"", "compose.yaml:1:1: the file is empty"),
    ("comments", b"# a\n# b\n", "compose.yaml:1:1: the file is empty"),
    ("scalar", b"hello\n", "compose.yaml:1:1: a stack file must be a mapping at the top level"),
    ("list", b"\n- a\n", "compose.yaml:2:1: a stack file must be a mapping at the top level"),
    ("latin", b"services: {}\n# caf\xe9\n", "compose.yaml:2:6: not valid UTF-8 text: byte 0xE9"),
    ("nul", b"services:\n  a: {image: \"x\0\"}\n", "compose.yaml:2:16: the control character U+0000 is not allowed"),
    ("utf16", ("a: b\n" * 20).encode("utf-16-le"), "compose.yaml:1:1: UTF-16 text without a byte order mark"),
    ("deep", b"a: " + b"[" * 500, "compose.yaml:1:131: nested more than 128 levels deep"),
    ("deep keys", b"? " * 500, "compose.yaml:1:257: nested more than 128 levels deep"),
    ("itself", b"a: &a\n  b: *a\n", "compose.yaml:2:6: anchor 'a' contains itself"),
    ("documents", b"a: 1\n---\n" * 150, "more than 100 documents in one file"),
    ("laughs", BOMBS["laughs_in_lists"]()["compose.yaml"], f"more than {MAX_NODES:,} values once aliases are followed"),
    ("long laughs", BOMBS["many_aliases_of_a_long_string"]()["compose.yaml"], "more than 20,000,000 characters once aliases are followed"),
    ("services", "services:\n" + "".join(f"  s{n}: \n" for n in range(5001)), "compose.yaml:5002:3: more than 5,000 services"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "finding"), [case[1:] for case in FINDINGS], ids=[case[0] for case in FINDINGS])
def test_what_is_wrong_is_said_at_its_place(content: str | bytes, finding: str, tmp_path: Path) -> None:
    write(tmp_path, {"compose.yaml": content})
    ended = stackrun(tmp_path, "config", "-q")
    assert (ended.code, finding in ended.said) == (2, True), ended.said


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_fine(encoding: str, tmp_path: Path) -> None:
    write(tmp_path, {"compose.yaml": "services: {a: {image: x}}\n".encode(encoding)})
    assert stackrun(tmp_path, "config", "-q").code == 0


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    said = {
        name: stackrun(tmp_path, "-f", name, "config", "-q")
        for name in ("fifo", "folder", "/dev/zero", "/dev/tty0", "loop", "x" * 300, "gone.yaml")
    }
    assert all(ended.code == 2 and ended.seconds < 2 for ended in said.values()), said
    assert "is a fifo, not a file" in said["fifo"].said
    assert "is a directory" in said["folder"].said
    assert "is a device, not a file" in said["/dev/zero"].said
    assert "too many levels of symbolic links" in said["loop"].said
    assert "no such file" in said["gone.yaml"].said


def test_a_stream_that_the_caller_opened_is_read(tmp_path: Path) -> None:
    for path in ("/dev/stdin", "/dev/fd/0", "-"):
        ended = stackrun(tmp_path, "-f", path, "-p", "x", "config", "--services", stdin=b"services: {a: {image: x}}\n")
        assert (ended.code, ended.said) == (0, "a\n"), path


def test_bytes_that_are_no_text_on_stdin_are_told(tmp_path: Path) -> None:
    ended = stackrun(tmp_path, "-f", "-", "-p", "x", "config", "-q", stdin=b"services: \xff\xff\n\xfe")
    assert ended.code == 2
    assert ":1:11: not valid UTF-8 text: byte 0xFF" in ended.said
    assert ":2:1: not valid UTF-8 text: byte 0xFE" in ended.said


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "compose.yaml").open("wb") as file:
        file.truncate(30 << 20)
    ended = stackrun(tmp_path, "config", "-q")
    assert (ended.code, "is larger than 20 MB" in ended.said) == (2, True), ended.said


def test_the_null_device_is_an_empty_env_file(tmp_path: Path) -> None:
    write(tmp_path, {"compose.yaml": "services: {a: {image: x}}\n"})
    assert stackrun(tmp_path, "--env-file", "/dev/null", "config", "-q").code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    write(tmp_path, {"compose.yaml": "services: {a: {image: x}}\n"})
    (tmp_path / "compose.yaml").chmod(0)
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(0o755)
    ended = stackrun(tmp_path, "config", "-q", uid=65534)
    assert (ended.code, "permission denied" in ended.said) == (2, True), ended.said


def test_findings_are_capped_sorted_and_the_same_again(tmp_path: Path) -> None:
    write(tmp_path, BOMBS["unknown_keys"]())
    first, second = (stackrun(tmp_path, "config", "-q") for _ in range(2))
    assert first.said == second.said
    places = [int(line.split(":")[1]) for line in first.said.splitlines() if line.startswith("compose.yaml:")]
    assert places == sorted(places)
    assert len(places) == 2001
    assert "more than 2000 findings" in first.said
