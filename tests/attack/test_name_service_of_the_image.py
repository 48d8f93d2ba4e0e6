"""/etc/nsswitch.conf and libnss_*.so of an image: looking up `--user NAME` with getpwnam(3) would load them with our rights."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from evil_layers import file, folder
from evil_library import compiled
from machine import Machine

CONFIGURATION = "passwd: evil\ngroup: evil\nhosts: evil\ninitgroups: evil\n"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def image(evil_image: Callable[..., str], library: Path) -> str:
    places = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "lib", "usr/lib64")
    planted = [file(f"{place}/libnss_evil.so.2", library.read_bytes()) for place in places]
    names = file("etc/passwd", "evil:x:7:7::/:/bin/sh\n"), file("etc/group", "evil:x:8:evil\n")
    return evil_image(folder("marks", 0o777), file("etc/nsswitch.conf", CONFIGURATION), *names, *planted)


@pytest.fixture
def running(machine: Machine, image: str) -> Iterator[str]:
    machine.docker("run", "-d", "--name", "evil", "--user", "evil", "--group-add", "evil", image, "sleep", "1000")
    yield "evil"
    machine.docker("rm", "-f", "evil")


def test_names_are_read_as_text(machine: Machine, running: str) -> None:
    assert machine.docker("exec", "-u", "evil", running, "id", "-u").stdout == "7\n"
    assert machine.docker("exec", "-u", "7:evil", running, "id", "-g").stdout == "8\n"
    assert machine.docker("exec", "-u", "nobody-there", running, "id", code=None).returncode != 0
    assert machine.docker("exec", running, "ls", "/marks").stdout == ""


def test_the_attempt_works_on_who_asks_the_name_service(machine: Machine, library: Path, tmp_path: Path) -> None:
    (tmp_path / "nsswitch.conf").write_text(CONFIGURATION)
    (tmp_path / "marks").mkdir()
    binds = (f"{tmp_path}/nsswitch.conf:/etc/nsswitch.conf", f"{library}:/evil/libnss_evil.so.2", f"{tmp_path}/marks:/marks")
    options = ["-e", "LD_LIBRARY_PATH=/evil", *(word for bind in binds for word in ("-v", bind))]
    machine.docker("run", "--rm", *options, "host", "getent", "passwd", "nobody-there", code=None)
    assert [path.name for path in (tmp_path / "marks").iterdir()] == ["getent"]
