"""What was written into an overlay's upper directory, as a layer: the tar that image-spec's layer.md describes.

overlayfs marks what is gone by a character device 0:0, and a directory that hides what was below it by the attribute
`trusted.overlay.opaque` (rootless `user.overlay.opaque`); in the archive they are `.wh.name` and `.wh..wh..opq`.  Names are sorted, so
the same tree gives the same archive.  The root directory itself is left out, as Docker does: each layer is unpacked into a root of its own.

Sources: image-spec layer.md, Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Callable, Iterator

from stackrun.errors import InvalidArgument, KernelError, Unsupported
from stackrun.image.layer import is_opaque
from stackrun.image.packing import Packer, encoded, gathered

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")
_KEPT_XATTRS = ("user.", "security.capability", "system.posix_acl_")
"""What an image is to carry elsewhere; labels of SELinux and the like are a machine's own."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def layer_pieces(upper: str, check: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """The archive piece by piece, plain.  `check` is called now and then and may raise.  Nobody may write to `upper` meanwhile.

    InvalidArgument for a name that would be taken for a whiteout; Unsupported for an upper directory that cannot stand without what is
    below it (redirect_dir, metacopy).
    """
    packer = _UpperPacker(check)
    fd = os.open(upper, _DIRECTORY)
    try:
        yield from gathered(_pieces(packer, fd))
    finally:
        os.close(fd)


def _pieces(packer: _UpperPacker, fd: int) -> Iterator[bytes]:
    for name in sorted(os.listdir(fd)):
        yield from packer.entry(fd, name, name)
    yield packer.end()


def is_empty(upper: str) -> bool:
    """Whether nothing was written: such a step has no layer."""
    return not os.listdir(upper)


class _UpperPacker(Packer):
    """Strict where files of a container that runs need leniency: what cannot be packed fails the build instead of being left out."""

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self._check = check

    def _entry(self, parent_fd: int, name: str, called: str, status: os.stat_result, depth: int) -> Iterator[bytes]:
        self._check()
        if name.startswith(WHITEOUT):
            raise InvalidArgument(f"{called}: a layer cannot hold a name that begins with {WHITEOUT}", hint="it means that a file is gone")
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            head = tarfile.TarInfo(f"{called.removesuffix(name)}{WHITEOUT}{name}")
            head.mode = 0
            yield encoded(head)
            return
        yield from super()._entry(parent_fd, name, called, status, depth)

    def _directory(self, fd: int, called: str, status: os.stat_result, depth: int) -> Iterator[bytes]:
        yield encoded(self._head(called, status, fd))
        if is_opaque(f"/proc/self/fd/{fd}/."):
            yield encoded(tarfile.TarInfo(f"{called}/{OPAQUE}"))
        for name in sorted(os.listdir(fd)):
            yield from self._entry(fd, name, f"{called}/{name}", os.stat(name, dir_fd=fd, follow_symlinks=False), depth + 1)

    def _attributes(self, head: tarfile.TarInfo, fd: int) -> None:
        for name in os.listxattr(fd):
            if name.startswith(_OVERLAY_XATTRS):
                _refuse_dependence(head.name, name)
            elif name.startswith(_KEPT_XATTRS):
                head.pax_headers = {**head.pax_headers, f"SCHILY.xattr.{name}": os.getxattr(fd, name).decode("utf-8", "surrogateescape")}


def _refuse_dependence(called: str, attribute: str) -> None:
    kind = attribute.rpartition(".")[2]
    if kind in ("redirect", "metacopy"):
        raise Unsupported(f"{called} depends on the layers below it (overlay.{kind})", hint=f"switch overlayfs's {kind} off")


def emptied(upper: str, stubs: tuple[str, ...]) -> None:
    """Removes what was made as mount points alone: empty files and directories at `stubs`, deepest first (paths below `upper`).

    What is not empty, or not there, stays as it is.
    """
    for path in stubs:
        whole = f"{upper}/{path.lstrip('/')}"
        try:
            status = os.lstat(whole)
            if stat.S_ISDIR(status.st_mode):
                os.rmdir(whole)
            elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
                os.unlink(whole)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.ENOTDIR):
                raise KernelError(f"remove the mount point {path}", error.errno or errno.EIO) from error
