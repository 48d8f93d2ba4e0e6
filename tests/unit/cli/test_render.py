"""Progress: lines in a pipe, a live list on a terminal."""

from __future__ import annotations

import argparse
import io
import sys
from typing import Any

import pytest
from rich.console import Console

from stackrun.cli import render


def event(resource: str, phase: str, text: str, detail: str = "", **rest: Any) -> dict[str, Any]:
    return {"resource": resource, "phase": phase, "text": text, "detail": detail, "hint": "", "current": 0, "total": 0, **rest}


def test_a_pipe_gets_a_line_when_a_state_changes(capsys: pytest.CaptureFixture[str]) -> None:
    with render.Plain() as display:
        display.event(event("Container a", "planned", "Creating"))
        display.event(event("Container a", "working", "Creating"))
        display.event(event("Container a", "working", "Creating", current=5, total=9))
        display.event(event("Container b", "waiting", "Waiting", "a to be healthy"))
        display.event(event("Container a", "failed", "Error", "it exited\nlast words", hint="read them"))
        display.event(event("Project shop", "done", "Warning", "orphan x", hint="--remove-orphans"))
    assert capsys.readouterr().err == (
        " Container a  Creating\n"
        " Container b  Waiting  a to be healthy\n"
        " Container a  Error  it exited\n"
        "    last words\n"
        "  hint: read them\n"
        "warning: Project shop: orphan x\n"
        "  hint: --remove-orphans\n"
    )


def test_what_a_service_prints_goes_to_the_stream_it_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    display = render.Plain()
    display.line("out")
    display.line("err", error=True)
    assert capsys.readouterr() == ("out\n", "err\n")


def drawn(live: render.Live, *, width: int = 60, height: int = 20) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(live, end="")
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def test_the_live_list_says_what_waits_for_what() -> None:
    live = render.Live("up")
    live.event(event("Container shop-db-1", "done", "Healthy"))
    live.event(event("Container shop-api-1", "waiting", "Waiting", "db to be healthy"))
    live.event(event("Image x:1", "working", "Pulling", current=50, total=200))
    live.event(event("Container shop-web-1", "failed", "Error", "no such command\nmore"))
    lines = drawn(live).splitlines()
    assert lines[0] == "[+] up 2/4"
    assert lines[1].startswith(" ✔ Container shop-db-1   Healthy")
    assert "Waiting  db to be healthy" in lines[2] and lines[2].endswith("0.0s")
    assert " 25%" in lines[3]
    assert "no such command" in lines[4] and "more" not in lines[4]


def test_a_narrow_terminal_cuts_lines_and_never_wraps_them() -> None:
    live = render.Live("up")
    live.event(event("Container shop-a-service-of-a-long-name-1", "working", "Starting"))
    lines = drawn(live, width=30).splitlines()
    assert len(lines) == 2 and len(lines[1]) <= 30 and "…" in lines[1] and lines[1].endswith("0.0s")


def test_a_list_longer_than_the_terminal_shows_what_goes_on() -> None:
    rows = [render.Row(str(number), 0.0) for number in range(10)]
    for row in rows[:8]:
        row.phase = "done"
    rows[3].phase = "working"
    assert [row.resource for row in render.fitting(rows, 4)] == ["3", "7", "8", "9"]


@pytest.mark.parametrize(
    ("progress", "ansi", "terminal", "term", "kind"),
    [
        (None, None, True, "xterm", "Live"),
        (None, None, False, "xterm", "Plain"),
        (None, None, True, "dumb", "Plain"),
        (None, "never", True, "xterm", "Plain"),
        ("plain", None, True, "xterm", "Plain"),
        ("tty", None, False, "xterm", "Live"),
        ("quiet", None, True, "xterm", "Display"),
    ],
)
def test_the_terminal_and_the_options_choose(
    monkeypatch: pytest.MonkeyPatch, progress: str | None, ansi: str | None, terminal: bool, term: str, kind: str
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    options = argparse.Namespace(progress=progress, ansi=ansi, no_color=False)
    assert type(render.display(options, "up")).__name__ == kind
