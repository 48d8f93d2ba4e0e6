from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackrun.api.types import LogLine
from stackrun.api.wire.frames import Frames
from stackrun.errors import InvalidArgument, StackrunError
from stackrun.server.streams import DetachKeys, json_lines, log_output, output_type, stream_failure


def collected(pieces: AsyncIterator[bytes]) -> list[bytes]:
    async def run() -> list[bytes]:
        return [piece async for piece in pieces]

    return asyncio.run(run())


async def numbers_then_failure() -> AsyncIterator[int]:
    yield 1
    raise StackrunError("broken")


def test_a_failure_after_the_first_line_is_the_last_object() -> None:
    lines = collected(json_lines(numbers_then_failure(), lambda number: {"number": number}, stream_failure, "\r\n"))
    assert [json.loads(line) for line in lines] == [{"number": 1}, {"errorDetail": {"message": "broken"}, "error": "broken"}]
    assert all(line.endswith(b"\r\n") for line in lines)


async def log_then_failure() -> AsyncIterator[LogLine]:
    yield LogLine(2, "2026-01-01T00:00:00.000000001Z", b"oops\n")
    raise StackrunError("broken")


def test_log_lines_are_framed_unless_there_is_a_terminal() -> None:
    framed = Frames().feed(b"".join(collected(log_output(log_then_failure(), tty=False, timestamps=True))))
    assert framed == [(2, b"2026-01-01T00:00:00.000000001Z oops\n"), (3, b"broken")]
    assert collected(log_output(log_then_failure(), tty=True, timestamps=False)) == [b"oops\n", b"broken"]


def test_the_framed_type_has_a_name_since_1_42() -> None:
    assert output_type(False, "1.42").endswith("multiplexed-stream")
    assert output_type(False, "1.41").endswith("raw-stream")
    assert output_type(True, "1.47").endswith("raw-stream")


@pytest.mark.parametrize(
    ("typed", "passed", "detached"),
    [
        ([b"abc"], b"abc", False),
        ([b"ab\x10\x11cd"], b"ab", True),
        ([b"ab\x10", b"\x11"], b"ab", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10\x10\x11"], b"\x10", True),
    ],
)
def test_the_detach_keys_are_found_however_they_arrive(typed: list[bytes], passed: bytes, detached: bool) -> None:
    keys, seen = DetachKeys(), []
    for piece in typed:
        seen.append(keys.feed(piece))
    assert b"".join(data for data, _ in seen) == passed
    assert seen[-1][1] is detached


@given(st.lists(st.binary(max_size=5)))
def test_what_is_typed_arrives_whole_but_for_the_keys(typed: list[bytes]) -> None:
    keys, whole = DetachKeys("a"), b"".join(typed)
    passed = b""
    for piece in typed:
        data, detached = keys.feed(piece)
        passed += data
        if detached:
            break
    assert passed == whole.partition(b"a")[0]


def test_other_keys_can_be_chosen() -> None:
    assert DetachKeys("ctrl-@,x").feed(b"a\x00x") == (b"a", True)
    with pytest.raises(InvalidArgument, match="Invalid detach keys"):
        DetachKeys("ctrl-,")
