"""Names inside containers: a real dns process, real resolvers asking it."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from network_lab import Container, isolated, links

from stackrun.errors import Unavailable
from stackrun.network.dns_client import DnsClient, NetworkNames
from stackrun.network.networks import Network, Networks

RESOLVER = ("127.0.0.11", 53)


@contextmanager
def resolver(root: Path) -> Iterator[DnsClient]:
    """The dns process for one test; it ends by itself once its containers have."""
    client = DnsClient(str(root))
    assert client.ensure_running()
    yield client
    for container in client.containers():
        client.drop_container(container)
    client.close()


def serve(client: DnsClient, container: Container, network: Network, *names: str, **options: object) -> None:
    """Hands a container over as the engine does."""
    sockets = container.dns_sockets()
    pid_fd = os.pidfd_open(container.pid)
    networks = [NetworkNames(network.network_id, network.name, container.address, names)]
    client.set_container(names[0], [one.fileno() for one in sockets], pid_fd=pid_fd, networks=networks, **options)  # type: ignore[arg-type]
    os.close(pid_fd)
    for one in sockets:
        one.close()


def ask(container: Container, name: str, kind: str = "A", *, stream: bool = False) -> DNSRecord:
    packet = bytes(DNSRecord.question(name, kind).pack())
    with container.socket(socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as one:
        one.settimeout(10)
        one.connect(RESOLVER)
        one.sendall(len(packet).to_bytes(2, "big") + packet if stream else packet)
        reply = one.recv(65535)
    return DNSRecord.parse(reply[2:] if stream else reply)


def addresses(record: DNSRecord) -> list[str]:
    return [str(one.rdata) for one in record.rr]


@isolated
def test_replicas_are_found_by_turns(short_tmp: Path) -> None:
    networks = Networks()
    network = networks.create("a" * 64, "shop_default")
    with resolver(short_tmp) as client:
        replicas = [Container(networks, network, dns=True) for _ in range(3)]
        for number, replica in enumerate(replicas, 1):
            serve(client, replica, network, f"shop-api-{number}", "api")
        firsts = Counter(addresses(ask(replicas[0], "api"))[0] for _ in range(30))
        assert firsts == {replica.address: 10 for replica in replicas}
        for stream in (False, True):
            for name in ("API", "api.shop_default", "Api.Shop_Default."):
                assert set(addresses(ask(replicas[1], name, stream=stream))) == {replica.address for replica in replicas}
        assert addresses(ask(replicas[0], "shop-api-2")) == [replicas[1].address]
        replicas[1].stop()
        wait_until(lambda: len(client.containers()) == 2)
        assert replicas[1].address not in addresses(ask(replicas[0], "api"))


@isolated
def test_libc_and_busybox_agree(short_tmp: Path) -> None:
    networks = Networks()
    network = networks.create("a" * 64, "shop_default")
    with resolver(short_tmp) as client:
        web, db = Container(networks, network, dns=True), Container(networks, network, dns=True)
        serve(client, web, network, "shop-web-1", "web", links={"database": "db"})
        serve(client, db, network, "shop-db-1", "db")
        configuration = short_tmp / "resolv.conf"
        configuration.write_text("nameserver 127.0.0.11\noptions ndots:0\n")
        inside = ["nsenter", "-t", str(web.pid), "-n", "unshare", "-m", "sh", "-c"]
        questions = f"getent ahostsv4 db && busybox nslookup -type=a database && getent hosts {db.address}"
        script = f"mount --bind {configuration} /etc/resolv.conf && {questions}"
        done = subprocess.run([*inside, script], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count(db.address) >= 5
        assert "shop-db-1.shop_default" in done.stdout, "the reverse of an address is its container"


@isolated
def test_names_stay_on_their_network(short_tmp: Path) -> None:
    networks = Networks()
    front, back = networks.create("a" * 64, "front"), networks.create("b" * 64, "back")
    with resolver(short_tmp) as client:
        web, db = Container(networks, front, dns=True), Container(networks, back, dns=True)
        serve(client, web, front, "web")
        serve(client, db, back, "db")
        assert ask(web, "db").header.rcode == RCODE.SERVFAIL
        assert addresses(ask(web, "web")) == [web.address]
        client.set_container(
            "web", networks=[NetworkNames("a" * 64, "front", web.address, ("web",)), NetworkNames("b" * 64, "back", "172.19.0.9", ("web",))]
        )
        assert addresses(ask(web, "db")) == [db.address], "joined, and the sockets of before still serve"
        assert addresses(ask(web, "web")) == [web.address], "the first network decides"
        assert addresses(ask(web, "web.back")) == ["172.19.0.9"]


@isolated
def test_other_types_of_a_known_name_are_empty(short_tmp: Path) -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front")
    with resolver(short_tmp) as client:
        web = Container(networks, network, dns=True)
        serve(client, web, network, "web")
        for kind in ("AAAA", "MX"):
            reply = ask(web, "web", kind)
            assert (reply.header.rcode, reply.rr) == (RCODE.NOERROR, []), kind


class Upstream:
    """A resolver of the host's: answers everything over UDP and TCP, or only hears it."""

    def __init__(self, address: str, answer: str = "", port: int = 53) -> None:
        self.heard: list[str] = []
        self._answer = answer
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((address, port))
        self._tcp = socket.socket()
        self._tcp.bind((address, port))
        self._tcp.listen()
        for loop in (self._datagrams, self._streams):
            threading.Thread(target=loop, daemon=True).start()

    def _reply(self, packet: bytes) -> bytes:
        query = DNSRecord.parse(packet)
        self.heard.append(f"{query.q.qname} {QTYPE[query.q.qtype]}")
        reply = query.reply()
        reply.add_answer(RR(query.q.qname, rdata=A(self._answer or "0.0.0.0")))
        return bytes(reply.pack())

    def _datagrams(self) -> None:
        while True:
            packet, client = self._udp.recvfrom(4096)
            reply = self._reply(packet)
            if self._answer:
                self._udp.sendto(b"\0\0" + reply[2:], client)  # a forger who does not know the id
                self._udp.sendto(reply, client)

    def _streams(self) -> None:
        while True:
            connection, _ = self._tcp.accept()
            packet = connection.recv(4096)
            reply = self._reply(packet[2:])
            connection.sendall(len(reply).to_bytes(2, "big"))
            connection.sendall(reply)
            connection.close()


