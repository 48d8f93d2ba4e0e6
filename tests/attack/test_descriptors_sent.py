"""SCM_RIGHTS: a descriptor is a way out of every namespace, if there is a socket over which one can be had or given away."""

import pytest
from prison import PRELUDE, Prison

SEND = """
for number in (0, 1, 2):
    def send():
        with socket.socket(fileno=os.dup(number)) as one:
            socket.send_fds(one, [b"x"], [os.open("/", os.O_RDONLY)])
    attempt(f"fd{number}", send)
print("sockets", sum(os.readlink(f"/proc/self/fd/{name}").startswith("socket") for name in os.listdir("/proc/self/fd") if int(name) < 3))
"""
GIVE = """
with socket.socket(socket.AF_UNIX) as one:
    one.bind("/volume/socket")
    one.listen()
    print("ready", flush=True)
    peer, _ = one.accept()
    socket.send_fds(peer, [b"x"], [os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)])
    peer.recv(1)
"""
TAKE = """
with socket.socket(socket.AF_UNIX) as one:
    one.connect("/volume/socket")
    fd = socket.recv_fds(one, 1, 1)[1][0]
    print("hostname", open(os.open("hostname", os.O_RDONLY, dir_fd=fd)).read().strip())
"""


@pytest.mark.parametrize("options", [(), ("-i",), ("-t",), ("-i", "-t", "--init")], ids=" ".join)
def test_a_process_is_given_no_socket(prison: Prison, options: tuple[str, ...]) -> None:
    machine = prison.machine
    machine.docker(
        "run", "-d", *options, "--name", "sender", "host", "python3", "-u", "-c", PRELUDE + SEND + "\nimport signal; signal.pause()"
    )
    try:
        while "sockets" not in (seen := machine.docker("logs", "sender").stdout):
            pass
        found = dict(line.split(" ", 1) for line in seen.splitlines())
        assert {found[f"fd{number}"] for number in range(3)} == {"ENOTSOCK"} and found["sockets"].strip() == "0"
        entered = machine.docker("exec", "sender", "python3", "-c", PRELUDE + SEND).stdout
        assert entered.count("ENOTSOCK") == 3
    finally:
        machine.docker("rm", "-f", "sender")


def test_the_attempt_works_over_a_socket_that_two_containers_see(prison: Prison) -> None:
    machine = prison.machine
    volume = machine.docker("volume", "create").stdout.strip()
    run = ("run", "-d", "-v", f"{volume}:/volume")
    try:
        machine.docker(*run, "--name", "giver", "--hostname", "of-the-giver", "host", "python3", "-u", "-c", PRELUDE + GIVE)
        while "ready" not in machine.docker("logs", "giver").stdout:
            pass
        assert prison.lines(TAKE, "-v", f"{volume}:/volume")["hostname"] == "of-the-giver"
    finally:
        machine.docker("rm", "-f", "giver")
        machine.docker("volume", "rm", volume)
