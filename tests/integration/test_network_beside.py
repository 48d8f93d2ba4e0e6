"""Beside other firewalls: iptables' DROP policies, Docker's chains, a real dockerd, a flushed ruleset, another daemon of ours."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from network_lab import Container, Visited, here_reaches, isolated, links, neighbour, ruleset, run

from stackrun.errors import Conflict
from stackrun.kernel import netlink
from stackrun.network.ipam import Pool
from stackrun.network.networks import Network, Networks, Publication

HOST, OTHER = "203.0.113.1", "203.0.113.2"


class Site:
    """One network with a web server published at 8080, another container, and a neighbour with a server."""

    def __init__(self, networks: Networks) -> None:
        self.outside = neighbour(OTHER)
        self.outside.listen(80)
        self.network = networks.create("a" * 64, "front")
        self.web, self.client = Container(networks, self.network), Container(networks, self.network)
        self.web.listen(80)
        self.publication = Publication("tcp", "", 8080, self.web.address, 80)
        networks.publish([self.publication])

    def works(self) -> dict[str, bool]:
        return {
            "a container to another": self.client.reaches(self.web.address, 80),
            "a container to the outside": self.client.reaches(OTHER, 80),
            "the outside to a published port": self.outside.reaches(HOST, 8080),
            "the host to a published port": here_reaches("127.0.0.1", 8080),
        }


def wait_for_news(watch: object) -> bool:
    readable, _, _ = select.select([watch], [], [], 5)
    return bool(readable)


@isolated
def test_a_drop_policy_that_comes_before_us_and_one_that_comes_after() -> None:
    run("iptables -P FORWARD DROP")
    networks = Networks()
    site = Site(networks)
    assert all(site.works().values()), site.works()
    assert "stackrun: -o sr-+ -j ACCEPT" in run("iptables -S FORWARD")
    networks.remove(site.network.network_id)
    assert run("iptables -S FORWARD") == "-P FORWARD DROP\n"
    run("nft delete table ip filter")
    watch = networks.watch()
    networks.create("b" * 64, "back")
    assert not watch.changed(), "our own changes are no news"
    run("iptables -P FORWARD DROP")
    assert wait_for_news(watch)
    assert watch.changed()
    assert networks.ensure()
    assert not watch.changed()
    assert not networks.ensure()
    assert "stackrun: -o sr-+ -j ACCEPT" in run("iptables -S FORWARD")


@isolated
def test_docker_user_is_preferred_and_left_as_it_was() -> None:
    run("iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER")
    run("iptables -A DOCKER-USER -m comment --comment theirs -s 192.0.2.1 -j DROP; iptables -A DOCKER-USER -j RETURN")
    before = run("iptables -S")
    networks = Networks()
    site = Site(networks)
    assert all(site.works().values()), site.works()
    rules = run("iptables -S DOCKER-USER").splitlines()
    assert [rule.count("stackrun") for rule in rules] == [0, *[1] * 5, 0, 0], rules
    assert run("iptables -S FORWARD").count("stackrun") == 0
    run("iptables -A DOCKER-USER -i eth9 -j DROP")
    run("iptables -D DOCKER-USER -i eth9 -j DROP")
    networks.remove(site.network.network_id)
    assert run("iptables -S") == before


@isolated
def test_rules_move_when_docker_comes_later() -> None:
    run("iptables -P FORWARD DROP")
    networks = Networks()
    networks.create("a" * 64, "front")
    assert "stackrun" in run("iptables -S FORWARD")
    run("iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER")
    assert networks.ensure()
    assert "stackrun" not in run("iptables -S FORWARD")
    assert "stackrun" in run("iptables -S DOCKER-USER")


@isolated
def test_outgoing_traffic_is_left_to_docker_only_on_its_bridges() -> None:
    """An uplink may be called br-lan, which Docker's bridges could be too."""
    run("iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER")
    neighbour(OTHER)
    run("ip link set up0 down; ip link set up0 name br-lan; ip link set br-lan up; ip route add default via 203.0.113.2")
    networks = Networks()
    network = networks.create("a" * 64, "front")
    rules = run("iptables -S DOCKER-USER")
    assert rules.index("-i sr-+ -o br-lan") < rules.index("-i sr-+ -o br-+")
    assert network.bridge in links()


