"""Where a build works: folders that nobody else looks into, all gone with it.

    <root>/builds/new-<id>/context/       what the client sent
    <root>/builds/new-<id>/<n>/           upper/ work/ merged/ of a step; the content of a bind mount
    <root>/builds/cache/<hex>/            `RUN --mount=type=cache`, kept from build to build
    <run>/b/<id>/                         secrets of a build, in memory where /run is

What a daemon that was killed has left is removed by the next one before it serves anyone.  Everything here blocks.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from stackrun.engine import view as views
from stackrun.engine.store import naming
from stackrun.engine.view import View
from stackrun.kernel import tree as trees

_UNFINISHED = "new-"


class Workspaces:
    """Those of one state root."""

    def __init__(self, root: str, run_dir: str) -> None:
        self._directory = Path(root) / "builds"
        self._secrets = Path(run_dir) / "b"

    def sweep(self) -> list[str]:
        """Removes what builds of an earlier daemon have left; gives what could not be removed."""
        failed: list[str] = []
        for leftover in (*self._directory.glob(f"{_UNFINISHED}*"), *self._secrets.glob("*")):
            trees.remove(leftover, lambda name, error: failed.append(f"remove {name}: {error.strerror}"))
        return failed

    def new(self) -> Workspace:
        """To be opened, and closed whatever comes of that."""
        build_id = secrets.token_hex(8)
        return Workspace(build_id, self._directory / f"{_UNFINISHED}{build_id}", self._secrets / build_id)

    def cache(self, name: str, owner: tuple[int, int], mode: int) -> str:
        """The folder of a cache mount, made when it is new."""
        directory = self._directory / "cache" / hashlib.sha256(name.encode()).hexdigest()[:32]
        with naming(f"mkdir {directory}"):
            if not directory.is_dir():
                directory.parent.mkdir(0o700, exist_ok=True)
                directory.mkdir(0o700)
                os.chown(directory, *owner)
                directory.chmod(mode)
        return str(directory)

    def forget_caches(self) -> None:
        for directory in (self._directory / "cache").glob("*"):
            trees.remove(directory, lambda name, error: None)  # a build may be using it: what is left goes the next time


class Workspace:
    def __init__(self, build_id: str, directory: Path, secret_directory: Path) -> None:
        self.id = build_id
        self._directory = directory
        self._secrets = secret_directory
        self._steps = 0
        self._views: list[View] = []

    @property
    def context(self) -> Path:
        return self._directory / "context"

    def open(self) -> None:
        with naming(f"mkdir {self._directory}"):
            self._directory.parent.mkdir(0o700, exist_ok=True)
            self._directory.mkdir(0o700)
            self.context.mkdir(0o755)

    def step(self) -> Path:
        """A new folder for one step."""
        self._steps += 1
        directory = self._directory / str(self._steps)
        with naming(f"mkdir {directory}"):
            directory.mkdir(0o755)
        return directory

    def drop(self, directory: Path) -> None:
        """A step's folder, once its layer is stored."""
        trees.remove(directory)

    def view(self, lower: tuple[str, ...], directory: Path, *, writable: bool) -> View:
        """Layers mounted over each other, to be closed by the caller or with the workspace."""
        found = views.of_layers(lower, directory, writable=writable)
        self._views.append(found)
        return found

    def program(self, content: bytes) -> str:
        """A file to be executed."""
        path = self.step() / "program"
        with naming(f"write {path}"):
            path.write_bytes(content)
            path.chmod(0o755)
        return str(path)

    def secret(self, content: bytes, owner: tuple[int, int], mode: int) -> str:
        """A file of its own with a secret's content."""
        with naming(f"write below {self._secrets}"):
            self._secrets.mkdir(0o700, parents=True, exist_ok=True)
            path = self._secrets / secrets.token_hex(8)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                os.fchown(fd, *owner)
                os.fchmod(fd, mode)
        return str(path)

    def close(self) -> None:
        for one in self._views:
            one.close()
        for directory in (self._secrets, self._directory):
            if directory.exists():
                trees.remove(directory)
