"""Modules of a command in one file, in processes of their own as a command is one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).resolve().parents[3])
PROGRAM = f"""
import sys
sys.path[:0] = [{ROOT!r}, sys.argv[1]]
from stackrun.runtime.bundle import Bundle
bundle = Bundle(sys.argv[2], "bundled_part")
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


def loaded(package: Path, bundle: Path, program: str = PROGRAM) -> tuple[str, str]:
    """(who loaded the module, its value)."""
    command = [sys.executable, "-I", "-S", "-c", program, str(package.parent), str(bundle)]
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


def test_a_library_is_found_without_a_search(package: Path, tmp_path: Path) -> None:
    (package / "small.py").write_text("import sys, termios\nVALUE = getattr(termios, '__file__', 'built-in')\n")
    without_paths = PROGRAM.replace("bundle = Bundle", "sys.path.clear()\nbundle = Bundle")
    first = loaded(package, tmp_path / "bundle")[1]
    if first == "built-in":
        pytest.skip("this Python has the module built in")
    assert loaded(package, tmp_path / "bundle", without_paths) == ("Bundle", first)


def test_modules_know_where_they_are_and_their_package_knows_them(package: Path, tmp_path: Path) -> None:
    """As after an import: of each other, by `from`, by attribute, relative to the package, and of a package below."""
    (package / "deeper").mkdir()
    (package / "deeper/__init__.py").write_text("NAME = __package__, __name__\n")
    (package / "deeper/inner.py").write_text("from .. import deeper\nNAME = deeper.NAME + (__package__, __name__, __spec__.parent)\n")
    (package / "small.py").write_text("from bundled_part.deeper import inner\nVALUE = ':'.join(inner.NAME)\n")
    names = "bundled_part.deeper:bundled_part.deeper:bundled_part.deeper:bundled_part.deeper.inner:bundled_part.deeper"
    assert loaded(package, tmp_path / "bundle") == ("SourceFileLoader", names)
    assert loaded(package, tmp_path / "bundle") == ("Bundle", names)


def test_modules_of_others_may_import_each_other_in_circles(package: Path, tmp_path: Path) -> None:
    (tmp_path / "other_one.py").write_text("import other_two\nVALUE = 1\n")
    (tmp_path / "other_two.py").write_text("import other_one\nTHEN = hasattr(other_one, 'VALUE')\n")
    (package / "small.py").write_text("import other_one\nVALUE = other_one.other_two.THEN\n")
    assert loaded(package, tmp_path / "bundle") == ("SourceFileLoader", "False")
    assert loaded(package, tmp_path / "bundle") == ("Bundle", "False")


def test_many_modules_come_in_pieces(package: Path, tmp_path: Path) -> None:
    for number in range(20):
        (package / f"part{number}.py").write_text(f"TEXT = {'x' * 20000 + str(number)!r}\n")
    words = "\n".join(f"from bundled_part import part{number}" for number in range(20))
    (package / "small.py").write_text(f"{words}\nVALUE = len(part0.TEXT + part19.TEXT)\n")
    assert loaded(package, tmp_path / "bundle") == ("SourceFileLoader", "40003")
    assert loaded(package, tmp_path / "bundle") == ("Bundle", "40003")


def test_a_file_that_breaks_off_in_the_middle_is_written_anew(package: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    loaded(package, bundle)
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[:-1])
    assert loaded(package, bundle) == ("SourceFileLoader", "1")
    bundle.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert loaded(package, bundle)[1] == "1"
    loaded(package, bundle)
    assert loaded(package, bundle) == ("Bundle", "1")
    assert bundle.read_bytes() == whole


def test_a_file_of_another_place_is_not_read(package: Path, tmp_path: Path) -> None:
    """One that was copied together with the package would bring the modules of the place it comes from."""
    loaded(package, tmp_path / "bundle")
    copy = tmp_path / "copy"
    shutil.copytree(Path(ROOT) / "stackrun", copy / "stackrun", ignore=shutil.ignore_patterns("__pycache__"))
    there = PROGRAM.replace(repr(ROOT), repr(str(copy)))
    assert loaded(package, tmp_path / "bundle", there) == ("SourceFileLoader", "1")
