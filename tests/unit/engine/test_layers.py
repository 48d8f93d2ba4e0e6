"""An image's layers as one tree, and that no link in them leads to the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackrun.engine.layers import LayerTree, copy_directory
from stackrun.errors import InvalidArgument


@pytest.fixture
def lower(tmp_path: Path) -> tuple[str, ...]:
    """Two layers: top over bottom."""
    top, bottom = tmp_path / "top", tmp_path / "bottom"
    (bottom / "data" / "deep").mkdir(parents=True)
    (bottom / "data" / "same").write_text("below")
    (bottom / "data" / "only-below").write_text("below")
    (bottom / "data" / "deep" / "file").write_text("deep")
    (top / "data").mkdir(parents=True)
    (top / "data" / "same").write_text("above")
    (top / "data" / "deep").write_text("now a file")
    (top / "link").symlink_to("/data")
    (top / "up").symlink_to("../../../../data/.")
    (top / "out").symlink_to(str(tmp_path / "secret"))
    (top / "loop").symlink_to("loop")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("the host's")
    return str(top), str(bottom)


def names(tree: LayerTree, path: str) -> list[str]:
    return sorted(tree.entries(tree.directory(path)))


def test_directories_merge_and_files_hide(lower: tuple[str, ...]) -> None:
    tree = LayerTree(lower)
    assert names(tree, "/data") == ["deep", "only-below", "same"]
    found = tree.entries(tree.directory("/data"))
    assert Path(found["same"][0]).read_text() == "above" and Path(found["deep"][0]).read_text() == "now a file"
    assert tree.directory("/data/deep") == () and tree.directory("/nowhere") == ()


def test_links_are_resolved_inside(lower: tuple[str, ...]) -> None:
    tree = LayerTree(lower)
    assert names(tree, "/link") == names(tree, "/up") == names(tree, "/link/../data/") == ["deep", "only-below", "same"]
    assert tree.directory("/out") == ()
    with pytest.raises(InvalidArgument, match="too many symbolic links"):
        tree.directory("/loop")


@pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and trusted attributes take root")
def test_whiteouts_and_opaque_directories_hide(lower: tuple[str, ...]) -> None:
    top = Path(lower[0])
    os.mknod(top / "data" / "only-below", 0o020000, 0)
    assert names(LayerTree(lower), "/data") == ["deep", "same"]
    os.setxattr(top / "data", "trusted.overlay.opaque", b"y")
    (top / "data" / "only-below").unlink()
    assert names(LayerTree(lower), "/data") == ["deep", "same"]


def test_a_copy_has_files_links_modes_and_times(lower: tuple[str, ...], tmp_path: Path) -> None:
    source = Path(lower[1]) / "data" / "only-below"
    source.chmod(0o640)
    os.utime(source, ns=(1, 2_000_000_000))
    (Path(lower[1]) / "data" / "points").symlink_to("/etc/passwd")
    target = tmp_path / "copy"
    target.mkdir()
    tree = LayerTree(lower)
    copy_directory(tree, tree.directory("/data"), target)
    assert sorted(os.listdir(target)) == ["deep", "only-below", "points", "same"]
    status = (target / "only-below").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o640, 2_000_000_000)
    assert os.readlink(target / "points") == "/etc/passwd"
