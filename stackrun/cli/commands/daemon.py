"""`daemon`: our own engine in the foreground, as systemd runs it; `stop` ends the one that runs, `unit` prints systemd's unit."""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import struct

from stackrun.cli.engines import Engine, chosen_root, daemon_program, make_directories
from stackrun.errors import EXIT_INTERRUPTED, PermissionDenied, Unavailable

_CREDENTIALS = struct.Struct("3i")
"""struct ucred of unix(7): pid, uid, gid."""


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    told = "run (the default), stop, or unit: print what systemd needs to run it from boot on"
    parser.add_argument("action", nargs="?", choices=("run", "stop", "unit"), default="run", help=told)
    parser.add_argument(
        "--trace",
        metavar="FILE",
        default="",
        help="append a line for every step of a container's start; `stackrun-runtime trace FILE` prints them",
    )


def run(options: argparse.Namespace) -> int:
    engine = Engine(root=chosen_root(options))
    if options.action == "stop":
        return stop(engine)
    if options.action == "unit":
        from stackrun.cli.systemd import unit

        print(unit(engine.root, user=os.geteuid() != 0), end="")
        return 0
    make_directories(engine)
    if os.geteuid() != 0:
        program = [*daemon_program(engine), *(word for host in options.hosts or () for word in ("--host", host))]
        os.execv(program[0], [*program, *(("--trace", os.path.abspath(options.trace)) if options.trace else ())])
    from stackrun.cli import daemon

    return daemon.run(engine, tuple(options.hosts or ()), trace_file=options.trace)


def stop(engine: Engine) -> int:
    """SIGTERM to the process that listens, which the kernel names (SO_PEERCRED); returns when it has ended."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(engine.socket_path)
        except (FileNotFoundError, ConnectionRefusedError):
            raise Unavailable(f"no engine runs at {engine.host}") from None
        except PermissionError:
            raise PermissionDenied(f"{engine.socket_path}: permission denied", hint="use sudo") from None
        pid, _, _ = _CREDENTIALS.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    try:
        pid_fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0
    try:
        signal.pidfd_send_signal(pid_fd, signal.SIGTERM)
        select.select([pid_fd], [], [])
    except PermissionError:
        raise PermissionDenied(f"stop the engine (pid {pid}): permission denied", hint="use sudo") from None
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        os.close(pid_fd)
    return 0
