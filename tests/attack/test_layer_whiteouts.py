"""Whiteouts through links and dots: removing `.wh.NAME` where a layer's link points would delete the host's file (moby#10202)."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from evil_layers import Entry, file, folder, link
from machine import Machine

WAYS: dict[str, Callable[[Path], tuple[Entry, ...]]] = {
    "through a link": lambda path: (link("out", str(path.parent)), file(f"out/.wh.{path.name}")),
    "opaque through a link": lambda path: (link("out", str(path.parent)), file("out/.wh..wh..opq")),
    "of a link": lambda path: (link("out", str(path)), file(".wh.out")),
    "over a link to a folder": lambda path: (link("out", str(path.parent)), folder("out"), file("out/.wh..wh..opq")),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_hosts_files_stay(machine: Machine, evil_image: Callable[..., str], host_secret: Path, way: str) -> None:
    before = os.listxattr(host_secret.parent)
    image = evil_image(*WAYS[way](host_secret))
    machine.docker("run", "--rm", image, "true")
    assert host_secret.exists() and os.listxattr(host_secret.parent) == before


@pytest.mark.parametrize("name", [".wh..", ".wh...", ".wh."])
def test_a_whiteout_of_nothing_is_refused(evil_image: Callable[..., str], name: str) -> None:
    with pytest.raises(AssertionError, match="names nothing"):
        evil_image(file(name))


def test_the_attempt_works_where_removal_goes_by_path(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/victim").touch()
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer/out").symlink_to(tmp_path / "outside")
    (tmp_path / "layer/out/victim").unlink()
    assert not (tmp_path / "outside/victim").exists()
    shutil.rmtree(tmp_path / "outside")
