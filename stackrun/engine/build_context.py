"""The files that a client sent for a build: unpacked where no member can lead out, and without what .dockerignore leaves out.

A member's path is resolved inside the folder (image.extracting), so a link that an earlier member made leads nowhere else either.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from stackrun.errors import InvalidArgument, KernelError
from stackrun.image.extracting import Rules, extract
from stackrun.image.ignore import Ignore, parsed
from stackrun.kernel import paths
from stackrun.kernel import tree as trees

DOCKERFILE_BYTES_MAX = 4 << 20
IGNORE = ".dockerignore"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(stream: BinaryIO, directory: Path, check: Callable[[], None]) -> None:
    """A tar, plain or compressed, into the empty `directory`.  Owners of a client's machine mean nothing here: all is root's."""
    root_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        extract(stream, root_fd, "", Rules(owner=(0, 0), check=check), any_kind=True)
    finally:
        os.close(root_fd)


def dockerfile_of(directory: Path, name: str) -> str:
    """The Dockerfile's text; InvalidArgument in Docker's words when it is not there or leads out of the context."""
    path = posixpath.normpath(name.lstrip("/"))
    if path == ".." or path.startswith("../"):
        raise InvalidArgument(f"the Dockerfile ({name}) must be within the build context", hint="copy it into the context")
    data = _read(directory, path)
    if data is None:
        raise InvalidArgument(f"Cannot locate specified Dockerfile: {name}", hint="name it by --file, relative to the context")
    if not data.strip():
        raise InvalidArgument(f"the Dockerfile ({name}) cannot be empty", hint="begin with FROM image")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"the Dockerfile ({name}) is not UTF-8: {error.reason} at byte {error.start}") from None


def _read(directory: Path, path: str) -> bytes | None:
    root_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return paths.read_regular_file(root_fd, path, DOCKERFILE_BYTES_MAX)
    except KernelError as error:
        raise InvalidArgument(f"cannot read {path} of the build context: {error.message}", hint=error.hint) from error
    finally:
        os.close(root_fd)


def leave_out(directory: Path, dockerfile: str) -> None:
    """Removes what the context's .dockerignore (or `<dockerfile>.dockerignore`, which goes first) matches: the Dockerfile, too, has been
    read by then."""
    data = _read(directory, f"{dockerfile.lstrip('/')}{IGNORE}")
    if data is None:
        data = _read(directory, IGNORE)
    ignore = Ignore(parsed((data or b"").decode(errors="replace")))
    if not ignore:
        return
    fd = os.open(directory, _DIRECTORY)
    try:
        _thin_out(fd, "", ignore, 0)
    finally:
        os.close(fd)


def _thin_out(fd: int, path: str, ignore: Ignore, depth: int) -> bool:
    """Whether nothing is left in the folder."""
    names = os.listdir(fd)
    left = len(names)
    for name in names:
        whole = posixpath.join(path, name)
        is_directory = stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
        matched = ignore.matches(whole)
        if not is_directory:
            if matched:
                os.unlink(name, dir_fd=fd)
                left -= 1
        elif ignore.closes(whole):
            trees.remove(f"/proc/self/fd/{fd}/{name}")
            left -= 1
        elif depth < trees.DEPTH_MAX:
            below = os.open(name, _DIRECTORY, dir_fd=fd)
            try:
                is_empty = _thin_out(below, whole, ignore, depth + 1)
            finally:
                os.close(below)
            if matched and is_empty:
                os.rmdir(name, dir_fd=fd)
                left -= 1
    return not left

