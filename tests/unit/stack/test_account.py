"""What a carried out plan is in the journal: one decision a resource."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fakes.engine import Behaviour
from unit.stack.stage import SHOP, Play, Scene

from stackrun.api.stacks import Decision, UpOptions
from stackrun.api.types import ImageConfig
from stackrun.errors import Conflict
from stackrun.stack import account
from stackrun.stack.journal import Journal


def told(scene: Scene, service: str = "") -> list[tuple[str, str, str, str]]:
    return [(one.resource, one.did, one.cause, one.by) for one in noted(scene, service)]


def noted(scene: Scene, service: str = "") -> tuple[Decision, ...]:
    return Journal(str(scene.state)).read("shop", service, limit=1000)


def test_an_up_is_noted_resource_by_resource_in_its_order(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        lines = told(stage)
        assert set(lines[:2]) == {("Network shop_default", "created", "missing", "up"), ("Volume shop_data", "created", "missing", "up")}
        assert [line for line in lines if line[0].startswith("Container ")] == [
            (f"Container shop-{name}-1", "created", "missing", "up") for name in ("db", "migrate", "web")
        ]
        assert [one.time_s for one in noted(stage)] == sorted(one.time_s for one in noted(stage))
        assert {one.service for one in noted(stage)} == {"", "db", "migrate", "web"}

    play(scene)


def test_an_up_that_changes_nothing_is_not_noted(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        before = noted(stage)
        await stage.up()
        assert noted(stage) == before

    play(scene)


def test_a_change_a_restart_and_a_down(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        stage.write(SHOP.replace("    volumes: [data:/data]\n", "    volumes: [data:/data]\n    environment: {A: b}\n"))
        await stage.up(by="watch")
        await stage.drain(await stage.operations.restart(stage.source, ("web",), None))
        await stage.down()
        assert told(stage, "db")[1:] == [
            ("Container shop-db-1", "recreated", "configuration changed", "watch"),
            ("Container shop-db-1", "removed", "down", "down"),
        ]
        assert ("Container shop-web-1", "restarted", "restart", "restart") in told(stage, "web")
        assert ("Network shop_default", "removed", "down", "down") in told(stage)

    play(scene)


def test_failures_tell_the_error_and_what_follows_is_skipped_with_the_cause(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.engine.behave("db", Behaviour(start_error=Conflict("port 5432/tcp is taken")))
        await stage.up()
        (db,) = noted(stage, "db")
        assert (db.did, db.cause, db.detail) == ("failed", "could not start", "port 5432/tcp is taken")
        web = noted(stage, "web")[-1]
        assert (web.did, web.cause, web.detail) == ("skipped", "port 5432/tcp is taken", "created and not started")

    play(scene)


def test_a_dependency_that_never_becomes_healthy(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.engine.behave("db", Behaviour(health=("unhealthy",)))
        await stage.up()
        assert ("Service db", "failed", "it did not become healthy", "up") in told(stage, "db")
        assert noted(stage, "web")[-1].did == "skipped" and "db" in noted(stage, "web")[-1].cause

    play(scene)


def test_what_was_under_way_when_it_was_broken_off(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        gate = stage.engine.hold("start_container", ref="shop-migrate-1")
        work = await stage.operations.up(stage.source, UpOptions())
        drained = asyncio.create_task(stage.drain(work))
        await gate.reached.wait()
        await work.aclose()
        await asyncio.wait([drained])
        last = {one.resource: (one.did, one.detail) for one in noted(stage)}
        assert last["Container shop-db-1"] == ("created", "")
        assert last["Container shop-web-1"][0] in ("created", "interrupted")

    play(scene)


def test_a_journal_that_cannot_be_written_stops_nobody(play: Play, tmp_path: Path) -> None:
    async def scene(stage: Scene) -> None:
        stage.state.mkdir()
        (stage.state / ".journal").write_text("in the way")
        assert (await stage.up()).text == "Done"
        assert (await stage.states())["shop-web-1"] == "running"

    play(scene)


class Reader:
    """What the journal is told, as it is told."""

    def __init__(self, stage: Scene) -> None:
        self._told: asyncio.Queue[Decision] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        stage.operations.journal.listen(lambda _, decision: loop.call_soon_threadsafe(self._told.put_nowait, decision))

    async def until(self, resource: str, did: str) -> Decision:
        while True:
            one = await self._told.get()
            if (one.resource, one.did) == (resource, did):
                return one


@asynccontextmanager
async def under_way(stage: Scene, **options: object) -> AsyncIterator[None]:
    """An `up`, which is over when this ends."""
    work = await stage.operations.up(stage.source, UpOptions(**options))  # type: ignore[arg-type]
    drained = asyncio.create_task(stage.drain(work))
    yield
    await drained


def test_each_decision_is_on_disk_while_the_operation_goes_on(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        gate, reader = stage.engine.hold("start_container", ref="shop-web-1"), Reader(stage)
        async with under_way(stage):
            await gate.reached.wait()
            await reader.until("Container shop-migrate-1", "created")
            found = told(stage)
            gate.release()
        assert ("Container shop-db-1", "created", "missing", "up") in found and not any("web" in one[0] for one in found)
        assert [one for one in told(stage) if one not in found] == [("Container shop-web-1", "created", "missing", "up")]

    play(scene)


def test_what_takes_its_time_is_told_before_it_is_over(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "SLOW_S", 0.0)
    monkeypatch.setattr(account, "SLOW_STEP_S", 0.0)

    async def scene(stage: Scene) -> None:
        stage.write(SHOP.replace("busybox:1\n    depends_on: {db", "busybox:2\n    depends_on: {db"))
        stage.engine.pullable["busybox:2"] = ImageConfig(command=("sh",))
        pull, start, reader = stage.engine.hold("pull_image"), stage.engine.hold("start_container", ref="shop-db-1"), Reader(stage)
        async with under_way(stage):
            assert (await reader.until("Image busybox:2", "pulling")).service == "migrate"
            assert [one.did for one in noted(stage, "migrate")] == ["pulling"]
            pull.release()
            await reader.until("Container shop-db-1", "starting")
            start.release()
        assert [one.did for one in noted(stage, "migrate")][:2] == ["pulling", "pulled"]
        assert noted(stage, "db")[-1].did == "created"

    play(scene)


def test_who_waits_for_whom_is_told_before_it_is_over(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "SLOW_S", 0.0)
    monkeypatch.setattr(account, "SLOW_STEP_S", 0.0)

    async def scene(stage: Scene) -> None:
        stage.engine.behave("db", Behaviour(health=("starting",)))
        reader = Reader(stage)
        work = await stage.operations.up(stage.source, UpOptions())
        drained = asyncio.create_task(stage.drain(work))
        waiting = await reader.until("Container shop-migrate-1", "waiting")
        assert (waiting.service, waiting.cause) == ("migrate", "for db to be healthy")
        await work.aclose()
        await asyncio.wait([drained])
        last = {one.resource: (one.did, one.detail) for one in noted(stage)}
        assert last["Container shop-db-1"] == ("created", "")
        assert last["Container shop-migrate-1"] == ("interrupted", "created and not started")

    play(scene)


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
def test_an_update_that_is_rolled_back_tells_both_ways(play: Play, order: str) -> None:
    text = f"""
name: shop
services:
  web:
    image: busybox:1
    environment: {{A: b}}
    healthcheck: {{test: [CMD, "true"]}}
    deploy: {{replicas: 2, update_config: {{failure_action: rollback, order: {order}}}}}
"""

    async def scene(stage: Scene) -> None:
        stage.write(text)
        await stage.up()
        stage.write(text.replace("A: b", "A: c"))
        stage.engine.behave("web", Behaviour(health=("unhealthy",)))
        reader = Reader(stage)
        async with under_way(stage):
            await reader.until("Container shop-web-1", "failed")
        lines = [(one.resource.removeprefix("Container "), one.did, one.cause) for one in noted(stage)[-4:]]
        assert ("shop-web-1", "failed", "it did not become ready") in lines
        assert ("shop-web-2", "skipped") in [one[:2] for one in lines]
        assert ("shop-web-1", "rolled back", "the update failed") in lines

    play(scene)
