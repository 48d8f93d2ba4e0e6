"""The host's device nodes that a container is given."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from stackrun.api.types import DeviceMapping
from stackrun.engine.specgen import Device
from stackrun.errors import InvalidArgument
from stackrun.kernel import privileges

_OWN = frozenset({"pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"})
"""Below /dev: what every container has of its own."""


def mapped(mappings: Iterable[DeviceMapping]) -> tuple[Device, ...]:
    """The nodes asked for; a directory stands for all nodes below it. InvalidArgument when one is missing or is no device."""
    return tuple(device for one in mappings for device in _mapped(one))


def _mapped(mapping: DeviceMapping) -> Iterator[Device]:
    if os.path.isdir(mapping.host_path):
        for path in _below(mapping.host_path):
            found = _device(path, mapping.container_path + path.removeprefix(mapping.host_path), mapping.permissions)
            if found is not None:
                yield found
        return
    found = _device(mapping.host_path, mapping.container_path or mapping.host_path, mapping.permissions)
    if found is None:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{mapping.host_path}": '
            + ("not a device node" if os.path.lexists(mapping.host_path) else "no such file or directory")
        )
    yield found


def every() -> tuple[Device, ...]:
    """All of the host's nodes, for a privileged container; an ordinary user's those that he may open."""
    paths = [path for path in _below("/dev") if path.split("/")[2] not in _OWN]
    if privileges.current().rootless:
        # They are bound, and neither a link nor the host's terminals would be the container's then.
        paths = [path for path in paths if os.access(path, os.R_OK | os.W_OK) and not os.path.islink(path) and path != "/dev/ptmx"]
    found = (_device(path, path, "rwm") for path in paths)
    return tuple(one for one in found if one is not None)


def _below(directory: str) -> Iterator[str]:
    for parent, directories, files in os.walk(directory):
        directories[:] = sorted(one for one in directories if parent != "/dev" or one not in _OWN)
        yield from (f"{parent}/{name}" for name in sorted(files))


def _device(path: str, inside: str, permissions: str) -> Device | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    if not kind:
        return None
    return Device(inside, kind, os.major(status.st_rdev), os.minor(status.st_rdev), status.st_mode, permissions, path)
