"""CVE-2020-8558: route_localnet, which ports published on 127.0.0.1 need, lets a neighbour speak to services on the host's loopback.

The kernel itself drops packets for 127.0.0.0/8 that come by wire unless that is on.  The container sends them as frames, to the gateway.
"""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from prison import Prison

FRAME = """
import fcntl
gateway = next(line.split()[2] for line in open("/proc/net/route") if line.split()[1] == "00000000")
gateway = socket.inet_ntoa(bytes.fromhex(gateway)[::-1])
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", (gateway, 9))
there = bytes.fromhex(next(line.split()[3] for line in open("/proc/net/arp") if line.startswith(gateway + " ")).replace(":", ""))
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    raw.bind(("eth0", 0))
    probe.connect((gateway, 9))
    mine = socket.inet_aton(probe.getsockname()[0])
    target = socket.inet_aton("TARGET" or gateway)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 32, 1, 0, 64, 17, 0, mine, target)
    total = sum(struct.unpack("!10H", head))
    total = (total >> 16) + (total & 0xffff)
    head = head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xffff) + head[12:]
    for _ in range(3):
        raw.send(there + raw.getsockname()[4] + b"\\x08\\x00" + head + struct.pack("!HHHH", 9, PORT, 12, 0) + b"evil")
print("sent ok")
"""


@pytest.fixture(scope="module")
def route_localnet(prison: Prison) -> Iterator[None]:
    """A port published on 127.0.0.1 has it switched on for the bridge."""
    prison.machine.docker("run", "-d", "--name", "published", "-p", "127.0.0.1::80", "host", "sleep", "1000")
    flags = [path.read_text().strip() for path in Path("/proc/sys/net/ipv4/conf").glob("sr*/route_localnet")]
    assert "1" in flags
    yield
    prison.machine.docker("rm", "-f", "published")


@pytest.mark.parametrize(
    ("target", "arrives"),
    [("127.0.0.1", False), ("127.0.0.53", False), ("", True)],
    ids=["dropped", "dropped too", "works on the gateway"],
)
def test_a_service_of_the_hosts(prison: Prison, route_localnet: None, target: str, arrives: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind((target, 0))
        service.settimeout(5 if arrives else 0.5)
        script = FRAME.replace("TARGET", target).replace("PORT", str(service.getsockname()[1]))
        assert "sent ok" in prison.run(script)
        heard = b""
        with contextlib.suppress(TimeoutError):
            heard = service.recv(99)
    assert (heard == b"evil") is arrives
