"""`create`, `run`, `start` and `exec` of `stackrun-runtime`: the command itself clones a process, speaks with it (`steps`), and
ends or waits for it.

What is left by a command that ends is reparented to the nearest subreaper: who called it (conmon, containerd-shim), who waits for
the pid that was written to --pid-file.  The command runs through a sealed interpreter (`command`); its children import nothing.
"""

from __future__ import annotations

import os
import time

from stackrun.errors import Conflict, InvalidArgument, KernelError, NotFound, StackrunError, Unsupported
from stackrun.kernel import cgroup, cgroup_devices, process, seccomp, signals, sockets
from stackrun.runtime import entry, identity, init, jsontext, launching, pipes, spec, state, steps, trace
from stackrun.runtime import order as orders
from stackrun.runtime.hooks import Hooks
from stackrun.runtime.record import SPEC_VERSION, Lock, Record
from stackrun.runtime.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Config = dict[str, Any]


class Wishes:
    """What the command line says about a process: `preserve_fds` counts from 3, `console_socket` gets its terminal.

    To be made before any file is opened.
    """

    def __init__(self, *, console_socket: str = "", pid_file: str = "", preserve_fds: int = 0) -> None:
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.preserve_fds = preserve_fds
        self.joins_keyring = True
        self.pivots = True
        self.is_foreground = False
        self._check_preserved()

    def streams(self, terminal: bool) -> list[int]:
        return [] if terminal else [0, 1, 2]

    @property
    def preserved_fds(self) -> tuple[int, ...]:
        """Sockets that somebody listens at for the container (sd_listen_fds(3)), then what --preserve-fds adds: 3, 4 …"""
        return tuple(range(3, 3 + self.listen_fds + self.preserve_fds))

    def _check_preserved(self) -> None:
        """All must be open, before anything of ours is: else that would come to have their numbers, and be the container's."""
        for fd in self.preserved_fds:
            try:
                os.set_inheritable(fd, True)
            except OSError as error:
                raise InvalidArgument(f"--preserve-fds: descriptor {fd} is not open") from error

    @property
    def listen_fds(self) -> int:
        text = os.environ.get("LISTEN_FDS", "")
        return int(text) if text.isdecimal() and os.environ.get("LISTEN_PID") == str(os.getpid()) else 0

    def check_terminal(self, terminal: bool) -> None:
        """In runc's words."""
        if terminal and not self.is_foreground and not self.console_socket:
            raise InvalidArgument("cannot allocate tty if runc will detach without setting console socket", hint="use --console-socket")
        if self.console_socket and (not terminal or self.is_foreground):
            raise InvalidArgument("cannot use console socket if runc will not detach or allocate tty", hint="leave --console-socket out")


class Process:
    """A process that was borne: its pid, pidfd, and with a terminal and no console socket the terminal's master."""

    def __init__(self, pid: int, pid_fd: int) -> None:
        self.pid = pid
        self.pid_fd = pid_fd
        self.console_fd = -1
        self.warnings: list[str] = []

    def take_console(self, fds: list[int], wishes: Wishes, console: sockets.Socket | None, name: str) -> None:
        if not fds:
            return
        if console is None:
            self.console_fd = fds[0]
            return
        with console:
            sockets.send_fds(console, f"/dev/pts of {name}".encode(), fds[:1])
        os.close(fds[0])


# --- create ---


def create(record: Record, bundle: str, wishes: Wishes) -> Process:
    """The container up to its program.  On failure all of it is undone, but its `record` is the caller's to remove."""
    now = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime())}.{time.time_ns() % 1_000_000_000:09d}Z"
    record.save(
        id=record.id,
        bundle=bundle,
        rootfs="",
        cgroup_path=_default_group(record),
        created=now,
        annotations={},
        hooks={},
        kinds=[],
        pid=0,
        start_ticks=0,
    )
    config = _configuration(bundle)
    with spec.Typed("config.json"):
        terminal = bool((config.get("process") or {}).get("terminal"))
        wishes.check_terminal(terminal)
        record.save(cgroup_path=cgroup_path(config, record), annotations=config.get("annotations") or {})
        hooks = Hooks(config.get("hooks") or {})
        program = _program(config)
        _keep_program(record, program)
        profile = (config.get("linux") or {}).get("seccomp") or {}
        record.save(listener={"path": profile.get("listenerPath", ""), "metadata": profile.get("listenerMetadata", "")})
    trace.mark("configuration, filter, record")
    console = connected(wishes.console_socket)
    order = _order(record, bundle, config, wishes, program)
    born = _bear(order, wishes, record.lock)
    steps.say_on(born.sock, steps.PREPARE)
    checked = born.order.spec
    record.save(
        pid=born.pid,
        start_ticks=state.start_ticks(born.pid),
        rootfs=checked.root,
        kinds=sorted(checked.namespaces),
        personality=checked.process.personality,
        hooks=config.get("hooks") or {},
    )
    made = Process(born.pid, born.pid_fd)
    with born.sock as sock:
        message, fds = _hear_prepared(sock, record, hooks)
    trace.mark("hear that init is prepared")
    made.warnings = message["warnings"]
    record.save(warnings=made.warnings)
    made.take_console(fds, wishes, console, record.id)
    write_pid(wishes.pid_file, made.pid)
    return made


