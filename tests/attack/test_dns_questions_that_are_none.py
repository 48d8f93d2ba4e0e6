"""Packets that are no questions, to the resolver at 127.0.0.11: one process answers every container, so it must survive each of them.

Name compression that points at itself, lengths that lie, names without end (RFC 1035 section 4.1.4), and connections that say nothing.
"""

from prison import Prison

ATTACK = """
import random
def udp(data):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(data, ("127.0.0.11", 53))
head = b"\\x00\\x01\\x01\\x00" + b"\\x00\\x01" + b"\\x00" * 6
loops = [b"\\xc0\\x0c", b"\\xc0\\x0e\\xc0\\x0c", b"\\x01a\\xc0\\x0c", b"\\xff\\xff", b"\\xc0"]
names = [b"\\x3f" + b"a" * 63] * 60, [b"\\x01a"] * 1500, [b"\\x40" + b"a" * 64], [b"\\x05ab"]
for name in [*loops, *(b"".join(one) for one in names)]:
    for count in (b"\\x00\\x01", b"\\xff\\xff"):
        udp(b"\\x00\\x01\\x01\\x00" + count + b"\\x00" * 6 + name + b"\\x00\\x00\\x01\\x00\\x01")
udp(b"")
chance = random.Random(7)
for _ in range(400):
    udp(head[: chance.randrange(13)] + chance.randbytes(chance.randrange(300)))
    udp(b"\\x00\\x01\\x81\\x80" + chance.randbytes(60))
held = []
for _ in range(200):
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.settimeout(1)
    try:
        one.connect(("127.0.0.11", 53))
        one.sendall(b"\\xff")
        held.append(one)
    except OSError:
        break
print("held", len(held), flush=True)
import time; time.sleep(0.3)
print("alive", socket.gethostbyname("victim"), flush=True)
"""


def test_others_are_still_answered(prison: Prison) -> None:
    machine = prison.machine
    for name in ("theirs", "ours"):
        machine.docker("network", "create", name)
    machine.docker("run", "-d", "--name", "victim", "--network", "theirs", "--network-alias", "itself", "host", "sleep", "1000")
    machine.docker("network", "connect", "ours", "victim")
    try:
        address = machine.inspect("victim")["NetworkSettings"]["Networks"]
        ask = ("exec", "victim", "python3", "-c", "import socket; print(socket.gethostbyname('itself'))")
        assert machine.docker(*ask).stdout.strip() == address["theirs"]["IPAddress"]
        found = prison.lines(ATTACK, "--network", "ours")
        assert int(found["held"]) > 30, "the attempt took connections"
        assert found["alive"] == address["ours"]["IPAddress"]
        assert machine.docker(*ask).stdout.strip() == address["theirs"]["IPAddress"], "and another's resolver knows what it knew"
    finally:
        machine.docker("rm", "-f", "victim")
        machine.docker("network", "rm", "theirs", "ours")
