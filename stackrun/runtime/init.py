"""The container's first process, from clone to execve.

It runs in the forked interpreter, already inside the new namespaces, and speaks `steps` with its shim.  From the
clone on nothing may be imported, looked up by name service or read as source: all of that would soon come from the
container's files.
"""

from __future__ import annotations

import errno
import os
import stat

from stackrun.errors import KernelError
from stackrun.kernel import mounts, namespaces, paths, process, signals, sockets, syscalls
from stackrun.runtime import executable, identity, interpreter, membership, rootfs, steps, terminal, trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackrun.runtime.order import Order
    from stackrun.runtime.record import Lock
    from stackrun.runtime.spec import Process


class Alone:
    """What a container without a shim has instead (`stackrun-runtime`).

    `door` is the listening socket where `start` knocks, `lock` what `create` holds meanwhile, `preserved` are descriptors for
    3, 4 …, which numbers are free.
    """

    __slots__ = ("door", "joins_keyring", "lock", "pivots", "preserved")

    def __init__(self, door: sockets.Socket, lock: Lock, preserved: tuple[int, ...], joins_keyring: bool, pivots: bool) -> None:
        self.door = door
        self.lock = lock
        self.preserved = preserved
        self.joins_keyring = joins_keyring
        self.pivots = pivots


class Launch:
    """All that init needs to know.  `streams` are the descriptors for 0, 1 and 2; empty with a terminal."""

    __slots__ = ("alone", "container_id", "group", "order", "plan", "reaper", "seccomp", "spec", "streams", "waits")

    def __init__(self, order: Order) -> None:
        self.container_id: str = order.request["id"]
        self.reaper = bool(order.request["init"])
        self.spec = order.spec
        self.plan = order.plan
        self.seccomp = order.seccomp
        self.group = order.group
        self.order = order
        self.streams = order.pipes.inner
        self.alone = order.alone
        self.waits = order.waits


def run(launch: Launch, sock: sockets.Socket) -> None:
    """Never returns: the process becomes the container's program or ends with 1 after having said why."""
    try:
        interpreter.forbid_imports()
        trace.become("init")
        trace.mark("be cloned into new namespaces")
        for fd in launch.order.strangers:
            os.close(fd)
        process.set_name("stackrun-init")
        if launch.alone:
            launch.alone.lock.let_go()
        launch.order.only_hear()
        if launch.waits:
            steps.hear(sock, steps.PREPARE)
            trace.mark("hear prepare")
        launch.spec.hooks.sock = sock
        warnings, console = _prepare(launch)
        path = _assume(launch) if launch.alone else ""
        steps.say(sock, steps.PREPARED, (console,) if console >= 0 else (), warnings=warnings)
        if console >= 0:
            os.close(console)
        if launch.alone:
            sock.close()
            sock, _ = launch.alone.door.accept()
        trace.mark("say prepared")
        steps.hear(sock, steps.EXECUTE)
        trace.mark("hear execute")
        launch.spec.hooks.run("startContainer", "created", {**launch.spec.hooks.state, "pid": os.getpid()})
        _become(launch, sock, path)
    except BaseException as error:
        steps.say_failed(sock, error)
        # Whoever is about to take hold of this process and its namespaces is to find it, and then to hear why it has failed.
        steps.hear_hang_up(sock)
    finally:
        os._exit(1)


def _prepare(launch: Launch) -> tuple[list[str], int]:
    """(warnings, master of the terminal or -1)"""
    spec = launch.spec
    os.umask(0)
    # Somebody else's hooks look for this process there; the engine's containers have none, and the time to make more of it at once.
    joins_late = not launch.alone and not spec.in_user_namespace
    if not joins_late:
        _join_cgroups(launch)
    if spec.in_user_namespace:
        process.forbid_dump()
        namespaces.become_root()
    os.setsid()
    warnings = join_keyring(launch.container_id) if not launch.alone or launch.alone.joins_keyring else []
    if spec.hostname:
        syscalls.sethostname(spec.hostname)
    if spec.domainname:
        syscalls.setdomainname(spec.domainname)
    warnings += identity.oom_score(spec.process) + identity.limits(spec.process) + identity.missing_capabilities(spec.process)
    spec.process.scheduling.apply()
    trace.mark("session, keyring, names, limits")
    tree = rootfs.Tree(launch.group, (lambda: _join_cgroups(launch)) if joins_late else None)
    trace.mark("a procfs of its own")
    if launch.order.furniture:
        launch.order.furniture.take(tree)
        trace.mark("take what was made ahead")
    tree.execute(launch.plan)
    console = _open_console(launch, tree) if spec.terminal else _take_streams(launch.streams, tree)
    trace.mark("take the streams")
    (mounts.pivot if not launch.alone or launch.alone.pivots else mounts.move_root)(tree.root_fd)
    if spec.root_propagation in (syscalls.MS_SHARED, syscalls.MS_UNBINDABLE):
        syscalls.mount(None, "/", None, spec.root_propagation)  # the others it has from the host's by now
    trace.mark("pivot_root")
    identity.resolve(spec.process, tree.root_fd)
    trace.mark("look the user up")
    tree.close()
    identity.own_streams(spec.process.uid)
    return warnings, console


