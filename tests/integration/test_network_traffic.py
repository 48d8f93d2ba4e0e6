"""Who reaches whom: containers, the host, and another machine beside it."""

from __future__ import annotations

import os
import socket

import pytest
from network_lab import REFUSAL_S, Container, Machine, here_reaches, isolated, links, neighbour, ruleset, run, sysctl

from stackrun.errors import Conflict, KernelError, NotFound
from stackrun.kernel import netlink
from stackrun.network.ipam import Pool
from stackrun.network.networks import Networks, Publication

HOST, OTHER = "203.0.113.1", "203.0.113.2"


def peer_of(listener: socket.socket) -> str:
    """Who a connection seems to come from, at the server."""
    connection, address = listener.accept()
    connection.close()
    return str(address[0])


@isolated
def test_containers_of_a_network_reach_each_other_and_the_way_out() -> None:
    outside = neighbour(OTHER)
    server = outside.listen(80)
    networks = Networks()
    network = networks.create("a" * 64, "front")
    one, two = Container(networks, network), Container(networks, network)
    listener = two.listen(80)
    assert one.reaches(two.address, 80)
    assert peer_of(listener) == one.address
    assert one.reaches(OTHER, 80)
    assert peer_of(server) == HOST, "its traffic leaves with the host's address"
    assert here_reaches(two.address, 80), "the host itself reaches every container"


@isolated
def test_networks_are_kept_apart() -> None:
    networks = Networks()
    front, back = networks.create("a" * 64, "front"), networks.create("b" * 64, "back")
    web, db = Container(networks, front), Container(networks, back)
    db.listen(80)
    listener = web.listen(80)
    assert not web.reaches(db.address, 80)
    both = Container(networks, front, back)
    assert both.reaches(db.address, 80)
    assert both.reaches(web.address, 80)
    assert peer_of(listener) == both.address


@isolated
def test_an_internal_network_has_no_way_out_and_none_in() -> None:
    outside = neighbour(OTHER)
    outside.listen(80)
    networks = Networks()
    inside = networks.create("a" * 64, "inside", internal=True)
    front = networks.create("b" * 64, "front")
    one, two, web = Container(networks, inside), Container(networks, inside), Container(networks, front)
    two.listen(80)
    web.listen(80)
    networks.publish([Publication("tcp", "", 8080, web.address, 80)])
    assert one.reaches(two.address, 80)
    assert not one.reaches(OTHER, 80)
    one.run(f"ip route add default via {inside.pools[0].gateway}")
    assert not one.reaches(OTHER, 80), "not even for one that makes itself a route"
    assert not one.reaches(web.address, 80)
    assert not one.reaches(inside.pools[0].gateway, 8080), "nor through another network's published port"
    assert here_reaches(two.address, 80)


@isolated
def test_a_published_port_is_reached_from_everywhere() -> None:
    outside = neighbour(OTHER)
    networks = Networks()
    front, back = networks.create("a" * 64, "front"), networks.create("b" * 64, "back")
    web, sibling, other = Container(networks, front), Container(networks, front), Container(networks, back)
    listener = web.listen(80)
    networks.publish([Publication("tcp", "", 8080, web.address, 80)])
    gateway = front.pools[0].gateway
    assert here_reaches("127.0.0.1", 8080)
    assert peer_of(listener) == gateway
    assert here_reaches("127.0.0.77", 8080)
    assert here_reaches(HOST, 8080)
    assert outside.reaches(HOST, 8080)
    peers = [peer_of(listener) for _ in range(3)]
    assert peers[-1] == OTHER, "the server sees another machine's own address"
    for container in (sibling, other, web):
        assert container.reaches(HOST, 8080), "a container uses the host's address as anybody does, the server itself too"
        assert peer_of(listener) == gateway
    networks.unpublish([Publication("tcp", "", 8080, web.address, 80)])
    assert not here_reaches("127.0.0.1", 8080)
    assert not outside.reaches(HOST, 8080)


@isolated
def test_a_port_published_on_one_address_is_there_alone() -> None:
    outside = neighbour(OTHER)
    run("ip addr add 203.0.113.7/24 dev up0")
    networks = Networks()
    network = networks.create("a" * 64, "front")
    one, two = Container(networks, network), Container(networks, network)
    on_loopback, on_second = one.listen(80), two.listen(80)
    networks.publish([Publication("tcp", "127.0.0.1", 8080, one.address, 80), Publication("tcp", "203.0.113.7", 8080, two.address, 80)])
    assert here_reaches("127.0.0.1", 8080)
    assert peer_of(on_loopback)
    assert outside.reaches("203.0.113.7", 8080)
    assert peer_of(on_second) == OTHER
    assert not outside.reaches(HOST, 8080)
    assert not here_reaches(HOST, 8080)