@isolated
def test_a_flushed_ruleset_comes_back() -> None:
    networks = Networks()
    site = Site(networks)
    watch = networks.watch()
    for harm in ("nft flush ruleset", "nft flush table ip stackrun", "nft delete table ip stackrun"):
        run(harm)
        assert wait_for_news(watch), harm
        assert watch.changed(), harm
        assert networks.ensure(), harm
        assert all(site.works().values()), harm
    run("nft flush ruleset")
    networks.unpublish([site.publication])
    assert not here_reaches("127.0.0.1", 8080), "a change mends what it finds, and is right"
    networks.publish([site.publication])
    assert here_reaches("127.0.0.1", 8080)


@isolated
def test_firewalls_that_we_cannot_speak_to_are_named() -> None:
    networks = Networks()
    networks.create("a" * 64, "front")
    assert [line for line in networks.warnings() if "drops" in line] == []
    run("nft add table inet strict; nft 'add chain inet strict forward { type filter hook forward priority 0; policy drop; }'")
    assert any("strict forward drops" in line for line in networks.warnings())
    run("iptables-legacy -P FORWARD DROP")
    assert any("iptables-legacy" in line for line in networks.warnings())
    run("iptables-legacy -P FORWARD ACCEPT; nft delete table inet strict")
    assert [line for line in networks.warnings() if "drops" in line] == []
    run("nft add table inet firewalld; nft 'add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; }'")
    assert any("firewall-cmd" in line for line in networks.warnings())


@isolated
def test_two_daemons_of_ours_do_not_touch_each_other() -> None:
    one, two = Networks(), Networks("x7")
    first, second = one.create("a" * 64, "front"), two.create("b" * 64, "front", [Pool("10.77.0.0/24")])
    ours, theirs = Container(one, first), Container(two, second)
    ours.listen(80)
    theirs.listen(80)
    same = Container(two, second)
    assert same.reaches(theirs.address, 80)
    assert not ours.reaches(theirs.address, 80)
    assert not theirs.reaches(ours.address, 80)
    one.restore([])
    assert second.bridge in links()
    assert first.bridge not in links()
    assert "table ip stackrun-x7" in ruleset()
    assert "table ip stackrun {" not in ruleset()
    assert same.reaches(theirs.address, 80)


@isolated
def test_restore_mends_removes_and_repeats() -> None:
    networks = Networks()
    front, back = networks.create("a" * 64, "front"), networks.create("b" * 64, "back")
    web = Container(networks, front)
    web.listen(80)
    networks.close()
    after_reboot = Networks()
    publication = Publication("tcp", "127.0.0.1", 8080, web.address, 80)
    for harm in ("true", "nft flush ruleset", f"ip addr flush dev {front.bridge}"):
        run(harm)
        after_reboot.restore([front], [publication])
        assert here_reaches("127.0.0.1", 8080), harm
        assert back.bridge not in links(), "a network that no record knows is removed"
    run(f"ip link delete {front.bridge}")
    after_reboot.restore([front], [])
    assert front.bridge in links()
    assert not here_reaches("127.0.0.1", 8080)
    again = Container(after_reboot, front)
    again.listen(80)
    assert here_reaches(again.address, 80)


@isolated
def test_one_network_that_cannot_be_restored_costs_only_itself() -> None:
    run("ip link add taken0 type veth peer name taken1")
    foreign = Network("a" * 64, "odd", (Pool("10.1.0.0/24", "10.1.0.1"),), options=(("com.docker.network.driver.mtu", "68"),))
    missing = Network("c" * 64, "impossible", (Pool("10.3.0.0/24", "10.3.0.1"),), options=(("com.docker.network.bridge.name", "a/b"),))
    good = Network("b" * 64, "front", (Pool("10.2.0.0/24", "10.2.0.1"),))
    networks = Networks()
    networks.restore([foreign, missing, good])
    assert good.bridge in links()
    assert any("network impossible could not be restored" in line for line in networks.warnings())


@isolated
def test_a_failed_create_leaves_nothing() -> None:
    neighbour(OTHER)
    networks = Networks()
    networks.create("b" * 64, "front")
    before = links(), ruleset()
    with pytest.raises(Conflict, match="routed to up0"):
        networks.create("a" * 64, "lan", [Pool("203.0.113.0/24")])
    with pytest.raises(Conflict, match="overlaps"):
        networks.create("a" * 64, "double", [Pool("172.18.5.0/24")])
    with pytest.raises(Conflict, match="interface up0 exists already"):
        networks.create("a" * 64, "named", options={"com.docker.network.bridge.name": "up0"})
    assert (links(), ruleset()) == before


@isolated
def test_chosen_subnets_avoid_every_route_of_the_host() -> None:
    neighbour(OTHER)
    run("ip route add 172.18.0.0/15 via 203.0.113.2; ip route add 172.20.3.0/24 via 203.0.113.2 table 77; ip rule add table 77")
    assert Networks().create("a" * 64, "front").subnets == ("172.21.0.0/16",)


