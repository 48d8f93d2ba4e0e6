"""The engine's records on disk.

    <root>/lock                         flock(2) of the one writer, its pid inside
    <root>/containers/<id>/             container.json state.json config.json hosts hostname resolv.conf <id>-json.log
                                        upper/ work/ merged/
    <root>/mount-points/                lowest layer of every container: empty files and directories to mount upon
    <root>/networks/<id>.json
    <root>/volumes/<name>/              volume.json _data/

A record is written to a temporary file beside it, synced when it must outlive a power failure, and renamed over the old one: a reader sees
the old or the new text, never half of one.  What is being removed is first renamed to `.removing-…`, which the next start sweeps.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stackrun.api.stored import from_json, to_json
from stackrun.api.types import Network, Volume
from stackrun.engine.record import Definition, Situation
from stackrun.errors import Conflict, InvalidArgument, KernelError, PermissionDenied
from stackrun.kernel import tree as trees

T = TypeVar("T")
_REMOVING = ".removing-"
MOUNTED_FILES = ("hostname", "hosts", "resolv.conf")
"""A container's own, below its /etc.  Made with it, since a start is in more of a hurry; a start also says what is in them."""


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ForeseenRecord:
    """A record of what is about to happen: one rename away from being so.  One that was left behind is written over by the next."""

    temporary: str
    path: str

    def come_true(self) -> None:
        with naming(f"write {self.path}"):
            os.rename(self.temporary, self.path)

    def withdraw(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.temporary)


@contextmanager
def naming(call: str) -> Iterator[None]:
    """A failure of the file system is a KernelError that names `call`: a full disk is no bug of ours."""
    try:
        yield
    except OSError as error:
        raise KernelError(call, error.errno or 0) from error


def write_atomically(path: Path, content: bytes, *, durable: bool) -> None:
    """`durable`: on the disk when this returns (fdatasync(2) of the file, fsync of its directory). KernelError "write …"."""
    temporary = f"{path}.tmp"
    with naming(f"write {path}"):
        write_file(temporary, content, mode=0o600, synced=durable)
        os.rename(temporary, path)
        if durable:
            _sync_directory(path.parent)


