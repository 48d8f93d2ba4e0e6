"""Names in a layer that lead out of it: `..`, absolute ones, and through links that the layer itself made (CVE-2014-9357, "zip slip")."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from evil_layers import Entry, file, link, tar
from machine import Machine

UP = "../" * 12
WAYS: dict[str, Callable[[str], tuple[Entry, ...]]] = {
    "dots": lambda path: (file(f"{UP}{path[1:]}", "broken"),),
    "absolute": lambda path: (file(path, "broken"),),
    "through a link": lambda path: (link("out", str(Path(path).parent)), file(f"out/{Path(path).name}", "broken")),
    "through a link of dots": lambda path: (link("up", f"{UP}.."), file(f"up{path}", "broken")),
    "over a link": lambda path: (link("file", path), file("file", "broken")),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_host_is_not_written(machine: Machine, evil_image: Callable[..., str], host_secret: Path, way: str) -> None:
    try:
        image = evil_image(*WAYS[way](str(host_secret)))
    except AssertionError as refused:
        assert way == "dots" and "leads out of the image" in str(refused)
        return
    assert way != "dots"
    found = machine.docker("run", "--rm", image, "sh", "-c", f"cat /file {host_secret}", code=None).stdout
    assert found == "broken", "it is inside the image instead"


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"over a link"}))
def test_the_attempt_works_on_a_naive_unpacker(tmp_path: Path, way: str) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    (tmp_path / "root").mkdir()
    with tarfile.open(fileobj=io.BytesIO(tar(WAYS[way](str(target))))) as archive:
        archive.extractall(tmp_path / "root", numeric_owner=True)
    assert target.read_text() == "broken"
