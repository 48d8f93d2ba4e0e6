"""A container's root file system as a list of steps: `plan` decides from the configuration alone, `Tree` carries out.

Every step has `describe()` (what a failure is named by) and `execute(tree)`.  All of it happens before the pivot,
by descriptors below the new root.  Order matters and is commented where it does.
"""

from __future__ import annotations

import errno
import os
import stat

from stackrun.errors import InvalidArgument, KernelError
from stackrun.kernel import mounts, paths, privileges, syscalls
from stackrun.kernel import tree as trees
from stackrun.kernel.syscalls import AT_FDCWD, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY
from stackrun.runtime import trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from stackrun.kernel.cgroup import Cgroup
    from stackrun.runtime.messages import Message
    from stackrun.runtime.spec import Mount, Spec

    class Step(Protocol):
        def describe(self) -> str: ...
        def execute(self, tree: Tree) -> None: ...


DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
"""Character devices every container has (config-linux.md, "Default Devices")."""
LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)
_PROC_FILES = frozenset(
    f"/proc/{name}"
    for name in ("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "sys/kernel/ns_last_pid")
)
"""What may be mounted over inside /proc (lxcfs does); anything else there would mislead the runtime itself."""
_SYSTEM = ("/proc", "/sys")
_GUARDED = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
_CHAR_MODE = stat.S_IFCHR | 0o666


class Tree:
    """The place the steps work on: descriptors that stay right whatever the container's files are called.

    `root_fd` the new root once `Root` has run; `proc_fd` a procfs of the container's pid namespace that nobody else
    has; `group` the container's cgroup; `system` what was mounted on /proc and /sys; `masks` what hides a file (False) and a
    directory (True), as it is mounted over the first of each: all others get copies of it.  `ahead` are detached mounts of steps
    that somebody has made already, `done` are steps that nothing is left to do of (`furniture`).
    """

    __slots__ = ("_join", "ahead", "done", "group", "masks", "proc_fd", "root_fd", "system")

    def __init__(self, group: Cgroup, join: Callable[[], None] | None = None) -> None:
        """`join` is called once, before anything of the cgroups is looked at, or after all steps."""
        self.group = group
        self._join = join
        self.root_fd = -1
        self.system: dict[str, int] = {}
        self.masks: dict[bool, int] = {}
        self.ahead: dict[Step, int] = {}
        self.done: frozenset[Step] = frozenset()
        self.proc_fd = mounts.make_filesystem("proc", "proc", mounts.Options(["nosuid", "nodev", "noexec"]))

    def execute(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            if step in self.done:
                continue
            try:
                step.execute(self)
                if trace.fd >= 0:
                    trace.mark(step.describe())
            except KernelError as error:
                raise KernelError(f"{step.describe()}: {error.call}", error.errno, hint=error.hint) from error
            except OSError as error:
                raise KernelError(step.describe(), error.errno or errno.EIO) from error

        self.join_cgroups()

    def join_cgroups(self) -> None:
        join, self._join = self._join, None
        if join:
            join()

    def place(self, mount_fd: int, target_fd: int, destination: str) -> None:
        """Attach and look again: the path must now lead to the mount, else somebody moved it meanwhile."""
        mounts.place(mount_fd, target_fd)
        again = paths.open_in_root(self.root_fd, destination)
        try:
            if syscalls.mount_id(again) != syscalls.mount_id(mount_fd):
                raise KernelError(f"mount onto {destination}", errno.EXDEV, hint="the path changed while it was mounted")
        finally:
            os.close(again)

    def refuse_proc(self, target_fd: int, destination: str, mount_fd: int = -1) -> None:
        """No mount below /proc, also not by way of a link, and on it nothing but a procfs: what is masked must be what is seen
        (CVE-2019-16884)."""
        if destination == "/proc" and (mount_fd < 0 or syscalls.filesystem_type(mount_fd) != syscalls.PROC_SUPER_MAGIC):
            raise InvalidArgument("mounts: /proc can only be a procfs")
        below_proc = destination.startswith("/proc/") or syscalls.filesystem_type(target_fd) == syscalls.PROC_SUPER_MAGIC
        if below_proc and destination not in _PROC_FILES:
            raise InvalidArgument(f"mounts: {destination} is inside /proc")

    def open_directory(self, destination: str) -> int:
        """Where a file system is to be mounted.

        /proc and /sys must be directories of the image's: through a link to a volume another container could exchange them at any
        time, and what is read, written and masked there would be that one's (CVE-2019-19921, CVE-2023-27561).
        """
        if destination in _SYSTEM:
            try:
                return paths.open_in_root(self.root_fd, destination, os.O_PATH | os.O_DIRECTORY, follow=False)
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise InvalidArgument(f"mounts: {destination} is a link or a file in the image, and must be a directory") from error
        return paths.make_directory(self.root_fd, destination)

    def open_existing(self, path: str) -> int:
        """Something to hide or to guard, -1 when it is not there.

        In /proc and /sys as they were mounted, whatever leads there by now: a path that is made to miss it would stay open.
        """
        base = next((one for one in self.system if path.startswith(f"{one}/")), "")
        try:
            return paths.open_in_root(self.system.get(base, self.root_fd), path.removeprefix(base))
        except KernelError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return -1
            raise

    def write_proc(self, path: str, value: str) -> None:
        """Write a file of the private procfs; no link and no other mount can be on the way."""
        resolve = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_XDEV | syscalls.RESOLVE_NO_MAGICLINKS
        fd = syscalls.openat2(self.proc_fd, path, os.O_WRONLY, resolve)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)

    def close(self) -> None:
        for fd in (self.proc_fd, self.root_fd, *self.system.values(), *self.masks.values(), *self.ahead.values()):
            if fd >= 0:
                os.close(fd)
        self.system.clear()
        self.ahead.clear()
        self.masks.clear()
        self.proc_fd = self.root_fd = -1


def open_null(root_fd: int, flags: int) -> int:
    """The container's /dev/null, checked to be one: what it has there could be anything (CVE-2025-31133).

    Never the host's: whoever is root inside could change that one's mode through the descriptor.
    """
    fd = paths.open_in_root(root_fd, "/dev/null", flags if flags == os.O_PATH else flags | os.O_NONBLOCK | os.O_NOCTTY, follow=False)
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(1, 3):
        os.close(fd)
        raise KernelError("open the container's /dev/null", errno.ENODEV, hint="it is not the null device")
    return fd


class Root:
    """Make the root a mount point: an overlay of image layers, or a directory bound onto itself."""

    __slots__ = ("overlay", "path", "propagation")

    def __init__(self, path: str, overlay: Message | None, propagation: int) -> None:
        self.path = path
        self.overlay = overlay
        self.propagation = propagation

    def describe(self) -> str:
        return f"mount root file system {self.path}"

    def make_ahead(self) -> int:
        """The overlay, detached; -1 where there is none, or one of too many layers."""
        if not self.overlay:
            return -1
        upper, work = self.overlay.get("upper") or "", self.overlay.get("work") or ""
        return mounts.make_overlay(list(self.overlay["lower"]), upper, work, privileges.current().overlay_options)

    def execute(self, tree: Tree) -> None:
        # An unbindable root could not be bound onto itself; it becomes so once it is the container's.
        mounts.set_root_propagation(syscalls.MS_PRIVATE if self.propagation == syscalls.MS_UNBINDABLE else self.propagation)
        if self.propagation == syscalls.MS_SHARED:
            # pivot_root refuses a shared parent, and the mount would appear on the host.
            mounts.make_parent_private(self.path)
        made = tree.ahead.pop(self, -1)
        if self.overlay and made < 0:
            upper, work = self.overlay.get("upper") or "", self.overlay.get("work") or ""
            mounts.mount_overlay(list(self.overlay["lower"]), upper, work, self.path, privileges.current().overlay_options)
        else:
            mount_fd = made if made >= 0 else mounts.clone_tree(AT_FDCWD, self.path, recursive=True)
            target_fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            mounts.place(mount_fd, target_fd)
            os.close(target_fd)
            os.close(mount_fd)
        tree.root_fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


class Filesystem:
    """A new file system (proc, sysfs, tmpfs, devpts, mqueue …) on a directory.

    `read_only_later` leaves it writable until `ReadOnly`, because device nodes are still to be made in it.
    """

    __slots__ = ("mount", "read_only_later")

    def __init__(self, mount: Mount, read_only_later: bool) -> None:
        self.mount = mount
        self.read_only_later = read_only_later

    def describe(self) -> str:
        return f"mount {self.mount.kind} on {self.mount.destination}"

    def make_ahead(self) -> int:
        """Detached; -1 for one that is a namespace's, or has to look at what it covers."""
        options = self.mount.options
        has_mode = any(word.startswith("mode=") for word in options.data)
        if not (self.mount.kind == "devpts" or (self.mount.kind == "tmpfs" and has_mode)) or options.copies_up:
            return -1
        return mounts.make_filesystem(self.mount.kind, self.mount.source or self.mount.kind, self._first_options())

    def _first_options(self) -> mounts.Options:
        options = self.mount.options
        return _writable(options) if self.read_only_later or options.copies_up else options

    def execute(self, tree: Tree) -> None:
        options = self.mount.options
        mount_fd = tree.ahead.pop(self, -1)
        covers = mount_fd < 0 and self.mount.kind == "tmpfs" and _is_there(tree, self.mount.destination)
        target_fd = tree.open_directory(self.mount.destination)
        try:
            if (self.mount.destination, self.mount.kind) != ("/proc", "proc"):
                tree.refuse_proc(target_fd, self.mount.destination)
            if covers:
                options = _tmpfs_options(options, target_fd)
            if self.read_only_later or options.copies_up:
                options = _writable(options)
            if mount_fd < 0:
                mount_fd = mounts.make_filesystem(self.mount.kind, self.mount.source or self.mount.kind, options)
            try:
                if options.copies_up:
                    trees.copy(target_fd, mount_fd)
                    mounts.set_attributes(mount_fd, self.mount.options.attr_set)
                tree.place(mount_fd, target_fd, self.mount.destination)
                mounts.set_propagation(mount_fd, options.propagation, recursive=options.propagation_recursive)
                if self.mount.destination in _SYSTEM:
                    tree.system[self.mount.destination] = os.dup(mount_fd)
            finally:
                os.close(mount_fd)
        finally:
            os.close(target_fd)


def _is_there(tree: Tree, path: str) -> bool:
    fd = tree.open_existing(path)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def _tmpfs_options(options: mounts.Options, target_fd: int) -> mounts.Options:
    """A tmpfs without a mode of its own takes that of the directory it covers, as runc does; where there was none, the kernel's (1777)."""
    if any(word.startswith("mode=") for word in options.data):
        return options
    copy = _copy(options)
    copy.data = [*options.data, f"mode={stat.S_IMODE(os.fstat(target_fd).st_mode):o}"]
    return copy


def _writable(options: mounts.Options) -> mounts.Options:
    copy = _copy(options)
    copy.attr_set &= ~MOUNT_ATTR_RDONLY
    return copy


def _copy(options: mounts.Options) -> mounts.Options:
    copy = mounts.Options([])
    for name in mounts.Options.__slots__:
        setattr(copy, name, getattr(options, name))
    return copy


class Bind:
    """A file or directory of the host (or another container's volume) seen at a destination inside."""

    __slots__ = ("mount",)

    def __init__(self, mount: Mount) -> None:
        self.mount = mount

    def describe(self) -> str:
        return f"bind {self.mount.source} on {self.mount.destination}"

    def execute(self, tree: Tree) -> None:
        options = self.mount.options
        mount_fd = self.mount.tree_fd
        if mount_fd < 0:
            mount_fd = mounts.clone_source(self.mount.source, recursive=options.recursive, is_resolved=self.mount.is_resolved)
        try:
            is_directory = stat.S_ISDIR(os.fstat(mount_fd).st_mode)
            make = paths.make_directory if is_directory else paths.make_file
            target_fd = make(tree.root_fd, self.mount.destination)
            try:
                tree.refuse_proc(target_fd, self.mount.destination, mount_fd)
                mounts.set_attributes(mount_fd, options.attr_set, options.attr_clear)
                mounts.set_attributes(mount_fd, options.recursive_set, options.recursive_clear, recursive=True)
                tree.place(mount_fd, target_fd, self.mount.destination)
                mounts.set_propagation(mount_fd, options.propagation, recursive=options.propagation_recursive)
            finally:
                os.close(target_fd)
        finally:
            os.close(mount_fd)


class CgroupView:
    """The container's own group at /sys/fs/cgroup: v2's directory itself, or a tmpfs with one directory a v1 hierarchy.

    Bound from the host's hierarchies rather than mounted anew, so that a container sees its own group whether or not
    it has a cgroup namespace.
    """

    __slots__ = ("mount",)

    def __init__(self, mount: Mount) -> None:
        self.mount = mount

    def describe(self) -> str:
        return f"mount cgroup on {self.mount.destination}"

    def execute(self, tree: Tree) -> None:
        tree.join_cgroups()
        layout = tree.group.layout
        if layout.mode == "v2":
            self._bind(tree, tree.group.v2_directory, self.mount.destination)
            return
        target_fd = paths.make_directory(tree.root_fd, self.mount.destination)
        tmpfs_fd = mounts.make_filesystem("tmpfs", "cgroup", mounts.Options(["nosuid", "nodev", "noexec", "mode=755"]))
        try:
            tree.place(tmpfs_fd, target_fd, self.mount.destination)
            for point in dict.fromkeys(layout.v1.values()):
                self._bind_hierarchy(tmpfs_fd, os.path.basename(point), f"{point}/{tree.group.path}")
            for controller, point in layout.v1.items():
                name = os.path.basename(point)
                if controller != name and "=" not in controller:
                    os.symlink(name, controller, dir_fd=tmpfs_fd)
            mounts.set_attributes(tmpfs_fd, self.mount.options.attr_set)
        finally:
            os.close(target_fd)
            os.close(tmpfs_fd)

    def _bind_hierarchy(self, tmpfs_fd: int, name: str, source: str) -> None:
        """In a tmpfs that is new and ours, so a name is as good as a descriptor."""
        os.mkdir(name, 0o755, dir_fd=tmpfs_fd)
        mount_fd = mounts.clone_tree(AT_FDCWD, source, recursive=False)
        try:
            mounts.set_attributes(mount_fd, _GUARDED | self.mount.options.attr_set)
            syscalls.move_mount(mount_fd, "", tmpfs_fd, name, syscalls.MOVE_MOUNT_F_EMPTY_PATH)
        finally:
            os.close(mount_fd)

    def _bind(self, tree: Tree, source: str, destination: str) -> None:
        target_fd = paths.make_directory(tree.root_fd, destination)
        mount_fd = mounts.clone_tree(AT_FDCWD, source, recursive=False)
        try:
            mounts.set_attributes(mount_fd, _GUARDED | self.mount.options.attr_set)
            tree.place(mount_fd, target_fd, destination)
        finally:
            os.close(mount_fd)
            os.close(target_fd)


class Device:
    """A device node, made with mknodat inside; where that is forbidden (user namespace), the host's is bound."""

    __slots__ = ("gid", "major", "minor", "mode", "path", "uid")

    def __init__(self, path: str, mode: int, major: int, minor: int, uid: int = 0, gid: int = 0) -> None:
        self.path = path
        self.mode = mode
        self.major = major
        self.minor = minor
        self.uid = uid
        self.gid = gid

    def describe(self) -> str:
        return f"make device {self.path}"

    def execute(self, tree: Tree) -> None:
        parent, _, name = self.path.rpartition("/")
        parent_fd = paths.make_directory(tree.root_fd, parent)
        try:
            self.make_in(parent_fd)
        except FileExistsError:
            self._check_existing(parent_fd, name)
        except PermissionError:
            self._bind(tree)
        finally:
            os.close(parent_fd)

    def make_in(self, parent_fd: int) -> None:
        name = self.path.rpartition("/")[2]
        os.mknod(name, self.mode, os.makedev(self.major, self.minor), dir_fd=parent_fd)
        # follow_symlinks does not matter for a name that mknod has just made, and chown by name is all there is.
        os.chown(name, self.uid, self.gid, dir_fd=parent_fd, follow_symlinks=False)

    def _check_existing(self, parent_fd: int, name: str) -> None:
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if stat.S_IFMT(status.st_mode) != stat.S_IFMT(self.mode) or status.st_rdev != os.makedev(self.major, self.minor):
            raise KernelError(f"mknod {self.path}", errno.EEXIST, hint="the image has something else there")

    def _bind(self, tree: Tree) -> None:
        mount_fd = mounts.clone_tree(AT_FDCWD, self.path, recursive=False, follow=False)
        try:
            if os.fstat(mount_fd).st_rdev != os.makedev(self.major, self.minor):
                raise KernelError(f"bind device {self.path}", errno.ENODEV)
            target_fd = paths.make_file(tree.root_fd, self.path)
            tree.place(mount_fd, target_fd, self.path)
            os.close(target_fd)
        finally:
            os.close(mount_fd)


class Link:
    __slots__ = ("path", "target")

    def __init__(self, path: str, target: str) -> None:
        self.path = path
        self.target = target

    def describe(self) -> str:
        return f"link {self.path} to {self.target}"

    def execute(self, tree: Tree) -> None:
        parent_fd = paths.make_directory(tree.root_fd, self.path.rpartition("/")[0])
        try:
            self.make_in(parent_fd)
        except FileExistsError:
            pass  # the image's own, or a bind of the host's /dev
        finally:
            os.close(parent_fd)

    def make_in(self, parent_fd: int) -> None:
        os.symlink(self.target, self.path.rpartition("/")[2], dir_fd=parent_fd)


class Directory:
    """The working directory, made when the image lacks it (as runc does)."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return f"make directory {self.path}"

    def execute(self, tree: Tree) -> None:
        os.close(paths.make_directory(tree.root_fd, self.path))


class ReadOnly:
    """Make one mount read-only after everything that had to be made in it."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return f"make {self.path} read-only"

    def execute(self, tree: Tree) -> None:
        fd = paths.open_in_root(tree.root_fd, self.path)
        try:
            mounts.set_attributes(fd, MOUNT_ATTR_RDONLY)
        finally:
            os.close(fd)


class Sysctl:
    __slots__ = ("path", "value")

    def __init__(self, path: str, value: str) -> None:
        self.path = path
        self.value = value

    def describe(self) -> str:
        return f"set sysctl {self.path}"

    def execute(self, tree: Tree) -> None:
        tree.write_proc(f"sys/{self.path}", self.value)


class ReadOnlyPath:
    """Bind a path onto itself read-only, with all that is mounted below it."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return f"make {self.path} read-only"

    def execute(self, tree: Tree) -> None:
        target_fd = tree.open_existing(self.path)
        if target_fd < 0:
            return
        mount_fd = mounts.clone_tree(target_fd, "", recursive=True)
        try:
            mounts.set_attributes(mount_fd, MOUNT_ATTR_RDONLY, recursive=True)
            tree.place(mount_fd, target_fd, self.path)
        finally:
            os.close(mount_fd)
            os.close(target_fd)


class Mask:
    """Hide a path: a file behind the null device, a directory behind an empty read-only one."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return f"mask {self.path}"

    def execute(self, tree: Tree) -> None:
        target_fd = tree.open_existing(self.path)
        if target_fd < 0:
            return
        try:
            is_directory = stat.S_ISDIR(os.fstat(target_fd).st_mode)
            first = tree.masks.get(is_directory, -1)
            mount_fd = mounts.clone_tree(first, "", recursive=False) if first >= 0 else self._make(tree, is_directory)
            try:
                tree.place(mount_fd, target_fd, self.path)
            except BaseException:
                os.close(mount_fd)
                raise
            if first < 0:
                tree.masks[is_directory] = mount_fd
            else:
                os.close(mount_fd)
        finally:
            os.close(target_fd)

    def _make(self, tree: Tree, is_directory: bool) -> int:
        if is_directory:
            empty = mounts.Options(["ro", "nosuid", "nodev", "noexec", "size=0", "nr_inodes=2", "mode=755"])
            return mounts.make_filesystem("tmpfs", "tmpfs", empty)
        null_fd = open_null(tree.root_fd, os.O_PATH)
        try:
            mount_fd = mounts.clone_tree(null_fd, "", recursive=False)
        finally:
            os.close(null_fd)
        mounts.set_attributes(mount_fd, MOUNT_ATTR_RDONLY)
        return mount_fd


def plan(spec: Spec, overlay: Message | None) -> tuple[Step, ...]:
    """In order: root, mounts as listed, devices and links in the /dev just mounted, then what narrows all that."""
    path = overlay["target"] if overlay else spec.root
    steps: list[Step] = [Root(path, overlay, spec.root_propagation)]
    steps += [_mount_step(mount) for mount in spec.mounts]
    if not any(mount.kind == "bind" and mount.destination == "/dev" for mount in spec.mounts):
        listed = {device[0] for device in spec.devices}
        steps += [Device(f"/dev/{name}", _CHAR_MODE, *numbers) for name, *numbers in DEVICES if f"/dev/{name}" not in listed]
        steps += [Device(*device) for device in spec.devices]
        steps += [Link(*link) for link in LINKS]
    if spec.process.cwd != "/":
        steps.append(Directory(spec.process.cwd))
    if spec.hooks:
        steps.append(spec.hooks)
    return (*steps, *_narrowing(spec))


def _mount_step(mount: Mount) -> Step:
    if mount.kind == "bind":
        return Bind(mount)
    if mount.kind in ("cgroup", "cgroup2"):
        return CgroupView(mount)
    return Filesystem(mount, read_only_later=_is_read_only_dev(mount))


def _is_read_only_dev(mount: Mount) -> bool:
    return mount.destination == "/dev" and mount.kind == "tmpfs" and bool(mount.options.attr_set & MOUNT_ATTR_RDONLY)


def _narrowing(spec: Spec) -> list[Step]:
    """Read-only after all has been made; masks last, since they hide parts of what is read-only."""
    steps: list[Step] = [Sysctl(path, value) for path, value in spec.sysctls]
    steps += [ReadOnly("/dev") for mount in spec.mounts if _is_read_only_dev(mount)]
    if spec.read_only_root:
        steps.append(ReadOnly("/"))
    steps += [ReadOnlyPath(path) for path in spec.read_only_paths]
    steps += [Mask(path) for path in spec.masked_paths]
    return steps
