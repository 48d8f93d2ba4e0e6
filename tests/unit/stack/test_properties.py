"""What holds for every stack, every change and every interruption."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from fakes.engine import Behaviour, FakeEngine
from fakes.processes import Box
from fakes.projects import COMPLETED, HEALTHY, RESTARTED, STARTED, service, wanted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stackrun.api.types import ContainerSpec, Endpoint, EndpointSpec, Network, NetworkSpec, VolumeSpec
from stackrun.compose import model
from stackrun.errors import Conflict
from stackrun.stack.desired import Desired
from stackrun.stack.execute import Outcome, execute
from stackrun.stack.observed import observe
from stackrun.stack.plan import Plan
from stackrun.stack.reconcile import decide
from stackrun.stack.verdict import Policy

NAMES = "abcdef"
CHECK = model.Healthcheck(test=("CMD", "true"))
CHANGING = (
    "create_network", "remove_network", "create_volume", "create_container", "start_container", "stop_container", "remove_container",
    "rename_container",
)  # fmt: skip
UP = Policy(remove_orphans=True)

thoroughly = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def services(draw: st.DrawFn) -> list[model.Service]:
    """Up to six services; each may depend on earlier ones by any condition, share a namespace, or have replicas and volumes.

    What somebody waits for to complete is another command: a process that runs on does not become a job by being waited for.
    """
    count = draw(st.integers(1, len(NAMES)))
    found: list[model.Service] = []
    joinable: list[str] = []
    for position, name in enumerate(NAMES[:count]):
        needs = draw(st.lists(st.sampled_from(NAMES[:position]), unique=True, max_size=3)) if position else []
        depends_on = {need: draw(st.sampled_from([STARTED, HEALTHY, COMPLETED, RESTARTED])) for need in needs}
        keys: dict[str, object] = {"environment": {"V": draw(st.sampled_from("123"))}, "healthcheck": CHECK}
        if joinable and draw(st.booleans()):
            other = draw(st.sampled_from(joinable))
            keys["network_mode"], depends_on[other] = f"service:{other}", depends_on.get(other, STARTED)
        else:
            keys["scale"] = draw(st.integers(0, 3))
            if keys["scale"]:
                joinable.append(name)
        if draw(st.booleans()):
            keys["volumes"] = (model.VolumeMount("volume", "/data", "data"), model.VolumeMount("volume", "/cache"))
        found.append(service(name, depends_on=depends_on, **keys))
    ends = {need for one in found for need, how in one.depends_on.items() if how == COMPLETED}
    return [replace(one, command=("job",)) if one.name in ends else one for one in found]


@st.composite
def stacks(draw: st.DrawFn) -> Desired:
    network = model.Network("default", "shop_default", internal=draw(st.booleans()))
    return wanted(*draw(services()), networks=[network], volumes=[model.Volume("data", "shop_data")])


class Engine(FakeEngine):
    """A stopped container is still listed with a network that has gone, as Docker lists it."""

    def __init__(self) -> None:
        super().__init__(images=("busybox:1",))
        self.removed: dict[str, Network] = {}

    async def remove_network(self, ref: str) -> None:
        network = self.find_network(ref)
        await super().remove_network(ref)
        self.removed[network.id] = network

    def _endpoint(self, box: Box, network_id: str, spec: EndpointSpec) -> Endpoint:
        gone = self.removed.get(network_id)
        return Endpoint(gone.name, gone.id) if gone else super()._endpoint(box, network_id, spec)


def jobs(target: Desired) -> set[str]:
    return {one.name for one in target.services.values() if one.job}


def conflicting(target: Desired) -> bool:
    """Some wait for it to end, some to be healthy: no engine can give both, so such stacks are left out."""
    healthy = {need.service for one in target.services.values() for need in one.dependencies if need.condition == "service_healthy"}
    joined = {name for one in target.services.values() for name in one.joins}
    return bool((healthy | joined) & jobs(target))


def engine_for(target: Desired, engine: FakeEngine) -> None:
    for name in NAMES:
        engine.behave(name, Behaviour(exit_code=0) if name in jobs(target) else Behaviour())


async def planned(engine: FakeEngine, target: Desired) -> Plan:
    return decide(target, await observe(engine, target.project, ["busybox:1"]), UP)


async def up(engine: FakeEngine, target: Desired) -> tuple[Plan, Outcome]:
    found = await observe(engine, target.project, ["busybox:1"])
    plan = decide(target, found, UP)
    return plan, await execute(plan, engine, target.project, lambda event: None, ids=found.ids())


async def assert_converged(engine: FakeEngine, target: Desired) -> None:
    found = {one.name: one for one in await engine.containers(all=True)}
    own = {name: one for name, one in found.items() if one.spec.labels.get("com.docker.compose.project") == "shop"}
    assert set(own) == {one.name_of(n, "shop") for one in target.services.values() for n in range(1, one.replicas + 1)}
    for one in target.services.values():
        for number in range(1, one.replicas + 1):
            container = own[one.name_of(number, "shop")]
            assert container.spec.labels["com.docker.compose.config-hash"] == one.config_hash
            assert container.state.running != one.job
    assert str(await planned(engine, target)) == ""


def run(scene: Callable[[FakeEngine], Awaitable[None]]) -> None:
    async def within_a_limit() -> None:
        async with asyncio.timeout(20):
            await scene(Engine())

    asyncio.run(within_a_limit())


STRANGERS = ("nobodys", "other-a-1", "shop-x-a-1")


async def add_strangers(engine: FakeEngine) -> None:
    """Things of others that `up` must not touch: no labels, another project's, one whose name begins like this one's."""
    await engine.create_network(NetworkSpec("lan"))
    await engine.create_volume(VolumeSpec("pool"))
    theirs = {"com.docker.compose.project": "other", "com.docker.compose.service": "a", "com.docker.compose.container-number": "1"}
    similar = {**theirs, "com.docker.compose.project": "shop-x"}
    for name, labels in zip(STRANGERS, ({}, theirs, similar), strict=True):
        await engine.start_container((await engine.create_container(name, ContainerSpec("busybox:1", labels=labels))).id)
    engine.calls.clear()


@thoroughly
@given(stacks())
def test_a_plan_reaches_what_is_wanted_and_then_there_is_nothing_to_do(target: Desired) -> None:
    async def scene(engine: FakeEngine) -> None:
        engine_for(target, engine)
        await add_strangers(engine)
        _, outcome = await up(engine, target)
        outcome.raise_if_failed()
        await assert_converged(engine, target)
        touched = {call.split()[1] for call in engine.calls}
        assert touched.isdisjoint({*STRANGERS, "lan", "pool"})

    if not conflicting(target):
        run(scene)


@thoroughly
@given(stacks(), stacks())
def test_any_stack_can_become_any_other(old: Desired, new: Desired) -> None:
    async def scene(engine: FakeEngine) -> None:
        for target in (old, new):
            engine_for(target, engine)
            _, outcome = await up(engine, target)
            outcome.raise_if_failed()
            await assert_converged(engine, target)

    if not conflicting(old) and not conflicting(new):
        run(scene)


@thoroughly
@given(stacks(), stacks(), st.integers(0, 60))
def test_whatever_is_cut_off_converges_with_the_next_up(old: Desired, new: Desired, calls: int) -> None:
    """The engine is gone after some calls, as if the power had failed; each call is made or not made."""

    async def scene(engine: FakeEngine) -> None:
        engine_for(old, engine)
        (await up(engine, old))[1].raise_if_failed()
        engine_for(new, engine)
        left = calls

        async def counted(method: str, ref: str, original: Callable[..., Awaitable[None]] = engine.enter) -> None:
            nonlocal left
            if left == 0:
                raise Conflict("the power is gone")
            left -= 1
            await original(method, ref)

        engine.enter = counted  # type: ignore[method-assign]
        await up(engine, new)
        left = 10_000
        _, outcome = await up(engine, new)
        outcome.raise_if_failed()
        await assert_converged(engine, new)

    if not conflicting(old) and not conflicting(new):
        run(scene)


@thoroughly
@given(stacks(), st.sampled_from(CHANGING), st.integers(0, 3))
def test_a_failed_node_skips_its_dependents_and_only_them(target: Desired, method: str, victim: int) -> None:
    async def scene(engine: FakeEngine) -> None:
        engine_for(target, engine)
        refs = sorted({f"{one.name_of(1, 'shop')}" for one in target.services.values()})
        engine.fail(method, Conflict("no"), ref=refs[victim % len(refs)] if "container" in method else "")
        plan, outcome = await up(engine, target)
        skipped = set(outcome.skipped)
        for node in plan.nodes:
            harmed = any(number in outcome.failures or number in skipped for number in node.after)
            assert (node.number in skipped) == harmed
        _, again = await up(engine, target)
        again.raise_if_failed()
        await assert_converged(engine, target)

    if not conflicting(target):
        run(scene)


@thoroughly
@given(stacks())
def test_a_plan_is_the_same_every_time(target: Desired) -> None:
    async def scene(engine: FakeEngine) -> None:
        assert str(await planned(engine, target)) == str(await planned(engine, target))

    run(scene)
