"""Mounts and binds: HostConfig.Mounts, HostConfig.Binds and what inspect and list tell of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stackrun.api.types import Mount, MountPoint, MountType
from stackrun.api.wire.fields import FLAG, INTEGER, PAIRS, TEXT, Field, Table, items, members, read, text, write
from stackrun.errors import InvalidArgument

_PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_IGNORED_MODES = frozenset({"z", "Z", "cached", "delegated", "consistent", ""})
"""SELinux relabelling and the consistency of Docker Desktop: nothing to do on this kernel, as in Docker without SELinux."""

_COMMON: Table = (Field("target", "Target", TEXT), Field("source", "Source", TEXT), Field("read_only", "ReadOnly", FLAG))
_BIND: Table = (
    Field("propagation", "Propagation", TEXT), Field("non_recursive", "NonRecursive", FLAG),
    Field("create_host_path", "CreateMountpoint", FLAG),
)  # fmt: skip
_VOLUME: Table = (Field("no_copy", "NoCopy", FLAG), Field("volume_labels", "Labels", PAIRS), Field("subpath", "Subpath", TEXT))
_DRIVER: Table = (Field("volume_driver", "Name", TEXT), Field("volume_options", "Options", PAIRS))
_TMPFS: Table = (Field("tmpfs_size_bytes", "SizeBytes", INTEGER), Field("tmpfs_mode", "Mode", INTEGER))


def mount_from_json(value: Any, place: str) -> Mount:
    source = members(value, place)
    kind = text(source.get("Type") or "", f"{place}.Type")
    if kind not in tuple(MountType):
        raise InvalidArgument(f"invalid mount config: mount type unknown: {kind!r}", hint="bind, volume and tmpfs are supported")
    asked = read(_COMMON, source, place)
    if not asked.get("target"):
        raise InvalidArgument("invalid mount config: field Target must not be empty")
    origin = asked.get("source", "")
    if kind == MountType.BIND and not origin.startswith("/"):
        raise InvalidArgument(f"invalid mount config for type {kind!r}: invalid mount path: {origin!r} mount path must be absolute")
    for key, table in (("BindOptions", _BIND), ("VolumeOptions", _VOLUME), ("TmpfsOptions", _TMPFS)):
        asked |= read(table, source.get(key), f"{place}.{key}")
    driver = members(source.get("VolumeOptions"), place).get("DriverConfig")
    return Mount(type=MountType(kind), **asked, **read(_DRIVER, driver, f"{place}.VolumeOptions.DriverConfig"))


def mount_to_json(mount: Mount) -> dict[str, Any]:
    body = {"Type": str(mount.type), **{key: value for key, value in write(_COMMON, mount).items() if value}}
    tables: dict[MountType, tuple[str, Table]] = {
        MountType.BIND: ("BindOptions", _BIND), MountType.VOLUME: ("VolumeOptions", _VOLUME), MountType.TMPFS: ("TmpfsOptions", _TMPFS),
    }  # fmt: skip
    key, table = tables[mount.type]
    options = {name: value for name, value in write(table, mount).items() if value}
    if mount.volume_driver or mount.volume_options:
        options["DriverConfig"] = write(_DRIVER, mount)
    return {**body, key: options} if options else body


def bind_mount(bind: str) -> Mount:
    """`src:dst[:opts]` → Mount; a source that is no path is a volume's name; a lone path is an anonymous volume."""
    parts = bind.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts[:2]):
        raise InvalidArgument(f"invalid volume specification: '{bind}'")
    source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
    if not target.startswith("/"):
        raise InvalidArgument(f"invalid volume specification: '{bind}': invalid mount config for type: mount path must be absolute")
    kind = MountType.BIND if source.startswith("/") else MountType.VOLUME
    asked = _modes(parts[2]) if len(parts) == 3 else {}
    return Mount(type=kind, target=target, source=source, create_host_path=kind == MountType.BIND, **asked)


def _modes(modes: str) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    for mode in modes.split(","):
        if mode in ("ro", "rw"):
            asked["read_only"] = mode == "ro"
        elif mode == "nocopy":
            asked["no_copy"] = True
        elif mode in _PROPAGATIONS:
            asked["propagation"] = mode
        elif mode not in _IGNORED_MODES:
            raise InvalidArgument(f"invalid mode: {mode}")
    return asked


def bind_text(mount: Mount) -> str:
    """The short form of a bind, or empty when it says less than the mount asks for."""
    if mount.type != MountType.BIND or mount.non_recursive or not mount.create_host_path:
        return ""
    modes = ["ro" if mount.read_only else "rw", *([mount.propagation] if mount.propagation else ())]
    return f"{mount.source}:{mount.target}:{','.join(modes)}"


def mounts_from_json(host_config: dict[str, Any]) -> tuple[tuple[str, ...], tuple[Mount, ...]]:
    """HostConfig → (the binds as written, every mount of Binds and Mounts)."""
    binds = tuple(text(one, "HostConfig.Binds") for one in items(host_config.get("Binds"), "HostConfig.Binds"))
    listed = items(host_config.get("Mounts"), "HostConfig.Mounts")
    mounts = (*map(bind_mount, binds), *(mount_from_json(one, f"HostConfig.Mounts[{index}]") for index, one in enumerate(listed)))
    _refuse_duplicates(mounts)
    return binds, mounts


def _refuse_duplicates(mounts: Iterable[Mount]) -> None:
    seen: set[str] = set()
    for mount in mounts:
        if mount.target in seen:
            raise InvalidArgument(f"Duplicate mount point: {mount.target}")
        seen.add(mount.target)


def mounts_to_json(binds: tuple[str, ...], mounts: tuple[Mount, ...]) -> dict[str, Any]:
    """The reverse: what `binds` says is not said again; a bind whose source may have to be made goes as a bind, since engines
    before API 1.42 know no CreateMountpoint."""
    said = [bind_mount(bind) for bind in binds]
    rest = [(mount, bind_text(mount)) for mount in mounts if mount not in said]
    return {
        "Binds": [*binds, *(short for _, short in rest if short)],
        "Mounts": [mount_to_json(mount) for mount, short in rest if not short],
    }


_POINT: Table = (
    Field("target", "Destination", TEXT), Field("source", "Source", TEXT), Field("driver", "Driver", TEXT), Field("mode", "Mode", TEXT),
    Field("read_write", "RW", FLAG), Field("propagation", "Propagation", TEXT),
)  # fmt: skip


def mount_point_to_json(point: MountPoint) -> dict[str, Any]:
    named = {"Name": point.name} if point.name else {}
    body = {"Type": str(point.type), **named, **write(_POINT, point)}
    if not point.driver:
        del body["Driver"]
    return body


def mount_point_from_json(value: Any) -> MountPoint:
    source = members(value, "Mounts")
    kind = source.get("Type") or ("volume" if source.get("Name") else "bind")
    return MountPoint(type=MountType(kind), name=source.get("Name") or "", **read(_POINT, source, "Mounts"))
