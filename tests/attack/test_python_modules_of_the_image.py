"""A Python runtime that imports something once the container's root is its own runs the image's code with the host's rights.

Modules are planted in every place Python looks at, also those it imports by itself: site, codecs, encodings, traceback's sources.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from evil_layers import Entry, file, folder
from machine import REPOSITORY, Machine

MARK = 'open("/marks/" + __name__, "w").close()\n'
NAMES = (
    "sitecustomize", "usercustomize", "site", "codecs", "encodings/__init__", "encodings/idna", "encodings/utf_8_sig", "encodings/cp437",
    "linecache", "traceback", "tokenize", "pwd", "grp", "locale", "_bootlocale", "socket", "subprocess", "json/__init__", "warnings",
    "stackrun/__init__", "stackrun/errors", "stackrun/runtime/init", "stackrun/runtime/entry", "colorsys", "zipimport",
)  # fmt: skip


def places() -> list[str]:
    """Where the runtime's interpreter looks, and the directory it is in."""
    found = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; print(*sys.path, sep='\\n')"], capture_output=True, text=True, check=True
    )
    paths = [path for path in found.stdout.splitlines() if path and not path.endswith(".zip")]
    return [path.strip("/") for path in (*paths, str(REPOSITORY), "/", "/root/.local/lib/python3.11/site-packages")]


def planted() -> list[Entry]:
    entries = [folder("marks", 0o777), file("etc/passwd", "evil:x:7:7::/:/bin/sh\n"), file("etc/group", "evil:x:8:evil\n")]
    for place in places():
        entries.append(file(f"{place}/evil.pth", "import sys; open('/marks/pth', 'w').close()\n"))
        entries += [file(f"{place}/{name}.py", MARK) for name in NAMES]
    return entries


@pytest.fixture(scope="module")
def running(machine: Machine, evil_image: Callable[..., str]) -> Iterator[str]:
    image = evil_image(*planted())
    options = ("--user", "evil:evil", "--group-add", "evil", "-w", "/usr", "--init", "--health-cmd", "true", "-e", "LC_ALL=xx_YY.cp437")
    machine.docker("run", "-d", "--name", "evil", *options, image, "sleep", "1000")
    yield "evil"
    machine.docker("rm", "-f", "evil")


def test_nothing_of_it_is_imported(machine: Machine, running: str) -> None:
    machine.docker("exec", "-t", "-u", "evil", "-w", "/", "-e", "PYTHONPATH=/", running, "true")
    assert machine.docker("exec", "-u", "nobody-there", running, "true", code=None).returncode != 0, "a failure on the way is told"
    assert machine.docker("exec", "-w", "/not/there", running, "ünknown", code=None).returncode != 0
    assert machine.docker("exec", "-u", "0", running, "ls", "/marks").stdout == ""


def test_the_attempt_works_on_a_lazy_import(tmp_path: Path) -> None:
    place = tmp_path / places()[0]
    place.mkdir(parents=True)
    (tmp_path / "marks").mkdir()
    (place / "colorsys.py").write_text(MARK)
    script = f"import os, sys; os.chroot({str(tmp_path)!r}); import colorsys"
    subprocess.run([sys.executable, "-I", "-B", "-c", script], check=True)
    assert os.listdir(tmp_path / "marks") == ["colorsys"]
