"""The way out of the namespaces: slirp4netns(1) or pasta(1), whichever is installed, as a process of the user's.

Both make an interface inside and carry its packets with the user's own sockets outside.  Neither lets containers reach what
listens on the host's loopback.  Published ports do not come this way (see `usher`).
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
from dataclasses import dataclass

from stackrun.errors import Unavailable

INTERFACE = "tap0"
RESOLVER = "10.0.2.3"
"""Where questions for the host's own resolver go; even one that listens on the host's loopback gets them."""
_START_TIMEOUT_S = 20.0
_SLIRP = "slirp4netns"
_PASTA = "pasta"


@dataclass(frozen=True, slots=True)
class Uplink:
    program: str
    pid: int


def program() -> str:
    """The name of what is installed; empty: nothing is."""
    return next((name for name in (_SLIRP, _PASTA) if shutil.which(name)), "")


def arguments(name: str, pid: int, ready: str) -> list[str]:
    """`pid` is in the namespaces; the pipe `ready`, which is descriptor 3 too, is written to when packets flow."""
    if name == _SLIRP:
        options = ["--configure", "--mtu=65520", "--disable-host-loopback", "--enable-seccomp", "--ready-fd=3"]
        return [name, *options, str(pid), INTERFACE]
    ports = [word for letter in "tuTU" for word in (f"-{letter}", "none")]
    options = ["--foreground", "--quiet", "--ipv4-only", "--config-net", "--no-map-gw", "--ns-ifname", INTERFACE]
    return [name, *options, "--dns-forward", RESOLVER, "--pid", ready, *ports, str(pid)]


def start(pid: int, run_dir: str) -> Uplink | None:
    """None when neither program is installed; Unavailable when it does not work."""
    name = program()
    if not name:
        return None
    ready, log = f"{run_dir}/uplink.ready", f"{run_dir}/uplink.log"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(ready)
    os.mkfifo(ready, 0o600)
    reading = os.open(ready, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    writing = os.open(ready, os.O_WRONLY | os.O_CLOEXEC)
    try:
        child = _spawned(arguments(name, pid, ready), writing, log)
        os.close(writing)
        if not select.select([reading], [], [], _START_TIMEOUT_S)[0] or not os.read(reading, 16):
            raise Unavailable(f"{name} does not start", hint=f"see {log}")
    finally:
        os.close(reading)
        os.unlink(ready)
    return Uplink(name, child)


def _spawned(argv: list[str], ready_fd: int, log: str) -> int:
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        (os.POSIX_SPAWN_DUP2, ready_fd, 3),
    ]
    return os.posix_spawn(shutil.which(argv[0]) or argv[0], argv, os.environ, file_actions=actions, setsid=True)
