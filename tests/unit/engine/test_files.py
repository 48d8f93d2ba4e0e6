"""/etc/hosts and /etc/resolv.conf."""

from __future__ import annotations

import pytest

from stackrun.engine.files import Resolver, hosts, reachable, resolver
from stackrun.errors import InvalidArgument


def test_hosts_names_the_container_at_each_of_its_addresses() -> None:
    text = hosts(("web.example.org", "web"), ("10.0.0.2", "10.1.0.2"), ("db:1.2.3.4", "six=[2001:db8::1]", "out:host-gateway"), "10.0.0.1")
    assert text.splitlines()[0] == "127.0.0.1\tlocalhost"
    assert text.splitlines()[-5:] == [
        "1.2.3.4\tdb", "2001:db8::1\tsix", "10.0.0.1\tout", "10.0.0.2\tweb.example.org web", "10.1.0.2\tweb.example.org web",
    ]  # fmt: skip


@pytest.mark.parametrize("entry", ["name", "name:", ":1.2.3.4", "name:host-gateway"])
def test_wrong_extra_hosts_are_refused(entry: str) -> None:
    with pytest.raises(InvalidArgument):
        hosts(("x",), (), (entry,), "")


HOST = Resolver.parse("# generated\nnameserver 127.0.0.53\nnameserver 9.9.9.9 # quad\nsearch a.org b.org\noptions edns0 trust-ad\n")


def test_resolv_conf_is_read_and_written() -> None:
    assert Resolver(("127.0.0.53", "9.9.9.9"), ("a.org", "b.org"), ("edns0", "trust-ad")) == HOST
    assert HOST.text() == "nameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch a.org b.org\noptions edns0 trust-ad\n"
    assert Resolver.parse(HOST.text()) == HOST


def test_our_own_resolver_answers_alone() -> None:
    found = resolver(HOST, own_dns=True, servers=("1.1.1.1",), search=(), options=())
    assert found == Resolver(("127.0.0.11",), ("a.org", "b.org"), ("edns0", "trust-ad", "ndots:0"))
    assert resolver(HOST, own_dns=True, servers=(), search=("x",), options=("ndots:2",)) == Resolver(("127.0.0.11",), ("x",), ("ndots:2",))


def test_without_it_the_hosts_reachable_servers_or_those_asked_for() -> None:
    assert resolver(HOST, own_dns=False, servers=(), search=(".",), options=()).nameservers == ("9.9.9.9",)
    found = resolver(HOST, own_dns=False, servers=("1.1.1.1",), search=(".",), options=())
    assert found.nameservers == ("1.1.1.1",) and found.search == ()
    assert reachable(("127.0.0.1", "::1")) == ()
