"""A layer's tar becomes a directory that overlayfs can stack, and never touches anything outside of it.

The archive is hostile until proven otherwise.  Every name is split and walked by openat2 with
RESOLVE_IN_ROOT from a descriptor of the directory, so neither `..`, nor absolute names, nor links that
the archive itself made lead out; the last component is never followed.  Devices are made as nodes
only: the file systems that show them to containers are mounted without harm by the runtime's
device rules.  In a user namespace there are none, and with a single id all files are its own.

Whiteouts of the OCI kind become overlayfs's: `.wh.name` a character device 0:0, `.wh..wh..opq` the
xattr trusted.overlay.opaque (rootless user.overlay.opaque).  xattrs that belong to overlayfs are not taken from archives.

Sources: image-spec layer.md, Documentation/filesystems/overlayfs.rst, tar(5), CVE-2018-8115, CVE-2019-14271, CVE-2021-30465.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Self, cast

from stackrun.errors import InvalidArgument, KernelError
from stackrun.image.compression import PlainReader, decompressed
from stackrun.kernel import privileges
from stackrun.kernel import tree as trees
from stackrun.kernel.paths import open_in_root

_WHITEOUT_PREFIX = ".wh."
_META_PREFIX = ".wh..wh."
_OPAQUE = ".wh..wh..opq"
_XATTR_PREFIX = "SCHILY.xattr."
_OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")
_MUST_BE_KEPT = "security.capability"
"""The one xattr without which the image does not work; others may be refused by this file system or kernel."""
_COPY_BYTES = 1 << 18
_HELD_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_HELD_BYTES_MAX = 1 << 20
_HEADERS_MAX = 8
_NAME_MAX = 255
_DEPTH_MAX = 512
_TIME_MAX_NS = (1 << 62) - 1


def unpack_layer(stream: BinaryIO, directory: Path, on_read: Callable[[int], None] = lambda done: None) -> tuple[str, int]:
    """Unpack a plain, gzip or zstd tar into the empty `directory`: (diff id, bytes of file content).

    Raises InvalidArgument for an archive that is damaged or that tries to reach out of the directory.
    What it made up to then is left for the caller to throw away.
    """
    with decompressed(stream, on_read) as plain:
        unpacker = Unpacker(directory)
        try:
            each_member(plain, unpacker.add)
            unpacker.finish()
            return plain.finish(), unpacker.content_bytes
        finally:
            unpacker.close()


def each_member(plain: PlainReader, take: Callable[[tarfile.TarInfo, tarfile.TarFile], None]) -> None:
    """`take` each member of a tar stream, as it comes; InvalidArgument when it is no sound archive."""
    if not (first := plain.read(1)):
        return  # an empty layer may be no bytes at all
    stream = cast("BinaryIO", _Ahead(first, plain))
    try:
        # A stream, so no seeking; utf-8 with surrogates, so any byte a Linux name can hold comes back as it was.
        with StrictArchive.open(fileobj=stream, mode="r|", bufsize=_COPY_BYTES, encoding="utf-8", errors="surrogateescape") as archive:
            while (member := archive.next()) is not None:
                take(member, archive)
                archive.forget()
    except (tarfile.TarError, EOFError) as error:
        raise InvalidArgument(f"this is no sound tar archive: {error}") from error


class _StrictMember(tarfile.TarInfo):
    """tarfile takes a damaged header in the middle for the end of the archive; here it is an error.

    So is a header that would have to be held in memory (a long name, pax records, the map of a sparse file) beyond all reason: it is
    compressed a thousandfold, and tarfile reads it whole.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            cast("StrictArchive", archive).count_header()
            return super().fromtarfile(archive)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from None

    @classmethod
    def frombuf(cls, buffer: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buffer, encoding, errors)
        if member.type in _HELD_TYPES and member.size > _HELD_BYTES_MAX:
            raise tarfile.ReadError(f"a header of {member.size} bytes")
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise _sparse()
        if member.size < 0:
            raise tarfile.ReadError("a file of negative size")
        return member

    def _proc_gnusparse_00(self, *_: object) -> None:
        raise _sparse()

    _proc_gnusparse_01 = _proc_gnusparse_10 = _proc_gnusparse_00


