"""A second process into a running container (exec), from fork to execve.

A helper joins the container's cgroup and all its namespaces by init's pidfd.  Its own pid stays the host's, where nobody inside
can see it, until it has become the container's user, with the container's rights and no descriptor but those it passes on; only
then does it clone the process proper, as a child of the shim (CLONE_PARENT), into the pid namespace.  Both are non-dumpable
(CVE-2016-9962); and whoever may trace all the same (CAP_SYS_PTRACE) finds a process that can do no more than its program will.
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
        _prepare(entry, sock)
        path, is_finished = _assume(entry, sock)
        pid = _clone(is_finished)
        if not pid:
            _run_inside(entry, path, sock, is_finished)
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


def _prepare(entry: Entry, sock: sockets.Socket) -> None:
    """All that takes the runtime's rights, and what others are to hear of it; a terminal's master is sent, not passed on."""
    wanted = entry.process
    warnings = entry.warnings + init.join_keyring(entry.container_id)
    warnings += identity.limits(wanted) + identity.missing_capabilities(wanted)
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    identity.resolve(wanted, root_fd)
    console = _open_terminal(entry, root_fd) if entry.terminal else _take_streams(entry.streams, root_fd)
    identity.own_streams(wanted.uid)
    trace.mark("limits, user, streams")
    steps.say(sock, steps.PREPARED, (console,) if console >= 0 else (), warnings=warnings)
    process.close_all_but((0, 1, 2, *entry.preserved, sock.fileno(), trace.fd))


def _assume(entry: Entry, sock: sockets.Socket) -> tuple[str, bool]:
    """(path of the command, whether rights and filter are the container's already).

    They are where the filter lets by what is still to be called; else it is for the process proper to take them.
    """
    wanted = entry.process
    identity.assume(wanted, entry.seccomp)
    path = executable.find(wanted.arguments[0], wanted.environment.get("PATH", executable.DEFAULT_PATH))
    is_finished = identity.may_finish_early(wanted, entry.seccomp)
    if is_finished:
        identity.finish(wanted, entry.seccomp)
    trace.mark("user, capabilities, working directory")
    return path, is_finished


def _clone(is_filtered: bool) -> int:
    """A sibling of the calling process, in the pid namespace it has joined; 0 in that.  Filters often know clone(2) alone."""
    if is_filtered:
        return syscalls.clone(syscalls.CLONE_PARENT)
    pid, pid_fd = syscalls.clone3(syscalls.CLONE_PARENT)
    if pid:
        os.close(pid_fd)
    return pid


def _run_inside(entry: Entry, path: str, sock: sockets.Socket, is_finished: bool) -> None:
    """What only the process proper can do for itself."""
    wanted = entry.process
    try:
        steps.hear(sock, steps.EXECUTE)
        trace.mark("hear execute")
        os.setsid()
        if entry.terminal:
            terminal.control(0)
        if wanted.dies_with_parent:
            process.die_with_parent()
        if not is_finished:
            wanted.scheduling.apply()
        init.execute(path, wanted, entry.seccomp, sock, entry.preserved, is_finished=is_finished)
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
    init.take_streams((slave, slave, slave), -1)
    if entry.process.console_size:
        terminal.set_size(master, *entry.process.console_size)
    return master
