"""Control groups of one container on cgroup v1, hybrid and v2 machines.

    layout = detect()
    group = create(layout, "stackrun/4f2a…", {"memory": {"limit": 64 << 20}})   # before any process joins
    group.join(pid)                                                              # or "0": the caller itself
    group.kill(5.0); group.delete()

A group is one directory in every hierarchy (v1 has one a controller, v2 one for all); a hybrid
machine gets both, so that v2's cgroup.kill, cgroup.freeze and cgroup.events serve there as well.
Nothing outside the given path is changed, except that controllers are switched on in the
cgroup.subtree_control of its ancestors, without which v2 has no limits.

Light: imported on a container's start path.  Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst
and cgroup-v1/{memory,cpusets,freezer-subsystem}.rst.
"""

from __future__ import annotations

import errno
import os
import select
import time

from stackrun.errors import Conflict, DeadlineExceeded, InvalidArgument, KernelError, Unsupported
from stackrun.kernel import cgroup_devices, privileges, syscalls
from stackrun.kernel.cgroup_files import flat_keyed, number, read, read_or_empty, write
from stackrun.kernel.cgroup_limits import DELEGATE, V1, Limit, limits

TYPE_CHECKING = False  # typing itself is too heavy for the start path; checkers take this name as true
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Resources = dict[str, Any]

_ALWAYS_ENABLED = ("cpu", "cpuset", "io", "memory", "pids")
"""v2 controllers every group gets, limits or not, so that its usage is accounted and limits can come later."""
_FREEZE_TIMEOUT_S = 10.0
_CLEAR_TIMEOUT_S = 1.0
UNDELEGATED = "undelegated"
_POLL_MS = 5
_SIGKILL = 9  # not from `signal`, which brings enum along


class Layout:
    """How this machine mounts its hierarchies.

    `mode` is v1, hybrid or v2 (empty: no cgroups mounted; `undelegated`: none that this user may write to); `v1` maps
    a controller (or `name=systemd`) to its mount point; `v2` is cgroup2's mount point or empty; `v2_controllers` those bound to it.
    """

    __slots__ = ("mode", "v1", "v2", "v2_controllers")

    def __init__(self, mode: str, v1: dict[str, str], v2: str, v2_controllers: frozenset[str]) -> None:
        self.mode = mode
        self.v1 = v1
        self.v2 = v2
        self.v2_controllers = v2_controllers

    @property
    def controllers(self) -> frozenset[str]:
        """Every controller that can be used here, whichever hierarchy has it."""
        return frozenset(name for name in self.v1 if not name.startswith("name=")) | self.v2_controllers

    @property
    def mount_points(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.v1.values(), *([self.v2] if self.v2 else [])]))


def detect(mountinfo: str | None = None, cgroup: str | None = None, v2_controllers: str | None = None) -> Layout:
    """Parse /proc/self/mountinfo, /proc/self/cgroup and <cgroup2>/cgroup.controllers, or the texts given instead.

    Never fails: what cannot be read is not there.
    """
    mountinfo_is_own = mountinfo is None
    mountinfo = read_or_empty("/proc/self/mountinfo") if mountinfo is None else mountinfo
    cgroup = read_or_empty("/proc/self/cgroup") if cgroup is None else cgroup
    known = {name for line in cgroup.splitlines() if line.count(":") >= 2 for name in line.split(":", 2)[1].split(",") if name}
    v1: dict[str, str] = {}
    v2 = ""
    for point, kind, options in _cgroup_mounts(mountinfo):
        if kind == "cgroup2":
            v2 = v2 or point
            continue
        # Among the options are flags such as `xattr` and `clone_children`: /proc/self/cgroup says which are controllers.
        for option in options:
            if option in known:
                v1.setdefault(option, point)
    if v2_controllers is None:
        v2_controllers = read_or_empty(f"{v2}/cgroup.controllers") if v2 else ""
    if privileges.current().rootless and mountinfo_is_own:
        return _delegated(v2, cgroup)
    has_v1 = any(not name.startswith("name=") for name in v1)
    mode = ("hybrid" if has_v1 else "v2") if v2 else ("v1" if has_v1 else "")
    return Layout(mode, v1, v2, frozenset(v2_controllers.split()))


