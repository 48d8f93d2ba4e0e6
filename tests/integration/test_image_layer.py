"""What unpacking does only as root: owners, devices, capabilities, opaque directories; and overlayfs agrees with the whiteouts."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from stackrun.image.layer import is_opaque, unpack_layer

CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
"""security.capability revision 2 with cap_net_bind_service, effective and permitted."""


def add(archive: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, **attributes: object) -> None:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    data = b"data" if kind == tarfile.REGTYPE and ".wh." not in name else b""
    info.size = len(data)
    for key, value in attributes.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(data))


def layer(directory: Path, *members: tuple[str, bytes, dict[str, object]]) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, attributes in members:
            add(archive, name, kind, **attributes)
    buffer.seek(0)
    directory.mkdir()
    unpack_layer(buffer, directory)
    return directory


def file(name: str, **attributes: object) -> tuple[str, bytes, dict[str, object]]:
    return name, tarfile.REGTYPE, attributes


def folder(name: str, **attributes: object) -> tuple[str, bytes, dict[str, object]]:
    return name, tarfile.DIRTYPE, attributes


def test_owner_setuid_and_capabilities_survive_together(tmp_path: Path) -> None:
    pax = {"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape"), "SCHILY.xattr.user.note": "hi"}
    root = layer(
        tmp_path / "l",
        file("su", uid=0, gid=42, mode=0o6755),
        file("ping", uid=7, gid=8, mode=0o750, pax_headers=pax),
        folder("home", uid=1000, gid=1000, mode=0o2770),
        ("link", tarfile.SYMTYPE, {"linkname": "su", "uid": 5, "gid": 6}),
    )
    su, ping = (root / "su").stat(), (root / "ping").stat()
    assert (stat.S_IMODE(su.st_mode), su.st_uid, su.st_gid) == (0o6755, 0, 42)
    assert (stat.S_IMODE(ping.st_mode), ping.st_uid, ping.st_gid) == (0o750, 7, 8)
    assert os.getxattr(root / "ping", "security.capability") == CAPABILITY
    assert os.getxattr(root / "ping", "user.note") == b"hi"
    assert stat.S_IMODE((root / "home").stat().st_mode) == 0o2770
    assert ((root / "link").lstat().st_uid, (root / "link").lstat().st_gid) == (5, 6)


def test_devices_are_nodes(tmp_path: Path) -> None:
    root = layer(
        tmp_path / "l",
        ("dev/null", tarfile.CHRTYPE, {"devmajor": 1, "devminor": 3, "mode": 0o666}),
        ("dev/disk", tarfile.BLKTYPE, {"devmajor": 8, "devminor": 0, "mode": 0o660, "gid": 6}),
    )
    null, disk = (root / "dev/null").stat(), (root / "dev/disk").stat()
    assert stat.S_ISCHR(null.st_mode) and null.st_rdev == os.makedev(1, 3) and stat.S_IMODE(null.st_mode) == 0o666
    assert stat.S_ISBLK(disk.st_mode) and disk.st_rdev == os.makedev(8, 0) and disk.st_gid == 6


def test_an_archive_cannot_speak_for_overlayfs(tmp_path: Path) -> None:
    pax = {"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": "/etc"}
    root = layer(tmp_path / "l", folder("d", pax_headers=pax))
    assert os.listxattr(root / "d") == []


def merged(tmp_path: Path, *lowers_top_first: Path) -> list[str]:
    """Paths that overlayfs shows for the stack, looked at in a mount namespace that goes with its process."""
    view = tmp_path / "view"
    view.mkdir(exist_ok=True)
    (tmp_path / "empty").mkdir(exist_ok=True)
    lowers = ":".join(map(str, (*lowers_top_first, tmp_path / "empty")))
    command = f"mount -t overlay overlay -o lowerdir={lowers} {view} && cd {view} && find . -mindepth 1 | sort"
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], stdout=subprocess.PIPE, text=True, check=True)
    return [line.removeprefix("./") for line in done.stdout.splitlines()]


@pytest.fixture
def bottom(tmp_path: Path) -> Path:
    return layer(tmp_path / "bottom", folder("d"), file("d/a"), file("d/b"), folder("e"), file("e/x"), file("top"))


def test_a_whiteout_hides_one_name(tmp_path: Path, bottom: Path) -> None:
    upper = layer(tmp_path / "upper", folder("d"), file("d/.wh.a"), file(".wh.top"))
    assert merged(tmp_path, upper, bottom) == ["d", "d/b", "e", "e/x"]


def test_an_opaque_directory_hides_what_is_below(tmp_path: Path, bottom: Path) -> None:
    upper = layer(tmp_path / "upper", folder("d"), file("d/.wh..wh..opq"), file("d/new"))
    assert is_opaque(str(upper / "d"))
    assert merged(tmp_path, upper, bottom) == ["d", "d/new", "e", "e/x", "top"]


@pytest.mark.parametrize("whiteout_first", [True, False])
def test_a_directory_that_replaces_another_does_not_show_it(tmp_path: Path, bottom: Path, whiteout_first: bool) -> None:
    whiteout, replacement = file(".wh.d"), folder("d")
    order = [whiteout, replacement] if whiteout_first else [replacement, whiteout]
    upper = layer(tmp_path / "upper", *order, file("d/new"))
    assert merged(tmp_path, upper, bottom) == ["d", "d/new", "e", "e/x", "top"]


def test_a_removed_directory_made_again_above_stays_empty(tmp_path: Path, bottom: Path) -> None:
    middle = layer(tmp_path / "middle", file(".wh.e"))
    upper = layer(tmp_path / "upper", folder("e"), file("e/y"))
    assert merged(tmp_path, upper, middle, bottom) == ["d", "d/a", "d/b", "e", "e/y", "top"]