def _default_group(record: Record) -> str:
    return f"stackrun-runtime/{record.id}"


def _configuration(bundle: str) -> Config:
    """As it is written; `spec` checks it."""
    try:
        fd = os.open(f"{bundle}/config.json", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"JSON specification file config.json not found: {bundle}/config.json") from None
    with os.fdopen(fd, "rb") as file:
        text = file.read(spec.CONFIG_BYTES_MAX)
    try:
        config = jsontext.loads(text)
    except ValueError as error:
        raise InvalidArgument(f"{bundle}/config.json: {error}") from None
    if not isinstance(config, dict) or not all(isinstance(config.get(name) or {}, dict) for name in ("process", "linux", "hooks")):
        raise InvalidArgument(f"{bundle}/config.json: it holds no configuration")
    return config


def _order(record: Record, bundle: str, config: Config, wishes: Wishes, program: bytes) -> orders.Order:
    """What is to be born, checked."""
    terminal = bool(config["process"].get("terminal")) if config.get("process") else False
    request = {
        "id": record.id,
        "bundle": bundle,
        "run_dir": record.run_dir,
        "cgroup_path": record.values["cgroup_path"],
        "config": config,
        "overlay": None,
        "tty": terminal,
        "init": False,
        "seccomp": "",
        "held": 0,
        "attached": 0,
        "stdio": 0 if terminal else 3,
        "console": False,
    }
    order = orders.Order(request, wishes.streams(terminal))
    order.seccomp = program
    checked = order.spec
    _belong_to_caller(checked.process, wishes)
    checked.resources = {**checked.resources, "devices": cgroup_devices.with_defaults(checked.resources.get("devices"))}
    checked.hooks.state = record.hook_state()
    order.pipes = pipes.Pipes(terminal=terminal, wants_input=False, wants_output=False, given=order.given)
    return order


def _belong_to_caller(wanted: spec.Process, wishes: Wishes) -> None:
    wanted.dies_with_parent = False
    if wishes.listen_fds:
        wanted.environment.update(LISTEN_FDS=str(wishes.listen_fds), LISTEN_PID="1")


def _bear(order: orders.Order, wishes: Wishes, lock: Lock) -> launching.Born:
    """The container up to where its init waits to be told `prepare`.  On failure nothing of it is left."""
    _take_care()
    request = order.request
    with Undo() as undo:
        door = state.listen(request["run_dir"])
        undo.add(door.close)
        order.alone = init.Alone(door, lock, wishes.preserved_fds, wishes.joins_keyring, wishes.pivots)
        with spec.Typed("linux.resources"):
            order.begin_group(cgroup.detect())
        undo.add(order.group.delete)
        undo.add(order.fall_silent)
        trace.mark("a cgroup to be born in")
        born = launching.Born(order)
        launching.clone_init(born)
        undo.add(launching.kill, born)
        trace.mark("clone init")
        with spec.Typed("linux.resources"):
            order.finish_group()
        launching.settle(born)
        undo.keep()
    door.close()  # init has its own, and its end must be noticed
    return born


def _take_care() -> None:
    """Before anything is forked from this process: nobody may look into it."""
    process.forbid_dump()
    identity.present()


def _hear_prepared(sock: sockets.Socket, record: Record, hooks: Hooks) -> tuple[dict[str, Any], list[int]]:
    message, fds = steps.hear_any(sock, steps.PREPARED)
    if message["step"] == steps.MOUNTED:
        for name in ("prestart", "createRuntime"):
            hooks.run(name, "creating", record.hook_state())
        steps.say(sock, steps.HOOKED)
        message, fds = steps.hear(sock, steps.PREPARED)
    return message, fds