def _delegated(v2: str, cgroup: str) -> Layout:
    """An ordinary user's: the topmost v2 group above him that is his, as if it were the mount point (systemd.io/CGROUP_DELEGATION).

    Beneath a user's systemd that is user@UID.service, and whoever is in a group below may be moved to another one below.  One that
    holds processes itself can hand no controllers down (cgroups(7)), and is of no use.
    """
    own = next((line.removeprefix("0::") for line in cgroup.splitlines() if line.startswith("0::")), "")
    found, directory = "", f"{v2}{own}".rstrip("/")
    while v2 and directory.startswith(v2):
        if all(os.access(f"{directory}/{name}", os.W_OK) for name in (".", "cgroup.procs", "cgroup.subtree_control")):
            found = directory
        directory = os.path.dirname(directory)
    if not found or read_or_empty(f"{found}/cgroup.procs"):
        return Layout(UNDELEGATED, {}, "", frozenset())
    return Layout("v2", {}, found, frozenset(read_or_empty(f"{found}/cgroup.controllers").split()))


def _cgroup_mounts(mountinfo: str) -> list[tuple[str, str, list[str]]]:
    """(mount point, file system, its own options), those below /sys/fs/cgroup first: others may be containers' copies."""
    found = []
    for line in mountinfo.splitlines():
        mount, _, super_block = line.partition(" - ")
        fields, kind_fields = mount.split(), super_block.split()
        if len(fields) >= 5 and len(kind_fields) >= 3 and kind_fields[0] in ("cgroup", "cgroup2"):
            point = fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
            found.append((point, kind_fields[0], kind_fields[2].split(",")))
    return sorted(found, key=lambda mount: not f"{mount[0]}/".startswith("/sys/fs/cgroup/"))


