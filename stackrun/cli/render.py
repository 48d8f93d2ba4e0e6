"""An operation as it goes: live on a terminal, plain lines in a pipe, nothing when asked to be quiet.

Progress goes to stderr and what services print to stdout, so that `stackrun up | tee log` keeps the log alone.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from stackrun.cli.exit import coloured

if TYPE_CHECKING:
    import argparse

    from rich.console import Console, ConsoleOptions, RenderResult

Event = dict[str, Any]
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAME_S = 0.1
MARKS = {"done": ("✔", "green"), "skipped": ("⊘", "yellow"), "failed": ("✘", "red"), "waiting": ("·", "cyan"), "planned": ("·", "dim")}
FINISHED = frozenset({"done", "skipped", "failed"})
ROWS_RESERVED = 3
"""Lines of the terminal left to the heading, to what is cut and to the cursor."""


class Display:
    """Shows nothing: `--progress quiet`. The others refine it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leaves what was shown as it stands."""

    def event(self, event: Event) -> None:
        """One event of the operation."""

    def line(self, text: str, *, error: bool = False) -> None:
        """What a service printed, while the operation goes on or after it."""
        stream = sys.stderr if error else sys.stdout
        stream.write(text + "\n")
        stream.flush()


class Plain(Display):
    """A line whenever a resource's state changes."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[str, str]] = {}

    def event(self, event: Event) -> None:
        state = (event["text"], event["detail"])
        if event["phase"] == "planned" or self._shown.get(event["resource"]) == state:
            return
        self._shown[event["resource"]] = state
        print(plain_line(event), file=sys.stderr, flush=True)


def plain_line(event: Event) -> str:
    """` Container shop-db-1  Waiting  cache to start`; a hint and further lines of the detail are indented below."""
    first, *more = (event["detail"] or "").splitlines() or [""]
    if event["text"] == "Warning":
        head = f"warning: {event['resource']}: {first}"
    else:
        head = f" {event['resource']}  {event['text']}  {first}".rstrip()
    return "\n".join([head, *(f"    {line}" for line in more), *([f"  hint: {event['hint']}"] if event["hint"] else [])])


class Row:
    """One resource on the terminal; times are those of time.monotonic()."""

    __slots__ = ("current", "detail", "ended", "phase", "resource", "started", "text", "total")

    def __init__(self, resource: str, now: float) -> None:
        self.resource = resource
        self.started = now
        self.ended = 0.0
        self.phase = "planned"
        self.text = self.detail = ""
        self.current = self.total = 0

    def take(self, event: Event, now: float) -> None:
        if self.phase == "planned" and event["phase"] != "planned":
            self.started = now
        self.phase, self.text, self.detail = event["phase"], event["text"], event["detail"]
        self.current, self.total = event["current"], event["total"]
        self.ended = now if self.phase in FINISHED else 0.0

    def elapsed_s(self, now: float) -> float:
        return (self.ended or now) - self.started

    def tail(self) -> str:
        if self.total:
            return f"{self.current * 100 // self.total:3d}%  {self.detail}".rstrip()
        return self.detail.splitlines()[0] if self.detail else ""


class Live(Display):
    """Every resource on its line, redrawn ten times a second; what it waits for is said beside it."""

    def __init__(self, action: str) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        self._action = action
        self._rows: dict[str, Row] = {}
        self._warnings: list[Event] = []
        self._began = time.monotonic()
        self._console = Console(file=sys.stderr, highlight=False)
        self._screen = Screen(self, console=self._console, refresh_per_second=1 / FRAME_S, transient=False, redirect_stderr=False)
        self._drawing = False

    def __enter__(self) -> Self:
        self._screen.start()
        self._drawing = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._drawing = False
        self._screen.stop()
        for warning in self._warnings:
            print(plain_line(warning), file=sys.stderr, flush=True)

    def event(self, event: Event) -> None:
        if event["text"] == "Warning":
            self._warnings.append(event)
            return
        now = time.monotonic()
        row = self._rows.get(event["resource"])
        if row is None:
            row = self._rows[event["resource"]] = Row(event["resource"], now)
        row.take(event, now)

    def line(self, text: str, *, error: bool = False) -> None:
        if not self._drawing:
            super().line(text, error=error)
            return
        from rich.text import Text

        self._console.print(Text.from_ansi(text), soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        now = time.monotonic()
        rows = list(self._rows.values())
        finished = sum(row.phase in FINISHED for row in rows)
        yield Text.assemble((f"[+] {self._action} {finished}/{len(rows)}", "bold blue" if finished < len(rows) else "bold"))
        room = max(1, console.size.height - ROWS_RESERVED) if self._drawing else len(rows)
        shown = fitting(rows, room)
        names = max((len(row.resource) for row in shown), default=0)
        texts = max((len(row.text) for row in shown), default=0)
        for row in shown:
            yield self._line(row, now, names, texts, options.max_width)
        if len(shown) < len(rows):
            yield Text(f"   … {len(rows) - len(shown)} more", style="dim")

    def _line(self, row: Row, now: float, names: int, texts: int, width: int) -> Any:
        from rich.text import Text

        frame = FRAMES[int((now - self._began) / FRAME_S) % len(FRAMES)]
        mark, style = MARKS.get(row.phase, (frame, "blue"))
        elapsed = f"{row.elapsed_s(now):.1f}s" if row.phase != "planned" else ""
        left = Text.assemble((f" {mark} ", style), f"{row.resource:{names}}  ", (f"{row.text:{texts}}", style), ("  " + row.tail(), "dim"))
        left.truncate(max(1, width - len(elapsed) - 1), overflow="ellipsis", pad=True)
        return left.append(f" {elapsed}", style="dim").copy()


def fitting(rows: list[Row], room: int) -> list[Row]:
    """As many rows as there is room for, in their order: what is still going on before what is over."""
    if len(rows) <= room:
        return rows
    busy = [row for row in rows if row.phase not in FINISHED]
    over = [row for row in reversed(rows) if row.phase in FINISHED]
    chosen = {id(row) for row in [*busy, *over][:room]}
    return [row for row in rows if id(row) in chosen]


def display(options: argparse.Namespace, action: str) -> Display:
    """What `--progress`, `--ansi`, NO_COLOR and the terminal ask for."""
    how = options.progress or "auto"
    if how == "quiet":
        return Display()
    if how == "tty" or (how == "auto" and options.ansi != "never" and _animated()):
        return Live(action)
    return Plain()


def _animated() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def colours(options: argparse.Namespace) -> bool:
    """Whether log prefixes are coloured."""
    if options.no_color or options.ansi == "never":
        return False
    return options.ansi == "always" or coloured(sys.stdout)
