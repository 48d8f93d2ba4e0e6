"""The engine's socket is root on the host: no container sees it, none reaches it over the network, and a bind is the caller's own wish."""

import os
import stat
from pathlib import Path

from prison import Prison

SCRIPT = """
def speak(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.connect(path)
        one.sendall(b"GET /_ping HTTP/1.0\\r\\n\\r\\n")
        return one.recv(99)
for path in ("SOCKET", "/var/run/docker.sock", "/run/stackrun/stackrun.sock", "/engine.sock"):
    attempt(path, lambda: speak(path))
"""


def test_it_is_not_there(prison: Prison) -> None:
    found = prison.lines(SCRIPT.replace("SOCKET", str(prison.machine.socket)))
    assert len(found) == 4 and set(found.values()) == {"ENOENT"}, found


def test_nor_for_other_users_of_the_host(prison: Prison) -> None:
    """Whoever is not root, and in no group that was given it, cannot connect; nothing listens on the network."""
    mode = os.stat(prison.machine.socket).st_mode
    assert stat.S_ISSOCK(mode) and mode & 0o007 == 0
    child = os.fork()
    if child == 0:
        import socket

        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            try:
                one.connect(str(prison.machine.socket))
            except PermissionError:
                os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    daemon = prison.machine.daemon_pid()
    inodes = {os.readlink(path)[8:-1] for path in Path(f"/proc/{daemon}/fd").iterdir() if os.readlink(path).startswith("socket:")}
    listening = [line.split() for line in Path(f"/proc/{daemon}/net/tcp").read_text().splitlines()[1:]]
    assert not [line for line in listening if line[3] == "0A" and line[9] in inodes]


def test_the_attempt_works_when_it_is_bound(prison: Prison) -> None:
    found = prison.lines(SCRIPT.replace("SOCKET", "/nowhere"), "-v", f"{prison.machine.socket}:/engine.sock")
    assert found["/engine.sock"] == "ok"
