"""Events on disk, so that the next daemon can tell what happened under the one before; Docker forgets them.

    <root>/events.jsonl       one JSON object a line, in the order in which they were published
    <root>/events.old.jsonl   what was before that; both hold at most twice FILE_BYTES_MAX

Written a moment later, many at a time and by a thread, since every start publishes some and waits for none.  kill -9 loses that moment.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stackrun.api.types import Event
from stackrun.kernel.linefile import LineFile

FILE_BYTES_MAX = 2 << 20
"""Some two thousand events of a container with the labels of Compose."""
WRITTEN_AFTER_S = 0.1
_log = logging.getLogger("stackrun.engine")


class Chronicle:
    """`add` on the loop's thread; what blocks says so. `run`: does blocking work elsewhere."""

    def __init__(self, root: str, run: Callable[[Callable[[], None]], Any]) -> None:
        self._file = LineFile(Path(root, "events.jsonl"), Path(root, "events.old.jsonl"), FILE_BYTES_MAX)
        self._run = run
        self._lock = threading.Lock()
        self._pending: list[Event] = []
        self._timer: asyncio.TimerHandle | None = None
        self._failing = False

    def add(self, event: Event) -> None:
        """Blocks nobody; before a loop runs it waits for `flush`."""
        self._pending.append(event)
        if self._timer is None:
            try:
                self._timer = asyncio.get_running_loop().call_later(WRITTEN_AFTER_S, self._due)
            except RuntimeError:
                return

    def _due(self) -> None:
        self._timer = None
        self._run(self.flush)

    def flush(self) -> None:
        """Blocks. Never raises for what the disk does: what cannot be written is lost, and the log says so once."""
        with self._lock:
            events, self._pending = self._pending, []
            try:
                self._file.append([_line(one) for one in events])
                self._failing = False
            except OSError as error:
                if not self._failing:
                    _log.warning("cannot note events in %s: %s", self._file.current, error.strerror)
                self._failing = True

    def read(self, since_ns: int, before_ns: int) -> list[Event]:
        """Blocks. Those of `since_ns` ≤ time < `before_ns`; a line that is no event costs itself."""
        self.flush()
        with self._lock:
            return [one for one in self._stored() if since_ns <= one.time_ns < before_ns]

    def _stored(self) -> Iterator[Event]:
        return filter(None, map(_event, self._file.lines()))

    def close(self) -> None:
        """Blocks, for a write of milliseconds."""
        if self._timer is not None:
            self._timer.cancel()
        self.flush()


def _line(event: Event) -> bytes:
    fields = {
        "time_ns": event.time_ns, "type": event.type, "action": event.action, "id": event.id, "attributes": dict(event.attributes),
    }  # fmt: skip
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _event(line: bytes) -> Event | None:
    try:
        found = json.loads(line) if line else None
        if not isinstance(found, dict):
            return None
        attributes = {str(key): str(value) for key, value in found["attributes"].items()}
        return Event(str(found["type"]), str(found["action"]), str(found["id"]), attributes, int(found["time_ns"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
