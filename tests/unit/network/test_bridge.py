from __future__ import annotations

import pytest

from stackrun.errors import InvalidArgument, Unsupported
from stackrun.network.bridge import Network, checked_options
from stackrun.network.firewall import Segment
from stackrun.network.ipam import Pool

BRIDGE = "com.docker.network.bridge."


def network(**options: str) -> Network:
    pairs = {f"{BRIDGE if name != 'mtu' else 'com.docker.network.driver.'}{name}": value for name, value in options.items()}
    return Network("0123456789abcdef" * 4, "front", (Pool("172.18.0.0/16", "172.18.0.1"),), options=checked_options(pairs))


def test_plain() -> None:
    plain = network()
    assert (plain.bridge, plain.mtu, plain.isolated_ports, plain.host_binding) == ("sr-0123456789ab", 1500, False, "")
    assert len(plain.bridge) == 15, "as long as an interface name may be"
    assert plain.segment() == Segment("sr-0123456789ab", ("172.18.0.0/16",), internal=False, masquerade=True)


def test_with_docker_s_options() -> None:
    special = network(name="lab.0", mtu="1400", enable_icc="False", enable_ip_masquerade="0", host_binding_ipv4="127.0.0.1")
    assert (special.bridge, special.mtu, special.isolated_ports, special.host_binding) == ("lab.0", 1400, True, "127.0.0.1")
    assert not special.segment().masquerade


@pytest.mark.parametrize(
    ("name", "value"),
    [("name", "a/b"), ("name", ".."), ("name", "x" * 16), ("name", ""), ("mtu", "12"), ("mtu", "x"), ("enable_icc", "maybe")],
)
def test_bad_values(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{name}: "):
        network(**{name: value})


def test_an_option_we_lack_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match=r"com\.docker\.network\.bridge\.inhibit_ipv4"):
        checked_options({"com.docker.network.bridge.inhibit_ipv4": "true"})
