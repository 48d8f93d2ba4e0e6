"""CVE-2020-15257: the shim's abstract unix socket belongs to the network namespace, so a container with the host's could speak to it."""

import os
import socket
from pathlib import Path

from prison import Prison

SCRIPT = """
names = [line.split()[-1] for line in open("/proc/net/unix").read().splitlines()[1:] if len(line.split()) == 8]
print("ours", [name for name in names if name.startswith("@") and ("stackrun" in name or "shim" in name or "containerd" in name)])
def connect():
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.connect("\\0test-host-%d")
attempt("abstract", connect)
for path in %r:
    def connect():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.connect(path)
    attempt("path", connect)
"""


def found(prison: Prison, *options: str) -> dict[str, str]:
    sockets = [str(path) for path in Path(prison.machine.state).rglob("*.sock")]
    assert sockets, "there is something to reach"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"\0test-host-{os.getpid()}")
        listener.listen()
        return prison.lines(SCRIPT % (os.getpid(), sockets), *options)


def test_ours_have_paths_which_a_container_does_not_see(prison: Prison) -> None:
    seen = found(prison, "--network", "host")
    assert seen["ours"] == "[]" and seen["path"] == "ENOENT"


def test_the_attempt_works_on_an_abstract_socket_of_the_host(prison: Prison) -> None:
    assert found(prison, "--network", "host")["abstract"] == "ok"
    assert found(prison)["abstract"] == "ECONNREFUSED"
