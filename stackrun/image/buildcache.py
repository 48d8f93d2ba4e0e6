"""What steps of builds have led to, so that the same step upon the same state need not be done again: `<image>/builds.json`.

    {"version": 1, "steps": {"<key>": {"created": "…", "used": 1790000000, "layer": {…}, "chain": "sha256:…"}}}

A key is a digest of all that a step's result depends on (`engine.build_keys`), that of the step before it included.  A step without a
layer is kept for the time it was done at: the same build gives the same image, to the last byte.  Layers named here are not garbage.
A step that nobody used for a week goes, and the ones unused longest go when their layers take up too much.

The file is a help and never the truth: a damaged one is forgotten, a layer that is missing means that the step is done again.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stackrun.image.assembly import Layer
from stackrun.image.content import write_atomically
from stackrun.image.reference import is_sha256

UNUSED_MAX_S = 7 * 86400
SIZE_MAX_BYTES = 20 << 30
STEPS_MAX = 10_000
_VERSION = 1
_TOUCH_S = 3600
"""How old a step's last use may be on disk: a build that only reuses writes nothing most of the time."""


@dataclass(frozen=True, slots=True)
class Step:
    """`created`: when it was done, as configurations write it.  `used`: seconds since the epoch."""

    created: str
    layer: Layer | None = None
    chain_id: str = ""
    used: int = 0


class BuildCache:
    """From any thread.  `save` writes what has changed since the last time."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "builds.json"
        self._lock = threading.Lock()
        self._changed = False
        self._steps = _read(self._file)

    def find(self, key: str) -> Step | None:
        now = int(time.time())
        with self._lock:
            step = self._steps.get(key)
            if step and now - step.used > _TOUCH_S:
                self._steps[key] = replace(step, used=now)
                self._changed = True
            return step

    def add(self, key: str, step: Step) -> None:
        with self._lock:
            self._steps[key] = replace(step, used=int(time.time()))
            self._changed = True

    def save(self) -> None:
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            document = {"version": _VERSION, "steps": {key: _written(step) for key, step in self._steps.items()}}
            write_atomically(self._file, json.dumps(document, separators=(",", ":")).encode())

    def forget(self, *, everything: bool = False) -> tuple[Step, ...]:
        """Drops what is old or too much, or all; gives what went.  Its layers are garbage unless an image has them."""
        with self._lock:
            kept = {} if everything else _kept(self._steps)
            gone = tuple(step for key, step in self._steps.items() if key not in kept)
            self._changed = self._changed or bool(gone)
            self._steps = kept
        self.save()
        return gone

    def blobs(self) -> frozenset[str]:
        with self._lock:
            return frozenset(step.layer.digest for step in self._steps.values() if step.layer)

    def chain_ids(self) -> frozenset[str]:
        with self._lock:
            return frozenset(step.chain_id for step in self._steps.values() if step.layer)


def _kept(steps: Mapping[str, Step]) -> dict[str, Step]:
    """Most recently used first, as long as there is room; the layers of one chain count once."""
    limit, size, seen = time.time() - UNUSED_MAX_S, 0, set()
    kept: dict[str, Step] = {}
    for key, step in sorted(steps.items(), key=lambda one: one[1].used, reverse=True):
        if step.layer and step.chain_id not in seen:
            seen.add(step.chain_id)
            size += step.layer.size
        if step.used < limit or size > SIZE_MAX_BYTES or len(kept) >= STEPS_MAX:
            break
        kept[key] = step
    return kept


def _written(step: Step) -> dict[str, Any]:
    written: dict[str, Any] = {"created": step.created, "used": step.used}
    if layer := step.layer:
        written["layer"] = {"digest": layer.digest, "size": layer.size, "diff_id": layer.diff_id}
        written["chain"] = step.chain_id
    return written


def _read(file: Path) -> dict[str, Step]:
    """Entries that make no sense are forgotten."""
    try:
        steps = json.loads(file.read_bytes())["steps"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    found = {}
    for key, written in steps.items() if isinstance(steps, dict) else ():
        with suppress(LookupError, TypeError, ValueError):
            found[key] = _step(written)
    return found


def _step(written: Mapping[str, Any]) -> Step:
    step = Step(str(written["created"]), used=int(written["used"]))
    if "layer" not in written:
        return step
    layer = Layer(str(written["layer"]["digest"]), int(written["layer"]["size"]), str(written["layer"]["diff_id"]))
    if not all(is_sha256(one) for one in (layer.digest, layer.diff_id, str(written["chain"]))):
        raise ValueError("no digest")
    return replace(step, layer=layer, chain_id=str(written["chain"]))
