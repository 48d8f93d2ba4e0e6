"""The shop on real images, nginx, PostgreSQL and Redis: built from Debian packages, pulled from a registry, brought up in order."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
import shop_images
from machine import Machine
from registry import Registry
from shop import Shop

SERVICES = {"proxy": "nginx:1", "api": "api:1", "worker": "api:1", "migrate": "api:1", "cache": "redis:1", "db": "postgres:15"}
CONTAINERS = {"shop-real-api-1", "shop-real-api-2", *(f"shop-real-{name}-1" for name in SERVICES)}
BLOBS = "GET /v2/shop/"


@dataclass(frozen=True)
class RealShop:
    shop: Shop
    registry: Registry

    def state(self, service: str, number: int = 1) -> dict[str, Any]:
        found: dict[str, Any] = self.shop.machine.inspect(f"shop-real-{service}-{number}")["State"]
        return found

    def psql(self, statement: str) -> str:
        password = (self.shop.folder / "real/db-password").read_text()
        command = ["psql", "--host=db", "--username=shop", "--no-align", "--tuples-only", "--command", statement]
        return self.shop.run("exec", "-T", "-e", f"PGPASSWORD={password}", "db", *command).strip()

    def redis(self, *words: str) -> str:
        return self.shop.run("exec", "-T", "cache", "redis-cli", *words).strip()

    def blobs_fetched(self) -> list[str]:
        """The digest of every blob that was asked for so far, once a request."""
        paths = [line.split('"GET ')[1].split()[0] for line in self.registry.requests(BLOBS) if "/blobs/" in line]
        return [path.rpartition("/")[2] for path in paths]


@pytest.fixture(scope="module")
def real(machine: Machine) -> Iterator[RealShop]:
    shop_images.store_into(machine.root / "registry" / "storage")
    registry = Registry(machine.root / "registry")
    try:
        yield RealShop(Shop(machine, ("compose.real.yaml",), {"REGISTRY": registry.address}), registry)
    finally:
        registry.close()


def at(text: str) -> datetime:
    """Docker's times have nanoseconds, which are more than datetime takes."""
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00")


def first_healthy(state: dict[str, Any]) -> datetime:
    return min(at(probe["End"]) for probe in state["Health"]["Log"] if probe["ExitCode"] == 0)


def test_up_pulls_every_layer_once_and_waits_until_all_are_ready(real: RealShop) -> None:
    real.shop.run("up", "-d", "--wait")
    shown = [json.loads(line) for line in real.shop.run("ps", "-a", "--format", "json").splitlines()]
    assert {one["Name"] for one in shown} == CONTAINERS
    assert {one["Name"] for one in shown if one["Health"] != "healthy"} == {"shop-real-worker-1", "shop-real-migrate-1"}
    assert {one["Name"]: one["ExitCode"] for one in shown if one["State"] != "running"} == {"shop-real-migrate-1": 0}
    fetched = real.blobs_fetched()
    assert len(fetched) == len(set(fetched)), "a blob was fetched twice, though images share it"
    assert len(fetched) == 4 + 4 + 1, "a config and a layer for each image, and one base under all"


def test_each_service_started_after_what_it_waits_for(real: RealShop) -> None:
    migrate, proxy = real.state("migrate"), real.state("proxy")
    replicas = [real.state("api", number) for number in (1, 2)]
    assert first_healthy(real.state("db")) <= at(migrate["StartedAt"])
    for dependent in (*replicas, real.state("worker")):
        assert at(migrate["FinishedAt"]) <= at(dependent["StartedAt"])
        assert first_healthy(real.state("cache")) <= at(dependent["StartedAt"])
    assert max(map(first_healthy, replicas)) <= at(proxy["StartedAt"])


def test_requests_through_nginx_reach_both_replicas(real: RealShop) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{real.shop.port}/", timeout=10) as answer:
        assert answer.headers["Server"].startswith("nginx/")
    assert len({real.shop.get("/")["host"] for _ in range(40)}) == 2


