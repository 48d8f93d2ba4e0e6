"""From one stack to the containers of another: straight, past their published ports, with forged addresses, by name (moby#22054)."""

from collections.abc import Iterator

import pytest
from prison import Prison

LISTENER = "import socket; s = socket.create_server(('', 80), backlog=9)\nwhile 1:\n c, _ = s.accept(); c.sendall(b'hello'); c.close()"
CONNECT = """
with socket.create_connection(("VICTIM", 80), timeout=0.4) as one:
    print("got", one.recv(5), flush=True)
"""
RAW = """
# IPv4 and UDP, from an address of the victim's own network, by way of the gateway
head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 32, 1, 0, 64, 17, 0, socket.inet_aton("FORGED"), socket.inet_aton("VICTIM"))
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
    attempt("send", lambda: raw.sendto(head + struct.pack("!HHHH", 9, 5353, 12, 0) + b"evil", ("VICTIM", 0)))
"""
HEARS = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('', 5353))\ns.settimeout(%s)\nprint(s.recv(99))"


@pytest.fixture(scope="module")
def victim(prison: Prison) -> Iterator[str]:
    """The address of a container of another stack, which listens on port 80."""
    machine = prison.machine
    for name in ("theirs", "ours"):
        machine.docker("network", "create", name)
    machine.docker("run", "-d", "--name", "victim", "--network", "theirs", "host", "python3", "-c", LISTENER)
    yield machine.inspect("victim")["NetworkSettings"]["Networks"]["theirs"]["IPAddress"]
    machine.docker("rm", "-f", "victim")
    machine.docker("network", "rm", "theirs", "ours")


@pytest.mark.parametrize(("network", "expected"), [("ours", "TimeoutError"), ("theirs", "hello")], ids=["refused", "works in its own"])
def test_a_connection(prison: Prison, victim: str, network: str, expected: str) -> None:
    assert expected in prison.run(CONNECT.replace("VICTIM", victim), "--network", network)


def heard(prison: Prison, victim: str, network: str, seconds: float) -> str:
    """What the victim hears of a packet that says it comes from next door."""
    machine = prison.machine
    forged = victim.rpartition(".")[0] + ".77"
    listen = machine.start_docker("exec", "victim", "python3", "-c", HEARS % seconds)
    machine.docker("exec", "victim", "sh", "-c", "until grep -q :14E9 /proc/net/udp; do sleep 0.02; done")
    sent = prison.run(RAW.replace("FORGED", forged).replace("VICTIM", victim), "--network", network)
    assert "send ok" in sent
    return listen.communicate(timeout=20)[0]


@pytest.mark.parametrize(("network", "arrives"), [("ours", False), ("theirs", True)], ids=["dropped", "works in its own network"])
def test_a_forged_source(prison: Prison, victim: str, network: str, arrives: bool) -> None:
    assert ("evil" in heard(prison, victim, network, 0.5 if not arrives else 5)) is arrives


@pytest.mark.parametrize(("network", "found"), [("ours", False), ("theirs", True)], ids=["unknown", "works in its own network"])
def test_a_name(prison: Prison, victim: str, network: str, found: bool) -> None:
    script = "print(socket.gethostbyname('victim'))"
    assert (victim in prison.run(script, "--network", network)) is found


def test_an_address_of_theirs_taken_by_ours_gets_no_answer(prison: Prison, victim: str) -> None:
    """With NET_ADMIN a container may call itself anything; the answer goes to the bridge where that address is at home."""
    take = f"import subprocess; subprocess.run(['ip', 'addr', 'add', '{victim.rpartition('.')[0]}.78/16', 'dev', 'eth0'], check=True)\n"
    script = take + CONNECT.replace("VICTIM", victim)
    assert "hello" not in prison.run(script, "--network", "ours", "--cap-add", "NET_ADMIN")
