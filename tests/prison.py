"""Attempts from inside: Python run in a container of the built-in `host` image."""

from __future__ import annotations

import time

from machine import Machine

PRELUDE = """
import ctypes, errno, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def report(call, *args):
    ctypes.set_errno(0)
    result = getattr(libc, call)(*args)
    print(call, "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()], flush=True)
    return result
def attempt(name, work):
    try:
        work()
        print(name, "ok", flush=True)
    except OSError as error:
        print(name, errno.errorcode[error.errno], flush=True)
"""


class Prison:
    """Runs Python inside a container of the built-in `host` image, as its root unless told otherwise."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def run(self, script: str, *options: str, image: str = "host", code: int | None = None) -> str:
        done = self.machine.docker("run", "--rm", *options, image, "python3", "-c", PRELUDE + script, code=code)
        return done.stdout + done.stderr

    def lines(self, script: str, *options: str) -> dict[str, str]:
        """What `report` and `attempt` printed: name → ok or errno."""
        found = {}
        for line in self.run(script, *options).splitlines():
            name, _, result = line.partition(" ")
            found[name] = result
        return found


RENAME_EXCHANGE = 2
_EXCHANGE = """
os.chdir("/volume")
os.mkdir("target")
os.symlink(%r, "link")
open("ready", "w").close()
while not os.path.exists("stop"):
    for _ in range(50):
        libc.renameat2(-100, b"target", -100, b"link", 2)
"""


class Racer:
    """A container that exchanges, in a volume that others mount too, the directory `target` with a link that leads elsewhere."""

    def __init__(self, machine: Machine, leads_to: str) -> None:
        self.machine = machine
        self.volume = machine.docker("volume", "create").stdout.strip()
        self.directory = machine.state / "volumes" / self.volume / "_data"
        script = PRELUDE + _EXCHANGE % leads_to
        options = ("--name", "racer", "-v", f"{self.volume}:/volume", "--cpus", "0.7")
        machine.docker("run", "-d", *options, "host", "python3", "-c", script)

    def __enter__(self) -> Racer:
        deadline = time.monotonic() + 10
        while not (self.directory / "ready").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        (self.directory / "stop").touch()
        self.machine.docker("wait", "racer")
        self.machine.docker("rm", "-f", "-v", "racer")
        self.machine.docker("volume", "rm", self.volume)
