"""A container's place on a network, and the two batches of messages that make it.

From the host, one message creates the veth with its peer born inside the container's namespace, the host
end up and a port of the bridge.  From inside, the container's own init sends the rest: nobody has to enter
the namespace.  Inside, the address 127.0.0.11 is redirected to the sockets that the dns process answers on
(docs/adr/0002): images such as nginx's have Docker's resolver address written into their configuration.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from stackrun.kernel import netlink, nft

RESOLVER_ADDRESS = "127.0.0.11"
DNS_PORT = 61053
"""Where the resolver's sockets are bound inside; port 53 stays free for a container that is a DNS server itself."""
DNS_TABLE = "stackrun"
HOST_PREFIX = "srv"
"""Of every host's end of ours."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Everything that decides how one interface of a container looks.

    `gateway` is empty on an internal network; `default_route`: the container's default route goes here;
    `isolated`: no traffic to other containers of the bridge; `hairpin`: the container may reach itself through
    its own published port; `interface_index` is known once it is wired.
    """

    network_id: str
    endpoint_id: str
    interface: str
    ipv4_address: str
    prefix_length: int
    gateway: str
    mac_address: str
    bridge: str
    mtu: int
    default_route: bool = True
    isolated: bool = False
    hairpin: bool = True
    interface_index: int = 0

    @property
    def host_interface(self) -> str:
        return host_interface(self.endpoint_id)


def host_interface(endpoint_id: str) -> str:
    return f"{HOST_PREFIX}{endpoint_id[:12]}"


def mac_of(ipv4_address: str) -> str:
    """A locally administered address that follows from the IPv4 one.

    A new container that gets a dead one's IPv4 address then has its MAC too: no neighbour's ARP entry is wrong.
    """
    return "02:42:" + ":".join(f"{byte:02x}" for byte in socket.inet_aton(ipv4_address))


def host_requests(endpoint: Endpoint, bridge_index: int, *, netns_pid: int = 0, netns_fd: int = -1) -> list[netlink.Request]:
    """The host's side; the last request's reply tells the inner interface's index."""
    veth = netlink.add_veth(
        endpoint.host_interface,
        bridge_index,
        endpoint.mtu,
        peer=endpoint.interface,
        peer_mac_address=endpoint.mac_address,
        netns_pid=netns_pid,
        netns_fd=netns_fd,
    )
    # Before the peer comes up: a port needs no IPv6 address of the host's that a container could speak to.
    quiet = netlink.without_link_local(endpoint.host_interface)
    port = netlink.set_bridge_port(endpoint.host_interface, isolated=endpoint.isolated, hairpin=endpoint.hairpin)
    return [veth, quiet, port, netlink.get_link(endpoint.host_interface)]


def inner_requests(endpoint: Endpoint) -> list[netlink.Request]:
    """The container's side, to be sent from inside its namespace once `interface_index` is known."""
    requests = [
        netlink.without_link_local(endpoint.interface),
        netlink.add_address(endpoint.interface_index, endpoint.ipv4_address, endpoint.prefix_length),
        netlink.set_up(endpoint.interface),
    ]
    if endpoint.default_route and endpoint.gateway:
        requests.append(netlink.add_default_route(endpoint.gateway))
    return requests


def container_batches(endpoints: Sequence[Endpoint], dns: bool = True) -> list[tuple[int, bytes]]:
    """(netlink protocol, bytes) in the order to send them from inside a fresh namespace, after `Networks.wire`.

    Without endpoints: only the loopback interface.  `dns` adds the redirection of 127.0.0.11:53.
    """
    requests = [netlink.set_loopback_up()]
    for endpoint in endpoints:
        requests += inner_requests(endpoint)
    batches = [(netlink.ROUTE, netlink.joined([request.message for request in requests]))]
    if dns:
        batches.append((netlink.NETFILTER, resolver_batch()))
    return batches


@cache
def resolver_batch() -> bytes:
    """The nft transaction inside every container: 127.0.0.11:53 is really :61053.  The same bytes for all."""
    return nft.batch_bytes(resolver_requests())


def resolver_requests() -> list[netlink.Request]:
    requests = [nft.add_table(DNS_TABLE), nft.add_base_chain(DNS_TABLE, "output", "nat", nft.OUTPUT, nft.PRIORITY_DNAT)]
    first, second = nft.REGISTER[:2]
    for protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
        requests.append(
            nft.add_rule(
                DNS_TABLE,
                "output",
                nft.load_payload(nft.NETWORK, 16, 4, first),
                nft.compare(first, nft.address(RESOLVER_ADDRESS)),
                nft.load_meta(nft.META_L4PROTO, first),
                nft.compare(first, bytes([protocol])),
                nft.load_payload(nft.TRANSPORT, 2, 2, first),
                nft.compare(first, nft.port_key(53)[:2]),
                nft.load(nft.address(RESOLVER_ADDRESS), first),
                nft.load(nft.port_key(DNS_PORT)[:2], second),
                nft.dnat(first, second),
            )
        )
    return requests
