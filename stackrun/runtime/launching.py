"""The shim's side of a birth: cgroup, namespaces, init, and the way back when any of it fails."""

from __future__ import annotations

import base64
import os
import signal
import socket
from contextlib import ExitStack

from stackrun.errors import KernelError
from stackrun.kernel import cgroup, namespaces, syscalls
from stackrun.runtime import entry, init, messages, pipes, spec, steps, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackrun.runtime.messages import Message

KILL_TIMEOUT_S = 10.0


class Born:
    """A container whose init exists: its process, its group, and the conversation with it."""

    __slots__ = ("group", "is_prepared", "pid", "pid_fd", "pipes", "seccomp", "sock", "spec", "warnings")

    def __init__(self, checked: spec.Spec, group: cgroup.Cgroup) -> None:
        self.spec = checked
        self.group = group
        self.pid = 0
        self.pid_fd = -1
        self.pipes: pipes.Pipes
        self.sock: socket.socket
        self.seccomp = b""
        self.is_prepared = False
        self.warnings: list[str] = []

    def prepare(self) -> int:
        """Let init make its world; the terminal's master or -1."""
        steps.say(self.sock, steps.PREPARE)
        message, fds = steps.hear(self.sock, steps.PREPARED)
        self.warnings += message["warnings"]
        self.is_prepared = True
        return fds[0] if fds else -1

    def execute(self) -> None:
        """Let init become the program; returns when it has."""
        steps.say(self.sock, steps.EXECUTE)
        steps.hear_end(self.sock)
        self.sock.close()


def bear(request: Message, given_streams: tuple[int, ...]) -> Born:
    """Make the cgroup and init in its namespaces, waiting.  On failure nothing is left."""
    checked = spec.load(request["bundle"])
    checked.terminal = bool(request["tty"])
    with ExitStack() as undo:
        group = cgroup.create(cgroup.detect(), request["cgroup_path"], checked.resources)
        undo.callback(group.delete)
        born = Born(checked, group)
        born.seccomp = base64.b64decode(request["seccomp"])
        born.pipes = pipes.Pipes(
            terminal=checked.terminal, wants_input=request["open_stdin"], wants_output=True, given=given_streams
        )
        undo.callback(born.pipes.close)
        _make_overlay_directories(request["overlay"])
        launch = _launch(request, born)
        _clone_init(launch, born)
        undo.callback(kill, born)
        if checked.uid_mappings:
            namespaces.write_id_maps(born.pid, checked.uid_mappings, checked.gid_mappings)
        if group.layout.mode != "v2":
            group.join(born.pid)
        born.pipes.close_inner()
        undo.pop_all()
    return born


def _launch(request: Message, born: Born) -> init.Launch:
    launch = init.Launch(request["id"], born.spec, born.group, request["overlay"])
    launch.streams = born.pipes.inner
    launch.reaper = request["init"]
    launch.seccomp = born.seccomp
    # Entering the cgroup comes first on v1, so that the namespace's root is the container's group (cgroup_namespaces(7)).
    launch.unshare_cgroup = born.spec.namespaces.get("cgroup") == "" and born.group.layout.mode != "v2"
    return launch


def _make_overlay_directories(overlay: Message | None) -> None:
    """0755: the root directory of an overlay shows its upper directory's mode."""
    for name in ("upper", "work", "target"):
        path = (overlay or {}).get(name)
        if path:
            os.makedirs(path, mode=0o755, exist_ok=True)


def _clone_init(launch: init.Launch, born: Born) -> None:
    """clone3 with every new namespace at once; those to be joined are visited meanwhile, so that init is born inside."""
    flags = 0
    for kind, path in born.spec.namespaces.items():
        if not path and not (kind == "cgroup" and launch.unshare_cgroup):
            flags |= namespaces.FLAGS[kind]
    ours, theirs = messages.pair()
    with ExitStack() as visits:
        for kind, path in born.spec.namespaces.items():
            if path:
                fd = namespaces.open_namespace(path)
                visits.callback(os.close, fd)
                visits.enter_context(namespaces.Visit(fd, kind))
        cgroup_fd = born.group.open_v2() if born.group.layout.mode == "v2" else 0
        try:
            born.pid, born.pid_fd = _clone(flags, cgroup_fd)
        finally:
            if cgroup_fd:
                os.close(cgroup_fd)
        if not born.pid:
            ours.close()
            init.run(launch, theirs)
    theirs.close()
    born.sock = ours


def _clone(flags: int, cgroup_fd: int) -> tuple[int, int]:
    try:
        return syscalls.clone3(flags, signal.SIGCHLD, cgroup_fd)
    except KernelError as error:
        kinds = ", ".join(kind for kind, flag in namespaces.FLAGS.items() if flags & flag)
        raise KernelError(f"clone into new namespaces ({kinds})", error.errno) from error


def kill(born: Born) -> None:
    """End init and all that is in its cgroup."""
    try:
        syscalls.pidfd_send_signal(born.pid_fd, signal.SIGKILL)
    except KernelError:
        pass  # ESRCH: it has ended by itself
    os.waitpid(born.pid, 0)
    os.close(born.pid_fd)
    born.sock.close()
    born.group.kill(KILL_TIMEOUT_S)


class Entered:
    """A process that was sent into the container by exec."""

    __slots__ = ("console", "pid", "pid_fd", "warnings")

    def __init__(self, pid: int, console: int, warnings: list[str]) -> None:
        self.pid = pid
        self.pid_fd = syscalls.pidfd_open(pid)
        self.console = console
        self.warnings = warnings


def enter(wanted: entry.Entry, console_size: list[int] | None) -> Entered:
    """Fork, join, execve; raises what went wrong, and has reaped all it made then."""
    ours, theirs = messages.pair()
    helper = os.fork()
    if not helper:
        ours.close()
        entry.run(wanted, theirs)
    theirs.close()
    pid = 0
    try:
        try:
            pid = steps.hear(ours, steps.SPAWNED)[0]["pid"]
        finally:
            os.waitpid(helper, 0)
        steps.say(ours, steps.PREPARE)
        message, fds = steps.hear(ours, steps.PREPARED)
        if fds and console_size:
            terminal.set_size(fds[0], *console_size)
        steps.say(ours, steps.EXECUTE)
        steps.hear_end(ours)
        return Entered(pid, fds[0] if fds else -1, message["warnings"])
    except BaseException:
        if pid:
            os.waitpid(pid, 0)
        raise
    finally:
        ours.close()
