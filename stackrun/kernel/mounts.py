"""Mounts by descriptor: made detached, given their attributes, then moved onto a target that is open already.

No path is looked up twice, so nothing can be swapped between check and use.  Needs Linux 5.12
(mount_setattr).  Option words are those of mount(8) and the OCI runtime-spec.
"""

from __future__ import annotations

import errno
import os

from stackrun.errors import InvalidArgument, KernelError
from stackrun.kernel import syscalls
from stackrun.kernel.syscalls import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    AT_SYMLINK_NOFOLLOW,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    OPEN_TREE_CLONE,
)

ATTRIBUTE_WORDS = {
    "ro": (syscalls.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, syscalls.MOUNT_ATTR_RDONLY),
    "nosuid": (syscalls.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, syscalls.MOUNT_ATTR_NOSUID),
    "nodev": (syscalls.MOUNT_ATTR_NODEV, 0),
    "dev": (0, syscalls.MOUNT_ATTR_NODEV),
    "noexec": (syscalls.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, syscalls.MOUNT_ATTR_NOEXEC),
    "noatime": (syscalls.MOUNT_ATTR_NOATIME, syscalls.MOUNT_ATTR__ATIME),
    "relatime": (syscalls.MOUNT_ATTR_RELATIME, syscalls.MOUNT_ATTR__ATIME),
    "strictatime": (syscalls.MOUNT_ATTR_STRICTATIME, syscalls.MOUNT_ATTR__ATIME),
    "nodiratime": (syscalls.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, syscalls.MOUNT_ATTR_NODIRATIME),
    "atime": (0, syscalls.MOUNT_ATTR_NOATIME),
    "norelatime": (0, 0),
    "nostrictatime": (0, syscalls.MOUNT_ATTR_STRICTATIME),
    "nosymfollow": (syscalls.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, syscalls.MOUNT_ATTR_NOSYMFOLLOW),
}
"""Option word → (attributes to set, attributes to clear), per mount point."""
PROPAGATION_WORDS = {"private": MS_PRIVATE, "slave": MS_SLAVE, "shared": MS_SHARED, "unbindable": MS_UNBINDABLE}
SUPERBLOCK_WORDS = frozenset({"sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"})
"""Options of every file system as a whole, which fsconfig(2) takes as they are."""
_DEFAULT_WORDS = frozenset({"defaults", "bind", "rbind", "tmpcopyup", "idmap", "ridmap"})


_FSCONFIG_TEXT_MAX = 255


class Options:
    """What a list of mount options means, sorted by where the kernel wants it.

    `attr_set`, `attr_clear`: of the mount point alone; `recursive_set`, `recursive_clear`: of everything below it
    too (`rro`, `rnosuid` …).  `propagation`: MS_* or 0, with `propagation_recursive`.  `recursive`: rbind.
    `data`: the file system's own options, `key=value` or a flag.  `copies_up`: a tmpfs is to begin with what it covers.
    `maps_ids`: idmap, ridmap or empty.
    """

    __slots__ = (
        "attr_clear",
        "attr_set",
        "copies_up",
        "data",
        "maps_ids",
        "propagation",
        "propagation_recursive",
        "recursive",
        "recursive_clear",
        "recursive_set",
    )

    def __init__(self, words: list[str]) -> None:
        self.attr_set = self.attr_clear = self.recursive_set = self.recursive_clear = 0
        self.propagation = 0
        self.propagation_recursive = False
        self.recursive = "rbind" in words
        self.copies_up = "tmpcopyup" in words
        self.maps_ids = next((word for word in words if word in ("idmap", "ridmap")), "")
        self.data: list[str] = []
        for word in words:
            self._add(word)

    def _add(self, word: str) -> None:
        plain = word[1:] if word[:1] == "r" else ""
        if word in ATTRIBUTE_WORDS:
            self.attr_set, self.attr_clear = _combined(self.attr_set, self.attr_clear, word)
        elif plain in ATTRIBUTE_WORDS:
            self.recursive_set, self.recursive_clear = _combined(self.recursive_set, self.recursive_clear, plain)
        elif word in PROPAGATION_WORDS:
            self.propagation, self.propagation_recursive = PROPAGATION_WORDS[word], False
        elif plain in PROPAGATION_WORDS:
            self.propagation, self.propagation_recursive = PROPAGATION_WORDS[plain], True
        elif word not in _DEFAULT_WORDS:
            self.data.append(word)

    def refuse_data(self, where: str) -> None:
        """A bind mount has no file system of its own to take options."""
        if self.data:
            raise InvalidArgument(f"{where}: unknown option {self.data[0]!r} for a bind mount")