@isolated
def test_foreign_names_are_asked_of_the_host_s_resolvers(short_tmp: Path) -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front")
    silent, speaking = Upstream("127.0.0.53"), Upstream("127.0.0.54", "198.51.100.7")
    with resolver(short_tmp) as client:
        web = Container(networks, network, dns=True)
        serve(client, web, network, "web", upstreams=("127.0.0.55", "127.0.0.53", "127.0.0.54"))
        started = time.monotonic()
        assert addresses(ask(web, "example.org")) == ["198.51.100.7"], "one refuses, one is silent, the third answers"
        assert time.monotonic() - started < 4
        assert silent.heard == ["example.org. A"]
        names = [NetworkNames(network.network_id, network.name, web.address, ("web",))]
        client.set_container("web", networks=names, upstreams=("127.0.0.55", "127.0.0.54"))
        assert addresses(ask(web, "example.org", stream=True)) == ["198.51.100.7"]
        assert ask(web, "example.org", "TXT").header.rcode == RCODE.NOERROR
        assert "example.org. TXT" in speaking.heard
        client.set_container("web", networks=names, upstreams=("127.0.0.55",))
        for stream in (False, True):
            assert ask(web, "example.org", stream=stream).header.rcode == RCODE.SERVFAIL
        assert addresses(ask(web, "web")) == [web.address]


