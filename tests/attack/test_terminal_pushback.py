"""TIOCSTI and TIOCLINUX put input into a terminal (CVE-2017-5226, CVE-2016-2568): shared with the operator's, it would be his next command.

A container's terminal is one of its own devpts; the operator's is never passed in.
"""

import fcntl
import os
import pty
import select
import subprocess
import termios
from pathlib import Path

from machine import Machine

SCRIPT = """
import fcntl, os, termios
def attempt(name, work):
    try:
        work(); print(name, "ok")
    except OSError as error:
        print(name, error.errno)
for fd in (0, 1, 2):
    attempt("push", lambda: [fcntl.ioctl(fd, termios.TIOCSTI, bytes([byte])) for byte in b"echo owned\\n"])
    attempt("linux", lambda: fcntl.ioctl(fd, 0x541C, b"\\x03"))
print("tty", os.ttyname(0), os.fstat(0).st_dev)
"""


def in_a_terminal(machine: Machine, *words: str) -> tuple[str, bytes, int]:
    """(output, what is left as input afterwards, device of the terminal), with the client on a terminal as an operator's is."""
    master, slave = pty.openpty()
    command = ["docker", "-H", machine.host, *words]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True) as client:
        assert client.wait(30) == 0
    output = b""
    while select.select([master], [], [], 0.1)[0]:
        output += os.read(master, 65536)
    attributes = termios.tcgetattr(slave)
    attributes[3] &= ~termios.ICANON
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    pending = os.read(slave, 4096) if select.select([slave], [], [], 0.1)[0] else b""
    device = os.fstat(slave).st_dev
    for fd in (master, slave):
        os.close(fd)
    return output.decode(), pending, device


def test_nothing_is_left_for_the_operators_shell(machine: Machine) -> None:
    output, pending, device = in_a_terminal(machine, "run", "--rm", "-it", "host", "python3", "-c", SCRIPT)
    assert pending == b"" and "tty /dev/pts/0" in output
    assert f" {device}" not in output, "it is another devpts"


def test_nor_by_an_exec(machine: Machine) -> None:
    machine.docker("run", "-d", "--name", "tty", "host", "sleep", "1000")
    try:
        output, pending, _ = in_a_terminal(machine, "exec", "-it", "tty", "python3", "-c", SCRIPT)
        assert pending == b"" and "tty /dev/pts/" in output
    finally:
        machine.docker("rm", "-f", "tty")


def test_the_attempt_works_on_a_terminal_that_is_shared() -> None:
    master, slave = pty.openpty()
    switch = Path("/proc/sys/dev/tty/legacy_tiocsti")
    child = os.fork()
    if child == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for byte in b"owned\n":
            fcntl.ioctl(slave, termios.TIOCSTI, bytes([byte]))
        os._exit(0 if select.select([slave], [], [], 1)[0] and os.read(slave, 99) == b"owned\n" else 1)
    status = os.waitpid(child, 0)[1]
    for fd in (master, slave):
        os.close(fd)
    assert status == 0, f"root may always; legacy_tiocsti is {switch.read_text() if switch.exists() else 'not there'}"