class Cgroup:
    """One container's directories. Holds no descriptor: it can be had again at any time by `load`."""

    __slots__ = ("directories", "layout", "path", "v2_directory")

    def __init__(self, layout: Layout, path: str) -> None:
        self.layout = layout
        self.path = path
        self.directories = tuple(f"{point}/{path}" for point in layout.mount_points)
        self.v2_directory = f"{layout.v2}/{path}" if layout.v2 else ""

    @classmethod
    def load(cls, layout: Layout, path: str) -> Cgroup:
        """The handle on a group made earlier, by this process or another."""
        return cls(layout, _checked(path))

    def exists(self) -> bool:
        return any(os.path.isdir(directory) for directory in self.directories)

    def directory(self, controller: str) -> str:
        """Where the files of `controller` are; empty when nothing has it."""
        if controller in self.layout.v1:
            return f"{self.layout.v1[controller]}/{self.path}"
        return self.v2_directory if controller in self.layout.v2_controllers else ""

    # --- processes ---

    def join(self, pid: int = 0) -> None:
        """Move a process (0: the caller) into every hierarchy."""
        for directory in self.directories:
            write(f"{directory}/cgroup.procs", str(pid))

    def open_v2(self, member: int = 0) -> int:
        """A descriptor for clone3's CLONE_INTO_CGROUP; only on a pure v2 machine does that replace `join`.

        With `member`, of the group below this one that this process is in now.
        """
        if not self.v2_directory:
            raise Unsupported("CLONE_INTO_CGROUP: this machine has no cgroup v2", hint="join the group instead")
        directory = self._directory_of(member) if member else self.v2_directory
        return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def _directory_of(self, member: int) -> str:
        for line in read(f"/proc/{member}/cgroup").splitlines():
            above, found, below = line.removeprefix("0::").partition(f"/{self.path}/")
            if line.startswith("0::") and found and self.layout.v2.endswith(above):  # a delegated layout begins further down
                return f"{self.v2_directory}/{below}"
        raise Conflict(f"process {member} is in no cgroup below {self.path}")

    def pids(self) -> tuple[int, ...]:
        """Members of the group and of groups made below it, as this pid namespace numbers them."""
        found: set[int] = set()
        for directory in _tree(self._signal_directory()):
            found.update(int(word) for word in read_or_empty(f"{directory}/cgroup.procs").split())
        return tuple(sorted(found - {0}))

    def _signal_directory(self) -> str:
        return self.v2_directory or self.directory("freezer") or next(iter(self.directories), "")

    def kill(self, timeout_s: float = 10.0) -> None:
        """SIGKILL every member and wait until none is left; DeadlineExceeded if that takes longer."""
        deadline = time.monotonic() + timeout_s
        if self.v2_directory and _exists(f"{self.v2_directory}/cgroup.kill"):
            # v1's freezer holds even SIGKILL back, v2's does not.
            self._thaw_v1()
            write(f"{self.v2_directory}/cgroup.kill", "1")
            self._wait_event("populated", 0, deadline)
            return
        while self.pids():
            self._kill_frozen(deadline)

    def _kill_frozen(self, deadline: float) -> None:
        """Without cgroup.kill: stand still, so that no fork escapes the list, kill, go on."""
        self.freeze()
        fds = []
        try:
            for pid in self.pids():
                fds += _kill_one(pid)
        finally:
            self.thaw()
        _wait_exits(fds, deadline, self.path)

    def freeze(self) -> None:
        """Stop every member; returns when all have stopped."""
        deadline = time.monotonic() + _FREEZE_TIMEOUT_S
        if self.v2_directory and _exists(f"{self.v2_directory}/cgroup.freeze"):
            write(f"{self.v2_directory}/cgroup.freeze", "1")
            self._wait_event("frozen", 1, deadline, self.thaw)
            return
        state = f"{self._freezer()}/freezer.state"
        write(state, "FROZEN")
        while read(state).strip() != "FROZEN":
            if time.monotonic() > deadline:
                self.thaw()
                raise DeadlineExceeded(f"freeze cgroup {self.path}: not all processes stopped within {_FREEZE_TIMEOUT_S:g} s")
            select.poll().poll(_POLL_MS)  # v1 tells nobody when FREEZING becomes FROZEN; asking again also retries stragglers
            write(state, "FROZEN")

    def thaw(self) -> None:
        if self.v2_directory and _exists(f"{self.v2_directory}/cgroup.freeze"):
            write(f"{self.v2_directory}/cgroup.freeze", "0")
        self._thaw_v1()

    def is_frozen(self) -> bool:
        if self.v2_directory and _exists(f"{self.v2_directory}/cgroup.freeze"):
            return flat_keyed(read_or_empty(f"{self.v2_directory}/cgroup.events")).get("frozen", 0) == 1
        return read_or_empty(f"{self.directory('freezer')}/freezer.state").strip() == "FROZEN"

    def _thaw_v1(self) -> None:
        if "freezer" in self.layout.v1 and _exists(f"{self._freezer()}/freezer.state"):
            write(f"{self._freezer()}/freezer.state", "THAWED")

    def _freezer(self) -> str:
        if self.layout.mode == UNDELEGATED:
            raise Unsupported("pause: no cgroup is delegated to this user", hint=DELEGATE)
        if "freezer" not in self.layout.v1:
            raise Unsupported(
                "pause: this kernel has neither cgroup.freeze nor the freezer controller", hint="cgroup.freeze needs Linux 5.2"
            )
        return self.directory("freezer")

    # --- limits ---

    def apply(self, resources: Resources) -> None:
        """Write OCI `linux.resources`: what is not in it stays as it is. Also the way to change limits of a running container."""
        plan = limits(resources, frozenset(self.layout.v1), self.layout.v2_controllers)
        memory = resources.get("memory") or {}
        if memory.get("checkBeforeUpdate") and 0 < (memory.get("limit") or 0) < self.memory_usage():
            raise Conflict(f"linux.resources.memory.limit: {memory['limit']} is below what is used, {self.memory_usage()}")
        self._enable_controllers({limit.controller for limit in plan if limit.version != V1})
        again = [limit for limit in plan if not self._write_limit(limit, last_try=False)]
        # memory and memory+swap, or quota and period, exclude each other's values for a moment: which of them
        # must move first depends on the old values, so those that were refused get a second turn.
        for limit in again:
            self._write_limit(limit, last_try=True)
        if resources.get("devices"):
            self._apply_devices(resources["devices"])

    def _write_limit(self, limit: Limit, *, last_try: bool) -> bool:
        directory = self.directory(limit.controller) if limit.version == V1 else self.v2_directory
        for file, value in limit.choices:
            try:
                write(f"{directory}/{file}", value)
                return True
            except KernelError as error:
                if error.errno in (errno.EINVAL, errno.EBUSY) and not last_try:
                    return False
                if error.errno != errno.ENOENT:
                    raise _explained(limit, value, error) from error
        if not limit.optional:
            names = " or ".join(file for file, _ in limit.choices)
            raise Unsupported(f"linux.resources.{limit.field}: this kernel has no {names}", hint="leave the limit out")
        return True

    def _apply_devices(self, rules: list[dict[str, Any]]) -> None:
        policy = cgroup_devices.fold(rules)
        if "devices" in self.layout.v1:
            for file, text in cgroup_devices.v1_writes(policy):
                write(f"{self.directory('devices')}/{file}", text)
        elif self.v2_directory:
            cgroup_devices.attach(self.v2_directory, policy)
        else:
            raise Unsupported("linux.resources.devices: this kernel has neither the devices controller nor cgroup v2")

    def _enable_controllers(self, needed: set[str]) -> None:
        """Switch v2 controllers on from the mount point down to the parent; they show up in a group only then."""
        if not self.layout.v2:
            return
        wanted = (needed | set(_ALWAYS_ENABLED)) & self.layout.v2_controllers
        directory = self.layout.v2
        for part in self.path.split("/") if wanted else ():
            missing = sorted(wanted - set(read(f"{directory}/cgroup.subtree_control").split()))
            if missing:
                _enable(directory, missing)
            directory = f"{directory}/{part}"

    # --- what the kernel counted ---

    def oom_kills(self) -> int:
        """How many members the kernel killed for want of memory."""
        directory = self.directory("memory")
        file = "memory.oom_control" if "memory" in self.layout.v1 else "memory.events"
        return flat_keyed(read_or_empty(f"{directory}/{file}")).get("oom_kill", 0) if directory else 0

    def memory_usage(self) -> int:
        """Bytes charged now, page cache included."""
        file = "memory.usage_in_bytes" if "memory" in self.layout.v1 else "memory.current"
        return number(f"{self.directory('memory')}/{file}")

    def stats(self) -> dict[str, Any]:
        """One sample in version-independent words; see `kernel.cgroup_stats`."""
        from stackrun.kernel import cgroup_stats  # not on the start path

        return cgroup_stats.sample(self)

    # --- the end ---

    def delete(self, timeout_s: float = 10.0) -> None:
        """Remove the directories, groups made below them first; a group that is gone is fine.

        Waits up to `timeout_s` for members that are already dying; with living ones it is DeadlineExceeded.
        """
        deadline = time.monotonic() + timeout_s
        if self.v2_directory and _exists(self.v2_directory):
            self._wait_event("populated", 0, deadline)
        for directory in self.directories:
            for one in reversed(_tree(directory)):
                _remove(one, deadline)

    def _wait_event(self, name: str, value: int, deadline: float, undo: Callable[[], None] | None = None) -> None:
        """Sleep on cgroup.events, which the kernel raises POLLPRI on, until `name` is `value`."""
        try:
            events_fd = os.open(f"{self.v2_directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            poller = select.poll()
            poller.register(events_fd, select.POLLPRI)
            while flat_keyed(os.pread(events_fd, 4096, 0).decode()).get(name, value) != value:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not poller.poll(left_s * 1000):
                    if undo:
                        undo()
                    raise DeadlineExceeded(f"cgroup {self.path}: still waiting for {name} {value}")
        except OSError as error:
            if error.errno != errno.ENODEV:  # removed under us
                raise KernelError(f"read {self.v2_directory}/cgroup.events", error.errno or errno.EIO) from error
        finally:
            os.close(events_fd)


def create(layout: Layout, path: str, resources: Resources, *, anew: bool = False) -> Cgroup:
    """Make the group `path` (relative, such as `stackrun/<id>`) with its limits and device rules in force.

    `anew`: what is there of an earlier run is removed before.  Its limits would go on, and a group that has seen cgroup.kill is
    deadly: Linux 6.18 kills whoever is born into it by CLONE_INTO_CGROUP, since it compares the kill's number with that of the
    parent's group (`kill_seq` in kernel/cgroup/cgroup.c).

    Raises Unsupported naming the field this kernel has no file for, Conflict when processes live in a
    group of that path already.  On failure nothing that this call made stays behind.
    """
    unfinished = begin(layout, path, resources, anew=anew)
    try:
        unfinished.finish()
    except BaseException:
        unfinished.group.delete()
        raise
    return unfinished.group


class Unfinished:
    """A group of which that is there what a process can be born in; `finish` makes the version 1 directories, a millisecond's work.

    On failure nothing stays behind of what the call that failed has made.
    """

    __slots__ = ("_clear_until", "_resources", "group")

    def __init__(self, group: Cgroup, resources: Resources, clear_until: float) -> None:
        self.group = group
        self._resources = resources
        self._clear_until = clear_until

    def begin(self) -> None:
        layout = self.group.layout
        if layout.v2:
            self._attempt((layout.v2,), is_first=True, has_limits=not layout.v1)
        else:
            self._refuse_members()

    def finish(self) -> None:
        layout = self.group.layout
        if layout.v1:
            self._attempt(tuple(dict.fromkeys(layout.v1.values())), is_first=False, has_limits=True)

    def _refuse_members(self) -> None:
        """While nobody can be in it by our doing; from here on it is ours to remove."""
        members = self.group.pids()
        if members:
            raise Conflict(f"cgroup {self.group.path} is in use by process {members[0]}")

    def _attempt(self, points: tuple[str, ...], *, is_first: bool, has_limits: bool) -> None:
        group = self.group
        made: list[str] = []
        try:
            for point in points:
                made += _make(point, group.path, self._clear_until, is_cpuset=group.layout.v1.get("cpuset") == point)
            if is_first:
                self._refuse_members()
            if has_limits:
                group.apply(self._resources)
        except BaseException:
            for directory in reversed(made):
                _remove(directory, time.monotonic())
            raise


def begin(layout: Layout, path: str, resources: Resources, *, anew: bool = False) -> Unfinished:
    """`create` up to where a process can be born in the group: with version 2 alone, that is all of it."""
    if layout.mode == UNDELEGATED and set(resources) - {"devices"}:
        raise Unsupported("linux.resources: no cgroup is delegated to this user", hint="leave the limits out")
    if layout.mode != UNDELEGATED and not layout.mount_points:
        raise Unsupported("no cgroup file system is mounted", hint="mount -t cgroup2 none /sys/fs/cgroup")
    clear_until = time.monotonic() + _CLEAR_TIMEOUT_S if anew else 0.0
    unfinished = Unfinished(Cgroup(layout, _checked(path)), resources, clear_until)
    unfinished.begin()
    return unfinished


def _make(point: str, path: str, clear_until: float, *, is_cpuset: bool) -> list[str]:
    """Directories that had to be made, outermost first. Shared parents are made as well and belong to nobody."""
    directory, made = point, []
    parts = path.split("/")
    for index, part in enumerate(parts):
        parent, directory = directory, f"{directory}/{part}"
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            if index < len(parts) - 1 or not clear_until or not _made_anew(directory, clear_until):
                continue
        except OSError as error:
            hint = "it takes root and a writable cgroup file system" if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) else ""
            raise KernelError(f"mkdir {directory}", error.errno or errno.EIO, hint=hint) from error
        if index == len(parts) - 1:
            made.append(directory)
        if is_cpuset:
            _inherit_cpuset(parent, directory)
    return made


