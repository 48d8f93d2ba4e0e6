"""From what was asked for to where it really is: volumes made, host paths looked at, one `MountPoint` a target."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stackrun.api.types import ContainerSpec, Mount, MountPoint, MountType, VolumeSpec
from stackrun.engine.creation import clean_path
from stackrun.engine.pool import Pool
from stackrun.engine.registry import Registry
from stackrun.engine.volumes import Volumes
from stackrun.errors import Conflict, InvalidArgument, KernelError


@dataclass(frozen=True, slots=True)
class ResolvedMounts:
    """`anonymous`: the volumes that were made here for this container alone."""

    points: tuple[MountPoint, ...]
    anonymous: tuple[str, ...]


class MountResolver:
    def __init__(self, volumes: Volumes, registry: Registry, pool: Pool) -> None:
        self._volumes = volumes
        self._registry = registry
        self._pool = pool

    async def resolve(self, container_id: str, spec: ContainerSpec, lower: tuple[str, ...]) -> ResolvedMounts:
        """Makes and fills the volumes; when a later mount fails, the anonymous ones made so far go again.

        Those stay marked as made for `container_id` until `keep`, so that a kill in between leaves none behind.
        """
        anonymous: list[str] = []
        try:
            found = {point.target: point for point in self._inherited(spec.volumes_from)}
            for mount in _asked(spec):
                point = await self._point(mount, container_id, lower, anonymous)
                found[point.target] = point
            for target in spec.anonymous_volumes:
                if clean_path(target) not in found:
                    mount = Mount(MountType.VOLUME, target)
                    found[clean_path(target)] = await self._point(mount, container_id, lower, anonymous)
        except BaseException:
            await self.forget(anonymous)
            raise
        return ResolvedMounts(tuple(found.values()), tuple(anonymous))

    async def keep(self, anonymous: Sequence[str]) -> None:
        """Their container is recorded now."""
        for name in anonymous:
            await self._pool.run(self._volumes.keep, name)

    async def give(self, anonymous: Sequence[str], container_id: str) -> None:
        """Their container is about to be removed with them."""
        for name in anonymous:
            await self._pool.run(self._volumes.give, name, container_id)

    async def forget(self, anonymous: Sequence[str]) -> None:
        """But not those that another container has come to use (`volumes_from`)."""
        for name in anonymous:
            try:
                await self._volumes.remove(name, force=True)
            except Conflict:
                await self._pool.run(self._volumes.keep, name)

    def _inherited(self, others: Sequence[str]) -> list[MountPoint]:
        """`volumes_from`: NAME[:ro|rw]."""
        points = []
        for one in others:
            ref, _, mode = one.partition(":")
            if mode not in ("", "ro", "rw"):
                raise InvalidArgument(f"invalid mode for volumes-from: {mode}")
            for point in self._registry.find(ref).definition.mounts:
                if point.type is not MountType.TMPFS:
                    points.append(point if mode != "ro" else _read_only(point))
        return points

    async def _point(self, mount: Mount, container_id: str, lower: tuple[str, ...], anonymous: list[str]) -> MountPoint:
        target = clean_path(mount.target)
        if mount.type is MountType.TMPFS:
            return MountPoint(MountType.TMPFS, target, read_write=not mount.read_only)
        if mount.type is MountType.BIND:
            await self._pool.run(_check_source, mount)
            return MountPoint(
                MountType.BIND, target, mount.source, mode="ro" if mount.read_only else "", read_write=not mount.read_only,
                propagation=mount.propagation or "rprivate",
            )  # fmt: skip
        return await self._volume_point(mount, target, container_id, lower, anonymous)

    async def _volume_point(
        self, mount: Mount, target: str, container_id: str, lower: tuple[str, ...], anonymous: list[str]
    ) -> MountPoint:
        asked = VolumeSpec(mount.source, mount.volume_driver or "local", mount.volume_options, mount.volume_labels)
        volume = await self._volumes.create(asked, made_for="" if mount.source else container_id)
        if not mount.source:
            anonymous.append(volume.name)
        if not mount.no_copy and not mount.subpath:
            await self._volumes.fill(volume, lower, target)
        source = await self._pool.run(_subpath, volume.mountpoint, mount.subpath) if mount.subpath else volume.mountpoint
        return MountPoint(
            MountType.VOLUME, target, source, name=volume.name, driver=volume.driver, mode="ro" if mount.read_only else "z",
            read_write=not mount.read_only,
        )  # fmt: skip


def _asked(spec: ContainerSpec) -> list[Mount]:
    return [*spec.mounts, *(Mount(MountType.TMPFS, target, tmpfs_options=options) for target, options in spec.tmpfs.items())]


def _read_only(point: MountPoint) -> MountPoint:
    return MountPoint(point.type, point.target, point.source, point.name, point.driver, "ro", False, point.propagation)


def _check_source(mount: Mount) -> None:
    """Makes a missing source when the short form was used; in the long form it must be there."""
    if not mount.source.startswith("/"):
        raise InvalidArgument(f"invalid mount config for type \"bind\": invalid mount path: '{mount.source}' mount path must be absolute")
    if os.path.lexists(mount.source):
        return
    if not mount.create_host_path:
        raise InvalidArgument(f'invalid mount config for type "bind": bind source path does not exist: {mount.source}')
    try:
        Path(mount.source).mkdir(0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise KernelError(f"mkdir {mount.source}", error.errno or 0) from error


def _subpath(directory: str, subpath: str) -> str:
    """A directory inside a volume; what links make of it must stay inside."""
    resolved = Path(directory, subpath.lstrip("/")).resolve()
    if not resolved.is_relative_to(Path(directory).resolve()):
        raise InvalidArgument(f"volume subpath {subpath!r} leads out of the volume")
    if not resolved.exists():
        raise InvalidArgument(f"cannot access path {subpath}: it does not exist in the volume")
    return str(resolved)
