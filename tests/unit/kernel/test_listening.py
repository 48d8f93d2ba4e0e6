"""Who listens where: the kernel's tables as proc(5) writes them, and sockets of this very process."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from stackrun.kernel.listening import Holder, Listener, answering, holders, listeners, parse

TCP = """\
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 12346 1 0000000000000000 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 99 1 0000000000000000 100 0 0 10 0
   3: truncated
"""
TCP6 = """\
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 7 1 0 0
   1: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 8 1 0 0
   2: 0000000000000000FFFF00000100007F:0052 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 9 1 0 0
"""


def test_listening_sockets_alone_are_taken_from_a_table() -> None:
    assert list(parse(TCP.splitlines(), "tcp", "0A")) == [Listener("tcp", "127.0.0.1", 8080, 12345), Listener("tcp", "0.0.0.0", 22, 99)]


def test_addresses_of_ipv6_and_mapped_ones() -> None:
    assert [one.address for one in parse(TCP6.splitlines(), "tcp", "0A")] == ["::", "::1", "127.0.0.1"]


def test_a_kernel_without_ipv6_has_fewer_tables(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(f"heading\n{TCP}")
    assert [one.port for one in listeners(str(tmp_path))] == [8080, 22]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0"])
def test_a_socket_of_this_process_is_found_with_its_holder(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        server = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"{address} cannot be bound here")
    with server:
        port = server.getsockname()[1]
        (found,) = [one for one in listeners() if one.port == port and one.protocol == "tcp" and one.address == address]
        assert found.inode == os.fstat(server.fileno()).st_ino
        program = Path("/proc/self/comm").read_text().strip()
        assert holders([found.inode]) == {found.inode: Holder(os.getpid(), program)}


def test_a_udp_socket_is_found_until_it_is_closed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        assert [one.address for one in listeners() if (one.port, one.protocol) == (port, "udp")] == ["127.0.0.1"]
    assert not [one for one in listeners() if (one.port, one.protocol) == (port, "udp")]


def test_nobody_is_looked_for_when_nothing_is_asked() -> None:
    assert holders([], "/nowhere") == {}


def test_a_process_that_may_not_be_looked_into_is_left_out(tmp_path: Path) -> None:
    own = tmp_path / "7" / "fd"
    own.mkdir(parents=True)
    (own / "0").symlink_to("/dev/null")
    (own / "1").write_text("closed meanwhile, so no link")
    (own / "2").symlink_to("socket:[5]")
    (tmp_path / "8").mkdir()
    (tmp_path / "self").mkdir()
    assert holders([5, 6], str(tmp_path)) == {5: Holder(7, "")}


def test_connections_that_others_made_are_counted_while_they_may_want_an_answer() -> None:
    pid = os.getpid()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        before = answering(pid, ["127.0.0.1"])
        with socket.create_connection(address) as client:
            assert answering(pid, ["127.0.0.1"]) == before + 1, "before it is accepted, and its own side is not counted"
            server, _ = listener.accept()
            client.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b"" and answering(pid, ["127.0.0.1"]) == before + 1, "a client that has said all waits for the answer"
            assert answering(pid, ["127.0.0.2"]) <= before
            server.close()
            assert client.recv(1) == b""
        assert answering(pid, ["127.0.0.1"]) == before


def test_an_ipv4_connection_to_a_socket_of_both_families_counts(tmp_path: Path) -> None:
    mapped, tail = "0000000000000000FFFF0000", "0:0 0:0 0 0 0 1"
    rows = (
        f"{'0' * 32}:1F90 {'0' * 32}:0000 0A", f"{mapped}020014AC:1F90 {mapped}030014AC:C000 01",
        f"{mapped}020014AC:1F91 {mapped}030014AC:C000 01", f"{mapped}020014AC:1F90 {mapped}030014AC:C001 06",
    )  # fmt: skip
    (tmp_path / "7" / "net").mkdir(parents=True)
    (tmp_path / "7" / "net" / "tcp6").write_text("sl local_address\n" + "".join(f"  {at}: {row} {tail}\n" for at, row in enumerate(rows)))
    assert answering(7, ["172.20.0.2"], str(tmp_path)) == 1
    assert answering(8, ["172.20.0.2"], str(tmp_path)) == 0, "it has ended"
