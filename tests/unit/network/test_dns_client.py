from __future__ import annotations

import os
import select
import socket
import threading
from pathlib import Path

import pytest

from stackrun.errors import Unavailable
from stackrun.network import dns_client
from stackrun.network.dns_client import DnsClient, host_upstreams


def test_the_host_s_resolvers_in_order(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# nameserver 9.9.9.9\nsearch lan\nnameserver 192.0.2.1\n  nameserver\t2001:db8::1\nnameserver\noptions ndots:2\n")
    assert host_upstreams(str(file)) == ("192.0.2.1", "2001:db8::1")
    assert host_upstreams(str(tmp_path / "none")) == ()


def test_without_a_process() -> None:
    client = DnsClient("/nonexistent")
    for call in (client.containers, client.fileno, lambda: client.drop_container("x")):
        with pytest.raises(Unavailable, match="the dns process is not running"):
            call()
    client.close()


def test_one_that_loads_slowly_is_waited_for_and_one_that_hangs_later_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_client, "_TIMEOUT_S", 0.05)
    begun: list[threading.Thread] = []

    def slow(listener_fd: int, log: Path) -> int:
        listener = socket.socket(fileno=os.dup(listener_fd))
        begun.append(threading.Thread(target=_answer_late, args=(listener,)))
        begun[0].start()
        return os.getpid()  # nobody's child: not waited for

    monkeypatch.setattr(dns_client, "_spawned", slow)
    client = DnsClient(str(tmp_path))
    try:
        assert client.ensure_running() is True
        assert client.containers() == ()
        with pytest.raises(Unavailable, match="does not answer: timed out"):
            client.containers()
    finally:
        client.close()
        begun[0].join()


def _answer_late(listener: socket.socket) -> None:
    """The first request alone, and long after the time that one has for it that runs."""
    with listener:
        listener.settimeout(20)
        connection, _ = listener.accept()
    with connection:
        connection.recv(1000)
        assert not select.select([connection], [], [], 0.3)[0]
        connection.send(b'{"containers": []}')
        while connection.recv(1000):
            pass
