"""The content of configs and secrets: read before anything is planned, kept in private files where no file of its own will do.

A private file is written once under a name that holds the hash of its content, owner and mode, so it never changes
under a container that has it mounted; a changed secret is another file and another container.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from stackrun.compose.model import Project
from stackrun.errors import ComposeError, Diagnostic, KernelError
from stackrun.stack.plan import WriteFile

Contents = Mapping[str, bytes]
"""Absolute path → what the file holds (of a directory: the hashes of all that is below it)."""


def read_contents(project: Project) -> Contents:
    """Every file that a config or secret of an enabled service names; all missing ones are reported at once, each at its place."""
    contents: dict[str, bytes] = {}
    faults: list[Diagnostic] = []
    for section, key in sorted(_mounted(project)):
        definition = (project.configs if section == "configs" else project.secrets).get(key)
        if definition is None or not definition.file or definition.file in contents:
            continue
        try:
            contents[definition.file] = _content(Path(definition.file))
        except OSError as error:
            place = project.place(section, key, "file")
            message = f"{section[:-1]} {key}: cannot read {definition.file}: {error.strerror}"
            faults.append(Diagnostic(place.path, place.line, place.column, message, code="unreadable-file"))
    if faults:
        raise ComposeError(faults)
    return contents


def _mounted(project: Project) -> set[tuple[str, str]]:
    used: set[tuple[str, str]] = set()
    for service in project.services.values():
        used.update(("configs", one.source) for one in service.configs)
        used.update(("secrets", one.source) for one in service.secrets)
    return used


def _content(path: Path) -> bytes:
    if not path.is_dir():
        return path.read_bytes()
    lines = (f"{one.relative_to(path)} {hashlib.sha256(one.read_bytes()).hexdigest()}" for one in sorted(path.rglob("*")) if one.is_file())
    return "\n".join(lines).encode()


def private_path(state_dir: str, project: str, content: bytes, mode: int, uid: int, gid: int) -> str:
    digest = hashlib.sha256(f"{mode:o} {uid} {gid}\0".encode() + content).hexdigest()
    return f"{state_dir}/{project}/{digest[:32]}"


def write_private(action: WriteFile) -> None:
    """Complete or not at all: owner and mode are set before the file has its name. Its folder is closed to everybody else."""
    path = Path(action.path)
    try:
        if path.exists():
            return
        path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        with open(unfinished, "wb", opener=_private) as file:
            file.write(action.content)
            os.fchown(file.fileno(), action.uid, action.gid)
            os.fchmod(file.fileno(), action.mode)
            os.fsync(file.fileno())
        unfinished.rename(path)
    except OSError as error:
        raise KernelError(f"write {action.label} to {action.path}", error.errno or 0) from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def forget_private(state_dir: str, project: str) -> None:
    """After `down`: nothing mounts them any more."""
    shutil.rmtree(f"{state_dir}/{project}", ignore_errors=True)
