"""Attempts from inside: Python run in a container of the built-in `host` image."""

from __future__ import annotations

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
