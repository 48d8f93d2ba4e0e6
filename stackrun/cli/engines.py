"""Which engine a command talks to: `-H`, else STACKRUN_HOST, else our own, which is started when it does not answer.

Two starters cannot meet: the first holds `<run>/start.lock` until its daemon listens; the other finds it listening.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stackrun.errors import InvalidArgument, PermissionDenied, StackrunError, Unavailable, Unsupported

if TYPE_CHECKING:
    import argparse
    from typing import NoReturn

    from stackrun.client.http import Transport

DEFAULT_ROOT = "/var/lib/stackrun"
DEFAULT_RUN_DIR = "/run/stackrun"
"""Root's; an ordinary user has an engine of his own, in his own places (`own_root`, `own_run_dir`)."""
PIPE_LIMIT_BYTES = 65_536
SOCKET_PATH_LIMIT_BYTES = 107
"""unix(7): sun_path without its final NUL."""


class Engine:
    """An address: `host` as `-H` takes it; `root` and `run_dir` when it is our own."""

    __slots__ = ("host", "own", "root", "run_dir")

    def __init__(self, host: str = "", *, root: str = DEFAULT_ROOT, run_dir: str = "") -> None:
        self.own = not host
        self.root = root
        self.run_dir = run_dir or (own_run_dir() if root == own_root() else f"{root}/run")
        self.host = host or f"unix://{self.socket_path}"

    @property
    def socket_path(self) -> str:
        return f"{self.run_dir}/stackrun.sock"

    def listening(self) -> bool:
        """Whether our own daemon takes connections. PermissionDenied when this user may not try."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(socket_path(self.host))
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except PermissionError:
                raise PermissionDenied(
                    f"{self.socket_path}: permission denied", hint="it is another user's engine; use sudo, or join its group `stackrun`"
                ) from None
            except OSError as error:
                raise Unavailable(f"cannot reach the engine at {self.host}: {error.strerror}") from None
        return True


def socket_path(host: str) -> str:
    """`unix:///path` → its path, if a daemon of ours can listen there."""
    if not host.startswith("unix://"):
        raise Unsupported(f"the daemon cannot listen on {host}", hint="use unix:///path/to/socket")
    path = host.removeprefix("unix://")
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT_BYTES:
        raise InvalidArgument(f"{path}: longer than a unix socket's address can be", hint="choose a shorter --root")
    return path


def chosen(options: argparse.Namespace) -> Engine:
    """The engine these options and this environment name."""
    hosts = options.hosts or ()
    host = hosts[-1] if hosts else os.environ.get("STACKRUN_HOST", "")
    return Engine(host, root=chosen_root(options))


def chosen_root(options: argparse.Namespace) -> str:
    root = options.root or os.environ.get("STACKRUN_ROOT") or own_root()
    return os.path.abspath(root)


def own_root() -> str:
    """Where this user's engine keeps its state when nobody says otherwise."""
    if os.geteuid() == 0:
        return DEFAULT_ROOT
    data = os.environ.get("XDG_DATA_HOME", "")
    return f"{data if data.startswith('/') else os.path.expanduser('~/.local/share')}/stackrun"


def own_run_dir() -> str:
    """The login's own directory, which systemd makes, also when this shell does not know it (su); else one in /tmp."""
    if os.geteuid() == 0:
        return DEFAULT_RUN_DIR
    for directory in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.geteuid()}"):
        if directory.startswith("/") and os.access(directory, os.W_OK | os.X_OK):
            return f"{directory}/stackrun"
    own = f"/tmp/stackrun-{os.geteuid()}"
    if os.path.lexists(own):
        _check_own(own)  # or we would talk to whoever has made it before us
    return own


def _check_own(directory: str) -> None:
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionDenied(
            f"{directory} is no directory that only this user can write to", hint=f"chmod go-w {directory}, or name another --root"
        )


def make_directories(engine: Engine) -> None:
    """The daemon's: root's to be passed through by everybody, an ordinary user's closed; others may have made them before us."""
    for directory in (engine.root, engine.run_dir):
        if os.geteuid() == 0:
            os.makedirs(directory, 0o711, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        _check_own(directory)


def connect(options: argparse.Namespace) -> Transport:
    """A blocking connection to the engine chosen, closed when the command ends; our own is started on demand."""
    engine = chosen(options)
    if engine.own and not engine.listening():
        start_daemon(engine)
    elif engine.own and os.geteuid():
        _see_to_gate(engine)
    made = transport(engine)
    options.at_end.callback(made.close)
    return made


def transport(engine: Engine) -> Transport:
    """Another connection, for a thread or a moment of its own; the caller closes it."""
    from stackrun.client.http import Transport

    made = Transport(engine.host)
    if not engine.own:
        made.negotiate()
    return made


def start_daemon(engine: Engine) -> None:
    """Returns once our daemon listens. Whatever keeps it from it is raised here as it was raised there."""
    make_directories(engine)
    with _only_starter(engine):
        if not engine.listening():
            _spawn(engine)


def _see_to_gate(engine: Engine) -> None:
    """An ordinary user's engine cannot make itself another one once its gate was killed: it lives inside."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line, contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        line.connect(f"{engine.run_dir}/gate.sock")
        return
    if not os.path.exists(f"{engine.run_dir}/house.json"):  # it is root's engine, and this user of its group
        return
    from stackrun.rootless import entering

    with _only_starter(engine):
        entering.revive(engine.run_dir)


def daemon_program(engine: Engine) -> list[str]:
    """An ordinary user's goes by way of `cli.rootless`."""
    module = "stackrun.cli.daemon" if os.geteuid() == 0 else "stackrun.cli.rootless"
    return [sys.executable, "-P", "-m", module, "--root", engine.root, "--run-dir", engine.run_dir]


@contextmanager
def _only_starter(engine: Engine) -> Iterator[None]:
    lock = os.open(f"{engine.run_dir}/start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _spawn(engine: Engine) -> None:
    """Forks a daemon of its own session and reads the one line it says of its start: `ready`, or an error as JSON."""
    log_path = f"{engine.root}/daemon.log"
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_daemon(engine, log_path, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.readline(PIPE_LIMIT_BYTES)
    if said == b"ready\n":
        return
    if not said:
        raise Unavailable("the engine died while it started", hint=f"see {log_path}")
    told = json.loads(said)
    failure = StackrunError(told["message"], hint=told["hint"])
    failure.exit_code = told["exit_code"]
    raise failure


def _become_daemon(engine: Engine, log_path: str, ready: int) -> NoReturn:
    """The child's half: own session, stdio in the log, and of our descriptors the pipe alone."""
    try:
        os.setsid()
        os.chdir("/")
        os.umask(0o022)
        ready = fcntl.fcntl(ready, fcntl.F_DUPFD, 3)  # kept across execv, and clear of stdio
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for target, fd in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
            os.dup2(fd, target)
        os.closerange(3, ready)
        os.closerange(ready + 1, os.sysconf("SC_OPEN_MAX"))
        os.execv(sys.executable, [*daemon_program(engine), "--ready-fd", str(ready)])
    finally:
        os._exit(127)
