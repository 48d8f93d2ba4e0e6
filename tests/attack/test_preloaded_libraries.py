"""/etc/ld.so.preload and LD_* of an image: they are the container's program's, and no process of the runtime loads what they name."""

from collections.abc import Callable
from pathlib import Path

import pytest
from evil_library import compiled
from machine import Machine


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


WAYS: dict[str, Callable[[Path], list[str]]] = {
    "LD_PRELOAD": lambda _: ["-e", "LD_PRELOAD=/evil.so"],
    "LD_AUDIT": lambda _: ["-e", "LD_AUDIT=/evil.so"],
    "ld.so.preload": lambda folder: ["-v", f"{folder}/ld.so.preload:/etc/ld.so.preload"],
}


@pytest.mark.parametrize("way", WAYS)
def test_only_the_containers_programs_load_it(machine: Machine, tmp_path: Path, marks: Path, way: str) -> None:
    (tmp_path / "ld.so.preload").write_text("/evil.so\n")
    options = ["-v", f"{compiled(tmp_path)}:/evil.so", "-v", f"{marks}:/marks", *WAYS[way](tmp_path)]
    machine.docker("run", "-d", "--init", "--name", "evil", "--health-cmd", "true", *options, "host", "sleep", "1000")
    try:
        environment = [word for word in WAYS[way](tmp_path) if word == "-e" or word.startswith("LD_")]
        machine.docker("exec", "-t", "-u", "nobody", *(environment if way != "ld.so.preload" else []), "evil", "true")
        machine.docker("exec", "evil", "/not/there", code=None)
    finally:
        machine.docker("rm", "-f", "evil")
    names = {path.name for path in marks.iterdir()}
    assert "sleep" in names, "the attempt works on what it is for"
    assert not [name for name in names if name.startswith(("stackrun", "python", "init", "unknown"))], names
