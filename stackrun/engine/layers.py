"""An image's directories seen as the one tree that overlayfs would show, without mounting it.

The kernel's rules (Documentation/filesystems/overlayfs.rst): the topmost layer that has a name decides; a character device 0:0 is a
whiteout and hides it; directories merge downwards until one that is opaque (the attribute `trusted.overlay.opaque`,
rootless `user.overlay.opaque`, is y).  Symbolic links are resolved inside the tree: a layer's content is foreign, and a link to /etc
must never lead to the host's.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stackrun.errors import InvalidArgument, KernelError
from stackrun.kernel import privileges
from stackrun.kernel import tree as trees

_LINKS_MAX = 40
"""As the kernel's MAXSYMLINKS."""


class LayerTree:
    """`lower`: the directories, top first. Layers do not change, so a path looked at once stays what it is."""

    def __init__(self, lower: Sequence[str]) -> None:
        self._lower = tuple(lower)

    def directory(self, path: str) -> tuple[str, ...]:
        """The layers' directories that make up `path`, top first; empty when there is no such directory."""
        resolved = self._resolved(path)
        found = self._lookup(resolved)
        return found if found and _is_directory(found[0]) else ()

    def missing(self, path: str) -> tuple[str, ...]:
        """What of `path` is not there, without links and dots, deepest first."""
        parts = self._resolved(path)
        found = []
        while parts and not self._lookup(parts):
            found.append("/" + "/".join(parts))
            parts = parts[:-1]
        return tuple(found)

    def _resolved(self, path: str) -> tuple[str, ...]:
        """`path` as components without links and dots."""
        waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done: list[str] = []
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                done = done[:-1]
                continue
            found = self._lookup((*done, part))
            if not found or not Path(found[0]).is_symlink():
                done.append(part)
                continue
            links += 1
            if links > _LINKS_MAX:
                raise InvalidArgument(f"too many symbolic links in the image's {path}")
            target = os.readlink(found[0])
            done = [] if target.startswith("/") else done
            waiting += [one for one in reversed(target.split("/")) if one not in ("", ".")]
        return tuple(done)

    def _lookup(self, parts: tuple[str, ...]) -> tuple[str, ...]:
        """What makes up the name: one path for a file, all merging ones for a directory. No link is followed."""
        merged = self._lower
        for part in parts:
            merged = _children(merged, part)
            if not merged:
                return ()
        return merged

    def entries(self, merged: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """Name → what makes it up, of a directory that `directory` found."""
        names: dict[str, None] = {}
        for one in merged:
            names.update(dict.fromkeys(sorted(os.listdir(one))))
        found = {name: _children(merged, name) for name in names}
        return {name: paths for name, paths in found.items() if paths}


def _children(merged: Sequence[str], name: str) -> tuple[str, ...]:
    found: list[str] = []
    for parent in merged:
        path = f"{parent}/{name}"
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            break
        if not stat.S_ISDIR(status.st_mode):
            if not found:
                found.append(path)
            break
        found.append(path)
        if _opaque(path):
            break
    return tuple(found)


def _opaque(path: str) -> bool:
    try:
        return os.getxattr(path, privileges.current().overlay_opaque, follow_symlinks=False) == b"y"
    except OSError:
        return False  # no such attribute, or a file system without any


def _is_directory(path: str) -> bool:
    return stat.S_ISDIR(os.lstat(path).st_mode)


def copy_directory(tree: LayerTree, merged: tuple[str, ...], target: Path) -> None:
    """Copies the content of a directory of the image into `target` (which exists), with owners, modes, times and attributes.

    By descriptors: a container that has the volume already may put links where directories were (compare CVE-2018-15664).
    KernelError names the path that could not be copied.
    """
    target_fd = os.open(target, trees.DIRECTORY)
    try:
        _copy_entries(tree, merged, target_fd, 0)
    finally:
        os.close(target_fd)


def _copy_entries(tree: LayerTree, merged: tuple[str, ...], target_fd: int, depth: int) -> None:
    if depth > trees.DEPTH_MAX:
        raise KernelError(f"copy {merged[0]} into the volume", errno.ELOOP, hint=f"it is deeper than {trees.DEPTH_MAX}")
    for name, paths in tree.entries(merged).items():
        try:
            status = os.lstat(paths[0])
            if stat.S_ISDIR(status.st_mode):
                _copy_below(tree, paths, target_fd, name, depth)
            else:
                with _opened(os.path.dirname(paths[0])) as source_fd:
                    trees.copy_entry(source_fd, target_fd, name, status)
        except OSError as error:
            raise KernelError(f"copy {paths[0]} into the volume", error.errno or 0) from error
    with _opened(merged[0]) as source_fd:
        trees.copy_attributes(source_fd, target_fd, os.fstat(source_fd))


def _copy_below(tree: LayerTree, paths: tuple[str, ...], target_fd: int, name: str, depth: int) -> None:
    os.mkdir(name, 0o700, dir_fd=target_fd)
    with _opened(name, target_fd) as made:
        _copy_entries(tree, paths, made, depth + 1)


@contextmanager
def _opened(path: str, parent_fd: int | None = None) -> Iterator[int]:
    fd = os.open(path, trees.DIRECTORY, dir_fd=parent_fd)
    try:
        yield fd
    finally:
        os.close(fd)
