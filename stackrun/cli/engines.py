"""Which engine a command talks to: `-H`, else STACKRUN_HOST, else our own, which is started when it does not answer.

Two starters cannot meet: the first holds `<run>/start.lock` until its daemon listens; the other finds it listening.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
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
PIPE_LIMIT_BYTES = 65_536
SOCKET_PATH_LIMIT_BYTES = 107
"""unix(7): sun_path without its final NUL."""


class Engine:
    """An address: `host` as `-H` takes it; `root` and `run_dir` when it is our own."""

    __slots__ = ("host", "own", "root", "run_dir")

    def __init__(self, host: str = "", *, root: str = DEFAULT_ROOT) -> None:
        self.own = not host
        self.root = root
        self.run_dir = DEFAULT_RUN_DIR if root == DEFAULT_ROOT else f"{root}/run"
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
                _refuse()
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
    root = options.root or os.environ.get("STACKRUN_ROOT") or DEFAULT_ROOT
    return os.path.abspath(root)


def connect(options: argparse.Namespace) -> Transport:
    """A blocking connection to the engine chosen, closed when the command ends; our own is started on demand."""
    engine = chosen(options)
    if engine.own and not engine.listening():
        start_daemon(engine)
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
    if os.geteuid() != 0:
        _refuse()
    os.makedirs(engine.root, 0o711, exist_ok=True)
    os.makedirs(engine.run_dir, 0o711, exist_ok=True)
    with _only_starter(engine):
        if not engine.listening():
            _spawn(engine)


def _refuse() -> NoReturn:
    raise PermissionDenied(
        "the engine needs root: it makes namespaces, mounts and networks",
        hint="use sudo, or join the group `stackrun` if the engine runs and that group exists",
    )


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
        program = [sys.executable, "-P", "-m", "stackrun.cli.daemon", "--root", engine.root, "--ready-fd", str(ready)]
        os.execv(sys.executable, program)
    finally:
        os._exit(127)
