"""What COPY and ADD take: names in a tree that somebody else made, found without leaving it, and digested.

Names are resolved by openat2(RESOLVE_IN_ROOT): a link in a context or in another image may lead anywhere inside that, and nowhere else.
Patterns are those of Go's filepath.Match, a component at a time, so that only the folders in question are read; a link that a pattern
matches counts as itself.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stackrun.errors import InvalidArgument, KernelError
from stackrun.image.packing import CAPABILITY
from stackrun.kernel.paths import open_in_root

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 18
_WILD = re.compile(r"(?<!\\)(?:\\\\)*[*?\[]")
DEPTH_MAX = 256

Wanted = Callable[[str], bool]
"""Whether the entry at this path, relative to the tree's root, is taken."""


@dataclass(frozen=True, slots=True)
class Tree:
    """`root_fd` is an O_PATH descriptor; `is_context`: the files that the client sent, which have no owners of their own."""

    root_fd: int
    is_context: bool


def is_pattern(text: str) -> bool:
    return bool(_WILD.search(text))


def cleaned(source: str, keyword: str) -> str:
    """Relative to the tree's root, "" for the root; InvalidArgument for what begins above it."""
    path = posixpath.normpath(source.lstrip("/") or ".")
    if path == ".." or path.startswith("../"):
        raise InvalidArgument(f"{keyword} failed: forbidden path outside the build context: {source} ()", hint="copy it into the context")
    return "" if path == "." else path


def matches(tree: Tree, source: str, keyword: str) -> tuple[str, ...]:
    """The paths that `source` names; InvalidArgument in Docker's words when there is none."""
    path = cleaned(source, keyword)
    if not is_pattern(path):
        path = re.sub(r"\\(.)", r"\1", path)
        try:
            os.close(open_in_root(tree.root_fd, path))
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            raise _missing(tree, source, keyword) from error
        return (path,)
    found = tuple(_expanded(tree.root_fd, "", path.split("/")))
    if not found:
        raise InvalidArgument(f"{keyword} failed: no source files were specified", hint=f"nothing matches {source}")
    return found


def _missing(tree: Tree, source: str, keyword: str) -> InvalidArgument:
    where = "build context or excluded by .dockerignore" if tree.is_context else "image"
    return InvalidArgument(f"{keyword} failed: file not found in {where}: stat {source}: file does not exist")


def _expanded(root_fd: int, done: str, parts: list[str]) -> Iterator[str]:
    if not parts:
        yield done
        return
    part, rest = parts[0], parts[1:]
    if not is_pattern(part):
        path = posixpath.join(done, part)
        if _exists(root_fd, path):
            yield from _expanded(root_fd, path, rest)
        return
    pattern = _component(part)
    for name in _names(root_fd, done):
        path = posixpath.join(done, name)
        if pattern.fullmatch(name) and (not rest or _is_directory(root_fd, path)):
            yield from _expanded(root_fd, path, rest)


def _exists(root_fd: int, path: str) -> bool:
    try:
        os.close(open_in_root(root_fd, path, follow=False))
    except KernelError:
        return False
    return True


def _is_directory(root_fd: int, path: str) -> bool:
    fd = open_in_root(root_fd, path, follow=False)
    try:
        return stat.S_ISDIR(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def _names(root_fd: int, path: str) -> list[str]:
    try:
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
    except KernelError:
        return []
    try:
        return sorted(os.listdir(fd))
    finally:
        os.close(fd)


def _component(pattern: str) -> re.Pattern[str]:
    """One component of Go's filepath.Match."""
    parts, at = [], 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            parts.append(".*")
        elif character == "?":
            parts.append(".")
        elif character == "[":
            inside, at = _set(pattern, at)
            parts.append(inside)
        elif character == "\\" and at < len(pattern):
            parts.append(re.escape(pattern[at]))
            at += 1
        else:
            parts.append(re.escape(character))
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error:
        raise _bad(pattern) from None


def _set(pattern: str, at: int) -> tuple[str, int]:
    """`[abc]`, `[a-z]`, `[^x]` from behind its bracket, and where it ends."""
    negated = pattern.startswith("^", at)
    at += int(negated)
    parts: list[str] = []
    while at < len(pattern) and (pattern[at] != "]" or not parts):
        if pattern[at] == "\\" and at + 1 < len(pattern):
            at += 1
            parts.append(re.escape(pattern[at]))
        else:
            parts.append("-" if pattern[at] == "-" and parts else re.escape(pattern[at]))
        at += 1
    if at >= len(pattern):
        raise _bad(pattern)
    return f"[{'^' if negated else ''}{''.join(parts)}]", at + 1


def _bad(pattern: str) -> InvalidArgument:
    return InvalidArgument(f"syntax error in pattern: {pattern}", hint="a [ must be closed; a backslash takes its meaning away")


# --- digests -------------------------------------------------------------------------------------


def digest(tree: Tree, path: str, *, owners: bool, wanted: Wanted) -> str:
    """Of what COPY would take from `path`: kinds, names below it, modes, links, bytes; with `owners` also who has it.  No times."""
    total = hashlib.sha256()
    fd = open_in_root(tree.root_fd, path)
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            opened = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _add_directory(total, opened, path, "", owners, wanted, 0)
            finally:
                os.close(opened)
        else:
            _add(total, "", status, owners, *_told(fd, status))
    finally:
        os.close(fd)
    return total.hexdigest()


def _told(fd: int, status: os.stat_result) -> tuple[str, str]:
    """(link target or content's digest, capability) of the thing that the O_PATH descriptor `fd` is."""
    if stat.S_ISLNK(status.st_mode):
        return os.readlink("", dir_fd=fd), ""
    if not stat.S_ISREG(status.st_mode):
        return "", ""
    opened = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _content(opened), _capability(opened)
    finally:
        os.close(opened)


def _add_directory(
    total: hashlib._Hash, fd: int, path: str, called: str, owners: bool, wanted: Wanted, depth: int
) -> None:
    if depth > DEPTH_MAX:
        raise KernelError(f"read {path}", errno.ELOOP, hint=f"folders are nested deeper than {DEPTH_MAX}")
    _add(total, called, os.fstat(fd), owners, "", "")
    for name in sorted(os.listdir(fd)):
        whole, below = posixpath.join(path, name), posixpath.join(called, name)
        if not wanted(whole):
            continue
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            opened = os.open(name, _DIRECTORY, dir_fd=fd)
            try:
                _add_directory(total, opened, whole, below, owners, wanted, depth + 1)
            finally:
                os.close(opened)
        elif stat.S_ISREG(status.st_mode):
            opened = os.open(name, _FILE, dir_fd=fd)
            try:
                _add(total, below, status, owners, _content(opened), _capability(opened))
            finally:
                os.close(opened)
        else:
            target = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
            _add(total, below, status, owners, target, "")


def _add(total: hashlib._Hash, called: str, status: os.stat_result, owners: bool, told: str, capability: str) -> None:
    who = f"{status.st_uid}:{status.st_gid}" if owners else ""
    device = status.st_rdev if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) else 0
    line = "\0".join((called, f"{status.st_mode:o}", who, str(device), told, capability))
    data = line.encode("utf-8", "surrogateescape")
    total.update(f"{len(data)}:".encode() + data)


def _content(fd: int) -> str:
    found = hashlib.sha256()
    while chunk := os.read(fd, _CHUNK_BYTES):
        found.update(chunk)
    return found.hexdigest()


def _capability(fd: int) -> str:
    try:
        return os.getxattr(fd, CAPABILITY).hex()
    except OSError:
        return ""
