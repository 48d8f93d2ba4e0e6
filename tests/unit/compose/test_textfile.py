"""Bytes as text: where the first wrong byte is, and what no stack file may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackrun.compose.textfile import Unreadable, contents, decoded, forbidden


@pytest.mark.parametrize(
    ("data", "place", "said"),
    [
        (b"a: caf\xe9\n", (1, 7), "byte 0xE9"),
        (b"a: 1\r\nb: \xc3\xa9\xff\n", (2, 5), "byte 0xFF"),
        (b"\xef\xbb\xbfa\xc3", (1, 2), "byte 0xC3"),
        (b"\xff\xfea\x00\xd8", (1, 2), "UTF-16"),
    ],
)
def test_the_first_wrong_byte_has_its_place(data: bytes, place: tuple[int, int], said: str) -> None:
    _, [wrong] = decoded(data)
    assert (wrong.line, wrong.column) == place
    assert said in wrong.message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_compose_reads_is_read(encoding: str) -> None:
    assert decoded("a: é\n".encode(encoding)) == ("a: é\n", ())


def test_a_forbidden_character_is_told_and_replaced() -> None:
    text, [first, second] = forbidden("a\0\0b\nc\x7f")
    assert text == "a\ufffd\ufffdb\nc\ufffd"
    assert (first.line, first.column, second.line, second.column) == (1, 2, 2, 2)
    assert "U+007F" in second.message


def test_utf16_without_its_mark_is_recognized() -> None:
    text, [wrong] = forbidden(("services: {}\n" * 10).encode("utf-16-be").decode())
    assert (text, wrong.message) == ("", "UTF-16 text without a byte order mark")


def test_many_wrong_characters_are_no_text() -> None:
    text, wrong = forbidden("\x01a" * 100)
    assert (text, len(wrong)) == ("", 20)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    said = {}
    for path in (str(tmp_path / "fifo"), str(tmp_path), str(tmp_path / "gone"), "/dev/zero", "a\0b"):
        with pytest.raises(Unreadable) as refused:
            contents(path)
        said[path] = refused.value
    assert [one.message for one in said.values()] == [
        "is a fifo, not a file",
        "is a directory",
        "no such file or directory",
        "is a device, not a file",
        "no file can have this name",
    ]
    assert [one.missing for one in said.values()] == [False, False, True, False, False]


def test_the_null_device_is_empty() -> None:
    assert contents("/dev/null") == b""
