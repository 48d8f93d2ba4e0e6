"""A network's bridge: what it looks like, how it is made, found again and removed.

The bridge bears its owner and its network in its alias (`ip -d link`), so that what a crash leaves behind
is told apart from another daemon's, whose state root is another one.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from stackrun.errors import Conflict, InvalidArgument, KernelError, Unsupported
from stackrun.kernel import netlink
from stackrun.kernel.netlink import Connection
from stackrun.network.endpoint import mac_of
from stackrun.network.firewall import Segment
from stackrun.network.ipam import Pool

NAME_PREFIX = "sr-"
"""Every bridge we name ourselves begins so: one pattern fits them all in another firewall's rules."""

_PREFIX = "com.docker.network."
_NAME, _MTU = f"{_PREFIX}bridge.name", f"{_PREFIX}driver.mtu"
_ICC, _MASQUERADE = f"{_PREFIX}bridge.enable_icc", f"{_PREFIX}bridge.enable_ip_masquerade"
_HOST_BINDING = f"{_PREFIX}bridge.host_binding_ipv4"
_OPTIONS = frozenset((_NAME, _MTU, _ICC, _MASQUERADE, _HOST_BINDING))
_TRUTHS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
_INTERFACE_NAME = re.compile(r"(?!\.\.?$)[A-Za-z0-9_.-]{1,15}")
_DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True)
class Network:
    """A network of ours, complete: this is what the engine records and hands to `Networks.restore`.

    `options` are Docker's driver options (`com.docker.network.bridge.name`…), as sorted pairs.
    """

    network_id: str
    name: str
    pools: tuple[Pool, ...]
    internal: bool = False
    options: tuple[tuple[str, str], ...] = ()

    @property
    def bridge(self) -> str:
        return dict(self.options).get(_NAME) or f"{NAME_PREFIX}{self.network_id[:12]}"

    @property
    def mtu(self) -> int:
        return int(dict(self.options).get(_MTU) or _DEFAULT_MTU)

    @property
    def isolated_ports(self) -> bool:
        """`enable_icc: false`: the containers of this network may not speak to one another."""
        return not self._truth(_ICC)

    @property
    def host_binding(self) -> str:
        """The host address that a port published without one is published on; empty for every address."""
        return dict(self.options).get(_HOST_BINDING, "")

    @property
    def subnets(self) -> tuple[str, ...]:
        return tuple(pool.subnet for pool in self.pools)

    def segment(self) -> Segment:
        return Segment(self.bridge, self.subnets, self.internal, self._truth(_MASQUERADE))

    def _truth(self, option: str) -> bool:
        return _TRUTHS[dict(self.options).get(option, "true").lower()]


def checked_options(options: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The options as a Network keeps them.  Raises InvalidArgument, and Unsupported naming the option we lack."""
    for name, value in options.items():
        if name not in _OPTIONS:
            raise Unsupported(f"network driver option {name} is not supported")
        if name == _NAME and not _INTERFACE_NAME.fullmatch(value):
            raise InvalidArgument(f"{name}: {value!r} is no interface name: 1 to 15 letters, digits, '_', '.', '-'")
        if name == _MTU and not (value.isdecimal() and 68 <= int(value) <= 65535):
            raise InvalidArgument(f"{name}: {value!r} is no MTU: 68 to 65535 bytes")
        if name in (_ICC, _MASQUERADE) and value.lower() not in _TRUTHS:
            raise InvalidArgument(f"{name}: {value!r} is neither true nor false")
    return tuple(sorted(options.items()))


def make(connection: Connection, owner: str, network: Network) -> None:
    """The bridge with its addresses, up.  Raises Conflict when the name is taken; nothing stays behind on failure."""
    refuse_taken(network)
    connection.send([netlink.add_bridge(network.bridge, mac_of(network.pools[0].gateway), network.mtu)])
    try:
        _mark(connection, owner, network)
        complete(connection, network)
    except BaseException:
        delete(connection, network.bridge)
        raise


def _mark(connection: Connection, owner: str, network: Network) -> None:
    connection.send([netlink.set_alias(network.bridge, alias(owner, network)), netlink.without_link_local(network.bridge)])


def complete(connection: Connection, network: Network) -> None:
    """Addresses and sysctls of a bridge that is there; repeatable."""
    index = netlink.interface_index(network.bridge)
    addresses = [netlink.add_address(index, pool.gateway, IPv4Network(pool.subnet).prefixlen, replace=True) for pool in network.pools]
    connection.send([*addresses, netlink.set_up(network.bridge)])
    # A packet from the host's 127.0.0.1 to a published port leaves through here: firewall.py closes what this opens.
    for name in sysctls(network):
        netlink.write_sysctl(name, "1")


def sysctls(network: Network) -> tuple[str, ...]:
    """What is to be 1 of a bridge that is there."""
    return tuple(f"ipv4/conf/{network.bridge}/{name}" for name in ("route_localnet", "forwarding"))


def restore(connection: Connection, owner: str, network: Network) -> None:
    """Makes the bridge unless it is there; one that bears nobody's mark was left by whoever was killed while he made it."""
    if netlink.interface_index(network.bridge):
        (reply,) = connection.send([netlink.get_link(network.bridge)])
        if not netlink.decoded_link(reply.body).alias:
            _mark(connection, owner, network)
        complete(connection, network)
    else:
        make(connection, owner, network)


def delete(connection: Connection, name: str) -> None:
    """Removes a link; it need not exist."""
    try:
        connection.send([netlink.delete_link(name)])
    except KernelError as error:
        if not netlink.is_missing(error):
            raise


def delete_all(connection: Connection, names: Sequence[str]) -> None:
    """Removes links together, in hardly more time than one takes; they need not exist."""
    if len(names) == 1:
        delete(connection, names[0])
        return
    group = secrets.randbits(31) or 1  # of nobody else's
    try:
        connection.send([*(netlink.set_group(name, group) for name in names), netlink.delete_group(group)])
    except KernelError as error:
        if not netlink.is_missing(error):
            raise


def unknown(connection: Connection, owner: str, known: Iterable[Network]) -> tuple[str, ...]:
    """Names of this owner's bridges that belong to none of the networks."""
    aliases = {alias(owner, network) for network in known}
    mine = f"{owner}:"
    return tuple(link.name for link in netlink.links(connection) if link.alias.startswith(mine) and link.alias not in aliases)


def alias(owner: str, network: Network) -> str:
    """Whose the bridge is, as it bears it."""
    return f"{owner}:{network.network_id}"


def refuse_taken(network: Network) -> None:
    """Conflict when somebody has its bridge's name."""
    if netlink.interface_index(network.bridge):
        raise Conflict(f"interface {network.bridge} exists already", hint=f"ip -d link show {network.bridge} tells whose it is")
