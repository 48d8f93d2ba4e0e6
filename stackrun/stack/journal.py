"""Why a stack is as it is: its decisions, one JSON object a line, kept on this machine after `down` and after the daemon.

    <state>/.journal/<project>.jsonl       what was noted last
    <state>/.journal/<project>.old.jsonl   what was noted before that; together they hold at most twice FILE_BYTES_MAX

No project's name begins with a dot, so nothing that belongs to one lies there.  A journal is never a reason for an operation to
fail: what cannot be written is lost, and the log says so once.

What happens by itself can happen for ever, as a restart loop does.  Such a decision, noted again, is counted instead of
written: the line that tells of it is written again when the count has doubled, or when ten minutes have passed.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from stackrun.api.stacks import Decision as Decision
from stackrun.kernel.linefile import LineFile
from stackrun.stack import naming

FILE_BYTES_MAX = 256 * 1024
TEXT_CHARS_MAX = 2000
"""Of a cause or a detail; more is cut, so that no line is larger than a few pages."""
REPEATED_WITHIN_S = 3600.0
"""A decision that was last taken longer ago is news again."""
REWRITTEN_AFTER_S = 600.0
RESOURCES_REMEMBERED = 1024
ASKED = frozenset({"up", "down", "start", "stop", "restart", "kill", "pull", "watch", "rollback", "run"})
"""Who acts for a person, each of whose deeds is news."""

_log = logging.getLogger("stackrun.stack")
Listener = Callable[[str, Decision], None]
"""Is told the project and the decision, in whatever thread noted it."""
_Key = tuple[str, str, str]
"""did, cause, by."""
_Identity = tuple[str, str, str, str, float]
"""resource, did, cause, by, when it happened first."""


class Journal:
    """For every stack under one state directory; its methods block, and may be called from any thread and process."""

    def __init__(self, state_dir: str) -> None:
        self._folder = Path(state_dir, ".journal")
        self._lock = threading.Lock()
        self._recent: OrderedDict[tuple[str, str], dict[_Key, Decision]] = OrderedDict()
        """(project, resource) → what happened to it by itself since somebody last acted on it, as it was last counted."""
        self._written_s: dict[tuple[str, str, _Key], float] = {}
        self._failing = False
        self._listeners: list[Listener] = []

    def note(self, project: str, decisions: Iterable[Decision]) -> None:
        """Adds them in their order. Never raises for what the disk does, nor for a label that is no stack's name."""
        if not naming.is_name(project):
            return
        with self._lock:
            counted = [self._counted(project, _bounded(one)) for one in decisions]
            self._write(project, [decision for decision, written in counted if written])
            for decision, _ in counted:
                for listener in tuple(self._listeners):
                    listener(project, decision)

    def settle(self) -> None:
        """Writes what was only counted so far: for a process that ends."""
        with self._lock:
            unwritten: dict[str, list[Decision]] = {}
            for place, recent in self._recent.items():
                for key, one in recent.items():
                    if self._written_s.get((*place, key), one.time_s) < one.time_s:
                        self._written_s[(*place, key)] = one.time_s
                        unwritten.setdefault(place[0], []).append(one)
            for project, decisions in unwritten.items():
                self._write(project, decisions)

    def read(self, project: str, service: str = "", limit: int = 100) -> tuple[Decision, ...]:
        """The last `limit`, oldest first; of one service alone when it is given. What cannot be read is left out."""
        told: dict[_Identity, Decision] = {}
        for one in self._known(project, service):
            if told.get(_identity(one), one).times <= one.times:
                told[_identity(one)] = one
        return tuple(sorted(told.values(), key=lambda one: one.time_s)[-limit:] if limit else ())

    def every_count(self, project: str) -> tuple[Decision, ...]:
        """Oldest first; what repeats itself once for each time that its count was written, and as it is counted now."""
        told = {(_identity(one), one.times): one for one in self._known(project, "")}
        return tuple(sorted(told.values(), key=lambda one: one.time_s))

    def _known(self, project: str, service: str) -> list[Decision]:
        """What is on disk, then what was counted last. `service` empty: of all."""
        if not naming.is_name(project):
            return []
        with self._lock:
            stored = list(self._stored(project, service))
            counted = [one for (name, _), recent in self._recent.items() if name == project for one in recent.values()]
        return [one for one in (*stored, *counted) if not service or one.service == service]

    def projects(self) -> tuple[str, ...]:
        """Those that have a history."""
        names = (one.name.removesuffix(".jsonl") for one in self._folder.glob("*.jsonl"))
        return tuple(sorted(name for name in names if "." not in name))

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Of what this process notes from now on; what it returns ends that, however often it is called."""
        with self._lock:
            self._listeners.append(listener)

        def stop() -> None:
            with self._lock:
                self._listeners = [one for one in self._listeners if one is not listener]

        return stop

    # --- what repeats itself

    def _counted(self, project: str, decision: Decision) -> tuple[Decision, bool]:
        """With how often it was taken, and whether that is to be written."""
        place = (project, decision.resource)
        if decision.by in ASKED:
            for key in self._recent.pop(place, {}):
                self._written_s.pop((*place, key), None)
            return decision, True
        recent = self._recent.setdefault(place, {})
        self._recent.move_to_end(place)
        key = (decision.did, decision.cause, decision.by)
        before = recent.get(key)
        repeated = before is not None and decision.time_s - before.time_s < REPEATED_WITHIN_S
        if before is not None and repeated:
            decision = replace(decision, times=before.times + 1, since_s=before.first_s)
        recent[key] = decision
        self._forget_some()
        written_s = self._written_s.get((*place, key), 0.0)
        if repeated and decision.times & (decision.times - 1) and decision.time_s - written_s < REWRITTEN_AFTER_S:
            return decision, False
        self._written_s[(*place, key)] = decision.time_s
        return decision, True

    def _forget_some(self) -> None:
        while len(self._recent) > RESOURCES_REMEMBERED:
            place, keys = self._recent.popitem(last=False)
            for key in keys:
                self._written_s.pop((*place, key), None)

    # --- files

    def _write(self, project: str, news: Sequence[Decision]) -> None:
        if not news:
            return
        try:
            self._append(project, [_line(one) for one in news])
            self._failing = False
        except OSError as error:
            if not self._failing:
                _log.warning("cannot note what became of %s in %s: %s", project, self._folder, error.strerror)
            self._failing = True

    def _append(self, project: str, lines: Iterable[bytes]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._only_writer():
            self._file(project).append(lines)

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        """Among processes, too: a foreign host's stacks are noted by each command line."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _stored(self, project: str, service: str) -> Iterator[Decision]:
        """As they were written, oldest file first; a line that is no decision costs itself alone. `service` empty: of all."""
        mark = f'"service":{json.dumps(service)}'.encode() if service else b""
        yield from filter(None, (_decision(line) for line in self._file(project).lines() if mark in line))

    def _file(self, project: str) -> LineFile:
        return LineFile(self._folder / f"{project}.jsonl", self._folder / f"{project}.old.jsonl", FILE_BYTES_MAX)


def _bounded(decision: Decision) -> Decision:
    """Of a detail, which may be what a container printed last, the end is what tells."""
    return replace(decision, cause=decision.cause[:TEXT_CHARS_MAX], detail=decision.detail[-TEXT_CHARS_MAX:])


def _line(decision: Decision) -> bytes:
    return json.dumps({name: getattr(decision, name) for name in _KINDS}, separators=(",", ":")).encode() + b"\n"


_KINDS: dict[str, Any] = {
    "time_s": float, "service": str, "resource": str, "did": str, "cause": str, "detail": str, "by": str, "times": int, "since_s": float,
}  # fmt: skip


def _decision(line: bytes) -> Decision | None:
    """Fields that a later version adds are passed over."""
    try:
        found = json.loads(line)
        return Decision(**{key: kind(found[key]) for key, kind in _KINDS.items() if key in found})
    except (ValueError, TypeError, KeyError):
        return None


def _identity(decision: Decision) -> _Identity:
    """The same for every count of one that repeats itself."""
    return (decision.resource, decision.did, decision.cause, decision.by, decision.first_s)