def _combined(attr_set: int, attr_clear: int, word: str) -> tuple[int, int]:
    """The later word wins over an earlier one about the same attribute."""
    to_set, to_clear = ATTRIBUTE_WORDS[word]
    return attr_set & ~to_clear | to_set, attr_clear & ~to_set | to_clear


def make_filesystem(fs_type: str, source: str, options: Options) -> int:
    """A detached mount of a new file system (fsopen … fsmount) with its mount-point attributes."""
    fs_fd = syscalls.fsopen(fs_type)
    try:
        if source:
            syscalls.fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", source)
        for word in options.data:
            _configure(fs_fd, word)
        syscalls.fsconfig(fs_fd, FSCONFIG_CMD_CREATE)
        return syscalls.fsmount(fs_fd, options.attr_set | options.recursive_set)
    except KernelError as error:
        raise _with_log(fs_fd, fs_type, error) from None
    finally:
        os.close(fs_fd)


def _configure(fs_fd: int, word: str) -> None:
    key, equals, value = word.partition("=")
    if equals:
        syscalls.fsconfig(fs_fd, FSCONFIG_SET_STRING, key, value)
    else:
        syscalls.fsconfig(fs_fd, FSCONFIG_SET_FLAG, key)


def _with_log(fs_fd: int, fs_type: str, error: KernelError) -> KernelError:
    """The kernel says why on the context's own log (fsopen(2): lines `e text`, one a read)."""
    try:
        text = os.read(fs_fd, 4096).decode(errors="replace").strip()
    except OSError:
        text = ""
    return KernelError(f"mount {fs_type}: {error.call}", error.errno, hint=text.partition(" ")[2] or error.hint)


def clone_tree(dir_fd: int, path: str, *, recursive: bool, follow: bool = True) -> int:
    """A detached copy of the mount at `path` (empty: of `dir_fd` itself), as bind mounts are made."""
    flags = OPEN_TREE_CLONE | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return syscalls.open_tree(dir_fd, path, flags | (0 if follow else AT_SYMLINK_NOFOLLOW))


def clone_source(path: str, *, recursive: bool, is_resolved: bool) -> int:
    """`clone_tree` of a host path.  `is_resolved`: it holds no links, and if it does by now, somebody has put them there (ELOOP)."""
    if not is_resolved:
        return clone_tree(syscalls.AT_FDCWD, path, recursive=recursive)
    fd = syscalls.openat2(syscalls.AT_FDCWD, path, os.O_PATH, syscalls.RESOLVE_NO_SYMLINKS)
    try:
        return clone_tree(fd, "", recursive=recursive)
    finally:
        os.close(fd)


def set_attributes(mount_fd: int, attr_set: int, attr_clear: int = 0, *, recursive: bool = False) -> None:
    if attr_set or attr_clear:
        syscalls.mount_setattr(mount_fd, "", AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0), attr_set, attr_clear)


def map_ids(mount_fd: int, user_namespace_fd: int, *, recursive: bool) -> None:
    """Show the files of a detached mount with the ids that the namespace maps theirs to (mount_setattr(2), ID-mapped mounts)."""
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscalls.mount_setattr(mount_fd, "", flags, syscalls.MOUNT_ATTR_IDMAP, user_namespace_fd=user_namespace_fd)


def set_propagation(mount_fd: int, propagation: int, *, recursive: bool) -> None:
    if propagation:
        syscalls.mount_setattr(mount_fd, "", AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0), 0, 0, propagation)