def cgroup_path(config: Config, record: Record) -> str:
    """`linux.cgroupsPath` below each hierarchy's root; without one, a group of our own."""
    path = (config.get("linux") or {}).get("cgroupsPath") or ""
    if not isinstance(path, str):
        raise InvalidArgument(f"linux.cgroupsPath: {path!r} is not a text")
    if path.count(":") == 2:
        raise Unsupported(f"linux.cgroupsPath {path!r}: systemd's slices are not supported", hint="use a plain path")
    path = path.strip("/")
    if {"", ".", ".."} & set(path.split("/")) and path:
        raise InvalidArgument(f"linux.cgroupsPath: {path!r} is not a clean path")
    return path or _default_group(record)


def _program(config: Config) -> bytes:
    profile = (config.get("linux") or {}).get("seccomp")
    return seccomp.compile_filter(profile, listens=True) if profile else b""


def _keep_program(record: Record, program: bytes) -> None:
    if program:
        fd = os.open(f"{record.directory}/seccomp", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(program)


def connected(path: str) -> sockets.Socket | None:
    if not path:
        return None
    sock = sockets.Socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise InvalidArgument(f"--console-socket {path}: {error.strerror or error}") from error
    return sock


def write_pid(path: str, pid: int) -> None:
    """In one step, so that whoever waits for the file finds the number in it."""
    if path:
        temporary = f"{os.path.dirname(path) or '.'}/.{os.path.basename(path)}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        os.write(fd, str(pid).encode())
        os.close(fd)
        os.rename(temporary, path)


# --- start ---


def start(record: Record) -> None:
    """Let a created container's init become its program."""
    if record.status() != "created":
        raise Conflict(f"cannot start a container in the {record.status()} state")
    try:
        sock = state.knock(record.run_dir)
    except OSError as error:
        raise KernelError("speak with the container's init", error.errno or 0) from error
    with sock:
        # Before it is told: whoever finds the door gone finds a container that runs, or has ended.
        state.remove(state.socket_path(record.run_dir))
        steps.say(sock, steps.EXECUTE)
        _await_execve(sock, record, record.values["pid"])
    hooks = Hooks(record.values["hooks"])
    try:
        hooks.run("poststart", "running", record.hook_state())
    except StackrunError:
        record.signal(signals.SIGKILL)
        raise


def _await_execve(sock: sockets.Socket, record: Record, pid: int) -> None:
    """A filter that asks somebody else is passed on to them (config-linux.md, "The Container Process State")."""
    listener = steps.hear_filtered(sock)
    if listener < 0:
        return
    told = {
        "ociVersion": SPEC_VERSION,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": record.values["listener"].get("metadata", ""),
        "state": {**record.hook_state(), "status": "creating" if pid == record.values["pid"] else "running"},
    }
    try:
        with sockets.Socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as receiver:
            receiver.connect(record.values["listener"]["path"])
            sockets.send_fds(receiver, jsontext.dumps(told).encode(), [listener])
    except OSError as error:
        raise KernelError(f"linux.seccomp.listenerPath {record.values['listener']['path']}: connect", error.errno or 0) from error
    finally:
        os.close(listener)
    steps.hear_end(sock)


# --- exec ---


def enter(record: Record, command: dict[str, Any], wishes: Wishes, group: str) -> Process:
    """A further process in a container, running when this returns."""
    terminal = bool(command.get("terminal"))
    wishes.check_terminal(terminal)
    init_fd = record.open_init()
    path = "/".join(part for part in (record.values["cgroup_path"], group.strip("/")) if part)
    joined = cgroup.Cgroup.load(cgroup.detect(), path)
    wanted = entry.Entry(record.id, spec.check_process(command), joined, (record.values["pid"], init_fd), frozenset(record.values["kinds"]))
    _belong_to_caller(wanted.process, wishes)
    wanted.process.personality = record.values["personality"]
    wanted.seccomp = _kept_program(record)
    wanted.terminal = terminal
    wanted.streams = () if terminal else (0, 1, 2)
    wanted.preserved = wishes.preserved_fds
    console = connected(wishes.console_socket)
    _take_care()
    entered = launching.send_in(wanted)
    os.close(init_fd)
    made = Process(entered.pid, entered.pid_fd)
    made.warnings = entered.warnings
    try:
        with entered.sock as sock:
            made.take_console([entered.console] if entered.console >= 0 else [], wishes, console, record.id)
            entered.console = -1
            steps.say_on(sock, steps.EXECUTE)
            _await_execve(sock, record, made.pid)
    except BaseException:
        entered.abandon()
        raise
    write_pid(wishes.pid_file, made.pid)
    return made


def _kept_program(record: Record) -> bytes:
    try:
        fd = os.open(f"{record.directory}/seccomp", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    with os.fdopen(fd, "rb") as file:
        return file.read()
