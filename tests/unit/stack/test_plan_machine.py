"""A stack through a long life: declared, changed, disturbed from outside, cut off and planned again, in any order.

After every `up` that was let finish the declared state is there and planning again is empty; nothing foreign is ever touched.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from fakes.engine import Behaviour, FakeEngine
from fakes.projects import order, project
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from unit.stack.test_properties import CHANGING, STRANGERS, Engine, add_strangers, conflicting, engine_for, jobs, services

from stackrun.api.stacks import StackPlan, Symbol
from stackrun.api.types import ContainerSpec
from stackrun.compose import model
from stackrun.errors import Conflict
from stackrun.stack.desired import Desired, desired
from stackrun.stack.execute import Outcome, execute
from stackrun.stack.explain import Inspected, Plans, Shown, explained, replaced_containers
from stackrun.stack.observed import Observed, observe, with_private_files
from stackrun.stack.places import Places
from stackrun.stack.plan import Plan
from stackrun.stack.reconcile import decide
from stackrun.stack.seal import moved, sealed
from stackrun.stack.verdict import Policy

T = TypeVar("T")
UP = Policy(remove_orphans=True)
ON_CHANGE = (
    model.OnChange(), model.OnChange("restart"), model.OnChange("signal", signal="SIGWINCH"), model.OnChange("exec", command=("reload",)),
    model.OnChange("none"),
)  # fmt: skip
PULLS = Plan()
FAR = 100_000


BRIEF_S = 0.001
UPDATES = st.builds(
    model.UpdateConfig, parallelism=st.sampled_from((None, 0, 1, 2)), delay_s=st.sampled_from((None, BRIEF_S)),
    failure_action=st.sampled_from(("", "pause", "continue", "rollback")), monitor_s=st.sampled_from((None, BRIEF_S)),
    max_failure_ratio=st.sampled_from((0.0, 0.4, 1.0)), order=st.sampled_from(("", "stop-first", "start-first")),
)  # fmt: skip


@st.composite
def updated(draw: st.DrawFn, one: model.Service, position: int) -> model.Service:
    """Replaced step by step perhaps, and perhaps with a port of the host, which is one container's."""
    config = draw(st.one_of(st.none(), UPDATES))
    publishes = one.replicas == 1 and not one.network_mode and draw(st.booleans())
    ports = (model.Port(80, str(8000 + position)),) if publishes else ()
    return replace(one, deploy=model.Deploy(update_config=config) if config else None, ports=ports)


