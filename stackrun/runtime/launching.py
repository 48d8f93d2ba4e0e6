"""The shim's side of a birth: cgroup, namespaces, init, and the way back when any of it fails."""

from __future__ import annotations

import errno
import os

from stackrun.errors import KernelError
from stackrun.kernel import mounts, namespaces, privileges, process, signals, sockets, syscalls
from stackrun.runtime import entry, init, membership, messages, steps, terminal, trace
from stackrun.runtime import order as orders
from stackrun.runtime.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from stackrun.kernel.cgroup import Cgroup
    from stackrun.runtime.order import Order
    from stackrun.runtime.spec import Mount, Spec

KILL_TIMEOUT_S = 10.0
ENTRY_TIMEOUT_S = 10.0
"""For what an exec's process does inside, a millisecond's work: its neighbours can stop it, and the shim waits meanwhile."""


class Born:
    """A container whose init exists: its process, its group, and the conversation with it.

    `is_told`: init may prepare; `is_prepared`: it has, and its answer was heard.  `mounts_fd` keeps its mount namespace: without,
    the kernel would take that apart before it tells that init has ended.
    """

    __slots__ = ("group", "is_prepared", "is_told", "mounts_fd", "netns_fd", "order", "pid", "pid_fd", "sock", "warnings")

    def __init__(self, order: Order) -> None:
        self.order = order
        self.group = order.group
        self.pid = 0
        self.pid_fd = -1
        self.netns_fd = -1
        self.mounts_fd = -1
        self.sock: sockets.Socket
        self.is_prepared = False
        self.is_told = not order.waits
        self.warnings: list[str] = []

    def let_prepare(self) -> None:
        """Let init make its world, while others see to the network."""
        if not self.is_told:
            steps.say_on(self.sock, steps.PREPARE)
            self.is_told = True

    def prepare(self) -> int:
        """Wait until init has made its world; the terminal's master or -1."""
        self.let_prepare()
        message, fds = steps.hear(self.sock, steps.PREPARED)
        self.warnings += message["warnings"]
        self.is_prepared = True
        trace.mark("hear that init is prepared")
        return fds[0] if fds else -1

    def execute(self) -> None:
        """Let init become the program; returns when it has."""
        steps.say_on(self.sock, steps.EXECUTE)
        steps.hear_end(self.sock)
        trace.mark("see execve happen")
        self.sock.close()


def bear(order: Order, meanwhile: Callable[[], None]) -> Born:
    """Clone init into its namespaces and cgroup; `meanwhile` is called while it is on its way.

    On failure everything of `order` is undone.
    """
    with Undo() as undo:
        order.only_hear()
        undo.add(forsake, order)
        undo.add(order.verdict.wait)
        born = Born(order)
        clone_init(born)
        undo.add(kill, born)
        trace.mark("clone init")
        meanwhile()
        order.verdict.hear()
        order.fall_silent()
        settle(born)
        born.netns_fd = namespaces.open_namespace(f"/proc/{born.pid}/ns/net")
        undo.add(os.close, born.netns_fd)
        born.mounts_fd = namespaces.open_namespace(f"/proc/{born.pid}/ns/mnt")
        undo.add(os.close, born.mounts_fd)
        if not order.waits_for_network:
            born.let_prepare()
        order.pipes.close_inner()
        order.pipes.close_given()
        undo.keep()
    return born


def settle(born: Born) -> None:
    """What a new user namespace cannot do for itself: its id maps, and moving into a cgroup."""
    checked = born.order.spec
    if checked.uid_mappings:
        namespaces.write_id_maps(born.pid, checked.uid_mappings, checked.gid_mappings)
        process.forbid_dump()
    if checked.in_user_namespace:
        born.group.join(born.pid)
    for mount in checked.given_trees:
        os.close(mount.tree_fd)
        mount.tree_fd = -1
    if checked.cgroup_namespace_fd >= 0:
        os.close(checked.cgroup_namespace_fd)
        checked.cgroup_namespace_fd = -1


