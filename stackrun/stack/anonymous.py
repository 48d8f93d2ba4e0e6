"""The anonymous volumes of a container that others came before: they go over from one to the next.  Pure.

To the engine such a volume has a name, and stays when the container goes that was given it so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from stackrun.api.types import Container, ContainerSpec, Mount, MountType
from stackrun.stack.facts import is_anonymous


def with_anonymous_volumes(spec: ContainerSpec, old: Container) -> ContainerSpec:
    """The replacement takes over the volumes that nobody named, unless something else is mounted there now."""
    taken = {mount.target for mount in spec.mounts if mount.source or mount.type is not MountType.VOLUME} | set(spec.tmpfs)
    carried = {
        mount.target: Mount(MountType.VOLUME, mount.target, mount.name, read_only=not mount.read_write)
        for mount in old.mounts
        if mount.type is MountType.VOLUME and is_anonymous(mount.name) and mount.target not in taken
    }
    if not carried:
        return spec
    return replace(spec, mounts=(*(mount for mount in spec.mounts if mount.target not in carried), *carried.values()))


def handed_over(containers: Iterable[Container]) -> list[str]:
    """What these have from their predecessors; sorted."""
    named = (mount.source for one in containers for mount in one.spec.mounts if mount.type is MountType.VOLUME)
    return sorted({name for name in named if is_anonymous(name)})
