"""An overlay's upper directory as a layer, unpacked again: what the kernel marked is marked there, too."""

from __future__ import annotations

import io
import os
import socket
import stat
import tarfile
from pathlib import Path

import pytest

from stackrun.errors import InvalidArgument, StackrunError, Unsupported
from stackrun.image.diff import emptied, is_empty, layer_pieces
from stackrun.image.layer import unpack_layer

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""cap_net_bind_service=ep, as setcap(8) writes it."""


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    path = tmp_path / "upper"
    path.mkdir()
    return path


def layer(upper: Path) -> bytes:
    return b"".join(layer_pieces(str(upper)))


def unpacked(upper: Path, tmp_path: Path) -> Path:
    target = tmp_path / "again"
    target.mkdir()
    unpack_layer(io.BytesIO(layer(upper)), target)
    return target


def test_marks_attributes_links_and_nodes(upper: Path, tmp_path: Path) -> None:
    (upper / "d").mkdir(mode=0o2750)
    os.setxattr(upper / "d", "trusted.overlay.opaque", b"y")
    os.mknod(upper / "gone", stat.S_IFCHR, 0)
    os.mknod(upper / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(upper / "d/pipe")
    (upper / "d/f").write_bytes(b"content")
    os.link(upper / "d/f", upper / "twin")
    os.setxattr(upper / "d/f", "user.note", b"\xff\0x")
    os.chown(upper / "d/f", 12, 34)
    (upper / "d/f").chmod(0o4755)
    os.setxattr(upper / "d/f", "security.capability", CAPABILITY)
    (upper / "l").symlink_to("/nowhere")
    os.setxattr(upper / "d/f", "trusted.overlay.origin", b"x")
    again = unpacked(upper, tmp_path)
    assert os.getxattr(again / "d", "trusted.overlay.opaque") == b"y"
    assert stat.S_ISCHR((again / "gone").lstat().st_mode) and (again / "gone").lstat().st_rdev == 0
    assert (again / "null").lstat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((again / "d/pipe").lstat().st_mode)
    found = (again / "d/f").lstat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_nlink) == (0o4755, 12, 34, 2)
    assert sorted(os.listxattr(again / "d/f")) == ["security.capability", "user.note"]
    assert os.getxattr(again / "d/f", "user.note") == b"\xff\0x"
    assert os.getxattr(again / "d/f", "security.capability") == CAPABILITY
    assert os.readlink(again / "l") == "/nowhere"
    assert layer(again) == layer(upper)


def test_sockets_are_left_out_and_the_order_is_that_of_names(upper: Path) -> None:
    for name in ("b", "a", "c"):
        (upper / name).write_text(name)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(upper / "s"))
    with tarfile.open(fileobj=io.BytesIO(layer(upper))) as tar:
        assert tar.getnames() == ["a", "b", "c"]


@pytest.mark.parametrize("name", [".wh.x", ".wh..wh..opq", "d/.wh.y"])
def test_a_name_that_would_be_a_mark_is_refused(upper: Path, name: str) -> None:
    (upper / name).parent.mkdir(exist_ok=True)
    (upper / name).touch()
    with pytest.raises(InvalidArgument, match=r"cannot hold a name that begins with \.wh\."):
        layer(upper)


@pytest.mark.parametrize("kind", ["redirect", "metacopy"])
def test_what_needs_the_layers_below_is_refused(upper: Path, kind: str) -> None:
    (upper / "d").mkdir()
    os.setxattr(upper / "d", f"trusted.overlay.{kind}", b"/x")
    with pytest.raises(Unsupported, match=f"overlay.{kind}"):
        layer(upper)


def test_it_can_be_stopped(upper: Path) -> None:
    def stop() -> None:
        raise StackrunError("stopped")

    (upper / "a").touch()
    with pytest.raises(StackrunError, match="stopped"):
        list(layer_pieces(str(upper), stop))


def test_mount_points_go_unless_something_is_in_them(upper: Path) -> None:
    assert is_empty(str(upper))
    for name in ("a/b", "kept"):
        (upper / name).mkdir(parents=True)
    (upper / "empty").touch()
    (upper / "full").write_text("x")
    (upper / "kept/file").touch()
    (upper / "link").symlink_to("a")
    emptied(str(upper), ("/a/b", "/a", "/kept", "/empty", "/full", "/link", "/none", "/full/x"))
    assert sorted(os.listdir(upper)) == ["full", "kept", "link"]
    assert not is_empty(str(upper))
