"""What a stack was declared to be by each `up` that succeeded, so that it can be compared and brought back.

    <state>/.revisions/<project>/<number>.json      a revision, its owner's alone: it holds the content of secrets
    <state>/.revisions/<project>/unfinished.json    an `up` has begun to change something and has not come to its good end

Outside a project's own folder, which goes with its containers: a stack that was taken down can be brought back too.  Each file is
whole or not there; one that cannot be read costs its own revision only.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stackrun.api import labels
from stackrun.api.stored import from_json, to_json
from stackrun.errors import Conflict, InvalidArgument, KernelError, NotFound
from stackrun.stack import naming
from stackrun.stack.content import write_whole
from stackrun.stack.desired import Desired

KEPT_MAX = 20
BEFORE = -1
"""Instead of a number: the one to go back to."""
_FOLDER = ".revisions"
"""No project's name begins with a dot."""
_UNFINISHED = "unfinished.json"


@dataclass(frozen=True, slots=True)
class Revision:
    number: int
    time_s: float
    """Since the epoch."""
    how: str
    """`up`, `up web`, `watch`, `rollback to 3`."""
    desired: Desired
    images: Mapping[str, str] = field(default_factory=dict)
    """Service → id of the image its containers were made from; one whose id nobody knew is not a key."""
    changed: str = ""
    """Against the revision before, in a line: `web image 1 → 2, +cache`."""
    ever: frozenset[str] = frozenset()
    """Every service that this stack ever had, as far as its revisions know."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A revision in a list: without what it declares."""

    number: int
    time_s: float = 0.0
    how: str = ""
    changed: str = ""
    fault: str = ""
    """Why it cannot be read."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    time_s: float
    how: str
    services: frozenset[str] = frozenset()
    """Those that it, or an unfinished one before it, may have made containers of."""
    anew: bool = False
    """Nothing was up when the last of them began."""


class Revisions:
    """Of one stack, oldest first. Every method blocks on the file system."""

    def __init__(self, state_dir: str, project: str, clock_s: Callable[[], float] = time.time) -> None:
        self._project = project
        self._folder = Path(state_dir, _FOLDER, naming.checked(project))
        self._clock_s = clock_s

    def numbers(self) -> tuple[int, ...]:
        return tuple(sorted(int(name.removesuffix(".json")) for name in self._names() if name.removesuffix(".json").isdecimal()))

    def read(self, number: int) -> Revision:
        """NotFound; Conflict for one that is there and cannot be read."""
        try:
            return from_json(Revision, self._path(number).read_bytes())
        except FileNotFoundError:
            raise NotFound(f"stack {self._project} has no revision {number}", hint=self._known()) from None
        except OSError as error:
            raise Conflict(f"revision {number} cannot be read: {error.strerror}", hint=self._known()) from None
        except InvalidArgument as error:
            raise Conflict(f"revision {number} cannot be read: {error}", hint=self._known()) from None

    def last(self) -> Revision | None:
        """The newest that can be read."""
        for number in reversed(self.numbers()):
            try:
                return self.read(number)
            except (Conflict, NotFound):
                continue
        return None

    def chosen(self, number: int, *, up: bool) -> Revision:
        """`number` may be BEFORE: the last but one, or the last itself when the stack is not (all of) that: it is down, or half way."""
        if number != BEFORE:
            return self.read(number)
        numbers = self.numbers()
        if not numbers:
            raise NotFound(f"stack {self._project} has no revisions", hint="each `up` that succeeds and changes something makes one")
        if not up or self.unfinished():
            return self.read(numbers[-1])
        if len(numbers) == 1:
            raise NotFound(f"stack {self._project} has no revision before {numbers[0]}", hint="`stackrun history` shows those it has")
        return self.read(numbers[-2])

    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entry(number) for number in self.numbers())

    def ever(self) -> frozenset[str]:
        """Every service that the stack ever had, by any revision or by an `up` that did not finish."""
        last, unfinished = self.last(), self.unfinished()
        return frozenset().union(*([last.ever, last.desired.services] if last else ()), unfinished.services if unfinished else ())

    def unfinished(self) -> Unfinished | None:
        try:
            return from_json(Unfinished, (self._folder / _UNFINISHED).read_bytes())
        except (OSError, InvalidArgument):
            return None

    def begin(self, how: str, services: Iterable[str], *, anew: bool = False) -> None:
        """Something is about to change. An earlier unfinished one stays so, unless this is about all of its services.

        No sync: what has to be outlived is this process.
        """
        marker, before = Unfinished(self._clock_s(), how, frozenset(services), anew), self.unfinished()
        if before and not before.services <= marker.services:
            marker = replace(before, services=before.services | marker.services, anew=anew)
        try:
            self._make_folder()
            with open(self._folder / _UNFINISHED, "wb", opener=_private) as file:
                file.write(to_json(marker))
        except OSError as error:
            raise KernelError(f"note in {self._folder} that {how} begins", error.errno or 0) from None

    def abandon(self) -> None:
        """Nothing is left of what had begun."""
        try:
            (self._folder / _UNFINISHED).unlink(missing_ok=True)
        except OSError as error:
            raise KernelError(f"remove {self._folder / _UNFINISHED}", error.errno or 0) from None

    def record(
        self,
        how: str,
        desired: Desired,
        images: Mapping[str, str],
        raised: Iterable[str],
        changed: Callable[[Revision | None], str] = lambda last: "",
    ) -> Revision | None:
        """The stack is this now; None: it was already.

        `raised`: the services that were brought to it; of others something may remain unfinished.
        `changed` tells in a line what is new against the last one.
        """
        try:
            with self._only_writer():
                made = None if self._is_last(desired, images) else self._write(how, desired, images, changed)
                self._finish(frozenset(raised), frozenset(desired.services))
                return made
        except OSError as error:
            raise KernelError(f"record the revision in {self._folder}", error.errno or 0) from None

    def _finish(self, raised: frozenset[str], services: frozenset[str]) -> None:
        """Whatever was begun with these services, earlier too, is over; of services that are no more there is nothing to finish."""
        unfinished = None if raised >= services else self.unfinished()
        left = unfinished.services - raised if unfinished else frozenset()
        if unfinished and left & services:
            write_whole(self._folder / _UNFINISHED, to_json(replace(unfinished, services=left)))
        else:
            (self._folder / _UNFINISHED).unlink(missing_ok=True)

    def _write(self, how: str, desired: Desired, images: Mapping[str, str], changed: Callable[[Revision | None], str]) -> Revision:
        last, numbers = self.last(), self.numbers()
        ever = self.ever().union(desired.services)
        made = Revision(max(numbers, default=0) + 1, self._clock_s(), how, desired, images, changed(last), ever)
        write_whole(self._path(made.number), to_json(made))
        for number in numbers[: max(0, len(numbers) + 1 - KEPT_MAX)]:
            self._path(number).unlink(missing_ok=True)
        for name in self._names():
            if name.startswith("."):  # another writer was killed: there is none now
                (self._folder / name).unlink(missing_ok=True)
        return made

    def _is_last(self, desired: Desired, images: Mapping[str, str]) -> bool:
        """Whether the newest one says the same. Compared as it is written, since to read it back takes longer than all the rest."""
        numbers = self.numbers()
        told = _read_json(self._path(numbers[-1])) if numbers else None
        if told is None or told.get("images", {}) != dict(images):
            return False
        try:
            return bool(_lasting(told["desired"]) == _lasting(json.loads(to_json(desired))))
        except (KeyError, TypeError, AttributeError):  # it is broken
            return False

    def _entry(self, number: int) -> Entry:
        told = _read_json(self._path(number))
        try:
            if told is None or not isinstance(told["desired"]["services"], dict):
                raise ValueError
            return Entry(number, float(told["time_s"]), str(told["how"]), str(told.get("changed", "")))
        except (KeyError, TypeError, ValueError):
            return Entry(number, fault="it cannot be read")

    def _known(self) -> str:
        numbers = self.numbers()
        return f"there are {', '.join(map(str, numbers))}" if numbers else "each `up` that succeeds and changes something makes one"

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._folder)
        except OSError:
            return []

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.json"

    def _make_folder(self) -> None:
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        """Among processes, too: a foreign host's stacks are brought up by each command line."""
        self._make_folder()
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


_PASSING = (labels.VERSION, labels.CONFIG_FILES, labels.WORKING_DIR, labels.ENVIRONMENT_FILE)


def _lasting(desired: dict[str, Any]) -> dict[str, Any]:
    """Without what is no part of the state: which version of ours read it, from where, and where private files are kept."""
    for section in ("services", "networks", "volumes"):
        for one in desired.get(section, {}).values():
            for label in _PASSING:
                one["spec"].get("labels", {}).pop(label, None)
    for name in ("state_dir", "dormant"):
        desired.pop(name, None)
    return desired
