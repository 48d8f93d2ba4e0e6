from __future__ import annotations

import random

import pytest
from dnslib import EDNS0, QTYPE, RCODE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from stackrun.network.zone import Membership, Zone, answer, failure, packed_for_udp, parsed


def filled() -> Zone:
    zone = Zone()
    zone.set("web", [Membership("front", "shop_front", "172.18.0.2", ("shop-web-1", "web", "WEB"))])
    for number in (1, 2, 3):
        zone.set(f"api-{number}", [Membership("front", "shop_front", f"172.18.0.{10 + number}", (f"shop-api-{number}", "api"))])
    zone.set("db", [Membership("back", "shop_back", "172.19.0.2", ("shop-db-1", "db"))])
    zone.set("both", [Membership("back", "shop_back", "172.19.0.9", ("both",)), Membership("front", "shop_front", "172.18.0.9", ("both",))])
    return zone


def asked(zone: Zone, container: str, name: str, kind: str = "A", links: dict[str, str] | None = None) -> list[str] | None:
    reply = answer(zone, container, links or {}, DNSRecord.question(name, kind))
    return None if reply is None else [str(one.rdata) for one in reply.rr]


def test_names_of_the_container_s_own_networks() -> None:
    zone = filled()
    assert asked(zone, "api-1", "web") == ["172.18.0.2"]
    assert asked(zone, "api-1", "WeB.") == ["172.18.0.2"]
    assert asked(zone, "api-1", "web.shop_front") == ["172.18.0.2"]
    assert asked(zone, "api-1", "web.shop_back") is None
    assert asked(zone, "api-1", "db") is None
    assert asked(zone, "both", "db") == ["172.19.0.2"]
    assert asked(zone, "both", "both") == ["172.19.0.9"], "its first network decides"
    assert asked(zone, "nobody", "web") is None


def test_replicas_take_turns() -> None:
    zone = filled()
    answers = [asked(zone, "web", "api") for _ in range(6)]
    assert [found[0] for found in answers if found] == ["172.18.0.11", "172.18.0.12", "172.18.0.13"] * 2
    assert all(sorted(found or []) == ["172.18.0.11", "172.18.0.12", "172.18.0.13"] for found in answers)


def test_a_container_that_goes_takes_its_names_along() -> None:
    zone = filled()
    zone.drop("api-2")
    zone.drop("api-2")
    assert sorted(asked(zone, "web", "api") or []) == ["172.18.0.11", "172.18.0.13"]
    zone.set("api-1", [Membership("back", "shop_back", "172.19.0.11", ("api",))])
    assert asked(zone, "web", "api") == ["172.18.0.13"]
    assert asked(zone, "db", "api") == ["172.19.0.11"]
    zone.drop("api-3")
    assert asked(zone, "web", "api") is None


def test_who_was_told_an_address_may_go_by_it_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("stackrun.network.zone.time.monotonic", lambda: now_s)
    zone = filled()
    assert zone.known_for_s("web") == 0
    assert asked(zone, "api-1", "web") == ["172.18.0.2"]
    zone.set("web", [Membership("front", "shop_front", "172.18.0.2", ("shop-web-1",))])
    now_s = 100.25
    assert asked(zone, "api-1", "web") is None
    assert (zone.known_for_s("web"), zone.known_for_s("db")) == (0.75, 0)
    now_s = 102.0
    assert zone.known_for_s("web") == 0
    asked(zone, "api-1", "shop-web-1")
    zone.forget("web")
    assert zone.known_for_s("web") == 0


def test_links_are_one_container_s_own_names() -> None:
    zone = filled()
    assert asked(zone, "api-1", "proxy", links={"proxy": "web"}) == ["172.18.0.2"]
    assert asked(zone, "api-1", "proxy") is None


def test_a_known_name_has_no_other_types() -> None:
    zone = filled()
    assert asked(zone, "web", "api", "AAAA") == []
    assert asked(zone, "web", "api", "TXT") == []
    assert asked(zone, "web", "unknown", "AAAA") is None


def test_an_address_has_a_name() -> None:
    zone = filled()
    assert asked(zone, "web", "2.0.18.172.in-addr.arpa", "PTR") == ["shop-web-1.shop_front."]
    assert asked(zone, "web", "2.0.19.172.in-addr.arpa", "PTR") is None
    assert asked(zone, "web", "web", "PTR") is None


def large(count: int, **edns: int) -> tuple[DNSRecord, DNSRecord]:
    zone = Zone()
    for number in range(count):
        zone.set(str(number), [Membership("n", "", f"10.0.{number // 250}.{number % 250 + 1}", ("api",))])
    query = DNSRecord.question("api")
    if edns:
        query.add_ar(EDNS0(udp_len=edns["size"]))
    reply = answer(zone, "0", {}, query)
    assert reply is not None
    return query, reply


@pytest.mark.parametrize(("count", "size", "cut"), [(3, 0, False), (100, 0, True), (100, 4096, False), (300, 1232, True)])
def test_answers_fit_what_the_client_takes(count: int, size: int, cut: bool) -> None:
    query, reply = large(count, **({"size": size} if size else {}))
    packed = packed_for_udp(query, reply)
    assert len(packed) <= (size or 512)
    received = DNSRecord.parse(packed)
    assert bool(received.header.tc) is cut
    assert len(received.rr) == count or cut
    assert len(packed) > (size or 512) - 64 or not cut, "as many as fit"
    assert any(one.rtype == QTYPE.OPT for one in received.ar) is bool(size)


def test_failure_says_servfail() -> None:
    query = DNSRecord.question("example.org")
    reply = DNSRecord.parse(failure(query))
    assert (reply.header.rcode, reply.header.id, reply.header.qr) == (RCODE.SERVFAIL, query.header.id, 1)


def test_only_questions_are_answered() -> None:
    assert parsed(bytes(DNSRecord.question("web").pack())) is not None
    assert parsed(bytes(DNSRecord.question("web").reply().pack())) is None
    assert parsed(b"") is None


@given(st.binary(max_size=200))
def test_any_packet_is_survived(packet: bytes) -> None:
    query = parsed(packet)
    if query is not None:
        answered(query)


def test_broken_questions_are_survived() -> None:
    rng = random.Random(8)
    good = bytes(DNSRecord.question("shop-web-1.shop_front", "PTR").pack())
    for _ in range(3000):
        broken = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        query = parsed(bytes(broken))
        if query is not None:
            answered(query)


def answered(query: DNSRecord) -> None:
    reply = answer(filled(), "web", {}, query)
    assert failure(query)
    if reply is not None:
        assert packed_for_udp(query, reply)
