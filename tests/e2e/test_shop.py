"""The example stack, whole: both replicas and the database answer through the proxy, and the data outlives the containers."""

from __future__ import annotations

from pathlib import Path

import pytest
from machine import Machine
from shop import Shop


@pytest.fixture(scope="module")
def shop(machine: Machine) -> Shop:
    made = Shop(machine)
    made.run("up", "-d", "--wait")
    return made


def test_requests_through_the_proxy_reach_both_replicas(shop: Shop) -> None:
    assert len({shop.get("/")["host"] for _ in range(20)}) == 2


def test_an_order_goes_through_the_cache_and_the_worker_into_the_database(shop: Shop) -> None:
    product = next(iter(shop.get("/products")))
    for _ in range(3):
        shop.get("/orders", {"product": product})
    shop.orders_reach(3)


def test_data_survives_down_and_up(shop: Shop) -> None:
    shop.run("down")
    assert not shop.machine.containers()
    shop.run("up", "-d", "--wait")
    assert shop.get("/")["orders"] == 3


def test_a_second_up_changes_nothing(shop: Shop) -> None:
    before = {one["ID"] for one in shop.machine.containers()}
    shop.run("up", "-d")
    assert {one["ID"] for one in shop.machine.containers()} == before


def test_nothing_of_the_host_but_usr_is_visible(shop: Shop, tmp_path: Path) -> None:
    marker = Path("/root/stackrun-test-marker")
    marker.write_text("secret")
    try:
        look = "ls -A / /root /var /home; mount; echo x > /usr/x"
        seen = shop.run("exec", "-T", "-u", "0", "db", "sh", "-c", look, code=None)
    finally:
        marker.unlink()
    assert "stackrun-test-marker" not in seen and "Read-only file system" in seen, seen


def test_down_v_takes_the_data_too(shop: Shop) -> None:
    shop.run("down", "-v")
    assert not shop.machine.containers()
    assert "shop_data" not in shop.machine.docker("volume", "ls", "-q").stdout
