"""One snapshot, a constant number of questions."""

from __future__ import annotations

import asyncio

import pytest
from fakes.engine import FakeEngine
from fakes.projects import container, present, service, wanted

from stackrun.api import labels
from stackrun.api.types import ContainerSpec, NetworkSpec, VolumeSpec
from stackrun.stack.observed import is_one_off, needs_of, number_of, observe, service_of, tagged


class Counting(FakeEngine):
    """Counts the questions."""

    def __init__(self, *images: str) -> None:
        super().__init__(images)
        self.questions: list[str] = []

    def __getattribute__(self, name: str) -> object:
        if name in ("containers", "container", "networks", "network", "volumes", "volume", "images", "image"):
            self.questions.append(name)
        return super().__getattribute__(name)


async def filled(engine: FakeEngine) -> None:
    for project, name in (("shop", "web"), ("shop", "db"), ("other", "web")):
        for number in (2, 1):
            own = {labels.PROJECT: project, labels.SERVICE: name, labels.CONTAINER_NUMBER: str(number)}
            await engine.create_container(f"{project}-{name}-{number}", ContainerSpec("busybox:1", labels=own))
    await engine.create_network(NetworkSpec("shop_default", labels={labels.PROJECT: "shop"}))
    await engine.create_volume(VolumeSpec("shop_data", labels={labels.PROJECT: "shop"}))


def test_a_snapshot_holds_the_projects_containers_in_order() -> None:
    async def scene() -> None:
        engine = Counting("busybox:1")
        await filled(engine)
        found = await observe(engine, "shop", ["busybox:1"])
        assert [one.name for one in found.containers] == ["shop-db-1", "shop-db-2", "shop-web-1", "shop-web-2"]
        assert [one.name for one in found.of_service("web")] == ["shop-web-1", "shop-web-2"]
        assert [one.name for one in found.own_networks()] == ["shop_default"]
        assert [one.name for one in found.own_volumes()] == ["shop_data"]
        assert {"bridge", "host", "shop_default"} <= set(found.networks)
        assert sorted(engine.questions) == ["containers", "images", "networks", "volumes"]

    asyncio.run(scene())


def test_only_images_that_no_list_names_are_asked_for() -> None:
    async def scene() -> None:
        engine = Counting("busybox:1", "nginx")
        image = await engine.image("nginx")
        engine.questions.clear()
        found = await observe(engine, "shop", ["busybox:1", "docker.io/library/nginx", image.id, "nope:1"])
        assert found.images == {"busybox:1": found.images["busybox:1"], "docker.io/library/nginx": image.id, image.id: image.id}
        assert sorted(engine.questions) == ["containers", "image", "image", "images", "networks", "volumes"]

    asyncio.run(scene())


def test_no_image_no_question() -> None:
    async def scene() -> None:
        engine = Counting()
        await observe(engine, "shop")
        assert "images" not in engine.questions

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("nginx", "nginx:latest"), ("nginx:1", "nginx:1"), ("docker.io/library/nginx", "nginx:latest"), ("library/nginx:1", "nginx:1"),
        ("docker.io/grafana/loki", "grafana/loki:latest"), ("localhost:5000/x", "localhost:5000/x:latest"),
        ("localhost:5000/x:2", "localhost:5000/x:2"), ("x@sha256:0", "x@sha256:0"), ("index.docker.io/library/x", "x:latest"),
    ],
)  # fmt: skip
def test_references_as_lists_write_them(reference: str, expected: str) -> None:
    assert tagged(reference) == expected


def test_labels_are_read_leniently() -> None:
    target = wanted(service("web"))
    plain = container(target, "web")
    assert (service_of(plain), number_of(plain), is_one_off(plain), needs_of(plain)) == ("web", 1, False, ())
    odd = container(target, "web", CONTAINER_NUMBER="x", ONEOFF="True", DEPENDS_ON="db:service_healthy:true,cache,")
    assert (number_of(odd), is_one_off(odd)) == (0, True)
    assert needs_of(odd) == (("db", "service_healthy", True), ("cache", "service_started", False))


def test_names_and_ids() -> None:
    target = wanted(service("web"))
    one = container(target, "web")
    assert present(target, one).ids() == {"shop-web-1": one.id}
