"""The way out of the namespaces: slirp4netns(1), a process of the user's.

It makes an interface inside and carries its packets with the user's own sockets outside, but nothing to what listens on the
host's loopback.  Published ports do not come this way (see `usher`).
"""

from __future__ import annotations

import os
import select
import shutil

from stackrun.errors import Unavailable

PROGRAM = "slirp4netns"
RESOLVER = "10.0.2.3"
"""Where questions for the host's own resolver go; even one that listens on the host's loopback gets them."""
_INTERFACE = "tap0"
_OPTIONS = ("--configure", "--mtu=65520", "--disable-host-loopback", "--enable-seccomp", "--ready-fd=3")
_START_TIMEOUT_S = 20.0


def is_installed() -> bool:
    return bool(shutil.which(PROGRAM))


def start(pid: int, log: str) -> int:
    """Its pid, once packets flow for the namespaces that `pid` is in; what it says goes to `log`. Unavailable when it does not work."""
    path = shutil.which(PROGRAM)
    if path is None:
        raise Unavailable(f"{PROGRAM} is not installed")
    reading, writing = os.pipe2(os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        (os.POSIX_SPAWN_DUP2, writing, 3),
    ]
    child = os.posix_spawn(path, [PROGRAM, *_OPTIONS, str(pid), _INTERFACE], os.environ, file_actions=actions, setsid=True)
    os.close(writing)
    try:
        if not select.select([reading], [], [], _START_TIMEOUT_S)[0] or not os.read(reading, 1):
            raise Unavailable(f"{PROGRAM} does not start: see {log}")
    finally:
        os.close(reading)
    return child
