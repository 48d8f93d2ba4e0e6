"""Hard links in a layer to files outside it: what is written to the link later would be written to the host's file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from evil_layers import Entry, file, hard_link, link
from machine import Machine

WAYS: dict[str, Callable[[str], tuple[Entry, ...]]] = {
    "dots": lambda path: (hard_link("data", "../" * 12 + path[1:]),),
    "absolute": lambda path: (hard_link("data", path),),
    "through a link": lambda path: (link("out", str(Path(path).parent)), hard_link("data", f"out/{Path(path).name}")),
    "to a link": lambda path: (link("out", path), hard_link("data", "out"), file("data", "broken")),
}


@pytest.mark.parametrize("way", WAYS)
def test_none_leads_to_the_hosts_file(machine: Machine, evil_image: Callable[..., str], host_secret: Path, way: str) -> None:
    try:
        image = evil_image(*WAYS[way](str(host_secret)))
    except AssertionError as refused:
        assert "leads out of the image" in str(refused) or "which is not in it" in str(refused)
    else:
        assert way == "to a link"
        machine.docker("run", "--rm", image, "sh", "-c", "echo broken > /data; echo broken > /out", code=None)
    assert os.stat(host_secret).st_nlink == 1


def test_the_attempt_works_where_links_are_made_by_path(host_secret: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What link(2) does when nobody looks."""
    made = Path("/root/stackrun-linked")
    os.link(host_secret, made)
    try:
        assert made.samefile(host_secret)
    finally:
        made.unlink()
