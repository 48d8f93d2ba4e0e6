from __future__ import annotations

from pathlib import Path

import pytest

from stackrun.errors import Unavailable
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
