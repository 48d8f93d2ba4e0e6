"""A launch decided on and laid out: all that can be made before there is a process.

The zygote makes it and forks then.  It could be the shim's work, but every function a forked Python runs costs the
process copies of the pages it touches: done here, an idle container is about 1.5 MB smaller.
"""

from __future__ import annotations

import binascii
import errno
import os

from stackrun.errors import Conflict, KernelError, Unsupported
from stackrun.kernel import cgroup, sockets
from stackrun.runtime import logfile, pipes, rootfs, spec, state, trace
from stackrun.runtime.furniture import Furniture
from stackrun.runtime.undo import Undo
from stackrun.runtime.verdict import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackrun.runtime.init import Alone
    from stackrun.runtime.messages import Message


class Order:
    """What a shim starts with.

    The descriptors that came along are `held`, `attached`, the process's own streams `given`, and `console_fd`, the socket
    that its terminal is to be sent to (or -1).  `strangers` are the zygote's own, which neither shim nor init is to keep.
    `alone` is what there is instead of a shim, or None.
    """

    __slots__ = (
        "alone",
        "attached",
        "console_fd",
        "furniture",
        "given",
        "group",
        "held",
        "listener",
        "log",
        "pipes",
        "plan",
        "request",
        "seccomp",
        "spec",
        "strangers",
        "unfinished",
        "verdict",
    )

    def __init__(self, request: Message, fds: list[int]) -> None:
        self.request = request
        self.held = fds[: request["held"]]
        self.attached = fds[len(self.held) : len(self.held) + request["attached"]]
        rest = fds[len(self.held) + len(self.attached) :]
        self.given = tuple(rest[: request["stdio"]])
        self.console_fd = rest[len(self.given)] if request["console"] else -1
        self.spec = spec.check(request["config"], request["bundle"]) if request.get("config") else spec.load(request["bundle"])
        self.spec.terminal = bool(request["tty"])
        self.plan = rootfs.plan(self.spec, request["overlay"])
        self.seccomp = binascii.a2b_base64(request["seccomp"])
        self.group: cgroup.Cgroup
        self.unfinished: cgroup.Unfinished
        self.verdict: Verdict
        self.furniture: Furniture | None = None
        self.listener: sockets.Socket
        self.log: logfile.JsonLog | None = None
        self.pipes: pipes.Pipes
        self.alone: Alone | None = None
        self.strangers: tuple[int, ...] = ()

    @property
    def waits_for_network(self) -> bool:
        """Whether the root file system can only be made after the network: a sysctl names an interface still to come."""
        return any(path.split("/")[2:3] in (["conf"], ["neigh"]) for path, _ in self.spec.sysctls)

    @property
    def waits(self) -> bool:
        """Whether init is to wait for `prepare`: nothing else must be seen to before it can make its world."""
        return bool(self.alone) or self.waits_for_network or self.spec.in_user_namespace

    def begin_group(self, layout: cgroup.Layout, *, anew: bool = False) -> None:
        """That of the cgroup which there must be before init is; the rest is made by `finish_group` while init comes to be."""
        self.unfinished = cgroup.begin(layout, self.request["cgroup_path"], self.spec.resources, anew=anew)
        self.group = self.unfinished.group
        self.verdict = Verdict()

    def finish_group(self) -> None:
        """Tells shim and init what has come of it, and raises it."""
        try:
            self.unfinished.finish()
        except Exception as error:
            self.verdict.tell(error)
            self.fall_silent()
            raise
        self.verdict.tell()
        trace.mark("cgroups and limits")

    def furnish(self) -> None:
        """Make what init will need next."""
        if self.furniture:
            self.furniture.give()
            trace.mark("file systems made ahead")

    def only_hear(self) -> None:
        """In who is forked of the maker: else its end would not be noticed."""
        self.verdict.only_hear()
        if self.furniture:
            self.furniture.only_take()

    def fall_silent(self) -> None:
        """Nothing more is to be said or heard of what there is for init.  Idempotent."""
        self.verdict.close()
        if self.furniture:
            self.furniture.close()

    def close(self) -> None:
        """Close this process's copies of all descriptors; what is on the file system stays."""
        self.listener.close()
        self.pipes.close()
        self.pipes.close_given()
        if self.log:
            self.log.close()
        for fd in (*self.held, *self.attached, *([self.console_fd] if self.console_fd >= 0 else [])):
            os.close(fd)


def lay_out(request: Message, fds: list[int], layout: cgroup.Layout) -> Order:
    """Check the configuration; make run directory, socket, pipes, log, begin the cgroup.  On failure nothing of it is left.

    On success the order owns `fds`.
    """
    order = Order(request, fds)
    if order.spec.hooks:
        raise Unsupported("hooks: a container of the engine has none", hint="stackrun-runtime runs hooks")
    trace.mark("check the configuration")
    with Undo() as undo:
        order.listener = _listen(request["run_dir"])
        undo.add(clear, order.listener, request["run_dir"])
        trace.mark("run directory and socket")
        order.begin_group(layout, anew=True)
        if not order.spec.in_user_namespace:
            order.furniture = Furniture(order.plan)
        undo.add(order.group.delete)
        undo.add(order.fall_silent)
        trace.mark("a cgroup to be born in")
        order.pipes = pipes.Pipes(terminal=order.spec.terminal, wants_input=request["open_stdin"], wants_output=True, given=order.given)
        undo.add(order.pipes.close)
        log = request["log"]
        if log:
            order.log = logfile.JsonLog(log["path"], log["max_bytes"], log["max_files"])
            undo.add(order.log.close)
        _make_overlay_directories(request["overlay"])
        trace.mark("pipes, log, directories")
        undo.keep()
    return order


def _listen(run_dir: str) -> sockets.Socket:
    """The socket of this container, which also is its lock: Conflict when another shim answers there."""
    path = state.socket_path(run_dir)
    listener = sockets.Socket(sockets.AF_UNIX, sockets.SOCK_SEQPACKET)
    try:
        os.makedirs(run_dir, mode=0o700, exist_ok=True)
        if _answers(path):
            raise Conflict("the container is running already")
        for stale in (path, state.exit_path(run_dir), state.crash_path(run_dir)):
            state.remove(stale)
        listener.bind(path)
        listener.listen(16)
    except OSError as error:
        listener.close()
        raise KernelError(f"bind {path}", error.errno or errno.EIO) from error
    except Conflict:
        listener.close()
        raise
    return listener


def _answers(path: str) -> bool:
    probe = sockets.Socket(sockets.AF_UNIX, sockets.SOCK_SEQPACKET)
    try:
        probe.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    finally:
        probe.close()
    return True


def clear(listener: sockets.Socket, run_dir: str) -> None:
    """Take the socket and the run directory away; what is still in it (an exit record) keeps the directory."""
    listener.close()
    for path in (state.socket_path(run_dir), state.state_path(run_dir)):
        state.remove(path)
    try:
        os.rmdir(run_dir)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise


def _make_overlay_directories(overlay: Message | None) -> None:
    """0755: the root directory of an overlay shows its upper directory's mode."""
    for name in ("upper", "work", "target"):
        path = (overlay or {}).get(name)
        if path:
            os.makedirs(path, mode=0o755, exist_ok=True)
