from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackrun.errors import Conflict, InvalidArgument, Unsupported
from stackrun.network.ipam import Pool, allocate, choose_pools


def chosen(*wanted: Pool, networks: tuple[str, ...] = (), occupied: tuple[str, ...] = ()) -> tuple[Pool, ...]:
    return choose_pools(wanted, networks=networks, occupied=occupied)


def test_the_first_default_is_docker_s_second() -> None:
    assert chosen() == (Pool("172.18.0.0/16", "172.18.0.1"),)


def test_defaults_follow_one_another_and_leave_the_host_s_routes_alone() -> None:
    assert chosen(Pool(), Pool())[1].subnet == "172.19.0.0/16"
    assert chosen(networks=("172.18.0.0/16",), occupied=("172.19.44.0/24",))[0].subnet == "172.20.0.0/16"
    assert chosen(occupied=("172.16.0.0/12",))[0] == Pool("192.168.0.0/20", "192.168.0.1")
    assert chosen(occupied=("172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/24"))[0].subnet == "10.0.1.0/24"


def test_nothing_is_left() -> None:
    with pytest.raises(Conflict, match="no subnet is free"):
        chosen(occupied=("172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8"))


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 32)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_choice_never_overlaps(routes: list[tuple[int, int]]) -> None:
    occupied = tuple(str(IPv4Network((number >> (32 - length) << (32 - length), length))) for number, length in routes)
    try:
        (pool,) = chosen(occupied=occupied)
    except Conflict:
        return
    assert not any(IPv4Network(pool.subnet).overlaps(IPv4Network(route)) for route in occupied)


def test_a_named_subnet_is_taken_as_it_is_but_for_our_own() -> None:
    assert chosen(Pool("10.1.0.0/16"), occupied=("10.0.0.0/8",)) == (Pool("10.1.0.0/16", "10.1.0.1"),)
    with pytest.raises(Conflict, match=r"10\.1\.2\.0/24 overlaps 10\.1\.0\.0/16"):
        chosen(Pool("10.1.2.0/24"), networks=("10.1.0.0/16",))
    with pytest.raises(Conflict, match="overlaps"):
        chosen(Pool("10.1.2.0/24"), Pool("10.1.0.0/16"))


def test_the_gateway_is_the_first_address_that_is_not_spoken_for() -> None:
    assert chosen(Pool("10.1.0.0/24", gateway="10.1.0.254"))[0].gateway == "10.1.0.254"
    assert chosen(Pool("10.1.0.0/24", reserved=("10.1.0.1",)))[0].gateway == "10.1.0.2"


@pytest.mark.parametrize(
    ("pool", "error", "message"),
    [
        (Pool("10.1.0.1/16"), InvalidArgument, "it should be 10.1.0.0/16"),
        (Pool("10.1.0.0/33"), InvalidArgument, "invalid subnet"),
        (Pool("nonsense"), InvalidArgument, "invalid subnet 'nonsense'"),
        (Pool("10.1.0.0/31"), InvalidArgument, "no room"),
        (Pool("10.1.0.0/24", gateway="10.2.0.1"), InvalidArgument, "10.2.0.1 is not in the subnet"),
        (Pool("10.1.0.0/24", gateway="x"), InvalidArgument, "invalid address 'x'"),
        (Pool("10.1.0.0/24", ip_range="10.2.0.0/28"), InvalidArgument, "is not in the subnet"),
        (Pool("10.1.0.0/24", reserved=("10.2.0.9",)), InvalidArgument, "is not in the subnet"),
        (Pool("fd00::/64"), Unsupported, "IPv6"),
    ],
)
def test_faults(pool: Pool, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        chosen(pool)


def test_allocation_takes_the_lowest_free_address() -> None:
    pool = Pool("10.1.0.0/29", "10.1.0.1", reserved=("10.1.0.3",))
    taken: set[str] = set()
    while True:
        try:
            taken.add(allocate(pool, taken))
        except Conflict as error:
            assert "no free address in 10.1.0.0/29" in error.message
            break
    assert taken == {"10.1.0.2", "10.1.0.4", "10.1.0.5", "10.1.0.6"}


def test_allocation_within_a_range_and_by_wish() -> None:
    pool = Pool("10.1.0.0/16", "10.1.0.1", ip_range="10.1.5.0/24")
    assert allocate(pool, ()) == "10.1.5.0"
    assert allocate(pool, (), "10.1.9.9") == "10.1.9.9"
    for want, error in (("10.2.0.1", InvalidArgument), ("10.1.0.1", Conflict), ("10.1.0.0", Conflict), ("10.1.255.255", Conflict)):
        with pytest.raises(error):
            allocate(pool, (), want)
    with pytest.raises(Conflict, match=r"10\.1\.0\.7 is already in use"):
        allocate(pool, {"10.1.0.7"}, "10.1.0.7")
