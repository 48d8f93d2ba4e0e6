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
        trace.become("init", "4f2a91c03b77aaaa")
        trace.mark("execve", at_ns=1_250_000)
        trace.mark("mount proc on /proc", at_ns=1_100_000)
    finally:
        os.close(trace.fd)
    profile = trace.table((tmp_path / "trace").read_text().splitlines())
    assert [line.split(None, 3) for line in profile.splitlines()[2:]] == [
        ["0", "0", "engine", "ask"],
        ["100", "100", "init", "mount proc on /proc"],
        ["250", "150", "init", "execve"],
    ]


def test_the_profile_of_several_containers_is_their_median() -> None:
    lines = [f"{start * 1000} c{start} engine ask" for start in (1, 2, 3)]
    lines += [f"{(start + took) * 1000} c{start} init mount /x/c{start}aa/merged" for start, took in ((1, 5), (2, 7), (3, 90))]
    assert trace.table(lines).splitlines() == [
        "3 containers, medians",
        "       at     took  process  step",
        "        0        0  engine   ask",
        "        7        7  init     mount merged",
    ]
    assert trace.table([]).splitlines()[0] == "nothing was traced"