def _made_anew(directory: str, deadline: float) -> bool:
    """False when it is in use, by whom is the caller's to find out."""
    try:
        for one in reversed(_tree(directory)):
            _remove(one, deadline)
        os.mkdir(directory, 0o755)
    except (KernelError, OSError):
        return False
    return True


def _inherit_cpuset(parent: str, directory: str) -> None:
    """A v1 cpuset starts empty, and no process may join it before it has cpus and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not read(f"{directory}/{name}").strip():
            write(f"{directory}/{name}", read(f"{parent}/{name}").strip())


def _checked(path: str) -> str:
    parts = path.split("/")
    if not all(parts) or {".", ".."} & set(parts):
        raise InvalidArgument(f"cgroup path {path!r} is not a clean relative path")
    return path


def _enable(directory: str, controllers: list[str]) -> None:
    file = f"{directory}/cgroup.subtree_control"
    try:
        write(file, " ".join(f"+{name}" for name in controllers))
    except KernelError as error:
        if error.errno != errno.EBUSY:
            raise
        # No internal processes: only the real root may have both members and controllers in its children.
        raise Unsupported(
            f"cgroup {directory} holds processes, so its children get no {', '.join(controllers)}",
            hint="move them to a child group first, or run stackrun in a delegated one (systemd: Delegate=yes)",
        ) from error


def _explained(limit: Limit, value: str, error: KernelError) -> KernelError:
    hint = "usage is above the new limit" if error.errno == errno.EBUSY else ""
    return KernelError(f"linux.resources.{limit.field}: write {value!r} to {limit.choices[0][0]}", error.errno, hint=hint)


def _kill_one(pid: int) -> list[int]:
    """SIGKILL by pidfd, so that a number used again is not hit; the pidfd, or nothing when it was gone."""
    pid_fd = -1
    try:
        pid_fd = syscalls.pidfd_open(pid)
        syscalls.pidfd_send_signal(pid_fd, _SIGKILL)
    except KernelError as error:
        if pid_fd >= 0:
            os.close(pid_fd)
        if error.errno != errno.ESRCH:
            raise
        return []
    return [pid_fd]


def _wait_exits(pid_fds: list[int], deadline: float, path: str) -> None:
    try:
        for pid_fd in pid_fds:
            poller = select.poll()
            poller.register(pid_fd, select.POLLIN)
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise DeadlineExceeded(
                    f"kill cgroup {path}: a process does not die", hint="it may hang in the kernel; see its /proc/PID/stack"
                )
    finally:
        for pid_fd in pid_fds:
            os.close(pid_fd)


def _tree(directory: str) -> list[str]:
    """`directory` and all groups below it, parents first; empty when it is gone."""
    try:
        with os.scandir(directory) as entries:
            children = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return [directory, *(below for child in children for below in _tree(child))]


def _remove(directory: str, deadline: float) -> None:
    while True:
        try:
            os.rmdir(directory)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            # v1 raises no event when the last dying member has left, so look again for a bounded time.
            if error.errno != errno.EBUSY or time.monotonic() >= deadline:
                raise KernelError(f"rmdir {directory}", error.errno or errno.EIO) from error
            select.poll().poll(_POLL_MS)


def _exists(path: str) -> bool:
    return os.access(path, os.F_OK)
