"""A tar is put into a directory tree that belongs to somebody else, who may change it while that happens.

Every name is resolved by openat2(RESOLVE_IN_ROOT) from a descriptor of the tree's root, so no link leads out; the last component is never
followed.  What is made is finished (owner, mode, attributes, times) through a descriptor of it, never by its name again: between the two
the container could have put a link there (CVE-2018-15664).  Nothing is loaded or executed from the tree (CVE-2019-14271).

What is there already gives way to a member of the same name; two directories merge.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from stackrun.errors import InvalidArgument, KernelError, StackrunError
from stackrun.image.compression import decompressed
from stackrun.image.layer import each_member, set_xattrs, time_ns, write_all
from stackrun.kernel import privileges, syscalls, tree
from stackrun.kernel.paths import open_in_root

_COPY_BYTES = 1 << 18
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SET_ID = 0o6000


class Rules:
    """How members become files.

    `owner`: uid and gid instead of the archive's; None keeps those. `owned` False leaves everything to the calling user, and then without
    set-id bits and device nodes. `same_kind` refuses to put a directory for something else or the other way round.
    `renamed`: (first component in the archive, how it is called instead). `check` is called before each member and may raise.
    """

    __slots__ = ("check", "owned", "owner", "renamed", "same_kind")

    def __init__(
        self, *, owner: tuple[int, int] | None = None, owned: bool = True, same_kind: bool = False,
        renamed: tuple[str, str] = ("", ""), check: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.owner = owner
        self.owned = owned
        self.same_kind = same_kind
        self.renamed = renamed
        self.check = check


def extract(stream: BinaryIO, root_fd: int, base: str, rules: Rules, *, any_kind: bool = False) -> None:
    """A plain, gzip or zstd tar (with `any_kind` also bzip2 and xz) into the directory `base` below `root_fd`, which is there.

    InvalidArgument for a damaged archive or a name that leads out of `base`; KernelError naming the member for the rest.  What was made
    up to then stays.
    """
    with decompressed(stream, any_kind=any_kind) as plain:
        extractor = _Extractor(root_fd, base, rules)
        each_member(plain, extractor.add)
        extractor.finish()
        plain.finish()


def remove(root_fd: int, path: str) -> None:
    """What is at `path` below `root_fd`, a folder with all that is in it; nothing there is no fault, and a link is removed itself."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\0" in path:
        raise InvalidArgument(f"{path!r} is no path to remove", hint="an absolute one without .., and not the root")
    try:
        parent_fd = open_in_root(root_fd, "/".join(parts[:-1]), os.O_PATH | os.O_DIRECTORY)
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        raise
    try:
        with _named(path, "remove"):
            _take_away(parent_fd, parts[-1])
    finally:
        os.close(parent_fd)


def _take_away(parent_fd: int, name: str) -> None:
    """EBUSY for a mount point or a folder with one: in a namespace that is not ours the kernel would lift the mount instead of refusing."""
    try:
        fd = os.open(name, _ENTRY, dir_fd=parent_fd)
    except FileNotFoundError:
        return
    try:
        _refuse_mounts(fd, name, syscalls.mount_id(parent_fd), 0)
        is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
    finally:
        os.close(fd)
    if is_directory:
        tree.remove(f"/proc/self/fd/{parent_fd}/{name}")
    else:
        os.unlink(name, dir_fd=parent_fd)


def _refuse_mounts(fd: int, name: str, mount: int, depth: int) -> None:
    if syscalls.mount_id(fd) != mount:
        raise KernelError(f"remove {name}", errno.EBUSY, hint="something is mounted there")
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        return
    if depth > tree.DEPTH_MAX:
        raise KernelError(f"remove {name}", errno.ELOOP, hint=f"folders are nested deeper than {tree.DEPTH_MAX}")
    directory = os.open(".", _DIRECTORY, dir_fd=fd)
    try:
        for one in os.listdir(directory):
            try:
                below = os.open(one, _ENTRY, dir_fd=directory)
            except FileNotFoundError:
                continue
            try:
                _refuse_mounts(below, one, mount, depth + 1)
            finally:
                os.close(below)
    finally:
        os.close(directory)


