"""What a carried out plan is in the journal: one decision a resource."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fakes.engine import Behaviour
from unit.stack.stage import SHOP, Play, Scene

from stackrun.api.stacks import Decision, UpOptions
from stackrun.errors import Conflict
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
