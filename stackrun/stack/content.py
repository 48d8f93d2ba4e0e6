"""The content of configs and secrets: read before anything is planned, kept in private files where no file of its own will do.

A private file is written once under a name that holds the hash of its content, owner and mode, so it never changes
under a container that has it mounted; a changed secret is another file and another container.  A *live* one (`on_change`) is for
containers that stay: its name stays too, and it is written in place, since a mount shows the file and not its name.

    <state>/<project>/<hash>             a private file
    <state>/<project>/live/<name>        a live one
    <state>/<project>/told/<container>   which content of live files that container was told of: {"id": …, "contents": {target: digest}}
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from stackrun.compose.model import Config, Project, Secret
from stackrun.errors import ComposeError, Diagnostic, KernelError
from stackrun.stack import naming
from stackrun.stack.plan import NoteContents, WriteFile

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
            contents[definition.file] = _file_content(definition)
        except OSError as error:
            place = project.place(section, key, "file")
            message = f"{section[:-1]} {key}: cannot read {definition.file}: {error.strerror}"
            faults.append(Diagnostic(place.path, place.line, place.column, message, code="unreadable-file"))
    if faults:
        raise ComposeError(faults)
    return contents


def _file_content(definition: Config | Secret) -> bytes:
    """A folder cannot be live: it is mounted as it is."""
    path = Path(definition.file)
    return path.read_bytes() if definition.on_change.action != "recreate" else file_content(path)


def _mounted(project: Project) -> set[tuple[str, str]]:
    used: set[tuple[str, str]] = set()
    for service in project.services.values():
        used.update(("configs", one.source) for one in service.configs)
        used.update(("secrets", one.source) for one in service.secrets)
    return used


def file_content(path: Path) -> bytes:
    if not path.is_dir():
        return path.read_bytes()
    lines = (f"{one.relative_to(path)} {hashlib.sha256(one.read_bytes()).hexdigest()}" for one in sorted(path.rglob("*")) if one.is_file())
    return "\n".join(lines).encode()


def private_path(state_dir: str, project: str, content: bytes, mode: int, uid: int, gid: int) -> str:
    digest = hashlib.sha256(f"{mode:o} {uid} {gid}\0".encode() + content).hexdigest()
    return f"{state_dir}/{naming.checked(project)}/{digest[:32]}"


def encoded(text: str) -> bytes:
    """As it came: a variable of the environment may be no UTF-8 (PEP 383)."""
    return text.encode(errors="surrogateescape")


def content_digest(content: bytes) -> str:
    """Enough to tell contents apart, for labels and for people."""
    return hashlib.sha256(content).hexdigest()[:12]


def live_path(state_dir: str, project: str, label: str, mode: int, uid: int, gid: int) -> str:
    """`label` is `config nginx`: one file for each owner and mode that it is wanted with."""
    return f"{state_dir}/{naming.checked(project)}/live/{label.replace(' ', '.')}.{mode:o}.{uid}.{gid}"


def told_path(state_dir: str, project: str, container: str) -> str:
    return f"{state_dir}/{naming.checked(project)}/told/{container}"


def write_private(action: WriteFile) -> None:
    """Complete or not at all: owner and mode are set before the file has its name. Its folder is closed to everybody else."""
    path = Path(action.path)
    try:
        if path.exists() and action.live:
            _overwrite(path, action.content)
        elif not path.exists():
            write_whole(path, action.content, (action.mode, action.uid, action.gid))
    except OSError as error:
        raise KernelError(f"write {action.label} to {action.path}", error.errno or 0) from None


def _overwrite(path: Path, content: bytes) -> None:
    """The same inode, which containers have mounted; cut short last, so that a reader sees no empty file."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, content: bytes, access: tuple[int, int, int] | None = None) -> None:
    """`access`: mode, user and group; otherwise the caller's alone."""
    path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    discard_unfinished(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(unfinished, "wb", opener=_private) as file:
            file.write(content)
            if access is not None:
                mode, uid, gid = access
                os.fchown(file.fileno(), uid, gid)
                os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def discard_unfinished(path: Path) -> None:
    """What a writer that was killed has left beside `path`, secrets for instance; one that lives keeps its own."""
    try:
        names = os.listdir(path.parent)
    except FileNotFoundError:
        return
    for name in names:
        pid = name.removeprefix(f".{path.name}.")
        if pid != name and pid.isdecimal() and (int(pid) == os.getpid() or not os.path.exists(f"/proc/{pid}")):
            path.with_name(name).unlink(missing_ok=True)


def note_contents(action: NoteContents) -> None:
    text = json.dumps({"id": action.id, "contents": dict(action.contents)})
    try:
        write_whole(Path(action.path), text.encode())
    except OSError as error:
        raise KernelError(f"note what {action.name} was told in {action.path}", error.errno or 0) from None


def noted_contents(path: str) -> tuple[str, dict[str, str]]:
    """(container id, target → digest); nothing when there is no such note, or none that can be read."""
    try:
        found = json.loads(Path(path).read_text())
        return str(found["id"]), {str(target): str(digest) for target, digest in found["contents"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", {}


def present_files(files: Iterable[WriteFile]) -> dict[str, str]:
    """Path → digest of those that are there. A private file's name says what it holds, so it is not read."""
    found: dict[str, str] = {}
    for one in files:
        try:
            if one.live:
                found[one.path] = content_digest(Path(one.path).read_bytes())
            elif Path(one.path).exists():
                found[one.path] = content_digest(one.content)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise KernelError(f"read {one.label} in {one.path}", error.errno or 0) from None
    return found


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def forget_private(state_dir: str, project: str) -> None:
    """After `down`: nothing mounts them any more."""
    shutil.rmtree(f"{state_dir}/{naming.checked(project)}", ignore_errors=True)