def forsake(order: Order) -> None:
    """Remove what `lay_out` has made."""
    order.fall_silent()
    order.pipes.close()
    order.group.delete()
    orders.clear(order.listener, order.request["run_dir"])


def clone_init(born: Born) -> None:
    """clone3 with every new namespace at once; those to be joined are visited meanwhile, so that init is born inside.

    The cgroup namespace comes later, from inside its group, whose directory becomes the root of a new one; and from inside
    another one nobody could be born into the group (cgroup_namespaces(7), nsdelegate).
    """
    checked = born.order.spec
    wanted = checked.namespaces
    flags = 0
    for kind, path in wanted.items():
        if not path and kind not in ("cgroup", "time"):
            flags |= namespaces.FLAGS[kind]
    if checked.given_trees:
        open_trees(checked)
    if checked.uid_mappings and privileges.current().rootless:
        process.allow_dump()  # or init's maps would be root's alone to write; until then it waits, and has done nothing
    if wanted.get("cgroup"):
        checked.cgroup_namespace_fd = namespaces.open_namespace(wanted["cgroup"])
    with Undo() as visits:
        if wanted.get("time") == "":
            # It is for all children to come, hooks among them, until this process goes home.
            home = namespaces.open_namespace("/proc/self/ns/time")
            visits.add(os.close, home)
            visits.add(namespaces.join, home, "time")
            namespaces.new_time_namespace(checked.time_offsets)
        if wanted.get("user"):
            _clone_below(born, flags)
            return
        ours, theirs = messages.pair()
        for kind, path in wanted.items():
            if path and kind != "cgroup":
                fd = namespaces.open_namespace(path)
                visits.add(os.close, fd)
                visit = namespaces.Visit(fd, kind)
                visit.__enter__()
                visits.add(visit.__exit__)
        born.pid, born.pid_fd = _clone(flags, born.group)
        if not born.pid:
            ours.close()
            init.run(init.Launch(born.order), theirs)
    theirs.close()
    born.sock = ours


def open_trees(checked: Spec) -> None:
    """While this process has the host's rights."""
    for mount in checked.given_trees:
        try:
            mount.tree_fd = _source_tree(mount)
            # Made in the host's mount namespace, it would be a peer of what it copies.
            mounts.set_propagation(mount.tree_fd, syscalls.MS_SLAVE, recursive=True)
            if mount.id_mappings:
                fd = namespaces.user_namespace(*mount.id_mappings)
                mounts.map_ids(mount.tree_fd, fd, recursive=mount.options.maps_ids == "ridmap")
                os.close(fd)
        except KernelError as error:
            hint = "its file system may not know mapped ids" if mount.id_mappings and error.errno == errno.EINVAL else error.hint
            raise KernelError(f"bind {mount.source} on {mount.destination}: {error.call}", error.errno, hint=hint) from error


def _source_tree(mount: Mount) -> int:
    """A detached copy, which can be mounted anywhere; one of another mount namespace's can only be made there."""
    recursive = mount.options.recursive
    if not mount.visited:
        return mounts.clone_source(mount.source, recursive=recursive, is_resolved=mount.is_resolved)
    fd = namespaces.open_namespace(mount.visited)
    try:
        with namespaces.Visit(fd, "mount"):  # whose root is that of links on the way, too
            return mounts.clone_source(mount.source, recursive=recursive, is_resolved=False)
    finally:
        os.close(fd)


def _clone_below(born: Born, flags: int) -> None:
    """`clone_init` into a user namespace that exists: there is no way back out of one, so a helper goes there and stays."""
    wanted = born.order.spec.namespaces
    fds = {kind: namespaces.open_namespace(path) for kind, path in wanted.items() if path and kind != "cgroup"}
    ours, theirs = messages.pair()
    helper, helper_fd = syscalls.clone3(0, signals.SIGCHLD)
    if not helper:
        ours.close()
        _be_helper(born, flags, fds, theirs)
    theirs.close()
    for fd in (*fds.values(), helper_fd):
        os.close(fd)
    try:
        born.pid = steps.hear(ours, steps.SPAWNED)[0]["pid"]
    finally:
        os.waitpid(helper, 0)
    born.pid_fd = syscalls.pidfd_open(born.pid)
    born.sock = ours


