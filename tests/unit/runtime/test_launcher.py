"""The script that starts `stackrun-runtime`, in the places that installers put it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "stackrun/runtime/stackrun-runtime"
PYTHON = sys.executable
LIBRARY = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
PROBE = """
import os, sys
def main():
    print(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "site" in sys.modules, *sys.argv[1:], sep="|")
"""


def package(folder: Path) -> Path:
    """One of the same name, which tells where it is and what came along."""
    (folder / "stackrun/runtime").mkdir(parents=True)
    (folder / "stackrun/__init__.py").touch()
    (folder / "stackrun/runtime/__init__.py").touch()
    (folder / "stackrun/runtime/command.py").write_text(PROBE)
    return folder


def installed(prefix: Path, head: str = f"#!{PYTHON}\n") -> Path:
    """As from a wheel: the script, as it is, and one beside whose head is the installer's."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/stackrun").write_text(f"{head}import stackrun\n")
    return Path(shutil.copy(SCRIPT, prefix / "bin/stackrun-runtime"))


def said(script: Path | str, *words: str, cwd: Path | None = None, **environment: str) -> list[str]:
    done = subprocess.run([script, *words], capture_output=True, text=True, check=False, cwd=cwd, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.rstrip("\n").split("|")


def test_it_is_what_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["tool"]["setuptools"]["script-files"] == [str(SCRIPT.relative_to(ROOT))]
    assert list(settings["project"]["scripts"]) == ["stackrun"], "beside which it looks for its interpreter"
    assert os.access(SCRIPT, os.X_OK)


def test_the_package_beside_it_is_found_without_site(tmp_path: Path) -> None:
    script = installed(tmp_path)
    place = package(tmp_path / LIBRARY)
    assert said(script, "run", "a b", "", "*") == [str(place), "False", "run", "a b", "", "*"]


@pytest.mark.parametrize(
    "head",
    [
        f"#!/bin/sh\n'''exec' \"{PYTHON}\" \"$0\" \"$@\"\n' '''\n",
        f"#!/bin/sh\n'''exec' '{PYTHON}' \"$0\" \"$@\"\n' '''\n",
        f"#!/bin/sh\n'''exec' {PYTHON} \"$0\" \"$@\"\n' '''\n",
    ],
)
def test_an_interpreter_that_a_shell_has_to_start(head: str, tmp_path: Path) -> None:
    prefix = tmp_path / "with a space"
    script = installed(prefix, head)
    place = package(prefix / LIBRARY)
    assert said(script, "state") == [str(place), "False", "state"]


def test_a_path_with_spaces(tmp_path: Path) -> None:
    prefix = tmp_path / "with a space"
    (prefix / "own").mkdir(parents=True)
    (prefix / "own/python3").symlink_to(PYTHON)
    script = installed(prefix, f"#!/bin/sh\n'''exec' \"{prefix}/own/python3\" \"$0\" \"$@\"\n' '''\n")
    place = package(prefix / LIBRARY)
    assert said(script)[0] == str(place)


@pytest.mark.parametrize("head", ["", "#!/there/is/none\n", "#!/bin/sh\n'''exec' \"$(dirname -- \"$0\")\"/'python' \"$0\" \"$@\"\n' '''\n"])
def test_else_the_interpreter_is_the_one_beside(head: str, tmp_path: Path) -> None:
    script = installed(tmp_path, head)
    (tmp_path / "bin/python3").symlink_to(PYTHON)
    place = package(tmp_path / LIBRARY)
    assert said(script)[0] == str(place)


@pytest.mark.parametrize("content", ["{place}\n", "import sys; sys.path.append({place!r})\n"])
def test_an_editable_installation_has_left_a_file(content: str, tmp_path: Path) -> None:
    script = installed(tmp_path / "prefix")
    place = package(tmp_path / "source")
    folder = tmp_path / "prefix" / LIBRARY
    folder.mkdir(parents=True)
    (folder / "__editable__.stackrun-0.1.0.pth").write_text(content.format(place=str(place)))
    (folder / "other.pth").write_text("import there_is_none\n")
    assert said(script, "list") == [str(place), "True", "list"]


def test_a_package_that_is_elsewhere_is_found_by_site(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", venv], check=True)
    place = package(tmp_path / "source")
    (venv / LIBRARY / "anywhere.pth").write_text(f"{place}\n")
    script = installed(tmp_path / "made", f"#!{venv}/bin/python3\n")
    assert said(script, "list") == [str(place), "True", "list"]


def test_by_a_link_by_a_relative_path_and_by_name(tmp_path: Path) -> None:
    script = installed(tmp_path / "prefix")
    place = str(package(tmp_path / "prefix" / LIBRARY))
    (tmp_path / "link").symlink_to(script)
    assert said(tmp_path / "link", PATH=os.environ["PATH"])[0] == place
    assert said("./stackrun-runtime", cwd=script.parent)[0] == place
    assert said("bin/stackrun-runtime", cwd=script.parent.parent)[0] == place
    assert said("/bin/sh", "stackrun-runtime", cwd=script.parent)[0] == place


def test_nothing_comes_from_the_working_directory(tmp_path: Path) -> None:
    """Neither a package nor a program: a caller may be anywhere, and have any PATH."""
    script = installed(tmp_path / "prefix")
    place = str(package(tmp_path / "prefix" / LIBRARY))
    trap = package(tmp_path / "trap")
    (trap / "os.py").write_text("raise SystemExit('taken from the working directory')\n")
    for name in ("python3", "readlink"):
        (trap / name).write_text("#!/bin/sh\necho taken from PATH\n")
        (trap / name).chmod(0o755)
    assert said(script, cwd=trap, PATH=f".:{trap}")[0] == place
    assert said("../prefix/bin/stackrun-runtime", cwd=trap, PATH="")[0] == place
    (tmp_path / "link").symlink_to(script)
    assert said(tmp_path / "link", cwd=trap, PATH=f".:{trap}")[0] == place
