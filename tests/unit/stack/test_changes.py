"""One stream of what the engine tells and what we decide."""

from __future__ import annotations

import time
from typing import Any

from unit.stack.stage import Play, Scene

from stackrun.api.stacks import Change, ChangeQuery, StackSource
from stackrun.api.types import ContainerSpec, NetworkSpec

NAMED = StackSource("/", project_name="shop")


async def opened(stage: Scene, **query: Any) -> Any:
    return await stage.operations.changes(NAMED, ChangeQuery(**query))


async def past(stage: Scene, **query: Any) -> list[Change]:
    return [one async for one in await opened(stage, until_s=time.time(), **query)]


async def some(changes: Any, count: int) -> list[Change]:
    return [await anext(changes) for _ in range(count)]


def words(changes: list[Change]) -> list[str]:
    return [f"{one.type} {one.action} {one.attributes.get('name', one.id)}" for one in changes]


def test_an_up_as_it_happens(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        changes = await opened(stage)
        await stage.up()
        found: list[str] = []
        while "stack created Container shop-web-1" not in found:
            found += words(await some(changes, 1))
        assert {"network create shop_default", "container create shop-db-1", "container start shop-web-1"} <= set(found)
        assert found.index("container create shop-db-1") < found.index("container start shop-db-1")
        assert "stack created Volume shop_data" in found
        await changes.aclose()

    play(scene)


def test_decisions_say_who_and_why(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        (db,) = [one for one in await past(stage) if (one.type, one.service) == ("stack", "db")]
        assert (db.action, db.id, db.project, db.attributes) == ("created", "Container shop-db-1", "shop", {"by": "up", "cause": "missing"})

    play(scene)


def test_labels_of_compose_are_left_out_and_others_shown(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        started = next(one for one in await past(stage) if one.action == "start" and one.service == "web")
        assert started.attributes["image"] == "busybox:1" and not [key for key in started.attributes if key.startswith("com.docker.")]

    play(scene)


def test_services_and_since_and_until(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        between_s = time.time()
        await stage.down()
        assert {one.service for one in await past(stage, services=("web",))} == {"web"}
        later = await past(stage, since_s=between_s)
        assert {one.action for one in later if one.type == "stack"} == {"removed"}
        everything = await past(stage)
        assert [one.time_ns for one in everything] == sorted(one.time_ns for one in everything) and len(everything) > len(later)

    play(scene)


def test_a_past_and_what_follows_is_told_without_a_seam(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        count = len(await past(stage))
        changes = await opened(stage, since_s=1.0)
        await stage.engine.exit("shop-web-1", 1)
        found = await some(changes, count + 1)
        assert found[-1].action == "die" and len(set(words(found[:-1]))) >= count - 2
        await changes.aclose()

    play(scene)


def test_until_ends_a_stream_that_waits(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        before = len(await past(stage))
        assert len([one async for one in await opened(stage, until_s=time.time() + 0.05)]) == before

    play(scene)


def test_another_stack_is_another_stream(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        every, mine = await opened(stage, all=True), await opened(stage)
        (stage.folder / "compose.yaml").write_text("name: other\nservices: {only: {image: busybox:1}}\n")
        await stage.up()
        assert {one.project for one in await some(every, 4)} == {"other"}
        await stage.engine.create_network(NetworkSpec("foreign"))
        await stage.engine.create_container("loose", ContainerSpec("busybox:1", command=("x",)))
        stage.write(SHOP_ALONE)
        await stage.up()
        assert {one.project for one in await some(mine, 3)} == {"shop"}
        await every.aclose()
        await mine.aclose()

    play(scene)


SHOP_ALONE = "name: shop\nservices: {only: {image: busybox:1}}\n"
