"""How an ordinary user's daemon gets into his namespaces: the gate is found or started, and gives them as descriptors."""

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

from stackrun.errors import Unavailable
from stackrun.kernel import namespaces
from stackrun.rootless import words
from stackrun.rootless.gate import KINDS

_PROGRAM = "import sys; sys.path[:] = {path!r}; from stackrun.rootless.gate import main; main(3, {run_dir!r})"
_TIMEOUT_S = 60.0
_TRIES = 3


def enter(run_dir: str, program: list[str], kept_fds: tuple[int, ...] = ()) -> NoReturn:
    """Become `program` as root of the user's namespaces, with `kept_fds` open, and the gate's connection as its argument `--gate-fd`.

    Executed, not merely joined: what the kernel thinks of a process's memory follows the namespace it was executed in.
    """
    connection, fds = _connected(run_dir)
    for kind, fd in zip(KINDS, fds, strict=True):
        namespaces.join(fd, kind)
        os.close(fd)
    namespaces.become_root()
    os.chdir("/")
    for fd in (connection.fileno(), *kept_fds):
        os.set_inheritable(fd, True)
    connection.settimeout(None)
    os.execv(program[0], [*program, "--gate-fd", str(connection.fileno())])


def revive(run_dir: str) -> bool:
    """Starts a gate where the user's engine runs without: it was killed, and its successor takes the house over. True: it was not there."""
    connection = _connect(run_dir)
    if connection is not None:
        connection.close()
        return False
    _started(run_dir).close()
    return True


def _connected(run_dir: str) -> tuple[socket.socket, list[int]]:
    """A gate may end, its house being empty, just when we come."""
    for _ in range(_TRIES):
        connection = _connect(run_dir) or _started(run_dir)
        try:
            words.send(connection, {"request": "house"})
            return connection, words.receive(connection)[1]
        except ConnectionError:
            connection.close()
    raise Unavailable("the process that makes the user's namespaces ends early", hint=f"see {run_dir}/gate.log")


def _connect(run_dir: str) -> socket.socket | None:
    connection = words.seqpacket()
    connection.settimeout(_TIMEOUT_S)
    try:
        connection.connect(f"{run_dir}/gate.sock")
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def _started(run_dir: str) -> socket.socket:
    """Listens for it, so that the connection can be made before the process has even begun."""
    path = f"{run_dir}/gate.sock"
    if os.path.lexists(path):
        os.unlink(path)
    with words.listener(path) as listener:
        _spawn(listener.fileno(), run_dir)
        connection = _connect(run_dir)
    if connection is None:
        raise Unavailable("the process that makes the user's namespaces did not start", hint=f"see {run_dir}/gate.log")
    return connection


def _spawn(listener_fd: int, run_dir: str) -> None:
    argv = [sys.executable, "-I", "-S", "-c", _PROGRAM.format(path=sys.path, run_dir=run_dir)]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, f"{run_dir}/gate.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        (os.POSIX_SPAWN_DUP2, listener_fd, 3),
    ]
    os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, setsid=True)
