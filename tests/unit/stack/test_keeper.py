"""A stack that is kept, on an engine in memory: disturbed in every way, it comes back by itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from unit.stack.stage import Play, Scene, player

from stackrun.errors import StackrunError
from stackrun.stack.keep import Round
from stackrun.stack.keeper import Keeper, Patience
from stackrun.stack.keeping import Keeping
from stackrun.stack.operations import StackOperations

STACK = """\
name: shop
services:
  db: {image: "busybox:1", healthcheck: {test: [CMD, "true"]}, x-stackrun: {on_unhealthy: restart}}
  web: {image: "busybox:1", depends_on: {db: {condition: service_healthy}}}
"""
RUNNING = {"shop-db-1": "running", "shop-web-1": "running"}


async def until(met: Callable[[], Awaitable[bool]]) -> None:
    """Within the scene's limit of time; everybody else has a turn between two looks."""
    for _ in itertools.count():
        if await met():
            return
        await asyncio.sleep(0)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Kept(Scene):
    """A scene whose stack a keeper watches."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.operations = StackOperations(self.engine, state_dir=str(self.state), keeps=True)
        self.clock = Clock()
        self.operations.keeping.clock_s = self.clock
        self.keeper = Keeper(self.engine, self.operations.keeping, self.operations.journal)
        self.begun = self.ended = 0
        self.operations.keeping.round = self._counted  # type: ignore[method-assign]
        self.write(STACK)

    async def becomes(self, states: dict[str, str]) -> None:
        await until(lambda: self._are(states))

    async def _are(self, states: dict[str, str]) -> bool:
        return await self.states() == states

    async def settles(self) -> None:
        """Everything that has happened until now has been looked at, what came of that is done, and that has been looked at too."""
        begun = self.begun
        self.keeper.look("shop")

        async def settled() -> bool:
            under_way = self.operations.keeping._under_way.get("shop")
            return begun < self.begun == self.ended and not under_way and not self.keeper._stirred["shop"].is_set()

        await until(settled)

    async def is_left(self) -> bool:
        return not self.keeper._stirred

    async def _counted(self, project: str, until_s: Mapping[str, float]) -> Round | None:
        self.begun += 1
        found = await Keeping.round(self.operations.keeping, project, until_s)
        self.ended += 1
        return found


@pytest.fixture
def kept(tmp_path: Path) -> Play:
    play = player(tmp_path)

    def played(scene: Callable[[Kept], Awaitable[None]]) -> None:
        async def watched(_: Scene) -> None:
            stage = Kept(tmp_path)
            keeping = asyncio.create_task(stage.keeper.run())
            try:
                await scene(stage)
            finally:
                keeping.cancel()
                await asyncio.wait({keeping})
                assert keeping.cancelled()

        play(watched)

    return played  # type: ignore[return-value]


def test_what_is_killed_stopped_or_removed_comes_back(kept: Play) -> None:
    async def scene(stage: Kept) -> None:
        await stage.up()
        for disturb in (
            lambda: stage.engine.kill_container("shop-web-1"), lambda: stage.engine.stop_container("shop-db-1"),
            lambda: stage.engine.remove_container("shop-web-1", force=True), lambda: stage.engine.exit("shop-db-1", 1),
        ):  # fmt: skip
            stage.clock.now_s += 1000
            before = {one.id: one.state.started_at for one in await stage.engine.containers(all=True)}
            await disturb()
            await stage.becomes(RUNNING)
            assert {one.id: one.state.started_at for one in await stage.engine.containers(all=True)} != before
            await stage.settles()
        noted = [(one.resource, one.did, one.cause) for one in stage.operations.journal.read("shop") if one.by == "keep"]
        assert noted == [
            ("Container shop-web-1", "started", "stopped from outside"), ("Container shop-db-1", "started", "stopped from outside"),
            ("Container shop-web-1", "created", "missing"), ("Container shop-db-1", "started", "exited (1)"),
        ]  # fmt: skip

    kept(scene)  # type: ignore[arg-type]


def test_everything_comes_back_in_order(kept: Play) -> None:
    async def scene(stage: Kept) -> None:
        await stage.up()
        await stage.settles()
        stage.engine.calls.clear()
        for name in ("shop-db-1", "shop-web-1"):
            await stage.engine.remove_container(name, force=True)
        await stage.becomes(RUNNING)
        done = [one for one in stage.engine.calls if not one.startswith("remove")]
        assert done == [
            "create_container shop-db-1",
            "start_container shop-db-1",
            "create_container shop-web-1",
            "start_container shop-web-1",
        ]

    kept(scene)  # type: ignore[arg-type]


def test_a_network_that_was_removed_is_made_again(kept: Play) -> None:
    async def scene(stage: Kept) -> None:
        await stage.up()
        for name in ("shop-web-1", "shop-db-1"):
            await stage.engine.disconnect_network("shop_default", name, force=True)
        await stage.engine.remove_network("shop_default")

        async def connected() -> bool:
            return len([one for one in await stage.engine.containers() if one.endpoints]) == 2

        await until(connected)
        assert await stage.states() == RUNNING

    kept(scene)  # type: ignore[arg-type]


def test_an_unhealthy_one_is_restarted(kept: Play) -> None:
    async def scene(stage: Kept) -> None:
        await stage.up()
        before = (await stage.engine.container("shop-db-1")).state.started_at
        await stage.engine.set_health("shop-db-1", "unhealthy")

        async def started_anew() -> bool:
            return (await stage.engine.container("shop-db-1")).state.started_at != before

        await until(started_anew)

    kept(scene)  # type: ignore[arg-type]


def test_what_a_person_stops_stays_so_until_a_person_starts_it(kept: Play) -> None:
    async def scene(stage: Kept) -> None:
        await stage.up()
        await stage.drain(await stage.operations.stop(stage.source, ("web",), None))
        await stage.drain(await stage.operations.kill(stage.source, ("db",), ""))
        await stage.settles()
        assert await stage.states() == {"shop-db-1": "exited", "shop-web-1": "exited"}
        await stage.drain(await stage.operations.start(stage.source, ()))
        assert await stage.states() == RUNNING
        await stage.drain(await stage.operations.kill(stage.source, ("db",), "SIGUSR1"))
        stage.clock.now_s += 1000
        await stage.engine.kill_container("shop-db-1")
        await stage.becomes(RUNNING)

    kept(scene)  # type: ignore[arg-type]


def test_after_down_nobody_brings_it_back(kept: Play) -> None:
    async def scene(stage: Kept) -> None:
        await stage.up()
        await stage.down()
        await until(stage.is_left)
        assert await stage.states() == {}
        assert await stage.operations.keeping.projects() == ()

    kept(scene)  # type: ignore[arg-type]


def test_a_stack_may_be_left_alone(kept: Play) -> None:
    async def scene(stage: Kept) -> None:
        await stage.up(keep=False)
        await stage.engine.kill_container("shop-web-1")
        await until(stage.is_left)
        assert (await stage.states())["shop-web-1"] == "exited"
        await stage.up()
        await stage.engine.kill_container("shop-web-1")
        await stage.becomes(RUNNING)

    kept(scene)  # type: ignore[arg-type]


def test_what_falls_again_and_again_rests_longer_and_longer(kept: Play) -> None:
    async def scene(stage: Kept) -> None:
        await stage.up()
        await stage.engine.exit("shop-web-1", 1)
        await stage.becomes(RUNNING)
        await stage.engine.exit("shop-web-1", 1)
        await stage.settles()
        assert (await stage.states())["shop-web-1"] == "exited"
        assert (await stage.operations.keep(stage.source, None)).resting == {"web": 1.0}
        stage.clock.now_s += 0.75
        assert (await stage.operations.keep(stage.source, None)).resting == {"web": 0.25}
        stage.clock.now_s += 0.25
        stage.keeper.look("shop")
        await stage.becomes(RUNNING)
        await stage.settles()
        assert (await stage.operations.keep(stage.source, None)).resting == {}  # though it would have to, if it fell now
        for seconds, pause in ((2, 4), (4, 8), (8, 16)):
            await stage.engine.exit("shop-web-1", 1)
            await stage.settles()
            assert (await stage.states())["shop-web-1"] == "exited"
            stage.clock.now_s += seconds
            stage.keeper.look("shop")
            await stage.becomes(RUNNING)
            await stage.settles()
            told = [one.cause for one in stage.operations.journal.read("shop") if one.did == "rests"]
            assert told[-1].endswith(f"the next time after {pause} s")

    kept(scene)  # type: ignore[arg-type]


def test_what_cannot_be_started_is_tried_again_later_and_hinders_nobody(kept: Play) -> None:
    async def scene(stage: Kept) -> None:
        await stage.up()
        await stage.settles()
        stage.engine.fail("start_container", StackrunError("port 80 is taken"), ref="shop-web-1")
        await stage.engine.exit("shop-web-1", 1)
        await stage.settles()
        assert (await stage.states())["shop-web-1"] == "exited"
        await stage.engine.exit("shop-db-1", 1)
        await stage.becomes({"shop-db-1": "running", "shop-web-1": "exited"})
        stage.clock.now_s += 1
        stage.keeper.look("shop")
        await stage.becomes(RUNNING)

    kept(scene)  # type: ignore[arg-type]


def test_a_slow_end_of_one_hinders_no_other(kept: Play) -> None:
    async def scene(stage: Kept) -> None:
        stage.write(STACK + '  lone: {image: "busybox:1"}\n')
        await stage.up()
        gate = stage.engine.hold("stop_container", ref="shop-db-1")
        await stage.engine.set_health("shop-db-1", "unhealthy")
        await gate.reached.wait()
        await stage.engine.remove_container("shop-lone-1", force=True)
        await stage.becomes({**RUNNING, "shop-lone-1": "running"})
        gate.release()

    kept(scene)  # type: ignore[arg-type]


def test_an_operation_ends_a_round_at_once(kept: Play) -> None:
    async def scene(stage: Kept) -> None:
        await stage.up()
        gate = stage.engine.hold("start_container", ref="shop-web-1")
        await stage.engine.exit("shop-web-1", 1)
        await gate.reached.wait()
        await stage.down()
        assert await stage.states() == {}

    kept(scene)  # type: ignore[arg-type]


def test_what_an_up_could_not_bring_up_waits_for_the_next(kept: Play) -> None:
    async def scene(stage: Kept) -> None:
        stage.engine.fail("start_container", StackrunError("port 80 is taken"), ref="shop-web-1")
        assert (await stage.up()).phase == "failed"
        await stage.settles()
        assert await stage.states() == {"shop-db-1": "running", "shop-web-1": "created"}
        await stage.up()
        assert await stage.states() == RUNNING

    kept(scene)  # type: ignore[arg-type]


def test_what_an_up_could_not_change_is_kept_as_it_was(kept: Play) -> None:
    async def scene(stage: Kept) -> None:
        await stage.up()
        stage.engine.fail("create_container", StackrunError("no space left"))
        stage.write(STACK.replace("web: {", "web: {environment: {LOG: debug}, "))
        assert (await stage.up()).phase == "failed"
        assert (await stage.operations.keep(stage.source, None)).held == ()
        await stage.engine.remove_container("shop-web-1", force=True)
        await stage.becomes(RUNNING)
        assert (await stage.engine.container("shop-web-1")).spec.environment == ()

    kept(scene)  # type: ignore[arg-type]


def test_stacks_that_were_up_come_up_again_with_the_next_daemon(play: Play, tmp_path: Path) -> None:
    async def scene(_: Scene) -> None:
        stage = Kept(tmp_path)
        await stage.up()
        for name in ("shop-web-1", "shop-db-1"):
            await stage.engine.remove_container(name, force=True)
        operations = StackOperations(stage.engine, state_dir=str(stage.state), keeps=True)
        stage.engine.calls.clear()
        keeping = asyncio.create_task(Keeper(stage.engine, operations.keeping, operations.journal).run())
        await stage.becomes(RUNNING)
        keeping.cancel()
        await asyncio.wait({keeping})
        assert [one for one in stage.engine.calls if one.startswith("start")] == ["start_container shop-db-1", "start_container shop-web-1"]

    play(scene)


def test_patience_is_lost_and_comes_back() -> None:
    one = Patience()
    assert one.until_s == float("-inf")
    one.spend(100)
    assert (one.times, one.until_s) == (1, 101)
    one.spend(105)
    assert (one.times, one.until_s) == (2, 107)
    one.spend(117.5)
    assert (one.times, one.until_s) == (1, 118.5)