def test_visits_are_counted_in_redis(real: RealShop) -> None:
    visits = real.shop.get("/")["visits"]
    assert real.redis("GET", "visits") == str(visits)
    assert real.shop.get("/")["visits"] == visits + 1


def test_an_order_goes_through_redis_and_the_worker_into_postgresql(real: RealShop) -> None:
    for product in ("teapot", "cup", "cup"):
        real.shop.get("/orders", {"product": product})
    real.shop.orders_reach(3)
    assert real.psql("SELECT product, count(*) FROM orders GROUP BY product ORDER BY product") == "cup|2\nteapot|1"
    assert real.psql("SHOW server_version").startswith("15.")


def test_the_database_is_out_of_reach_from_the_front(real: RealShop) -> None:
    """The proxy is on another network: it has no name for the database, and the back has no way out."""
    real.shop.run("exec", "-T", "proxy", "getent", "hosts", "api")
    assert "db" not in real.shop.run("exec", "-T", "proxy", "getent", "hosts", "db", code=2)
    assert real.shop.run("exec", "-T", "api", "getent", "hosts", "db").strip()


def test_nothing_of_it_drifts(real: RealShop) -> None:
    """Entrypoints that change user, rewrite their arguments and fork: nginx, PostgreSQL, Redis."""
    assert real.shop.run("drift") == "drift: none\n"


def test_images_names_what_each_container_runs(real: RealShop) -> None:
    rows = json.loads(real.shop.run("images", "--format", "json"))
    assert {row["ContainerName"] for row in rows} == CONTAINERS
    for row in rows:
        service = row["ContainerName"].removeprefix("shop-real-").rpartition("-")[0]
        assert f"{row['Repository']}:{row['Tag']}" == f"{real.registry.address}/shop/{SERVICES[service]}"


def test_a_second_pull_asks_for_manifests_alone(real: RealShop) -> None:
    before = real.blobs_fetched()
    manifests = len(real.registry.requests("/manifests/"))
    real.shop.run("pull")
    assert real.blobs_fetched() == before
    assert len(real.registry.requests("/manifests/")) > manifests


def test_data_survives_down_and_up(real: RealShop) -> None:
    shop = real.shop
    shop.run("down")
    assert not shop.machine.containers()
    before = real.blobs_fetched()
    shop.run("up", "-d", "--wait")
    assert shop.get("/")["orders"] == 3
    assert real.psql("SELECT count(*) FROM orders") == "3"
    assert "not properly shut down" not in shop.run("logs", "db")
    assert real.blobs_fetched() == before


def test_stop_ends_dependents_before_what_they_need(real: RealShop) -> None:
    """Through the migration too, which is over long since: the API may talk to the database as long as it runs."""
    shop = real.shop
    shop.run("stop")
    ended = {name: at(real.state(*name)["FinishedAt"]) for name in (("proxy", 1), ("api", 1), ("api", 2), ("worker", 1))}
    assert ended["proxy", 1] <= min(ended["api", 1], ended["api", 2])
    for service in ("cache", "db"):
        assert max(ended.values()) <= at(real.state(service)["FinishedAt"]), service


def test_start_goes_in_order_again(real: RealShop) -> None:
    real.shop.run("start")
    for replica in (real.state("api", 1), real.state("api", 2)):
        assert first_healthy(real.state("db")) <= at(replica["StartedAt"])
        assert first_healthy(real.state("cache")) <= at(replica["StartedAt"])


def test_down_v_leaves_nothing_but_the_images(real: RealShop) -> None:
    shop, docker = real.shop, real.shop.machine.docker
    shop.run("down", "-v")
    assert not shop.machine.containers()
    assert not docker("volume", "ls", "-q").stdout
    assert not docker("network", "ls", "--filter", "type=custom", "-q").stdout
    assert set(docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()) == {
        f"{real.registry.address}/shop/{image}" for image in SERVICES.values()
    }
    assert "no resource found" in shop.run("down", "-v")