@isolated
def test_a_deleted_bridge_is_made_again_for_the_next_container() -> None:
    networks = Networks()
    network = networks.create("a" * 64, "front")
    run(f"ip link delete {network.bridge}")
    container = Container(networks, network)
    container.listen(80)
    assert here_reaches(container.address, 80)


@isolated
def test_a_bridge_with_a_name_of_its_own() -> None:
    run("iptables -P FORWARD DROP")
    outside = neighbour(OTHER)
    outside.listen(80)
    networks = Networks()
    network = networks.create("a" * 64, "front", options={"com.docker.network.bridge.name": "lab.0"})
    assert "lab.0" in links()
    assert Container(networks, network).reaches(OTHER, 80)
    networks.remove(network.network_id)
    assert "lab.0" not in links()
    assert "stackrun" not in ruleset()


@isolated
def test_our_bridge_is_marked_with_its_owner() -> None:
    network = Networks("x7").create("a" * 64, "front")
    (link,) = [link for link in netlink.links(netlink.Connection(netlink.ROUTE)) if link.name == network.bridge]
    assert link.alias == f"stackrun-x7:{network.network_id}"


@pytest.mark.skipif(not shutil.which("dockerd"), reason="no dockerd on this machine")
def test_a_real_dockerd(short_tmp: Path) -> None:
    _real_dockerd(short_tmp)


@isolated
def _real_dockerd(root: Path) -> None:
    """It starts after us with its FORWARD policy at DROP, keeps its containers' isolation, and survives our leaving."""
    networks = Networks()
    site = Site(networks)
    watch = networks.watch()
    run("sysctl -qw net.ipv4.ip_forward=0")  # dockerd sets its policy only when it turns forwarding on itself
    with Dockerd(root) as docker:
        assert watch.changed()
        assert networks.ensure()
        assert "-P FORWARD DROP" in run("iptables -S")
        assert all(site.works().values()), site.works()
        busybox = root / "image"
        busybox.mkdir()
        shutil.copy("/bin/busybox", busybox)
        run(f"tar -C {busybox} -c . | {docker.client} import - busybox")
        run(f"{docker.client} run -d --name private busybox /busybox httpd -f -p 80")
        run(f"{docker.client} run -d --name public -p 9090:80 busybox /busybox httpd -f -p 80")
        private = docker.inspected("private")["NetworkSettings"]["IPAddress"]
        assert not site.client.reaches(private, 80), "its containers stay as closed as it made them"
        assert site.client.reaches(HOST, 9090)
        assert site.outside.reaches(HOST, 9090)
        assert here_reaches("127.0.0.1", 9090)
        theirs = Visited(docker.inspected("private")["State"]["Pid"])
        assert theirs.reaches(HOST, 8080)
        assert not theirs.reaches(site.web.address, 80)
        run(f"{docker.client} rm -f private public")
        networks.remove(site.network.network_id)
        assert "stackrun" not in ruleset()
        run(f"{docker.client} network create still-works")


class Dockerd:
    """A dockerd of our own in this network namespace."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._socket = root / "d.sock"
        self.client = f"docker -H unix://{self._socket}"

    def __enter__(self) -> Dockerd:
        command = ["dockerd", "--data-root", f"{self._root}/data", "--exec-root", f"{self._root}/exec", "-H", f"unix://{self._socket}"]
        with (self._root / "log").open("w") as log:
            self._process = subprocess.Popen([*command, "-p", f"{self._root}/pid"], stdout=log, stderr=log)
        for line in self._lines():
            if "API listen on" in line:
                return self
        raise AssertionError((self._root / "log").read_text())

    def _lines(self) -> Iterator[str]:
        """Its log as it grows, until it ends (`tail --pid` follows by inotify)."""
        follow = ["tail", "-n", "+1", "-f", f"--pid={self._process.pid}", str(self._root / "log")]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as tail:
            assert tail.stdout is not None
            try:
                yield from tail.stdout
            finally:
                tail.kill()

    def inspected(self, container: str) -> Any:
        return json.loads(run(f"{self.client} inspect {container}"))[0]

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        for mount in reversed([line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]):
            if mount.startswith(str(self._root)):
                subprocess.run(["umount", "-l", mount], check=False)


def test_the_lab_itself_isolates() -> None:
    before = socket.if_nameindex()

    @isolated
    def inside() -> None:
        assert [name for _, name in socket.if_nameindex()] == ["lo"]
        assert os.readlink("/proc/self/ns/net")

    inside()
    assert socket.if_nameindex() == before
