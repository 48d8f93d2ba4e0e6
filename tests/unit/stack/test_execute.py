"""The loop that carries plans out: order, failure, parallelism, and what a person is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from fakes.engine import Behaviour, FakeEngine
from fakes.projects import CHECK, COMPLETED, HEALTHY, RESTARTED, service, wanted

from stackrun.api.stacks import Phase, StackEvent
from stackrun.compose import model
from stackrun.errors import Conflict, ExecuteFailed, NotFound, StackrunError, Unavailable
from stackrun.stack.desired import JOINED, Desired
from stackrun.stack.execute import Outcome, execute
from stackrun.stack.observed import observe
from stackrun.stack.plan import Plan
from stackrun.stack.reconcile import decide
from stackrun.stack.verdict import PLAIN, Policy

IMAGES = ("busybox:1",)


class Stage:
    """A fake engine and what was told while plans ran on it."""

    def __init__(self, *images: str) -> None:
        self.engine = FakeEngine(images=images or IMAGES)
        self.events: list[StackEvent] = []

    async def plan(self, target: Desired, policy: Policy = PLAIN) -> Plan:
        found = await observe(self.engine, target.project, [one.image for one in target.services.values()])
        return decide(target, found, policy)

    async def up(self, target: Desired, policy: Policy = PLAIN) -> Outcome:
        found = await observe(self.engine, target.project, [one.image for one in target.services.values()])
        return await execute(decide(target, found, policy), self.engine, target.project, self.events.append, ids=found.ids())

    def told(self, resource: str) -> list[str]:
        return [one.text for one in self.events if one.resource == resource]

    async def until_told(self, resource: str, text: str) -> None:
        """And then until everybody else has gone as far as they can."""
        while text not in self.told(resource):  # noqa: ASYNC110  (the executor offers no event for it, and nothing waits for real time)
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)

    async def states(self) -> dict[str, str]:
        return {one.name: str(one.state.status) for one in await self.engine.containers(all=True)}


def play(scene: Callable[[Stage], Awaitable[None]], *images: str) -> Stage:
    stage = Stage(*images)

    async def within_a_limit() -> None:
        async with asyncio.timeout(10):
            await scene(stage)

    asyncio.run(within_a_limit())
    return stage


def index(calls: Sequence[str], call: str) -> int:
    assert call in calls, f"{call} not among {calls}"
    return calls.index(call)


def test_a_stack_comes_up_in_order() -> None:
    target = wanted(
        service("db", healthcheck=CHECK),
        service("migrate", depends_on={"db": HEALTHY}),
        service("web", depends_on={"migrate": COMPLETED, "db": HEALTHY}),
    )

    async def scene(stage: Stage) -> None:
        stage.engine.behave("migrate", Behaviour(exit_code=0))
        (await stage.up(target)).raise_if_failed()
        assert await stage.states() == {"shop-db-1": "running", "shop-migrate-1": "exited", "shop-web-1": "running"}
        assert not await stage.plan(target)

    stage = play(scene)
    starts = [call for call in stage.engine.calls if call.startswith("start_")]
    assert starts == ["start_container shop-db-1", "start_container shop-migrate-1", "start_container shop-web-1"]
    assert stage.told("Network shop_default") == ["Creating", "Created"]
    assert stage.told("Container shop-db-1") == ["Creating", "Created", "Starting", "Started", "Waiting", "Healthy"]
    assert stage.told("Container shop-migrate-1")[-3:] == ["Started", "Waiting", "Exited"]
    waiting = [one.detail for one in stage.events if one.resource == "Container shop-web-1" and one.phase is Phase.WAITING]
    assert sorted(waiting) == ["db to be healthy", "migrate to be completed"]


def test_independent_services_are_made_at_the_same_time() -> None:
    target = wanted(service("a"), service("b"))

    async def scene(stage: Stage) -> None:
        gates = [stage.engine.hold("create_container", ref=f"shop-{name}-1") for name in "ab"]
        up = asyncio.create_task(stage.up(target))
        for gate in gates:
            await gate.reached.wait()
        for gate in gates:
            gate.release()
        (await up).raise_if_failed()

    play(scene)


def test_no_more_calls_at_a_time_than_allowed() -> None:
    target = wanted(*(service(name) for name in "abcdef"))

    async def scene(stage: Stage) -> None:
        gate = stage.engine.hold("create_container")
        plan = await stage.plan(target)
        running = asyncio.create_task(execute(plan, stage.engine, "shop", stage.events.append, parallelism=2))
        await gate.reached.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert sum(call.startswith("create_container") for call in stage.engine.calls) == 2
        gate.release()
        (await running).raise_if_failed()

    play(scene)


def test_a_wait_takes_no_slot() -> None:
    waits = {f"db{number}": HEALTHY for number in range(3)}
    target = wanted(*(service(name, healthcheck=CHECK) for name in waits), service("web", depends_on=waits), service("z", "db0"))

    async def scene(stage: Stage) -> None:
        plan = await stage.plan(target)
        (await execute(plan, stage.engine, "shop", stage.events.append, parallelism=1)).raise_if_failed()
        assert set((await stage.states()).values()) == {"running"}

    play(scene)


def test_a_failure_skips_its_dependents_and_only_them() -> None:
    target = wanted(service("db"), service("api", "db"), service("web", "api"), service("other"))

    async def scene(stage: Stage) -> None:
        stage.engine.fail("start_container", Conflict("port 5432/tcp is taken"), ref="shop-db-1")
        outcome = await stage.up(target)
        with pytest.raises(ExecuteFailed, match=r"^start shop-db-1: port 5432/tcp is taken$"):
            outcome.raise_if_failed()
        assert await stage.states() == {
            "shop-db-1": "created", "shop-api-1": "created", "shop-web-1": "created", "shop-other-1": "running",
        }  # fmt: skip
        (await stage.up(target)).raise_if_failed()
        assert set((await stage.states()).values()) == {"running"}

    stage = play(scene)
    skipped = [(one.resource, one.detail) for one in stage.events if one.phase is Phase.SKIPPED]
    assert skipped == [("Container shop-api-1", "port 5432/tcp is taken"), ("Container shop-web-1", "port 5432/tcp is taken")]


def test_every_failure_is_told() -> None:
    target = wanted(service("a"), service("b"))

    async def scene(stage: Stage) -> None:
        stage.engine.fail("create_container", Conflict("first"), ref="shop-a-1")
        stage.engine.fail("create_container", NotFound("second"), ref="shop-b-1")
        with pytest.raises(ExecuteFailed, match=r"^create shop-a-1: first\ncreate shop-b-1: second$") as caught:
            (await stage.up(target)).raise_if_failed()
        assert caught.value.failures == ("create shop-a-1: first", "create shop-b-1: second")

    stage = play(scene)
    assert [one.detail for one in stage.events if one.phase is Phase.FAILED] == ["first", "second"]


def test_the_failure_of_an_optional_dependency_stops_nobody() -> None:
    target = wanted(service("cache"), service("web", depends_on={"cache": model.Dependency(required=False)}))

    async def scene(stage: Stage) -> None:
        stage.engine.fail("start_container", Conflict("no"), ref="shop-cache-1")
        outcome = await stage.up(target)
        assert len(outcome.failures) == 1 and not outcome.skipped
        assert (await stage.states())["shop-web-1"] == "running"

    play(scene)


def test_a_replacement_takes_the_name_and_is_told_as_one_step() -> None:
    old, new = wanted(service("web")), wanted(service("web", tty=True))

    async def scene(stage: Stage) -> None:
        (await stage.up(old)).raise_if_failed()
        before = await stage.engine.container("shop-web-1")
        stage.events.clear()
        (await stage.up(new)).raise_if_failed()
        after = await stage.engine.container("shop-web-1")
        assert before.id != after.id and after.spec.tty
        assert await stage.states() == {"shop-web-1": "running"}
        assert not await stage.plan(new)

    assert play(scene).told("Container shop-web-1") == ["Recreate", "Recreated", "Starting", "Started"]


def test_a_bound_container_names_the_very_one_it_is_bound_to() -> None:
    def stack(**app: object) -> Desired:
        return wanted(service("app", **app), service("side", network_mode="service:app", depends_on={"app": model.Dependency()}))

    async def scene(stage: Stage) -> None:
        for target in (stack(), stack(tty=True)):
            (await stage.up(target)).raise_if_failed()
            app, side = [await stage.engine.container(name) for name in ("shop-app-1", "shop-side-1")]
            assert side.spec.network_mode == f"container:{app.id}"
            assert side.spec.labels[JOINED] == app.id
            assert not await stage.plan(target)

    play(scene)


def test_a_dependent_with_restart_is_down_while_its_dependency_changes() -> None:
    def stack(**db: object) -> Desired:
        return wanted(service("db", **db), service("web", depends_on={"db": RESTARTED}))

    async def scene(stage: Stage) -> None:
        (await stage.up(stack())).raise_if_failed()
        stage.engine.calls.clear()
        (await stage.up(stack(tty=True))).raise_if_failed()
        assert set((await stage.states()).values()) == {"running"}

    calls = play(scene).engine.calls
    stop, start = index(calls, "stop_container shop-web-1"), index(calls, "start_container shop-web-1")
    assert stop < index(calls, "stop_container shop-db-1") < index(calls, "start_container shop-db-1") < start


def test_cancelling_leaves_what_the_next_up_converges_from() -> None:
    target = wanted(service("db"), service("web", "db"))

    async def scene(stage: Stage) -> None:
        gate = stage.engine.hold("start_container", ref="shop-db-1")
        up = asyncio.create_task(stage.up(target))
        await gate.reached.wait()
        up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await up
        assert "running" not in (await stage.states()).values()
        gate.release()
        (await stage.up(target)).raise_if_failed()
        assert set((await stage.states()).values()) == {"running"}

    play(scene)


# --- conditions


def failing(behaviour: Behaviour, condition: model.Dependency, **dep: object) -> tuple[StackrunError, Stage]:
    target = wanted(service("dep", **dep), service("web", depends_on={"dep": condition}))
    found: list[StackrunError] = []

    async def scene(stage: Stage) -> None:
        stage.engine.behave("dep", behaviour)
        with pytest.raises(StackrunError) as caught:
            (await stage.up(target)).raise_if_failed()
        found.append(caught.value)
        assert (await stage.states())["shop-web-1"] == "created"

    stage = play(scene)
    return found[0], stage


def test_an_unhealthy_dependency_says_so_with_its_last_words() -> None:
    error, stage = failing(Behaviour(output=((1, b"listening\n"), (2, b"disk full\n")), health=("unhealthy",)), HEALTHY, healthcheck=CHECK)
    lines = str(error).splitlines()
    assert lines[0] == "dependency failed to start: container shop-dep-1 is unhealthy"
    assert lines[-2:] == ["  listening", "  disk full"]
    assert stage.told("Container shop-dep-1")[-2:] == ["Waiting", "Error"]


def test_a_dependency_that_exits_says_so() -> None:
    error, _ = failing(Behaviour(exit_code=3), HEALTHY, healthcheck=CHECK)
    assert str(error).splitlines()[0] == "dependency failed to start: container shop-dep-1 exited (3)"


def test_a_dependency_without_a_healthcheck_can_never_be_healthy() -> None:
    error, _ = failing(Behaviour(), HEALTHY)
    assert str(error).splitlines()[0] == "dependency failed to start: container shop-dep-1 has no healthcheck configured"


def test_a_job_that_fails_says_so() -> None:
    error, _ = failing(Behaviour(exit_code=2, output=((2, b"no such table\n"),)), COMPLETED)
    assert str(error).splitlines() == [
        "dependency failed to start: container shop-dep-1 did not complete: exited (2)", "  no such table",
    ]  # fmt: skip


def test_an_unhealthy_one_may_recover_before_it_is_looked_at() -> None:
    target = wanted(service("db", healthcheck=CHECK), service("web", depends_on={"db": HEALTHY}))

    async def scene(stage: Stage) -> None:
        stage.engine.behave("db", Behaviour(health=("starting",)))
        up = asyncio.create_task(stage.up(target))
        await stage.until_told("Container shop-db-1", "Waiting")
        await stage.engine.set_health("shop-db-1", "healthy")
        (await up).raise_if_failed()

    play(scene)


def test_waiting_has_a_deadline() -> None:
    target = wanted(service("db", healthcheck=CHECK))

    async def scene(stage: Stage) -> None:
        stage.engine.behave("db", Behaviour(health=("starting",), output=((1, b"loading\n"),)))
        outcome = await stage.up(target, Policy(wait=True, wait_timeout_s=0.01))
        with pytest.raises(ExecuteFailed, match=r"(?s)^db is not ready after 10ms\n.*  loading$"):
            outcome.raise_if_failed()

    play(scene)


def test_wait_ends_when_all_is_ready_and_jobs_are_done() -> None:
    target = wanted(service("job"), service("web", depends_on={"job": COMPLETED}, healthcheck=CHECK))

    async def scene(stage: Stage) -> None:
        stage.engine.behave("job", Behaviour(exit_code=0))
        (await stage.up(target, Policy(wait=True))).raise_if_failed()

    stage = play(scene)
    assert stage.told("Container shop-web-1")[-1] == "Healthy"


def test_wait_fails_when_a_service_exits() -> None:
    async def scene(stage: Stage) -> None:
        stage.engine.behave("web", Behaviour(exit_code=0))
        outcome = await stage.up(wanted(service("web")), Policy(wait=True))
        with pytest.raises(ExecuteFailed, match=r"container shop-web-1 exited \(0\)"):
            outcome.raise_if_failed()

    play(scene)


def test_a_container_removed_while_it_is_waited_for() -> None:
    target = wanted(service("db", healthcheck=CHECK), service("web", depends_on={"db": HEALTHY}))

    async def scene(stage: Stage) -> None:
        stage.engine.behave("db", Behaviour(health=("starting",)))
        up = asyncio.create_task(stage.up(target))
        await stage.until_told("Container shop-db-1", "Waiting")
        await stage.engine.remove_container("shop-db-1", force=True)
        with pytest.raises(ExecuteFailed, match=r"container shop-db-1 (was removed|exited)"):
            (await up).raise_if_failed()

    play(scene)


def test_a_hundred_waits_share_one_subscription_and_few_looks() -> None:
    services = [service(f"db{number:02}", healthcheck=CHECK) for number in range(50)]
    target = wanted(*services, *(service(f"web{number:02}", depends_on={f"db{number:02}": HEALTHY}) for number in range(50)))
    counts = {"events": 0, "containers": 0}

    async def scene(stage: Stage) -> None:
        for method in counts:
            _count(stage.engine, method, counts)
        (await stage.up(target)).raise_if_failed()

    play(scene)
    assert counts["events"] == 1
    assert counts["containers"] <= 60


def _count(engine: FakeEngine, method: str, counts: dict[str, int]) -> None:
    original = getattr(engine, method)

    async def counted(*args: object, **keys: object) -> object:
        counts[method] += 1
        return await original(*args, **keys)

    setattr(engine, method, counted)


def test_a_lost_engine_fails_the_wait() -> None:
    target = wanted(service("db", healthcheck=CHECK), service("web", depends_on={"db": HEALTHY}))

    async def scene(stage: Stage) -> None:
        async def nothing(**_: object) -> object:
            raise Unavailable("no engine answers")

        stage.engine.behave("db", Behaviour(health=("starting",)))
        stage.engine.events = nothing  # type: ignore[method-assign, assignment]
        with pytest.raises(ExecuteFailed, match="no engine answers"):
            (await stage.up(target)).raise_if_failed()

    play(scene)
