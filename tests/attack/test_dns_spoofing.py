"""The embedded resolver at 127.0.0.11: answers forged by a neighbour, questions about others' names, names with surprises in them."""

from collections.abc import Iterator

import pytest
from prison import Prison

FORGE = """
# UDP from 127.0.0.11:53, or from what the host's name server is, straight to the victim's interface
def packet(source, port):
    data = b"forged"
    udp = struct.pack("!HHHH", 53, port, 8 + len(data), 0) + data
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton("VICTIM")) + udp
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
    for _ in range(3):
        raw.sendto(packet("SOURCE", 5353), ("VICTIM", 0))
print("sent ok")
"""
HEARS = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('', 5353))\ns.settimeout(%s)\nprint(s.recv(99))"


@pytest.fixture(scope="module")
def victim(prison: Prison) -> Iterator[str]:
    machine = prison.machine
    machine.docker("network", "create", "shared")
    machine.docker("run", "-d", "--name", "victim", "--network", "shared", "host", "sleep", "1000")
    yield machine.inspect("victim")["NetworkSettings"]["Networks"]["shared"]["IPAddress"]
    machine.docker("rm", "-f", "victim")
    machine.docker("network", "rm", "shared")


@pytest.mark.parametrize("source", ["127.0.0.11", "127.0.0.1", "10.99.99.99"])
def test_what_comes_from_a_loopback_address_is_not_heard(prison: Prison, victim: str, source: str) -> None:
    """The kernel takes it for a martian; from any other address it arrives, so the attempt itself works."""
    machine = prison.machine
    listen = machine.start_docker("exec", "victim", "python3", "-c", HEARS % (0.5 if source.startswith("127") else 5))
    machine.docker("exec", "victim", "sh", "-c", "until grep -q :14E9 /proc/net/udp; do sleep 0.02; done")
    sent = prison.run(FORGE.replace("SOURCE", source).replace("VICTIM", victim), "--network", "shared")
    assert "sent ok" in sent
    assert ("forged" in listen.communicate(timeout=20)[0]) is (not source.startswith("127"))


def test_the_resolver_of_another_container_does_not_answer_us(prison: Prison, victim: str) -> None:
    question = "b'\\x00\\x01\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x06victim\\x00\\x00\\x01\\x00\\x01'"
    script = f"""
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); one.settimeout(0.4)
def ask(address, port):
    one.sendto({question}, (address, port)); one.recv(512)
attempt("own", lambda: ask("127.0.0.11", 53))
for port in (53, 61053):
    try:
        ask("{victim}", port); print("theirs answered", flush=True)
    except OSError:
        print("theirs silent", flush=True)
"""
    found = prison.lines(script, "--network", "shared")
    assert found["own"] == "ok" and found["theirs"] == "silent"