def _be_helper(born: Born, flags: int, fds: dict[str, int], sock: sockets.Socket) -> None:
    """Never returns.  The user namespace last: some of the others may belong to the host's.  In it this process has its root's
    rights, but is still the host's user, who may write to the cgroup."""
    try:
        for kind in sorted(fds, key=lambda kind: kind == "user"):
            namespaces.join(fds[kind], kind)
        pid, _ = _clone(flags | syscalls.CLONE_PARENT, born.group, exit_signal=0)
        if not pid:
            init.run(init.Launch(born.order), sock)
        steps.say(sock, steps.SPAWNED, pid=pid)
    except BaseException as error:
        steps.say_failed(sock, error)
    finally:
        os._exit(0)


def _clone(flags: int, group: Cgroup, exit_signal: int = signals.SIGCHLD) -> tuple[int, int]:
    try:
        return membership.clone(group, flags, exit_signal)
    except KernelError as error:
        kinds = ", ".join(kind for kind, flag in namespaces.FLAGS.items() if flags & flag)
        raise KernelError(f"clone into new namespaces ({kinds}): {error.call}", error.errno) from error


def kill(born: Born) -> None:
    """End init and all that is in its cgroup."""
    _kill(born.pid_fd)
    os.waitpid(born.pid, 0)
    os.close(born.pid_fd)
    born.sock.close()
    born.group.kill(KILL_TIMEOUT_S)


def _kill(pid_fd: int) -> None:
    try:
        syscalls.pidfd_send_signal(pid_fd, signals.SIGKILL)
    except KernelError:
        return  # ESRCH: it has ended by itself


class Entered:
    """A process on its way into the container by exec, which waits to be told `execute`."""

    __slots__ = ("console", "pid", "pid_fd", "sock", "warnings")

    def __init__(self, sock: sockets.Socket) -> None:
        self.sock = sock
        self.pid = 0
        self.pid_fd = -1
        self.console = -1
        self.warnings: list[str] = []

    def hear(self) -> None:
        message, fds = steps.hear(self.sock, steps.PREPARED)
        self.warnings = message["warnings"]
        if fds:
            self.console = fds[0]
        self.pid = steps.hear(self.sock, steps.SPAWNED)[0]["pid"]
        self.pid_fd = syscalls.pidfd_open(self.pid)
        trace.mark("hear of the process inside")

    def abandon(self) -> None:
        """It may have been stopped from inside, and would never end by itself then."""
        self.sock.close()
        if self.console >= 0:
            os.close(self.console)
        if self.pid:
            _kill(self.pid_fd)
            os.waitpid(self.pid, 0)
            os.close(self.pid_fd)


def send_in(wanted: entry.Entry) -> Entered:
    """Fork, join, prepare, short of execve; raises what went wrong, and has reaped all it made then."""
    ours, theirs = messages.pair()
    helper, helper_fd = membership.clone(wanted.group, 0, signals.SIGCHLD, wanted.init_pid)
    if not helper:
        ours.close()
        entry.run(wanted, theirs)
    theirs.close()
    os.close(helper_fd)
    entered = Entered(ours)
    try:
        try:
            entered.hear()
        finally:
            os.waitpid(helper, 0)
    except BaseException:
        entered.abandon()
        raise
    return entered


def enter(wanted: entry.Entry, console_size: list[int] | None) -> Entered:
    """`send_in`, and let it execute; returns when it has."""
    entered = send_in(wanted)
    try:
        if entered.console >= 0 and console_size:
            terminal.set_size(entered.console, *console_size)
        steps.say_on(entered.sock, steps.EXECUTE)
        steps.hear_end_within(entered.sock, ENTRY_TIMEOUT_S)
    except BaseException:
        entered.abandon()
        raise
    trace.mark("see the exec's execve happen")
    entered.sock.close()
    return entered
