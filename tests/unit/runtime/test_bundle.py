"""Modules of a command in one file, in processes of their own as a command is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).resolve().parents[3])
PROGRAM = f"""
import sys
sys.path[:0] = [{ROOT!r}, sys.argv[1]]
from stackrun.runtime.bundle import Bundle
bundle = Bundle(sys.argv[2])
import bundled_part.small
bundle.keep()
small = bundled_part.small
print(type(small.__spec__.loader).__name__, small.VALUE, small.__file__, *bundled_part.__path__)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "bundled_part"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "small.py").write_text("VALUE = 1\n")
    return folder


def loaded(package: Path, bundle: Path) -> tuple[str, str]:
    """(who loaded the module, its value)."""
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(package.parent), str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loader, value, file, path = done.stdout.split()
    assert (file, path) == (str(package / "small.py"), str(package))
    return loader, value


def test_the_first_writes_what_the_next_reads(package: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert loaded(package, bundle) == ("SourceFileLoader", "1")
    assert loaded(package, bundle) == ("Bundle", "1")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bundle", "bundled_part"]


def test_a_source_that_has_changed_is_read_again(package: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    loaded(package, bundle)
    (package / "small.py").write_text("VALUE = 22\n")
    assert loaded(package, bundle) == ("SourceFileLoader", "22")
    assert loaded(package, bundle) == ("Bundle", "22")


@pytest.mark.parametrize("content", [b"", b"\x00", b"garbage", b"\xe9\x03\x00\x00\x00", b"\xa9\x03N\xe9\x01\x00\x00\x00\xfb"])
def test_a_broken_file_is_written_anew(package: Path, tmp_path: Path, content: bytes) -> None:
    bundle = tmp_path / "bundle"
    bundle.write_bytes(content)
    assert loaded(package, bundle) == ("SourceFileLoader", "1")
    assert loaded(package, bundle) == ("Bundle", "1")


def test_where_nothing_can_be_written_all_is_as_ever(package: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "missing" / "bundle"
    assert loaded(package, bundle) == ("SourceFileLoader", "1")
    assert loaded(package, bundle) == ("SourceFileLoader", "1")


def test_a_library_is_found_without_a_search(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.append({ROOT!r})
from stackrun.runtime.bundle import Bundle
bundle = Bundle({str(tmp_path / "bundle")!r})
if bundle._kept:
    sys.path.clear()
import termios
bundle.keep()
print(termios.TCSANOW, getattr(termios, "__file__", ""))
"""
    first, second = (subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True) for _ in "ab")
    if len(first.stdout.split()) < 2:
        pytest.skip("this Python has the module built in")
    assert first.stdout == second.stdout
