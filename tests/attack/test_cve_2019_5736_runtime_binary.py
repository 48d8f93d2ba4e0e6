"""CVE-2019-5736: /proc/self/exe of what enters the container is the runtime's own file; overwritten, the host runs the attacker's.

For a Python core the file at risk is the interpreter.  The container's command is replaced by a link to /proc/self/exe, and a second
process of the container waits for any process whose executable is outside the container's root, opens it and tries to write.
"""

import hashlib
import sys
from pathlib import Path

from machine import Machine
from prison import Prison

WATCHER = """
import os
seen = set()
deadline = __import__("time").monotonic() + 5
while __import__("time").monotonic() < deadline:
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        try:
            handle = os.open(f"/proc/{pid}/exe", os.O_RDONLY)
        except OSError as error:
            continue
        target = os.readlink(f"/proc/self/fd/{handle}")
        try:
            os.close(os.open(f"/proc/self/fd/{handle}", os.O_WRONLY))
            result = "WRITABLE"
        except OSError as error:
            result = str(error.errno)
        os.close(handle)
        if (target, result) not in seen:
            seen.add((target, result))
            print(target, result, flush=True)
"""


def test_the_interpreter_cannot_be_written_during_exec(machine: Machine) -> None:
    interpreter = Path(sys.executable).resolve()
    before = hashlib.sha256(interpreter.read_bytes()).digest()
    machine.docker("run", "-d", "--init", "--name", "trap", "host", "python3", "-c", WATCHER)
    try:
        for _ in range(20):
            machine.docker("exec", "trap", "/proc/self/exe", "--version", code=None)
        assert machine.docker("wait", "trap").stdout.strip() == "0"
        seen = machine.docker("logs", "trap").stdout
    finally:
        machine.docker("rm", "-f", "trap")
    assert "WRITABLE" not in seen.replace("/usr/bin/true WRITABLE", ""), seen
    assert hashlib.sha256(interpreter.read_bytes()).digest() == before


def test_a_command_that_is_the_runtime_itself_changes_nothing(prison: Prison) -> None:
    interpreter = Path(sys.executable).resolve()
    before = hashlib.sha256(interpreter.read_bytes()).digest()
    prison.machine.docker("run", "--rm", "host", "/proc/self/exe", "-c", "open('/proc/self/exe', 'r+b')", code=None)
    assert hashlib.sha256(interpreter.read_bytes()).digest() == before
