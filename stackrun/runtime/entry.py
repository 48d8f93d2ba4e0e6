"""A second process into a running container (exec), from fork to execve.

The forked process joins the container's cgroup, then all its namespaces by init's pidfd, the pid namespace last: that
one takes effect for children, so one more clone makes the process proper, as a child of the shim (CLONE_PARENT), which
can then wait for it.  Both are non-dumpable, so that the container cannot look into them on their way (CVE-2016-9962).
"""

from __future__ import annotations

import os

from stackrun.errors import KernelError
from stackrun.kernel import namespaces, process, sockets, syscalls
from stackrun.runtime import executable, identity, init, interpreter, membership, rootfs, scheduling, steps, terminal, trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackrun.kernel.cgroup import Cgroup
    from stackrun.runtime.spec import Process


class Entry:
    """All that the process needs to know.  `kinds` are the namespaces the container does not share with the host."""

    __slots__ = (
        "container_id",
        "group",
        "init_pid",
        "init_pid_fd",
        "kinds",
        "preserved",
        "process",
        "seccomp",
        "streams",
        "terminal",
        "warnings",
    )

    def __init__(self, container_id: str, wanted: Process, group: Cgroup, of_init: tuple[int, int], kinds: frozenset[str]) -> None:
        self.container_id = container_id
        self.process = wanted
        self.group = group
        self.init_pid, self.init_pid_fd = of_init
        self.kinds = kinds
        self.seccomp = b""
        self.streams: tuple[int, ...] = ()
        self.preserved: tuple[int, ...] = ()
        self.terminal = False
        self.warnings: list[str] = []


def run(entry: Entry, sock: sockets.Socket) -> None:
    """Never returns; ends with 0 when the process proper has been made, with 1 after having said why not."""
    try:
        interpreter.forbid_imports()
        trace.become("exec")
        trace.mark("be forked")
        process.set_name("stackrun-exec")
        scheduling.run_on(entry.process.scheduling.affinity, "initial")
        membership.complete(entry.group)
        entry.warnings = identity.oom_score(entry.process)
        scheduling.run_on(entry.process.scheduling.final_affinity, "final")
        trace.mark("join the cgroups")
        _join_namespaces(entry)
        trace.mark("join the namespaces")
        pid, pid_fd = syscalls.clone3(syscalls.CLONE_PARENT)
        if not pid:
            _run_inside(entry, sock)
        os.close(pid_fd)
        steps.say(sock, steps.SPAWNED, pid=pid)
    except BaseException as error:
        steps.say_failed(sock, error)
        os._exit(1)
    os._exit(0)


def _join_namespaces(entry: Entry) -> None:
    flags = 0
    for kind in entry.kinds - {"pid"}:
        flags |= namespaces.FLAGS[kind]
    try:
        syscalls.setns(entry.init_pid_fd, flags)
        if "user" in entry.kinds:
            namespaces.become_root()
        if "pid" in entry.kinds:
            syscalls.setns(entry.init_pid_fd, syscalls.CLONE_NEWPID)
    except KernelError as error:
        raise KernelError(f"join the container's namespaces: {error.call}", error.errno) from error


def _run_inside(entry: Entry, sock: sockets.Socket) -> None:
    try:
        steps.hear(sock, steps.PREPARE)
        wanted = entry.process
        os.setsid()
        warnings = entry.warnings + init.join_keyring(entry.container_id)
        warnings += identity.limits(wanted) + identity.missing_capabilities(wanted)
        root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        identity.resolve(wanted, root_fd)
        console = _open_terminal(entry, root_fd) if entry.terminal else _take_streams(entry.streams, root_fd)
        os.close(root_fd)
        identity.own_streams(wanted.uid)
        trace.mark("session, limits, user, streams")
        steps.say(sock, steps.PREPARED, (console,) if console >= 0 else (), warnings=warnings)
        if console >= 0:
            os.close(console)
        steps.hear(sock, steps.EXECUTE)
        trace.mark("hear execute")
        identity.assume(wanted, entry.seccomp)
        path = executable.find(wanted.arguments[0], wanted.environment.get("PATH", executable.DEFAULT_PATH))
        init.execute(path, wanted, entry.seccomp, sock, entry.preserved)
    except BaseException as error:
        steps.say_failed(sock, error)
    finally:
        os._exit(1)


def _take_streams(streams: tuple[int, ...], root_fd: int) -> int:
    null_fd = rootfs.open_null(root_fd, os.O_RDWR)
    init.take_streams(streams, null_fd)
    os.close(null_fd)
    return -1


def _open_terminal(entry: Entry, root_fd: int) -> int:
    master, slave = terminal.open_pair(root_fd)
    init.take_terminal(slave)
    if entry.process.console_size:
        terminal.set_size(master, *entry.process.console_size)
    return master