@isolated
def test_a_hundred_questions_at_once(short_tmp: Path) -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front")
    Upstream("127.0.0.54", "198.51.100.7")
    with resolver(short_tmp) as client:
        web = Container(networks, network, dns=True)
        serve(client, web, network, "web", upstreams=("127.0.0.54",))
        with web.socket(socket.SOCK_DGRAM) as one:
            one.settimeout(10)
            one.connect(RESOLVER)
            for number in range(100):
                query = DNSRecord.question("web" if number % 2 else f"n{number}.example.org")
                query.header.id = number
                one.send(query.pack())
            replies = [DNSRecord.parse(one.recv(4096)) for _ in range(100)]
        assert {reply.header.id for reply in replies} == set(range(100))
        assert {reply.header.rcode for reply in replies} == {RCODE.NOERROR}


@isolated
def test_rubbish_does_no_harm(short_tmp: Path) -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front")
    with resolver(short_tmp) as client:
        web = Container(networks, network, dns=True)
        serve(client, web, network, "web")
        with web.socket(socket.SOCK_DGRAM) as one:
            one.connect(RESOLVER)
            for size in (0, 1, 11, 12, 13, 100, 1400):
                one.send(os.urandom(size))
        hanging = [web.socket() for _ in range(40)]
        for one in hanging:
            one.settimeout(5)
            one.connect(RESOLVER)
            one.send(b"\xff\xff\x00")
        for one in hanging:
            one.close()
        assert addresses(ask(web, "web")) == [web.address]
        assert addresses(ask(web, "web", stream=True)) == [web.address]


@isolated
def test_a_dead_container_s_namespace_goes_though_no_daemon_runs(short_tmp: Path) -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front")
    client = DnsClient(str(short_tmp))
    client.ensure_running()
    web = Container(networks, network, dns=True)
    serve(client, web, network, "web")
    process = dns_process(short_tmp)
    client.close()
    interface = web.endpoints[0].host_interface
    web.stop()
    wait_until(lambda: interface not in links())
    wait_until(lambda: not alive(process))  # nobody to serve, nobody to ask: it ends


@isolated
def test_a_killed_process_is_noticed_and_replaced(short_tmp: Path) -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front")
    with resolver(short_tmp) as client:
        web = Container(networks, network, dns=True)
        serve(client, web, network, "web")
        os.kill(dns_process(short_tmp), signal.SIGKILL)
        watch = select.poll()
        watch.register(client, select.POLLRDHUP)
        assert watch.poll(5000)
        with pytest.raises(Unavailable):
            client.containers()
        assert client.ensure_running()
        assert client.containers() == ()
        serve(client, web, network, "web")
        assert addresses(ask(web, "web")) == [web.address]


@isolated
def test_the_next_daemon_finds_the_process_serving(short_tmp: Path) -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front")
    with resolver(short_tmp) as client:
        web = Container(networks, network, dns=True)
        serve(client, web, network, "web")
        client.close()
        assert addresses(ask(web, "web")) == [web.address]
        assert not client.ensure_running()
        assert client.containers() == ("web",)
        client.drop_container("nobody")


@isolated
def test_it_runs_as_nobody_and_alone(short_tmp: Path) -> None:
    with resolver(short_tmp) as client:
        assert client.containers() == ()
        process = dns_process(short_tmp)
        wait_until(lambda: "\nUid:\t65534\t65534\t65534\t65534\n" in Path(f"/proc/{process}/status").read_text())
        status = Path(f"/proc/{process}/status").read_text()
        assert "\nCapEff:\t0000000000000000\n" in status
        assert os.getsid(process) == process


def dns_process(root: Path) -> int:
    """The process that listens on this test's socket."""
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    sockets = {f"socket:[{row[6]}]" for row in rows if row[-1] == f"{root}/dns.sock"}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid() and sockets & descriptors(entry):
            return int(entry.name)
    raise AssertionError("no dns process")


def descriptors(process: Path) -> set[str]:
    found = set()
    try:
        for descriptor in (process / "fd").iterdir():
            found.add(os.readlink(descriptor))
    except OSError:  # it ends while we look
        pass
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: object, timeout_s: float = 10.0) -> None:
    """Looks again every 10 ms: the kernel and the other process tell nobody here when they are done."""
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
