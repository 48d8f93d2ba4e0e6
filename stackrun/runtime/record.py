"""What `stackrun-runtime` remembers of a container, in a directory of its own below --root, and what it does with that::

    <root>/<id>/container.json   {"id", "bundle", "rootfs", "cgroup_path", "created", "annotations", "hooks", "kinds", "pid",
                                "start_ticks", "warnings"}
    <root>/<id>/seccomp          the filter, for `exec`
    <root>/<id>/run/shim.sock    the door of an init that waits for `start`, which removes it

No process of ours stays with a container: init belongs to who called `create`, and all else can be asked of the kernel.
"""

from __future__ import annotations

import errno
import fcntl
import os

from stackrun.errors import Conflict, InvalidArgument, KernelError, NotFound
from stackrun.kernel import cgroup, process, signals, syscalls
from stackrun.runtime import state
from stackrun.runtime.hooks import Hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-")
_ID_LENGTH_MAX = 255
"""As long as a directory's name may be; runc says 1024 and fails in mkdir."""
SPEC_VERSION = "1.2.0"
KILL_TIMEOUT_S = 10.0


class Lock:
    """flock(2) of a container's directory, held by a `with`."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._fd = -1

    def __enter__(self) -> None:
        try:
            self._fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound("container does not exist") from None
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)  # closing would not do: a child on its way may still have a copy
        self.let_go()

    def let_go(self) -> None:
        """Of a copy that a child has: the lock would outlive a command that is killed, as long as the child lives (flock(2))."""
        os.close(self._fd)


class Record:
    """One container below `root`, which exists (`load`) or is about to (`reserve`)."""

    def __init__(self, root: str, container_id: str) -> None:
        if not 0 < len(container_id) <= _ID_LENGTH_MAX or set(container_id) - _ID_CHARACTERS or container_id in (".", ".."):
            raise InvalidArgument(f"invalid container ID format: {container_id!r}")
        self.id = container_id
        self.directory = f"{root}/{container_id}"
        self.run_dir = f"{self.directory}/run"
        self.lock = Lock(self.directory)
        """`with`: one verb that changes something at a time.  NotFound when the container is gone."""
        self.values: dict[str, Any] = {}

    @classmethod
    def reserve(cls, root: str, container_id: str) -> Record:
        record = cls(root, container_id)
        os.makedirs(root, mode=0o711, exist_ok=True)
        try:
            os.mkdir(record.directory, 0o711)
        except FileExistsError:
            raise Conflict("container with given ID already exists") from None
        os.mkdir(record.run_dir, 0o700)
        return record

    @classmethod
    def load(cls, root: str, container_id: str) -> Record:
        record = cls(root, container_id)
        values = state.read(f"{record.directory}/container.json")
        if values is None:
            raise NotFound("container does not exist")
        record.values = values
        return record

    def save(self, **values: Any) -> None:
        self.values.update(values)
        state.write(f"{self.directory}/container.json", self.values)

    # --- what it is ---

    def group(self) -> cgroup.Cgroup:
        return cgroup.Cgroup.load(cgroup.detect(), self.values["cgroup_path"])

    def is_alive(self) -> bool:
        """Whether init runs; one that has ended and was not waited for counts as gone."""
        return bool(self.values["pid"]) and state.is_alive(self.values["pid"], self.values["start_ticks"])

    def status(self) -> str:
        """`creating`, `created`, `running`, `paused` or `stopped`."""
        if not self.values["pid"]:
            return "creating"
        if not self.is_alive():
            return "stopped"
        if os.path.exists(state.socket_path(self.run_dir)):
            return "created"
        return "paused" if self.group().is_frozen() else "running"

    def state(self) -> dict[str, Any]:
        """The OCI state object ("State" in runtime.md) and what runc's `list` adds."""
        status = self.status()
        return {
            "ociVersion": SPEC_VERSION,
            "id": self.id,
            "pid": 0 if status == "stopped" else self.values["pid"],
            "status": status,
            "bundle": self.values["bundle"],
            "rootfs": self.values["rootfs"],
            "created": self.values["created"],
            "annotations": self.values["annotations"],
            "owner": _owner(os.stat(self.directory).st_uid),
        }

    def hook_state(self) -> dict[str, Any]:
        """What hooks are told, short of `status`."""
        told = {"ociVersion": SPEC_VERSION, "id": self.id, "pid": self.values["pid"], "bundle": self.values["bundle"]}
        return {**told, "annotations": self.values["annotations"]} if self.values["annotations"] else told

    # --- what is done to it ---

    def open_init(self) -> int:
        """A pidfd of init, certainly of it; NotFound when it has ended."""
        try:
            pid_fd = syscalls.pidfd_open(self.values["pid"])
        except KernelError as error:
            raise NotFound("container not running") from error
        if not self.is_alive():
            os.close(pid_fd)
            raise NotFound("container not running")
        return pid_fd

    def members(self) -> tuple[int, ...]:
        """Without a cgroup, those of its pid namespace."""
        group = self.group()
        if group.directories:
            return group.pids()
        return process.in_pid_namespace_of(self.values["pid"]) if self.is_alive() else ()

    def signal(self, signum: int, *, all_processes: bool = False) -> None:
        if all_processes:
            for pid in self.members():
                _send(pid, signum)
        else:
            pid_fd = self.open_init()
            try:
                syscalls.pidfd_send_signal(pid_fd, signum)
            except KernelError as error:
                if error.errno == errno.ESRCH:
                    raise NotFound("container not running") from error
                raise
            finally:
                os.close(pid_fd)
        if signum == signals.SIGKILL and self.group().is_frozen():
            self.group().thaw()  # a frozen process of cgroup v1 does not even die

    def remove(self) -> list[str]:
        """Kill what still runs and remove everything; why hooks failed."""
        self._end_init()
        group = self.group()
        group.kill(KILL_TIMEOUT_S)
        group.delete()
        hooks = Hooks(self.values["hooks"])
        failures = hooks.run_all("poststop", "stopped", {**self.hook_state(), "pid": 0}) if hooks else []
        _remove_tree(self.directory)
        return failures

    def _end_init(self) -> None:
        try:
            pid_fd = self.open_init()
        except NotFound:
            return  # it may end by itself at any moment, as after a hook of its own that failed
        _kill_init(pid_fd)

    def forget(self) -> None:
        """Remove a directory whose `create` was killed before it had written anything down."""
        if os.path.isdir(self.directory):
            with self.lock:
                if state.read(f"{self.directory}/container.json") is None:
                    _remove_tree(self.directory)


def _kill_init(pid_fd: int) -> None:
    """By itself before its cgroup: with it goes its pid namespace, even where the cgroup has been taken away."""
    import select

    try:
        syscalls.pidfd_send_signal(pid_fd, signals.SIGKILL)
        poller = select.poll()
        poller.register(pid_fd, select.POLLIN)
        poller.poll(100)  # not when it is frozen: that is for the cgroup
    except KernelError as error:
        if error.errno != errno.ESRCH:
            raise
    finally:
        os.close(pid_fd)


def _remove_tree(directory: str) -> None:
    """A directory of ours, which holds no links and may be gone."""
    try:
        entries = list(os.scandir(directory))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            _remove_tree(entry.path)
        else:
            state.remove(entry.path)
    os.rmdir(directory)


def _send(pid: int, signum: int) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return


def _owner(uid: int) -> str:
    if not uid:
        return "root"
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def all_records(root: str) -> list[Record]:
    names = sorted(os.listdir(root)) if os.path.isdir(root) else []
    found = []
    for name in names:
        try:
            found.append(Record.load(root, name))
        except (InvalidArgument, NotFound):
            continue  # no container of ours, or one that is being made or removed right now
    return found
