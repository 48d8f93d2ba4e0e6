"""What an engine makes of records that a killed one left in the middle of a hand-over: one owner a port, and nobody waits for the dead."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from stackrun.api.stored import from_json, to_json
from stackrun.api.types import ContainerSpec, ContainerState, Endpoint, PublishedPort, Status
from stackrun.engine.handover import HandOver
from stackrun.engine.record import Definition, Situation
from stackrun.engine.registry import Entry

PORT = PublishedPort(80, "tcp", "0.0.0.0", 8080)
OTHER = PublishedPort(81, "tcp", "0.0.0.0", 8081)
EXPOSED = PublishedPort(9000, "tcp")


def entry(name: str, *ports: PublishedPort, started: str = "2026-01-01T00:00:00Z", **known: Any) -> Entry:
    endpoint = Endpoint("net", "n" * 64, aliases=("web",), dns_names=("stale",))
    state = ContainerState(Status.RUNNING, pid=1, started_at=started)
    definition = Definition(name, name, "", "sh", (), "", ContainerSpec("busybox"))
    return Entry(definition, Situation(state, endpoints=(endpoint,), ports=ports, **known))


def settled(*entries: Entry) -> list[str]:
    """Ids of those whose record was written anew."""
    written: list[str] = []
    store = SimpleNamespace(write_situation=lambda id, situation: written.append(id))
    planner = SimpleNamespace(dns_names=lambda one, endpoint, nameless: (one.name, *(() if nameless else endpoint.aliases)))
    unused: Any = SimpleNamespace()
    made = HandOver(
        store=store, registry=unused, pool=unused, tasks=unused, networks=unused, lifecycle=SimpleNamespace(), planner=planner,
        connections=unused, resolver=unused, host_ports=unused, report=print,
    )  # type: ignore[arg-type]  # fmt: skip
    made.settle(entries)
    return written


def test_ordinary_records_stay_as_they_are() -> None:
    one, other = entry("a", PORT, EXPOSED), entry("b", OTHER)
    assert settled(one, other) == []
    assert one.situation.ports == (PORT, EXPOSED)


def test_who_waits_goes_on_waiting() -> None:
    old, new = entry("old", PORT), entry("new", waiting_ports=(PORT,), nameless=True, beside="old")
    assert settled(old, new) == []


def test_of_two_that_claim_a_port_the_one_that_took_it_last_has_it() -> None:
    """The new one's record was written, the old one's not yet."""
    old = entry("old", PORT, OTHER, EXPOSED, started="2026-01-01T00:00:05Z")
    new = entry("new", PORT, ports_at="2026-01-01T00:00:09Z")
    assert settled(old, new) == ["old"]
    assert new.situation.ports == (PORT,)
    left = old.situation
    assert (left.ports, left.waiting_ports, left.beside, left.nameless) == ((OTHER, EXPOSED), (PORT,), "new", True)
    assert left.endpoints[0].dns_names == ("old",)


def test_and_going_back_counts_as_well() -> None:
    old = entry("old", PORT, ports_at="2026-01-01T00:00:20Z")
    new = entry("new", PORT, started="2026-01-01T00:00:05Z", ports_at="2026-01-01T00:00:09Z")
    assert settled(new, old) == ["new"]
    assert (old.situation.ports, new.situation.beside) == ((PORT,), "old")


def test_who_waited_for_one_that_has_ended_has_the_port_and_the_names() -> None:
    new = entry("new", EXPOSED, waiting_ports=(PORT,), nameless=True, beside="old")
    assert settled(new) == ["new"]
    got = new.situation
    assert (got.ports, got.waiting_ports, got.beside, got.nameless) == ((PORT, EXPOSED), (), "", False)
    assert got.endpoints[0].dns_names == ("new", "web") and got.ports_at


def test_but_not_what_another_has_meanwhile() -> None:
    left = entry("left", waiting_ports=(PORT,), nameless=True, beside="old")
    third = entry("third", PORT, ports_at="2026-01-01T00:00:09Z")
    assert settled(left, third) == ["left"]
    assert (left.situation.ports, left.situation.beside, third.situation.ports) == ((), "third", (PORT,))


def test_of_two_that_waited_for_the_dead_one_inherits() -> None:
    one, other = (
        entry(name, waiting_ports=(PORT,), nameless=True, beside="old", started=f"2026-01-01T00:00:0{at}Z") for name, at in ("a1", "b2")
    )
    settled(one, other)
    assert (other.situation.ports, one.situation.beside) == ((PORT,), "b")


def test_the_record_of_who_waits_comes_back_from_the_disk() -> None:
    situation = entry("new", waiting_ports=(PORT,), nameless=True, beside="old").situation
    assert from_json(Situation, to_json(situation)) == situation