def place(mount_fd: int, target_fd: int) -> None:
    """Attach a detached mount onto an open target, a directory or a file as the mount's root is."""
    syscalls.move_mount(mount_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def mount_overlay(lower: list[str], upper: str, work: str, target: str, options: tuple[str, ...] = ()) -> None:
    """overlayfs at `target`; `lower` is ordered top first, may hold any name and up to 500 directories (OVL_MAX_STACK).

    mount(2) takes one page of options, which some 60 paths of an image store would fill, and fsconfig's `lowerdir+`
    came with Linux 6.8 only.  So the directories are opened and named by their descriptor, relative to /proc/self/fd.
    Changes the working directory.
    """
    fds: list[int] = []
    try:
        for path in (*lower, *((upper, work) if upper else ())):
            fds.append(_open_directory(path))
        names = [str(fd) for fd in fds]
        words = [f"lowerdir={':'.join(names[: len(lower)])}", *options]
        if upper:
            words += [f"upperdir={names[-2]}", f"workdir={names[-1]}"]
        os.chdir("/proc/self/fd")
        syscalls.mount("overlay", target, "overlay", 0, ",".join(words))
    finally:
        for fd in fds:
            os.close(fd)


def make_overlay(lower: list[str], upper: str, work: str, options: tuple[str, ...] = ()) -> int:
    """`mount_overlay` detached; -1 for more layers than one text of fsconfig(2) takes, 255 bytes.

    Their descriptors are named by /proc/self/fd, so that no path is too long and the working directory stays what it is.
    """
    fds: list[int] = []
    try:
        for path in (*lower, *((upper, work) if upper else ())):
            fds.append(_open_directory(path))
        names = [f"/proc/self/fd/{fd}" for fd in fds]
        layers = ":".join(names[: len(lower)])
        if len(layers) > _FSCONFIG_TEXT_MAX:
            return -1
        places = [f"upperdir={names[-2]}", f"workdir={names[-1]}"] if upper else []
        words = Options([])
        words.data = [f"lowerdir={layers}", *places, *options]
        return make_filesystem("overlay", "overlay", words)
    finally:
        for fd in fds:
            os.close(fd)


def _open_directory(path: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"open overlay directory {path}", error.errno or errno.EIO) from error


def open_through_overlay(path: str) -> int:
    """`path` opened through a detached read-only overlay of its directory: same pages in memory, another inode.

    Nobody has the overlay in a mount namespace, so nobody can remount it writable.
    """
    directory, name = os.path.split(path)
    # Without an upper layer overlayfs wants two lower ones; the second only fills the place.
    filler = "/sys"
    fs_fd = syscalls.fsopen("overlay")
    try:
        syscalls.fsconfig(fs_fd, FSCONFIG_SET_STRING, "lowerdir", f"{directory}:{filler}")
        syscalls.fsconfig(fs_fd, FSCONFIG_CMD_CREATE)
        mount_fd = syscalls.fsmount(fs_fd, syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV)
    finally:
        os.close(fs_fd)
    try:
        return syscalls.openat2(mount_fd, name, os.O_RDONLY, syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS)
    finally:
        os.close(mount_fd)


def set_root_propagation(propagation: int) -> None:
    """Of every mount in this namespace (mount_namespaces(7)); MS_SLAVE keeps the host's unmounts coming."""
    syscalls.mount(None, "/", None, MS_REC | propagation)


def make_parent_private(path: str) -> None:
    """Make the mount that the parent directory of `path` is on private."""
    while path != "/":
        path = os.path.dirname(path)
        try:
            syscalls.mount(None, path, None, MS_PRIVATE)
            return
        except KernelError as error:
            if error.errno != errno.EINVAL or path == "/":  # EINVAL: not a mount point
                raise


def move_root(root_fd: int) -> None:
    """`pivot` for where the old root is an initramfs, which cannot be pivoted away: moved over it, then chroot.

    Weaker, since the old root is only covered: copies of its proc and sysfs are taken away first, or a process inside
    could mount unmasked ones of its own.
    """
    os.fchdir(root_fd)
    here = os.getcwd()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
        lines = file.read().splitlines()
    for line in reversed(lines):
        point, kind = line.split()[4], line.partition(" - ")[2].split()[0]
        if kind in ("proc", "sysfs") and not f"{point}/".startswith(f"{here}/"):
            syscalls.mount(None, point, None, MS_PRIVATE)
            _cover(point)
    syscalls.mount(".", "/", None, syscalls.MS_MOVE)
    os.chroot(".")
    os.chdir("/")


def _cover(point: str) -> None:
    try:
        syscalls.umount2(point, syscalls.MNT_DETACH)
    except KernelError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        syscalls.mount("tmpfs", point, "tmpfs", 0)  # locked by the owner of our namespace; nobody inside can lift this


def pivot(root_fd: int) -> None:
    """Make `root_fd`, a mount point, the root, and let go of the old one.

    pivot_root(".", ".") stacks the old root on the new one, where it can be unmounted without a directory for it
    (pivot_root(2), NOTES).  The old root is made a slave first so that unmounting does not reach the host.
    """
    old_root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(root_fd)
        syscalls.pivot_root(".", ".")
        os.fchdir(old_root)
        syscalls.mount(None, ".", None, MS_SLAVE | MS_REC)
        syscalls.umount2(".", syscalls.MNT_DETACH)
        os.chdir("/")
    finally:
        os.close(old_root)
