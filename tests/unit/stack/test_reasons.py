"""`why`: the journal beside what the engine knows now."""

from __future__ import annotations

import pytest
from fakes.engine import Behaviour
from unit.stack.stage import Play, Scene

from stackrun.api.stacks import Keep, Reasons, StackSource
from stackrun.errors import Conflict, NotFound
from stackrun.stack.reasons import UNWITNESSED, reasons

NAMED = StackSource("/", project_name="shop")


async def why(stage: Scene, service: str, limit: int = 100) -> Reasons:
    stage.operations.witnessed = True
    return await stage.operations.why(NAMED, service, limit)


def test_a_running_service_and_its_history_without_a_stack_file(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        found = await why(stage, "db")
        (db,) = found.containers
        assert (found.project, found.service, found.notes) == ("shop", "db", ())
        assert (db.name, db.status, db.health, db.waits) == ("shop-db-1", "running", "healthy", ())
        assert db.since_s > 0
        assert [(one.did, one.by) for one in found.decisions] == [("created", "up")]

    play(scene)


def test_it_tells_what_a_service_waits_for(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.engine.behave("db", Behaviour(health=("unhealthy",)))
        stage.engine.behave("migrate", Behaviour(exit_code=4))
        await stage.up()
        (migrate,) = (await why(stage, "migrate")).containers
        assert migrate.waits == ("db to be healthy (it is running and its health is unhealthy)",)
        (web,) = (await why(stage, "web")).containers
        assert web.waits == ("migrate to complete (it is created)",)
        (db,) = (await why(stage, "db")).containers
        assert db.health == "unhealthy" and db.probe == "exit code 1"

    play(scene)


def test_one_whose_dependency_failed_waits_for_it(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.engine.behave("migrate", Behaviour(exit_code=4))
        await stage.up()
        (web,) = (await why(stage, "web")).containers
        assert web.waits == ("migrate to complete (it exited (4))",)
        (migrate,) = (await why(stage, "migrate")).containers
        assert (migrate.status, migrate.exit_code, migrate.waits) == ("exited", 4, ())

    play(scene)


def test_what_could_not_start_says_why_and_waits_for_nothing(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.engine.behave("db", Behaviour(start_error=Conflict("port 5432/tcp is taken")))
        await stage.up()
        (db,) = (await why(stage, "db")).containers
        assert (db.error, db.waits) == ("port 5432/tcp is taken", ())

    play(scene)


def test_the_history_outlives_the_stack(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        await stage.down()
        found = await why(stage, "web")
        assert found.containers == () and [one.did for one in found.decisions] == ["created", "removed"]
        assert [one.did for one in (await why(stage, "web", 1)).decisions] == ["removed"]

    play(scene)


def test_a_service_that_never_was(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        with pytest.raises(NotFound, match="no such service: nope") as caught:
            await why(stage, "nope")
        assert "no container of stack shop" in caught.value.hint
        await stage.up()
        with pytest.raises(NotFound) as caught:
            await why(stage, "nope")
        assert caught.value.hint == "the services of stack shop are db, migrate, web"

    play(scene)


def test_what_the_keeper_waits_for_is_told_of_a_service_without_containers(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        keep = Keep("shop", waiting={"web": "db to be healthy"}, resting={"db": 3.6}, stopped=("migrate",), held=("mq",))
        waits = {}
        for service in ("web", "db", "migrate", "mq"):
            found = await reasons(stage.engine, stage.operations.journal, "shop", service, 9, kept=keep, witnessed=True)
            (waits[service],) = found.waits
        assert waits == {
            "web": "db to be healthy",
            "db": "4 s to pass, since it fell again and again",
            "migrate": "`start` or `up`, since it was stopped on purpose",
            "mq": "the next `up`, since the last one could not bring it to its state",
        }
        with pytest.raises(NotFound):
            await reasons(stage.engine, stage.operations.journal, "shop", "nope", 9, kept=keep, witnessed=True)

    play(scene)


def test_a_foreign_engine_is_asked_what_it_remembers(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        await stage.engine.exit("shop-db-1", 3)
        found = await stage.operations.why(NAMED, "db")
        assert found.notes == (UNWITNESSED,)
        assert {one.did for one in found.decisions} == {"created", "became healthy", "died"}
        assert [one.cause for one in found.decisions][-1] == "exited (3)"

    play(scene)
