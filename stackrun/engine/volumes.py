"""Named and anonymous volumes: directories of the state root that outlive containers."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from stackrun.api.filters import select_volumes
from stackrun.api.types import Filters, Volume, VolumeSpec
from stackrun.engine.clock import stamp
from stackrun.engine.events import Events
from stackrun.engine.layers import LayerTree, copy_directory
from stackrun.engine.pool import Pool
from stackrun.engine.registry import Registry
from stackrun.engine.store import Store, discard
from stackrun.errors import Conflict, InvalidArgument, NotFound, Unsupported

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_BIND_OPTIONS = frozenset({"type", "o", "device"})


class Volumes:
    def __init__(self, store: Store, registry: Registry, events: Events, pool: Pool, report: Callable[[str], None]) -> None:
        self._store = store
        self._registry = registry
        self._events = events
        self._pool = pool
        self._report = report
        self._volumes: dict[str, Volume] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def load(self, containers: frozenset[str]) -> None:
        """Blocks; once, at the engine's start. A volume of a container that is not among `containers`, being made or removed, goes."""
        self._volumes = {one.name: one for one in self._store.load_volumes()}
        for name in tuple(self._volumes):
            owner = self._store.volume_owner(name)
            if owner in containers or (owner and self._registry.using_volume(name)):
                self._store.keep_volume(name)
            elif owner:
                del self._volumes[name]
                discard(self._store.retire_volume(name), on_error=self._report)

    def keep(self, name: str) -> None:
        """Blocks. It is no longer only its maker's."""
        self._store.keep_volume(name)

    def give(self, name: str, container_id: str) -> None:
        """Blocks. It goes with this container, also when this engine ends before it has come to that."""
        if name in self._volumes:
            self._store.give_volume(name, container_id)

    def list(self, filters: Filters) -> tuple[Volume, ...]:
        used = frozenset(mount.name for entry in self._registry for mount in entry.definition.mounts if mount.name)
        return select_volumes(tuple(self._volumes[name] for name in sorted(self._volumes)), filters, used=used)

    def get(self, name: str) -> Volume:
        volume = self._volumes.get(name)
        if volume is None:
            raise NotFound(f"get {name}: no such volume")
        return volume

    async def create(self, spec: VolumeSpec, *, made_for: str = "") -> Volume:
        """Idempotent by name, whatever the other settings say, as dockerd. `made_for`: a container that is being created with it."""
        name = spec.name or secrets.token_hex(32)
        async with self._lock(name):
            if (known := self._volumes.get(name)) is not None:
                return known
            _check(name, spec)
            mountpoint = _bound_directory(spec.options) or str(self._store.volume_directory(name) / "_data")
            volume = Volume(name, mountpoint, stamp(), spec.driver or "local", dict(spec.options), dict(spec.labels))
            await self._pool.run(self._store.make_volume, volume, made_for)
            self._volumes[name] = volume
        self._events.publish("volume", "create", name, {"driver": volume.driver})
        return volume

    def _lock(self, name: str) -> asyncio.Lock:
        """One at a time makes, fills or removes a volume: replicas that start together share one."""
        return self._locks.setdefault(name, asyncio.Lock())

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Conflict while a container refers to it. `force` takes a missing one for removed."""
        if name not in self._volumes and force:
            return
        async with self._lock(name):
            volume = self.get(name)
            users = self._registry.using_volume(name)
            if users:
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
            retired = await self._pool.run(self._store.retire_volume, name)
            del self._volumes[name]
        self._locks.pop(name, None)
        self._events.publish("volume", "destroy", name, {"driver": volume.driver})
        await self._pool.run_disk(discard, retired, on_error=self._report)

    def own_directory(self, name: str) -> str:
        """Where its files are, if that is this engine's; empty for a bound one and for one that is not known."""
        volume = self._volumes.get(name)
        return volume.mountpoint if volume is not None and not _bound_directory(volume.options) else ""

    async def restore(self, name: str, lower: tuple[str, ...], target: str) -> None:
        """One whose directory somebody has taken away is made again, as new."""
        directory = self.own_directory(name)
        if not directory or await self._pool.run(os.path.isdir, directory):
            return
        volume = self.get(name)
        async with self._lock(name):
            await self._pool.run(self._store.make_volume, volume)
            await self._pool.run(fill, Path(directory), lower, target)
        self._report(f"volume {name}: its directory {directory} was gone, and is made again")

    async def fill(self, volume: Volume, lower: tuple[str, ...], target: str) -> None:
        """A new volume starts with what the image has at `target`; one that has anything in it is left alone."""
        async with self._lock(volume.name):
            await self._pool.run(fill, Path(volume.mountpoint), lower, target)


def fill(directory: Path, lower: tuple[str, ...], target: str) -> None:
    if not directory.is_dir():
        raise InvalidArgument(f"failed to mount local volume: bind {directory}: no such directory")
    with os.scandir(directory) as entries:
        if next(entries, None) is not None:
            return
    tree = LayerTree(lower)
    merged = tree.directory(target)
    if merged:
        copy_directory(tree, merged, directory)


def _check(name: str, spec: VolumeSpec) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    if spec.driver not in ("", "local"):
        raise NotFound(f'create {name}: error looking up volume plugin {spec.driver}: plugin "{spec.driver}" not found')
    _bound_directory(spec.options)


def _bound_directory(options: Mapping[str, str]) -> str:
    """The local driver's `type=none, o=bind, device=DIR`; empty without options. Unsupported for every other mount."""
    if not options:
        return ""
    unknown = sorted(set(options) - _BIND_OPTIONS)
    if unknown:
        raise InvalidArgument(f'invalid option: "{unknown[0]}"')
    words = options.get("o", "").split(",")
    if "bind" not in words and "rbind" not in words:
        kind = options.get("type", "") or options.get("o", "")
        raise Unsupported(f"volume of type {kind!r}: this engine's local volumes are directories, or binds of one (o: bind)")
    device = options.get("device", "")
    if not device.startswith("/"):
        raise InvalidArgument("a bound volume needs an absolute path as its device option")
    return device
