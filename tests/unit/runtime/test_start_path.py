"""What a start leans on: steps that are taken back, and the profile of those that are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackrun.runtime import trace
from stackrun.runtime.undo import Undo


def test_undo_goes_back_in_order_even_when_a_step_fails() -> None:
    done: list[int] = []
    with pytest.raises(ZeroDivisionError), Undo() as undo:
        undo.add(done.append, 1)
        undo.add(lambda: 1 / 0)
        undo.add(done.append, 3)
    assert done == [3, 1]


def test_undo_leaves_what_is_kept() -> None:
    done: list[int] = []
    with Undo() as undo:
        undo.add(done.append, 1)
        undo.keep()
    assert done == []


def test_a_trace_is_one_line_a_step_in_the_order_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "fd", -1)
    trace.mark("nobody listens")
    trace.to_file("engine", str(tmp_path / "trace"))
    try:
        trace.mark("ask", "4f2a91c03b77aaaa", at_ns=1_000_000)
        trace.mark("other", "bbbb", at_ns=1_000_000)
        trace.become("init", "4f2a91c03b77aaaa")
        trace.mark("execve", at_ns=1_250_000)
        trace.mark("mount proc on /proc", at_ns=1_100_000)
    finally:
        os.close(trace.fd)
    profile = trace.table((tmp_path / "trace").read_text().splitlines())
    rows = [line.split() for line in profile.splitlines()]
    assert [row[:2] for row in rows if row[-1] in ("ask", "/proc", "execve")] == [["0", "0"], ["100", "100"], ["250", "150"]]
    assert [row[0] for row in rows if row[0].endswith(":")] == ["4f2a91c03b77:", "bbbb:"]