def _join_cgroups(launch: Launch) -> None:
    """All hierarchies, and then the cgroup namespace, of which they become the roots."""
    spec = launch.spec
    if not spec.in_user_namespace:
        launch.order.verdict.hear()
        trace.mark("hear that the cgroups are there")
        membership.complete(launch.group)
    if spec.namespaces.get("cgroup") == "":
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    elif spec.cgroup_namespace_fd >= 0:
        syscalls.setns(spec.cgroup_namespace_fd, syscalls.CLONE_NEWCGROUP)
        os.close(spec.cgroup_namespace_fd)
    trace.mark("join the cgroups")


def join_keyring(container_id: str) -> list[str]:
    """A session keyring of the container's own; keys of the host's session are not for it (keyrings(7))."""
    try:
        syscalls.join_session_keyring(f"_ses.{container_id}")
    except KernelError as error:
        return [f"session keyring left out: {error}"]
    return []


def _take_streams(streams: tuple[int, ...], tree: rootfs.Tree) -> int:
    null_fd = rootfs.open_null(tree.root_fd, os.O_RDWR)
    take_streams(streams, null_fd)
    os.close(null_fd)
    return -1


def take_streams(streams: tuple[int, ...], null_fd: int) -> None:
    """Make `streams` 0, 1 and 2, with the null device where one is -1."""
    for number, fd in enumerate(streams):
        os.dup2(fd if fd >= 0 else null_fd, number)


def _open_console(launch: Launch, tree: rootfs.Tree) -> int:
    """A terminal as 0, 1 and 2, as controlling terminal, and bound at /dev/console; gives its master."""
    master, slave = terminal.open_pair(tree.root_fd)
    target_fd = paths.make_file(tree.root_fd, "/dev/console", follow=False)
    if not stat.S_ISREG(os.fstat(target_fd).st_mode) and not stat.S_ISCHR(os.fstat(target_fd).st_mode):
        # A volume's link there would have the terminal mounted over what it names (CVE-2025-52565).
        raise KernelError("mount the terminal on /dev/console", errno.ELOOP, hint="it is neither a file nor a device")
    mount_fd = mounts.clone_tree(slave, "", recursive=False)
    tree.place(mount_fd, target_fd, "/dev/console")
    os.close(target_fd)
    os.close(mount_fd)
    take_terminal(slave)
    if launch.spec.process.console_size:
        terminal.set_size(master, *launch.spec.process.console_size)
    return master


def take_terminal(slave: int) -> None:
    """The calling session leader's 0, 1 and 2 and controlling terminal."""
    terminal.control(slave)
    take_streams((slave, slave, slave), -1)
    if slave > 2:
        os.close(slave)


def _assume(launch: Launch) -> str:
    """Become the container's user; the path of its command."""
    wanted = launch.spec.process
    identity.assume(wanted, launch.seccomp)
    trace.mark("user, capabilities, working directory")
    return executable.find(wanted.arguments[0], wanted.environment.get("PATH", executable.DEFAULT_PATH))


def _become(launch: Launch, sock: sockets.Socket, path: str) -> None:
    wanted = launch.spec.process
    path = path or _assume(launch)
    if launch.reaper:
        # Before the fork: a SIGCHLD that comes while it is neither blocked nor handled is lost.
        process.block_all_signals()
        child = os.fork()
        if child:
            sock.close()
            _reap(child, wanted, launch.seccomp)
        os.setpgid(0, 0)
        _take_foreground()
    execute(path, wanted, launch.seccomp, sock, launch.alone.preserved if launch.alone else ())


def execute(
    path: str,
    wanted: Process,
    seccomp_program: bytes,
    sock: sockets.Socket,
    preserved: tuple[int, ...] = (),
    *,
    is_finished: bool = False,
) -> None:
    """The end of the road: raises why it did not work.  `is_finished`: `identity.finish` was called before."""
    process.reset_signals()
    identity.lower(wanted)
    for number, fd in enumerate(preserved, 3):
        os.dup2(fd, number)
    # Python's descriptors are close-on-exec already; this is for those that somebody else's code has opened.
    syscalls.close_range(3 + len(preserved), flags=syscalls.CLOSE_RANGE_CLOEXEC)
    trace.mark("signals, rlimits, close-on-exec; seccomp and execve next")
    if not is_finished:
        identity.finish(wanted, seccomp_program, lambda listener: steps.say(sock, steps.FILTERED, (listener,)))
    raise executable.execute(path, wanted.arguments, wanted.environment)


def _take_foreground() -> None:
    """A process group in the background of its terminal would be stopped when it reads; tcsetpgrp itself must not stop us."""
    if os.isatty(0):
        signals.signal(signals.SIGTTOU, signals.SIG_IGN)
        os.tcsetpgrp(0, os.getpgrp())


def _reap(child: int, wanted: Process, seccomp_program: bytes) -> None:
    """Be a tiny init: pass signals on to `child`, reap orphans, end as `child` ends.  Never returns.

    Signals are blocked and waited for: a pid 1 that has neither handler nor block would not even get them (kill(2)).
    """
    process.set_name("init")
    syscalls.close_range(0)
    identity.finish(wanted, seccomp_program)
    wanted_signals = signals.valid_signals()
    while True:
        signum = signals.sigwaitinfo(wanted_signals).si_signo
        if signum != signals.SIGCHLD:
            os.kill(child, signum)
            continue
        _reap_ended(child)


def _reap_ended(child: int) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == child:
            os._exit(process.exit_code(status)[0])
        if not pid:
            return