@isolated
def test_a_neighbour_gets_neither_past_nor_onto_the_loopback() -> None:
    """CVE-2020-8558 and moby#45610: the packets themselves say 127.0.0.1, or a container's own address."""
    outside = neighbour(OTHER)
    networks = Networks()
    network = networks.create("a" * 64, "front")
    web, hostile = Container(networks, network), Container(networks, network)
    web.listen(80)
    networks.publish([Publication("tcp", "127.0.0.1", 8080, web.address, 80)])
    with socket.socket() as private:
        private.bind(("127.0.0.1", 5555))
        private.listen()
        for machine, gateway in ((outside, HOST), (hostile, network.pools[0].gateway)):
            machine.run("ip addr flush dev lo; sysctl -qw net.ipv4.conf.eth0.route_localnet=1")
            machine.run(f"ip route add 127.0.0.1/32 via {gateway} dev eth0")
            assert "eth0" in machine.run("ip route get 127.0.0.1"), "the attempt really leaves the machine"
            assert not machine.reaches("127.0.0.1", 5555)
            if machine is outside:
                assert not machine.reaches("127.0.0.1", 8080)
    outside.run(f"ip route add 172.16.0.0/12 via {HOST}")
    assert not outside.reaches(web.address, 80), "only published ports lead in"


@isolated
def test_udp_follows_a_port_to_its_new_container() -> None:
    outside = neighbour(OTHER)
    networks = Networks()
    network = networks.create("a" * 64, "front")
    old, new = Container(networks, network), Container(networks, network)
    servers = {container: container.listen(53, socket.SOCK_DGRAM) for container in (old, new)}
    client = outside.socket(socket.SOCK_DGRAM)
    client.bind(("", 40000))
    client.settimeout(5)

    def asked(container: Machine) -> str:
        client.sendto(b"question", (HOST, 5353))
        packet, address = servers[container].recvfrom(99)
        servers[container].sendto(packet.upper(), address)
        answer, source = client.recvfrom(99)
        return f"{answer.decode()} from {source[0]}:{source[1]}"

    networks.publish([Publication("udp", "", 5353, old.address, 53)])
    assert asked(old) == f"QUESTION from {HOST}:5353"
    networks.unpublish([Publication("udp", "", 5353, old.address, 53)])
    networks.publish([Publication("udp", "", 5353, new.address, 53)])
    assert asked(new) == f"QUESTION from {HOST}:5353", "the flow is the same, its translation is not"


@isolated
def test_publishing_again_elsewhere_replaces_the_target() -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front")
    old, new = Container(networks, network), Container(networks, network)
    old.listen(80)
    listener = new.listen(80)
    networks.publish([Publication("tcp", "", 8080, old.address, 80)])
    networks.publish([Publication("tcp", "", 8080, new.address, 80)])
    assert here_reaches("127.0.0.1", 8080)
    assert peer_of(listener)


@isolated
def test_bridged_traffic_passes_with_bridge_nf_call_iptables() -> None:
    """br_netfilter sends what never leaves a bridge through FORWARD too."""
    networks = Networks()
    network = networks.create("a" * 64, "front")
    one, two = Container(networks, network), Container(networks, network)
    two.listen(80)
    for value in ("1", "0"):
        run(f"sysctl -qw net.bridge.bridge-nf-call-iptables={value}")
        assert one.reaches(two.address, 80), f"with {value}"


@isolated
def test_without_inter_container_communication() -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front", options={"com.docker.network.bridge.enable_icc": "false"})
    one, two = Container(networks, network), Container(networks, network)
    two.listen(80)
    assert not one.reaches(two.address, 80)
    assert here_reaches(two.address, 80)


@isolated
def test_a_running_container_joins_and_leaves_a_network() -> None:
    networks = Networks()
    front, back = networks.create("a" * 64, "front"), networks.create("b" * 64, "back")
    web, db = Container(networks, front), Container(networks, back)
    db.listen(80)
    planned = networks.plan_endpoint(back.network_id, "e" * 64, interface="eth1", taken={db.address}, default_route=False)
    wired = networks.attach(planned, web.netns_fd)
    assert wired.interface_index
    assert web.reaches(db.address, 80)
    clash = networks.plan_endpoint(back.network_id, "f" * 64, interface="eth1", taken={db.address, wired.ipv4_address})
    with pytest.raises(KernelError, match="EEXIST"):
        networks.attach(clash, web.netns_fd)
    assert clash.host_interface not in links()
    networks.detach(wired)
    networks.detach(wired)
    assert not web.reaches(db.address, 80)
    assert web.run("ls /proc/self/task/*/net/dev >/dev/null; ip -br link").count("eth") == 1