@st.composite
def projects(draw: st.DrawFn, state: str) -> tuple[model.Project, Desired]:
    """Some services also read a config, in one of the ways there are to be told of its changes; some have an update_config."""
    found = [draw(updated(one, position)) for position, one in enumerate(draw(services()))]
    reading = draw(st.sets(st.sampled_from([one.name for one in found])))
    reference = (model.FileReference("site"),)
    found = [replace(one, configs=reference) if one.name in reading else one for one in found]
    site = model.Config("site", "shop_site", content=draw(st.sampled_from("xy")), on_change=draw(st.sampled_from(ON_CHANGE)))
    network = model.Network("default", "shop_default", internal=draw(st.booleans()))
    stack = project(*found, networks=[network], volumes=[model.Volume("data", "shop_data")], configs=[site])
    return stack, desired(stack, order(stack), contents={}, state_dir=state)


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.engine: FakeEngine = Engine()
        self.stack, self.target = project(), Desired("shop", {})
        self.calls_left = FAR
        self.engine.enter = self._counted(self.engine.enter)  # type: ignore[method-assign]

    def teardown(self) -> None:
        self.loop.close()
        self.folder.cleanup()

    def _counted(self, original: Callable[[str, str], Awaitable[None]]) -> Callable[[str, str], Awaitable[None]]:
        async def enter(method: str, ref: str) -> None:
            if not self.calls_left:
                raise Conflict("the power is gone")
            self.calls_left -= 1
            await original(method, ref)

        return enter

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        async def within_a_limit() -> T:
            async with asyncio.timeout(20):
                return await work

        return self.loop.run_until_complete(within_a_limit())

    def own(self) -> list[str]:
        return sorted(one.name for one in self.engine.boxes.values() if one.name not in STRANGERS)

    async def observed(self) -> Observed:
        return with_private_files(await observe(self.engine, "shop", ["busybox:1"]), self.target)

    async def up(self) -> tuple[Plan, Outcome]:
        found = await self.observed()
        plan = decide(self.target, found, UP)
        return plan, await execute(plan, self.engine, "shop", lambda event: None, ids=found.ids())

    # --- what happens

    @initialize()
    def others_are_there(self) -> None:
        self.do(add_strangers(self.engine))

    @rule(data=st.data())
    def declare(self, data: st.DataObject) -> None:
        stack, target = data.draw(projects(self.folder.name))
        assume(not conflicting(target))
        self.stack, self.target = stack, target
        engine_for(target, self.engine)

    @rule()
    def up_reaches_what_is_declared(self) -> None:
        self.do(self.up())[1].raise_if_failed()
        self.do(self.assert_converged())

    @rule(calls=st.integers(0, 25))
    def up_is_cut_off(self, calls: int) -> None:
        self.calls_left = calls
        self.do(self.up())
        self.calls_left = FAR

    @rule(method=st.sampled_from((*CHANGING, "start_container_beside", "take_over")), victim=st.integers(0, 9))
    def up_fails_at_one_node(self, method: str, victim: int) -> None:
        names = sorted(one.name_of(number, "shop") for one in self.target.services.values() for number in range(1, one.replicas + 1))
        ref = names[victim % len(names)] if names and "container" in method else ""
        self.engine.fail(method, Conflict("no"), ref=ref)
        plan, outcome = self.do(self.up())
        self.engine._faults.clear()
        self.check_skipped(plan, outcome)

    def check_skipped(self, plan: Plan, outcome: Outcome) -> None:
        skipped = set(outcome.skipped)
        for node in plan.nodes:
            harmed = any(number in outcome.failures or number in skipped for number in node.after)
            assert (node.number in skipped) == (harmed and node.number not in outcome.needless)

    @rule(version=st.sampled_from("456"), calls=st.integers(0, 60))
    def an_update_is_cut_off(self, version: str, calls: int) -> None:
        self.a_new_version_is_declared(version)
        self.up_is_cut_off(calls)

    @rule(version=st.sampled_from("456"), victim=st.integers(0, 9))
    def an_update_does_not_get_healthy(self, version: str, victim: int) -> None:
        self.a_new_version_is_declared(version)
        self.up_meets_a_version_that_does_not_get_healthy(victim)

    def a_new_version_is_declared(self, version: str) -> None:
        """Of every service of a stack that is up."""
        self.up_reaches_what_is_declared()
        found = [replace(one, environment={"V": version}) for one in self.stack.services.values()]
        self.stack = replace(self.stack, services={one.name: one for one in found})
        self.target = desired(self.stack, order(self.stack), contents={}, state_dir=self.folder.name)

    @rule(victim=st.integers(0, 9))
    def up_meets_a_version_that_does_not_get_healthy(self, victim: int) -> None:
        names = sorted(self.target.services.keys() - jobs(self.target)) or [""]
        name = names[victim % len(names)]
        self.engine.behave(name, Behaviour(health=("unhealthy",)))
        plan, outcome = self.do(self.up())
        engine_for(self.target, self.engine)
        self.check_skipped(plan, outcome)
        for node in plan.nodes:
            assert (node.number in outcome.needless) <= bool(node.if_failed)
        for one in self.engine.boxes.values():
            if one.spec.labels.get("com.docker.compose.service") == name and one.state.running:
                self.do(self.engine.set_health(one.name, "healthy"))

    @precondition(lambda self: self.own())
    @rule(victim=st.integers(0, 99), how=st.sampled_from(["kill", "remove"]))
    def somebody_takes_a_container(self, victim: int, how: str) -> None:
        name = self.own()[victim % len(self.own())]
        if how == "remove":
            self.do(self.engine.remove_container(name, force=True))
        elif self.engine.box(name).state.running:
            self.do(self.engine.kill_container(name))

    @rule()
    def somebody_takes_the_network(self) -> None:
        for name in self.own():
            if self.engine.box(name).state.running:
                self.do(self.engine.kill_container(name))
        if any(one.name == "shop_default" for one in self.engine.networks_by_id.values()):
            self.do(self.engine.remove_network("shop_default"))

    @rule()
    def a_service_of_an_older_file_is_left(self) -> None:
        labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": "old", "com.docker.compose.container-number": "1"}
        if "shop-old-1" not in self.own():
            self.do(self.engine.create_container("shop-old-1", ContainerSpec("busybox:1", labels=labels)))

    @rule()
    def a_private_file_is_lost(self) -> None:
        for file in sorted(Path(self.folder.name).rglob("*")):
            if file.is_file():
                file.unlink()
                break

    @rule()
    def a_plan_tells_everything_and_does_nothing(self) -> None:
        before = list(self.engine.calls)
        plan, told, seal = self.do(self.planned())
        assert self.engine.calls == before
        assert bool(plan.nodes) == bool(told.actions or told.waits)
        for action in told.actions:
            assert action.steps and action.cause
            assert action.symbol is not Symbol.REPLACE or any(step.startswith("create") for step in action.steps)
        assert self.do(self.planned()) == (plan, told, seal)

    @rule()
    def a_seal_is_broken_by_what_it_led_to(self) -> None:
        plan, _, seal = self.do(self.planned())
        self.do(self.up())[1].raise_if_failed()
        assert bool(moved(seal, self.do(self.planned())[2])) == bool(plan.nodes)

    # --- what holds

    async def planned(self) -> tuple[Plan, StackPlan, dict[str, str]]:
        found = await self.observed()
        plan = decide(self.target, found, UP)
        replaced = {one.id: await self.engine.container(one.id) for one in replaced_containers(plan, found).values()}
        images = {one.id: one.config for one in await self.engine.images()}
        inspected = Inspected(replaced, images)
        told = explained(self.target, found, tuple(self.target.services), Plans(PULLS, plan), inspected, Shown(places=Places(self.stack)))
        return plan, told, sealed(self.target, found, UP, PULLS, plan)

    async def assert_converged(self) -> None:
        wanted = {one.name_of(number, "shop"): one for one in self.target.services.values() for number in range(1, one.replicas + 1)}
        assert self.own() == sorted(wanted)
        for name, one in wanted.items():
            container = await self.engine.container(name)
            assert container.spec.labels["com.docker.compose.config-hash"] == one.config_hash
            assert container.state.running != (one.name in jobs(self.target))
            assert one.name in jobs(self.target) or [port.host_port for port in container.ports] == [
                port.host_port for port in one.spec.ports
            ]
            for file in one.files:
                assert Path(file.path).read_bytes() == file.content
        assert str(decide(self.target, await self.observed(), UP)) == ""

    @invariant()
    def a_port_leads_to_one_container_and_to_one_that_runs(self) -> None:
        owners = [port for one in self.engine.boxes.values() for port in one.published.values()]
        assert len(owners) == len(set(owners))
        waiting = {port for one in self.engine.boxes.values() for port in one.waiting.values()}
        assert waiting <= set(owners)

    @invariant()
    def nothing_foreign_is_touched(self) -> None:
        touched = {word for call in self.engine.calls for word in call.split()[1:]}
        assert touched.isdisjoint({*STRANGERS, "lan", "pool"})
        assert {one.name for one in self.engine.boxes.values()} >= set(STRANGERS) or not self.engine.boxes


Life.TestCase.settings = settings(
    max_examples=120, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck),
    phases=[Phase.generate], report_multiple_bugs=False,
)  # fmt: skip
"""Bounded: seconds when it holds, and no minutes of shrinking when it does not; the failing life is printed step by step."""

TestLife = Life.TestCase