def write_file(path: str | Path, content: bytes, *, mode: int, synced: bool = False) -> None:
    """With exactly `mode`: the caller's umask is not ours to trust.  By plain calls: a start writes five files."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        if synced:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Store:
    """Paths and records below one state root. Every method blocks for a file operation or two."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.containers = self.root / "containers"
        self.mount_points = self.root / "mount-points"
        self.networks = self.root / "networks"
        self.volumes = self.root / "volumes"
        self.broken: list[BrokenRecord] = []
        self._lock_fd = -1

    def open(self) -> None:
        """Makes the directories and takes the lock; Conflict when another process has it."""
        for directory in (self.root, self.containers, self.networks, self.volumes):
            _make_directory(directory)
        self._lock_fd = _locked(self.root / "lock")
        self._make_mount_points()
        self._sweep()

    def _make_mount_points(self) -> None:
        """An image need not have them, and then each start would write them into the container's own layer, five files a time."""
        with naming(f"make {self.mount_points}"):
            for name in ("dev", "etc", "proc", "sys"):
                (self.mount_points / name).mkdir(0o755, parents=True, exist_ok=True)
            for name in MOUNTED_FILES:
                (self.mount_points / "etc" / name).touch(0o644)

    def close(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _sweep(self) -> None:
        for directory in (self.containers, self.volumes):
            for leftover in directory.glob(_REMOVING + "*"):
                # Told, not raised: what cannot be removed must not keep the engine from starting.
                trees.remove(leftover, lambda name, error: self.broken.append(BrokenRecord(name, f"cannot be removed: {error.strerror}")))

    # --- containers ---

    def container_directory(self, container_id: str) -> Path:
        return self.containers / container_id

    def make_container(self, definition: Definition) -> None:
        """The container exists once this returns."""
        directory = self.container_directory(definition.id)
        with naming(f"mkdir {directory}"):
            directory.mkdir(0o710)
            for name in ("upper", "work", "merged"):
                (directory / name).mkdir()
            (directory / "upper").chmod(0o755)  # the container's /, which its users must be able to enter
            for name in MOUNTED_FILES:
                write_file(directory / name, b"", mode=0o644)
        self.write_definition(definition)

    def write_definition(self, definition: Definition) -> None:
        write_atomically(self.container_directory(definition.id) / "container.json", to_json(definition), durable=True)

    def write_situation(self, container_id: str, situation: Situation) -> None:
        write_atomically(self.container_directory(container_id) / "state.json", to_json(situation), durable=False)

    def foresee_situation(self, container_id: str, situation: Situation) -> ForeseenRecord:
        """Written already, but not said before `ForeseenRecord.come_true`."""
        path = f"{self.containers}/{container_id}/state.json"
        foreseen = ForeseenRecord(f"{path}.tmp", path)
        with naming(f"write {path}"):
            write_file(foreseen.temporary, to_json(situation), mode=0o600)
        return foreseen

    def load_containers(self) -> Iterator[tuple[Definition, Situation | None]]:
        """Every readable container; a directory without a definition (its creation was cut short) is removed."""
        for directory in sorted(self.containers.iterdir()):
            path = directory / "container.json"
            if not path.exists():
                trees.remove(directory)
                continue
            definition = self._read(Definition, path)
            if definition is not None:
                state = directory / "state.json"
                yield definition, self._read(Situation, state) if state.exists() else None

    def retire_container(self, container_id: str) -> Path:
        """The container is gone once this returns; `discard` the path at leisure."""
        return _retire(self.container_directory(container_id))

    # --- networks ---

    def write_network(self, network: Network) -> None:
        write_atomically(self.networks / f"{network.id}.json", to_json(network), durable=True)

    def remove_network(self, network_id: str) -> None:
        (self.networks / f"{network_id}.json").unlink(missing_ok=True)

    def load_networks(self) -> Iterator[Network]:
        yield from self._read_all(Network, sorted(self.networks.glob("*.json")))

    # --- volumes ---

    def volume_directory(self, name: str) -> Path:
        return self.volumes / name

    def make_volume(self, volume: Volume, made_for: str = "") -> None:
        """`made_for`: the container that is being created with it; `keep_volume` once that is recorded."""
        directory = self.volume_directory(volume.name)
        with naming(f"mkdir {directory}"):
            directory.mkdir(0o711, exist_ok=True)
            if made_for:
                (directory / "made-for").write_text(made_for)
            (directory / "_data").mkdir(exist_ok=True)
            (directory / "_data").chmod(0o755)
        write_atomically(directory / "volume.json", to_json(volume), durable=True)

    def volume_owner(self, name: str) -> str:
        """The container for which it was being made, or nothing."""
        try:
            return (self.volume_directory(name) / "made-for").read_text()
        except FileNotFoundError:
            return ""

    def give_volume(self, name: str, container_id: str) -> None:
        """It goes with this container, whose removal follows."""
        directory = self.volume_directory(name)
        with naming(f"write {directory}/made-for"):
            (directory / "made-for").write_text(container_id)

    def keep_volume(self, name: str) -> None:
        (self.volume_directory(name) / "made-for").unlink(missing_ok=True)

    def load_volumes(self) -> Iterator[Volume]:
        """A directory without a record was being made: without data it is removed, otherwise reported."""
        paths = []
        for directory in sorted(self.volumes.iterdir()):
            if (directory / "volume.json").exists():
                paths.append(directory / "volume.json")
            elif not any((directory / "_data").glob("*")):
                trees.remove(directory)
            else:
                self.broken.append(BrokenRecord(str(directory / "volume.json"), "the record is missing; the data are untouched"))
        yield from self._read_all(Volume, paths)

    def retire_volume(self, name: str) -> Path:
        return _retire(self.volume_directory(name))

    # --- reading ---

    def _read_all(self, kind: type[T], paths: list[Path]) -> Iterator[T]:
        for path in paths:
            value = self._read(kind, path)
            if value is not None:
                yield value

    def _read(self, kind: type[T], path: Path) -> T | None:
        """None, and a line in `broken`, when the record cannot be understood: it costs that one object."""
        try:
            return from_json(kind, path.read_bytes())
        except InvalidArgument as error:
            self.broken.append(BrokenRecord(str(path), error.message))
            return None


def discard(retired: Path, *, on_error: Callable[[str], None]) -> None:
    """Removes a retired directory; what cannot be removed stays for the next start's sweep and is reported."""
    if retired.exists():
        trees.remove(retired, lambda name, error: on_error(f"remove {name} of {retired}: {error.strerror}"))


def _retire(directory: Path) -> Path:
    """Somebody may have removed it already: then it is gone, as was asked for."""
    retired = directory.with_name(_REMOVING + directory.name)
    with naming(f"rename {directory}"), suppress(FileNotFoundError):
        directory.rename(retired)
    return retired


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(0o711, parents=True, exist_ok=True)
    except PermissionError as error:
        raise PermissionDenied(f"cannot make {path}: permission denied", hint="run as root, or choose another --root") from error


def _locked(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise PermissionDenied(f"cannot open {path}: permission denied", hint="run as root, or choose another --root") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise Conflict(f"{path.parent} is in use by process {holder}", hint="talk to it through its socket, or stop it first") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