def _sparse() -> tarfile.ReadError:
    """Its map has no bounds, and a few bytes of it may stand for exabytes of zeros; layer.md says not to use them."""
    return tarfile.ReadError("a sparse file, which image layers do not have: pack it without --sparse")


class StrictArchive(tarfile.TarFile):
    """A tar of a stranger's: bounded in what has to be held in memory.  Call `forget` after each member."""

    tarinfo = _StrictMember
    _headers = 0

    def count_header(self) -> None:
        """tarfile calls itself for each header that only describes the next one."""
        self._headers += 1
        if self._headers > _HEADERS_MAX:
            raise tarfile.ReadError("too many headers for one file")

    def forget(self) -> None:
        """tarfile would remember every member, and global records for good."""
        self._headers = 0
        self.members: list[tarfile.TarInfo] = []
        if sum(len(name) + len(value) for name, value in self.pax_headers.items()) > _HELD_BYTES_MAX:
            raise tarfile.ReadError("too many global headers")


class _Ahead:
    """What was read to look at, then the rest."""

    def __init__(self, head: bytes, rest: PlainReader) -> None:
        self._head = head
        self._rest = rest

    def read(self, count: int) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        return self._rest.read(count) or b""


class Unpacker:
    """Puts one member after another into the directory `root`; `finish` sets the times of directories at last."""

    def __init__(self, root: Path) -> None:
        self._root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._parent = ""
        self._parent_fd = os.dup(self._root_fd)
        self._directory_times: dict[str, int] = {}
        self.content_bytes = 0

    def close(self) -> None:
        os.close(self._parent_fd)
        os.close(self._root_fd)

    def add(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        parts = _components(member.name)
        if not parts:
            if member.isdir():
                self._finish_directory("", self._root_fd, member)
            return
        with _named(member.name):
            parent_fd = self._enter("/".join(parts[:-1]))
            name = parts[-1]
            if name.startswith(_WHITEOUT_PREFIX):
                self._white_out(parent_fd, name)
            elif member.isdir():
                self._make_directory(parent_fd, name, "/".join(parts), member)
            else:
                self._make_other(parent_fd, name, member, archive)

    def finish(self) -> None:
        for path in sorted(self._directory_times, reverse=True):
            try:
                fd = open_in_root(self._root_fd, path, os.O_RDONLY | os.O_DIRECTORY, follow=False)
            except KernelError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                continue  # a later member replaced it
            try:
                os.utime(fd, ns=(self._directory_times[path],) * 2)
            finally:
                os.close(fd)

    # --- where ---

    def _enter(self, path: str) -> int:
        """A descriptor of the directory `path`, made where missing.

        The last one is kept, since archives go directory by directory.  It cannot go stale: what a member replaces
        lies below its own parent, and that is what is kept then.
        """
        if path != self._parent:
            fd = self._open_directory(path)
            os.close(self._parent_fd)
            self._parent, self._parent_fd = path, fd
        return self._parent_fd

    def _open_directory(self, path: str) -> int:
        try:
            return open_in_root(self._root_fd, path, os.O_PATH | os.O_DIRECTORY)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
        if path.count("/") >= _DEPTH_MAX:
            raise InvalidArgument(f"a layer holds directories deeper than {_DEPTH_MAX}")
        parent, _, name = path.rpartition("/")
        parent_fd = self._open_directory(parent)
        try:
            os.mkdir(name, 0o755, dir_fd=parent_fd)
        finally:
            os.close(parent_fd)
        return open_in_root(self._root_fd, path, os.O_PATH | os.O_DIRECTORY)

    # --- what ---

    def _white_out(self, parent_fd: int, name: str) -> None:
        if name == _OPAQUE:
            os.setxattr(f"/proc/self/fd/{parent_fd}", privileges.current().overlay_opaque, b"y")
            return
        if name.startswith(_META_PREFIX):
            return  # aufs's own bookkeeping (.wh..wh.plnk, .wh..wh.aufs), as every runtime skips it
        hidden = name.removeprefix(_WHITEOUT_PREFIX)
        if hidden in ("", ".", ".."):
            raise InvalidArgument(f"a layer holds the whiteout {name!r}, which names nothing")
        existing = _lstat(parent_fd, hidden)
        if existing is None:
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent_fd)
        elif stat.S_ISDIR(existing.st_mode):
            # Whiteouts hide what is below, never what the same layer brings (layer.md): the directory stays and covers.
            _mark_opaque(parent_fd, hidden)

    def _make_directory(self, parent_fd: int, name: str, path: str, member: tarfile.TarInfo) -> None:
        existing = _lstat(parent_fd, name)
        covers = existing is not None and _is_whiteout(existing)
        if existing is not None and not stat.S_ISDIR(existing.st_mode):
            self._remove(parent_fd, name)
            existing = None
        if existing is None:
            os.mkdir(name, 0o700, dir_fd=parent_fd)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            self._finish_directory(path, fd, member)
            if covers:
                os.setxattr(fd, privileges.current().overlay_opaque, b"y")
        finally:
            os.close(fd)

    def _finish_directory(self, path: str, fd: int, member: tarfile.TarInfo) -> None:
        proc = f"/proc/self/fd/{fd}"  # also for O_PATH descriptors, which fchown and fchmod refuse
        _give(proc, member)
        os.chmod(proc, member.mode & 0o7777)
        set_xattrs(proc, member)
        self._directory_times[path] = time_ns(member)

    def _make_other(self, parent_fd: int, name: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        if _lstat(parent_fd, name) is not None:
            self._remove(parent_fd, name)
        if member.isreg():
            self._make_file(parent_fd, name, member, archive)
        elif member.islnk():
            self._make_hard_link(parent_fd, name, member)
        else:
            _make_special(parent_fd, name, member)

    def _remove(self, parent_fd: int, name: str) -> None:
        """A later member of the same name wins; only a directory is worth a walk."""
        existing = _lstat(parent_fd, name)
        if existing is not None and stat.S_ISDIR(existing.st_mode):
            trees.remove(f"/proc/self/fd/{parent_fd}/{name}")
        else:
            os.unlink(name, dir_fd=parent_fd)

    def _make_file(self, parent_fd: int, name: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent_fd)
        try:
            source = archive.extractfile(member)
            while source and (chunk := source.read(_COPY_BYTES)):
                self.content_bytes += write_all(fd, chunk)
            _give(fd, member)
            os.fchmod(fd, member.mode & 0o7777)  # after chown, which clears setuid
            set_xattrs(fd, member)  # after chown too, which clears security.capability
            os.utime(fd, ns=(time_ns(member),) * 2)
        finally:
            os.close(fd)

    def _make_hard_link(self, parent_fd: int, name: str, member: tarfile.TarInfo) -> None:
        parts = _components(member.linkname)
        if not parts:
            raise InvalidArgument(f"a layer links {member.name!r} to its own root")
        target_fd = -1
        try:
            target_fd = open_in_root(self._root_fd, "/".join(parts[:-1]), os.O_PATH | os.O_DIRECTORY)
            os.link(parts[-1], name, src_dir_fd=target_fd, dst_dir_fd=parent_fd, follow_symlinks=False)
        except (FileNotFoundError, KernelError) as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            raise InvalidArgument(f"a layer links {member.name!r} to {member.linkname!r}, which is not in it") from None
        finally:
            if target_fd >= 0:
                os.close(target_fd)


def _components(name: str) -> list[str]:
    """A member's name below the root. `..` is refused rather than resolved: no honest archive has it."""
    if "\0" in name:
        raise InvalidArgument(f"a layer holds the name {name!r}")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidArgument(f"a layer holds the name {name!r}, which leads out of the image", hint="do not trust where it came from")
    if any(len(part.encode(errors="surrogateescape")) > _NAME_MAX for part in parts):
        raise InvalidArgument(f"a layer holds a name longer than {_NAME_MAX} bytes")
    return parts


def _make_special(parent_fd: int, name: str, member: tarfile.TarInfo) -> None:
    path = f"/proc/self/fd/{parent_fd}/{name}"
    mode = member.mode & 0o7777
    if member.issym():
        os.symlink(member.linkname, name, dir_fd=parent_fd)
    elif member.isfifo():
        os.mkfifo(name, 0o600, dir_fd=parent_fd)
    elif member.isdev():
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        if privileges.current().rootless:
            return  # nobody could open it anyway
        os.mknod(name, kind | 0o600, os.makedev(member.devmajor, member.devminor), dir_fd=parent_fd)
    else:
        raise InvalidArgument(f"a layer holds {member.name!r} of the unknown type {member.type!r}")
    _give(name, member, parent_fd)
    if not member.issym():
        os.chmod(name, mode, dir_fd=parent_fd)  # what it names was made just now, and is no link
        set_xattrs(path, member)
    os.utime(name, ns=(time_ns(member),) * 2, dir_fd=parent_fd, follow_symlinks=False)


def _give(target: int | str, member: tarfile.TarInfo, parent_fd: int | None = None) -> None:
    try:
        os.chown(target, member.uid, member.gid, dir_fd=parent_fd, follow_symlinks=parent_fd is None)
    except OSError as error:
        if privileges.current().single_id and error.errno in (errno.EINVAL, errno.EPERM):
            return
        if error.errno != errno.EINVAL:
            raise
        raise KernelError(
            f"chown {member.name} to {member.uid}:{member.gid}",
            errno.EINVAL,
            hint="that is none of this user's subordinate ids: widen his ranges in /etc/subuid and /etc/subgid",
        ) from None


def set_xattrs(target: int | str, member: tarfile.TarInfo) -> None:
    """`target`: a descriptor, or a path that nobody else can make a link of meanwhile."""
    for key, value in member.pax_headers.items():
        if not key.startswith(_XATTR_PREFIX):
            continue
        name = key.removeprefix(_XATTR_PREFIX)
        if name.startswith(_OVERLAY_XATTRS):
            continue  # what overlayfs says about a file is for overlayfs to say
        try:
            os.setxattr(target, name, value.encode("utf-8", "surrogateescape"))
        except OSError as error:
            if name == _MUST_BE_KEPT or error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
                raise KernelError(f"setxattr {name} of {member.name}", error.errno or errno.EIO) from error


def time_ns(member: tarfile.TarInfo) -> int:
    """A pax time has nanoseconds that tarfile's float has lost."""
    try:
        seconds = Decimal(member.pax_headers.get("mtime") or str(member.mtime))
        return max(0, min(int(seconds * 1_000_000_000), _TIME_MAX_NS))
    except (ArithmeticError, ValueError):
        return 0


def _lstat(parent_fd: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(0, 0)


def _mark_opaque(parent_fd: int, name: str) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        os.setxattr(fd, privileges.current().overlay_opaque, b"y")
    finally:
        os.close(fd)


def is_opaque(directory: str) -> bool:
    """Whether this directory of a layer hides everything below it in the stack."""
    try:
        return os.getxattr(directory, privileges.current().overlay_opaque, follow_symlinks=False) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise


def write_all(fd: int, chunk: bytes) -> int:
    view = memoryview(chunk)
    while view:
        view = view[os.write(fd, view) :]
    return len(chunk)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """System call failures with the member they happened at."""
    try:
        yield
    except OSError as error:
        hint = {errno.ENOSPC: "the disk is full", errno.EPERM: "unpacking images takes root"}.get(error.errno or 0, "")
        raise KernelError(f"unpack {name}", error.errno or errno.EIO, hint=hint) from error
    except (OverflowError, ValueError) as error:  # an owner or a name that no system call takes
        raise InvalidArgument(f"a layer holds {name!r}, which cannot be made: {error}") from error