class _Extractor:
    def __init__(self, root_fd: int, base: str, rules: Rules) -> None:
        self._root_fd = root_fd
        self._base = base.rstrip("/")
        self._rules = rules
        self._directory_times: dict[str, int] = {}

    def add(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        self._rules.check()
        path = self._inside(member.name)
        if path == ".":
            return
        with _named(path):
            parent, name = posixpath.split(path)
            parent_fd = self._enter(parent)
            try:
                self._make_way(parent_fd, name, path, member)
                self._make(parent_fd, name, path, member, archive)
            finally:
                os.close(parent_fd)

    def finish(self) -> None:
        for path, time in reversed(self._directory_times.items()):
            try:
                fd = open_in_root(self._root_fd, f"{self._base}/{path}", os.O_RDONLY | os.O_DIRECTORY, follow=False)
            except KernelError:
                continue  # somebody has removed or replaced it meanwhile
            try:
                os.utime(fd, ns=(time, time))
            finally:
                os.close(fd)

    def _inside(self, name: str) -> str:
        path = posixpath.normpath(name.lstrip("/") or ".")
        if path == ".." or path.startswith("../") or "\0" in path:
            raise InvalidArgument(f'"{name}" is outside of "{self._base or "/"}"', hint="do not trust where the archive came from")
        first, slash, rest = path.partition("/")
        return f"{self._rules.renamed[1]}{slash}{rest}" if first == self._rules.renamed[0] != "." else path

    def _enter(self, path: str) -> int:
        """A descriptor of the directory `path`, made where missing; links on the way count within the root."""
        whole = f"{self._base}/{path}"
        try:
            return open_in_root(self._root_fd, whole, os.O_PATH | os.O_DIRECTORY)
        except KernelError as error:
            if error.errno != errno.ENOENT or not path:
                raise
        parent, name = posixpath.split(path)
        parent_fd = self._enter(parent)
        try:
            os.mkdir(name, 0o755, dir_fd=parent_fd)
        except FileExistsError:
            pass  # a link that leads nowhere, or somebody was quicker: the next look tells
        finally:
            os.close(parent_fd)
        return open_in_root(self._root_fd, whole, os.O_PATH | os.O_DIRECTORY)

    def _make_way(self, parent_fd: int, name: str, path: str, member: tarfile.TarInfo) -> None:
        try:
            existing = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        is_directory = stat.S_ISDIR(existing.st_mode)
        if is_directory and member.isdir():
            return
        if self._rules.same_kind and is_directory != member.isdir():
            kinds = ("directory", "non-directory") if is_directory else ("non-directory", "directory")
            raise StackrunError(f'cannot overwrite {kinds[0]} "{self._base}/{path}" with {kinds[1]} "{member.name}"')
        _take_away(parent_fd, name)

    def _make(self, parent_fd: int, name: str, path: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        if member.isdir():
            self._make_directory(parent_fd, name, path, member)
        elif member.isreg():
            self._make_file(parent_fd, name, member, archive)
        elif member.islnk():
            self._make_hard_link(parent_fd, name, member)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=parent_fd)
            if self._gives:
                os.chown(name, *self._owner(member), dir_fd=parent_fd, follow_symlinks=False)
            os.utime(name, ns=(time_ns(member),) * 2, dir_fd=parent_fd, follow_symlinks=False)
        elif member.isfifo() or member.isdev():
            self._make_node(parent_fd, name, member)
        else:
            raise InvalidArgument(f"{member.name!r} of the archive has the unknown type {member.type!r}")

    def _make_directory(self, parent_fd: int, name: str, path: str, member: tarfile.TarInfo) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent_fd)
        except FileExistsError:
            pass
        fd = os.open(name, _DIRECTORY, dir_fd=parent_fd)
        try:
            self._finish(fd, member)
        finally:
            os.close(fd)
        self._directory_times.pop(path, None)
        self._directory_times[path] = time_ns(member)

    def _make_file(self, parent_fd: int, name: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent_fd)
        try:
            source = archive.extractfile(member)
            while source and (chunk := source.read(_COPY_BYTES)):
                write_all(fd, chunk)
            self._finish(fd, member)
            os.utime(fd, ns=(time_ns(member),) * 2)
        finally:
            os.close(fd)

    def _make_hard_link(self, parent_fd: int, name: str, member: tarfile.TarInfo) -> None:
        target_parent, target = posixpath.split(self._inside(member.linkname))
        target_fd = open_in_root(self._root_fd, f"{self._base}/{target_parent}", os.O_PATH | os.O_DIRECTORY)
        try:
            os.link(target, name, src_dir_fd=target_fd, dst_dir_fd=parent_fd, follow_symlinks=False)
        finally:
            os.close(target_fd)

    def _make_node(self, parent_fd: int, name: str, member: tarfile.TarInfo) -> None:
        if (not self._rules.owned or privileges.current().rootless) and not member.isfifo():
            return  # a device of the container's choosing has no business among somebody's files; rootless nobody could open it
        kind = stat.S_IFIFO if member.isfifo() else stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        device = 0 if member.isfifo() else os.makedev(member.devmajor, member.devminor)
        os.mknod(name, kind | 0o600, device, dir_fd=parent_fd)
        fd = os.open(name, _ENTRY, dir_fd=parent_fd)
        try:
            made = os.fstat(fd)
            if stat.S_IFMT(made.st_mode) != kind or made.st_rdev != device:
                raise KernelError(f"mknod {name}", errno.EAGAIN, hint="the path changed while it was made")
            self._finish(f"/proc/self/fd/{fd}", member)  # that very inode; fchown and fchmod refuse O_PATH descriptors
            os.utime(f"/proc/self/fd/{fd}", ns=(time_ns(member),) * 2)
        finally:
            os.close(fd)

    def _finish(self, target: int | str, member: tarfile.TarInfo) -> None:
        if not self._rules.owned:
            os.chmod(target, member.mode & 0o7777 & ~_SET_ID)
            return
        if self._gives:
            os.chown(target, *self._owner(member))
        os.chmod(target, member.mode & 0o7777)  # after chown, which clears set-id bits
        set_xattrs(target, member)  # after chown too, which clears security.capability

    @property
    def _gives(self) -> bool:
        """With a single id there is nobody to give files to."""
        return self._rules.owned and not privileges.current().single_id

    def _owner(self, member: tarfile.TarInfo) -> tuple[int, int]:
        return self._rules.owner or (member.uid, member.gid)


@contextmanager
def _named(path: str, what: str = "extract") -> Iterator[None]:
    """System call failures with the path they happened at."""
    try:
        yield
    except OSError as error:
        raise KernelError(f"{what} {path}", error.errno or errno.EIO) from error
    except (OverflowError, ValueError) as error:  # an owner or a name that no system call takes
        raise InvalidArgument(f"the archive holds {path!r}, which cannot be made: {error}") from error
