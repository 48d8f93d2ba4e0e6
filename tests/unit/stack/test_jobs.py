"""Typed jobs: done is done, `--wait` waits for the end, and what has not changed is not run again."""

from __future__ import annotations

import pytest
from fakes.engine import Behaviour
from unit.stack.stage import Play, Scene

from stackrun.api.stacks import Phase

TEXT = """\
name: shop
services:
  load:
    image: busybox:1
    environment: {{V: {v}}}
    x-stackrun: {{kind: job}}
  web:
    image: busybox:1
    environment: {{W: {w}}}
"""


def write(stage: Scene, v: int = 1, w: int = 1) -> None:
    stage.write(TEXT.format(v=v, w=w))


def started(stage: Scene) -> list[str]:
    return [call.removeprefix("start_container ") for call in stage.engine.calls if call.startswith("start_container")]


def test_up_waits_for_its_end(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        write(stage)
        stage.engine.behave("load", Behaviour(exit_code=0))
        assert (await stage.up(wait=True)).phase is Phase.DONE
        assert await stage.states() == {"shop-load-1": "exited", "shop-web-1": "running"}
        assert ("Container shop-load-1", "Exited") in [(one.resource, one.text) for one in stage.events]

    play(scene)


def test_one_that_fails_fails_the_wait_with_its_last_words(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        write(stage)
        stage.engine.behave("load", Behaviour(exit_code=3, output=((2, b"no table"),)))
        last = await stage.up(wait=True)
        assert last.detail.splitlines() == ["container shop-load-1 did not complete: exited (3)", "  no table"]

    play(scene)


def test_a_done_one_is_not_run_again_until_it_changes(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        write(stage)
        stage.engine.behave("load", Behaviour(exit_code=0))
        await stage.up()
        stage.engine.calls.clear()
        write(stage, w=2)
        await stage.up(wait=True)
        assert started(stage) == ["shop-web-1"]
        stage.engine.calls.clear()
        write(stage, v=2, w=2)
        assert [one.notes for one in (await stage.plan()).actions] == [("it is a job: it runs again",)]
        await stage.up()
        assert started(stage) == ["shop-load-1"]

    play(scene)


@pytest.mark.parametrize("input", ["image", "env_file", "config", "secret"])
def test_all_that_goes_into_it_counts(play: Play, input: str) -> None:
    async def change(stage: Scene) -> None:
        if input == "image":
            stage.engine.add_image("busybox:2")
            await stage.engine.tag_image("busybox:2", "busybox:1")
        else:
            (stage.folder / input).write_text("B=2")

    async def scene(stage: Scene) -> None:
        for name in ("env_file", "config", "secret"):
            (stage.folder / name).write_text("B=1")
        stage.write(
            "name: shop\nservices:\n"
            "  load: {image: 'busybox:1', env_file: [env_file], configs: [c], secrets: [s], x-stackrun: {kind: job}}\n"
            "configs: {c: {file: config}}\nsecrets: {s: {file: secret}}\n"
        )
        stage.engine.behave("load", Behaviour(exit_code=0))
        for _ in range(2):
            assert (await stage.up(wait=True)).phase is Phase.DONE
        assert started(stage) == ["shop-load-1"]
        await change(stage)
        assert (await stage.up(wait=True)).phase is Phase.DONE
        assert started(stage) == ["shop-load-1"] * 2

    play(scene)


def test_going_back_runs_it_again_only_if_it_was_another(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.engine.behave("load", Behaviour(exit_code=0))
        for v, w in ((1, 1), (1, 2), (2, 2)):
            write(stage, v, w)
            await stage.up(wait=True)
        for revision, runs in ((2, ["shop-load-1"]), (1, ["shop-web-1"])):
            stage.engine.calls.clear()
            assert (await stage.up(revision=revision, wait=True)).phase is Phase.DONE
            assert started(stage) == runs

    play(scene)


def test_one_that_failed_is_run_again(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        write(stage)
        stage.engine.behave("load", Behaviour(exit_code=1))
        await stage.up()
        stage.engine.calls.clear()
        stage.engine.behave("load", Behaviour(exit_code=0))
        await stage.up()
        assert started(stage) == ["shop-load-1"]

    play(scene)


def test_becoming_a_job_alone_runs_nothing_again(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(TEXT.format(v=1, w=1).replace("    x-stackrun: {kind: job}\n", ""))
        stage.engine.behave("load", Behaviour(exit_code=0))
        await stage.up()
        write(stage)
        plan = await stage.plan()
        assert plan.actions == ()

    play(scene)


def test_start_and_restart_leave_a_done_one_alone_unless_it_is_named(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        write(stage)
        stage.engine.behave("load", Behaviour(exit_code=0))
        await stage.up()
        stage.engine.calls.clear()
        for operation in (stage.operations.start(stage.source, ()), stage.operations.restart(stage.source, (), None)):
            await stage.drain(await operation)
        assert [call for call in stage.engine.calls if "load" in call] == []
        await stage.drain(await stage.operations.restart(stage.source, ("load",), None))
        assert "restart_container shop-load-1" in stage.engine.calls

    play(scene)


def test_the_target_of_a_completed_condition_is_a_job_without_saying_so(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        write(stage)
        text = TEXT.format(v=1, w=1).replace("    x-stackrun: {kind: job}\n", "")
        stage.write(text + "    depends_on: {load: {condition: service_completed_successfully}}\n")
        stage.engine.behave("load", Behaviour(exit_code=0))
        assert (await stage.up(wait=True)).phase is Phase.DONE
        stage.engine.calls.clear()
        assert (await stage.up(wait=True)).phase is Phase.DONE
        assert stage.engine.calls == []

    play(scene)