@isolated
def test_inside_a_container() -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front", [Pool("10.9.8.0/24")], options={"com.docker.network.driver.mtu": "1400"})
    container = Container(networks, network)
    (endpoint,) = container.endpoints
    interface = container.run("ip addr show eth0")
    assert "inet 10.9.8.2/24 brd 10.9.8.255 scope global eth0" in interface
    assert "mtu 1400" in interface
    assert f"link/ether {endpoint.mac_address}" in interface == "02:42:0a:09:08:02" or endpoint.mac_address == "02:42:0a:09:08:02"
    assert "inet6" not in interface, "no address that no network knows of"
    assert container.run("ip route").startswith("default via 10.9.8.1 dev eth0")
    assert "127.0.0.1/8" in container.run("ip addr show lo")
    assert "inet6" not in run(f"ip addr show {endpoint.host_interface}")


@isolated
def test_wiring_is_all_or_nothing_and_repeatable() -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front")
    first = Container(networks, network)
    second = Machine()
    before = links()
    good = networks.plan_endpoint(network.network_id, "1" * 64, taken={first.address})
    clash = networks.plan_endpoint(network.network_id, "2" * 64, taken={first.address, good.ipv4_address})
    with pytest.raises(KernelError, match="add veth"):
        networks.wire([good, clash], second.pid)  # both call themselves eth0
    assert links() == before
    networks.wire([good], second.pid)
    third = Machine()
    again = networks.wire([good], third.pid)
    assert again[0].interface_index, "a container started again meets the links of its life before"
    with pytest.raises(NotFound, match="network nope not found"):
        networks.plan_endpoint("nope", "1" * 64)


@isolated
def test_a_link_settles_once_both_ends_are_up() -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front")
    machine = Machine()
    wired = networks.wire([networks.plan_endpoint(network.network_id, "1" * 64)], machine.pid)
    assert not networks.settle(wired, timeout_s=0.05), "its inner end is down"
    machine.run("ip link set eth0 up")
    assert networks.settle(wired)
    assert networks.settle([])


@isolated
def test_a_fixed_address_and_mac() -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front", [Pool("10.9.8.0/24", ip_range="10.9.8.128/25")])
    fixed = networks.plan_endpoint(network.network_id, "1" * 64, ipv4_address="10.9.8.50", mac_address="02-AA-bb-00-00-01")
    assert (fixed.ipv4_address, fixed.mac_address) == ("10.9.8.50", "02:aa:bb:00:00:01")
    assert networks.plan_endpoint(network.network_id, "2" * 64).ipv4_address == "10.9.8.128"
    with pytest.raises(Conflict, match="already in use"):
        networks.plan_endpoint(network.network_id, "3" * 64, taken={"10.9.8.50"}, ipv4_address="10.9.8.50")


@isolated
def test_everything_is_gone_with_the_last_network() -> None:
    run("iptables -P FORWARD DROP")
    links_before, rules_before = links(), ruleset()
    networks = Networks()
    front, back = networks.create("a" * 64, "front"), networks.create("b" * 64, "back", internal=True)
    containers = [Container(networks, front, back), Container(networks, back)]
    publication = Publication("tcp", "", 8080, containers[0].address, 80)
    networks.publish([publication])
    assert sysctl(f"ipv4/conf/{front.bridge}/route_localnet") == "1"
    networks.unpublish([publication])
    for container in containers:
        netlink.connect_in(container.netns_fd, netlink.ROUTE).send([netlink.delete_link("eth0")])
        container.stop()
    for network in (front, back, back):
        networks.remove(network.network_id)
    assert ruleset() == rules_before
    assert not {name for name in links() - links_before if name.startswith("sr-")}
    networks.close()


@isolated
def test_descriptors_do_not_leak() -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front")
    container = Container(networks, network)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(5):
        planned = networks.plan_endpoint(
            network.network_id, f"{number}" * 64, interface="eth1", taken={container.address}, default_route=False
        )
        networks.detach(networks.attach(planned, container.netns_fd))
        networks.ensure()
    assert len(os.listdir("/proc/self/fd")) == before
    assert REFUSAL_S < 1
