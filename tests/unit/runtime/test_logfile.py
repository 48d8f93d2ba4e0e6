"""Docker's json-file format, and its rotation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from stackrun.runtime import logfile
from stackrun.runtime.logfile import ENTRY_BYTES_MAX, JsonLog


def entries(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def texts(path: Path) -> list[str]:
    return [entry["log"] for entry in entries(path)]


def test_lines_are_put_together_from_pieces(tmp_path: Path) -> None:
    log = JsonLog(str(tmp_path / "log"), 0, 1)
    log.write("stdout", b"one\ntw")
    log.write("stderr", b"err\n")
    log.write("stdout", b"o\nthree")
    assert texts(tmp_path / "log") == ["one\n", "err\n", "two\n"]
    log.close()
    assert texts(tmp_path / "log") == ["one\n", "err\n", "two\n", "three"]
    assert [entry["stream"] for entry in entries(tmp_path / "log")] == ["stdout", "stderr", "stdout", "stdout"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", entry["time"]) for entry in entries(tmp_path / "log"))


def test_long_lines_are_cut_and_only_the_last_piece_has_the_newline(tmp_path: Path) -> None:
    log = JsonLog(str(tmp_path / "log"), 0, 1)
    log.write("stdout", b"x" * (2 * ENTRY_BYTES_MAX + 5) + b"\n")
    log.close()
    assert [len(text) for text in texts(tmp_path / "log")] == [ENTRY_BYTES_MAX, ENTRY_BYTES_MAX, 6]


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    log = JsonLog(str(tmp_path / "log"), 0, 1)
    log.write("stdout", b'\xff "\x00\x1b\xc3\xa9\n')
    log.close()
    assert texts(tmp_path / "log") == ['\ufffd "\x00\x1bé\n']


def test_rotation_keeps_so_many_files_of_so_many_bytes(tmp_path: Path) -> None:
    log = JsonLog(str(tmp_path / "log"), 400, 3)
    for number in range(40):
        log.write("stdout", f"{number:03d} {'x' * 40}\n".encode())
    log.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["log", "log.1", "log.2"]
    assert all(path.stat().st_size <= 400 for path in tmp_path.iterdir())
    kept = [int(text[:3]) for name in ("log.2", "log.1", "log") for text in texts(tmp_path / name)]
    assert kept == list(range(kept[0], 40))


def test_one_file_starts_over(tmp_path: Path) -> None:
    log = JsonLog(str(tmp_path / "log"), 200, 1)
    for number in range(10):
        log.write("stdout", f"{number} {'x' * 40}\n".encode())
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["log"] and texts(tmp_path / "log")[-1].startswith("9")


def test_one_write_may_rotate_several_times(tmp_path: Path) -> None:
    log = JsonLog(str(tmp_path / "log"), 300, 100)
    log.write("stdout", b"".join(f"{number}\n".encode() for number in range(50)))
    log.close()
    names = sorted(tmp_path.iterdir(), key=lambda path: -int(path.suffix[1:] or 0) if path.suffix else 1)
    assert [text for path in names for text in texts(path)] == [f"{number}\n" for number in range(50)]


def test_an_existing_log_is_continued(tmp_path: Path) -> None:
    for text in (b"a\n", b"b\n"):
        log = JsonLog(str(tmp_path / "log"), 0, 1)
        log.write("stdout", text)
        log.close()
    assert texts(tmp_path / "log") == ["a\n", "b\n"]


def test_a_write_that_fails_is_told_and_the_next_one_that_works_takes_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = JsonLog(str(tmp_path / "log"), 0, 1)

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(logfile.os, "write", full)
        log.write("stdout", b"lost\n")
    assert "No space left" in log.failure
    log.write("stdout", b"kept\n")
    assert log.failure == "" and texts(tmp_path / "log") == ["kept\n"]
    log.close()
