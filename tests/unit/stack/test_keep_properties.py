"""Whatever is done to a kept stack from outside, rounds bring it back, in order, and then have nothing more to do."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fakes.engine import FakeEngine
from hypothesis import given
from hypothesis import strategies as st
from unit.stack.test_properties import STRANGERS, add_strangers, conflicting, engine_for, run, stacks, thoroughly, up

from stackrun.api.types import Container
from stackrun.stack.declared import Declared
from stackrun.stack.desired import Desired
from stackrun.stack.execute import execute
from stackrun.stack.keep import decide_round
from stackrun.stack.observed import Observed, observe, service_of
from stackrun.stack.plan import Condition, StartContainer
from stackrun.stack.reconcile import meets
from stackrun.stack.verdict import completed

ROUNDS_MAX = 30
Disturb = Callable[[FakeEngine, Container], Coroutine[Any, Any, None]]


async def _remove(engine: FakeEngine, one: Container) -> None:
    await engine.remove_container(one.id, force=True)


async def _kill(engine: FakeEngine, one: Container) -> None:
    if one.state.running:
        await engine.kill_container(one.id)


async def _die(engine: FakeEngine, one: Container) -> None:
    await engine.exit(one.id, 1)


async def _cut_off(engine: FakeEngine, one: Container) -> None:
    for endpoint in one.endpoints:
        await engine.disconnect_network(endpoint.network_id, one.id, force=True)


async def _take_network(engine: FakeEngine, one: Container) -> None:
    for endpoint in one.endpoints:
        for other in await engine.containers(all=True):
            if any(its.network_id == endpoint.network_id for its in other.endpoints):
                await engine.disconnect_network(endpoint.network_id, other.id, force=True)
        await engine.remove_network(endpoint.network_id)


DISTURBING: dict[str, Disturb] = {"remove": _remove, "kill": _kill, "die": _die, "cut off": _cut_off, "take network": _take_network}


async def kept(engine: FakeEngine, target: Desired) -> None:
    """Rounds until there is nothing to do; each start comes after what it waits for."""
    for _ in range(ROUNDS_MAX):
        observed = await observe(engine, target.project, ["busybox:1"])
        found = decide_round(Declared(target), observed)
        if not found.plans:
            assert not found.waiting
            return
        for plan in found.plans:
            for node in plan.nodes:
                if isinstance(node.action, StartContainer):
                    assert_is_free(target, node.action.service, observed)
            (await execute(plan, engine, target.project, lambda event: None, ids=observed.ids())).raise_if_failed()
    raise AssertionError("there is always something more to do")


def assert_is_free(target: Desired, service: str, observed: Observed) -> None:
    for need in target.services[service].dependencies:
        found = observed.of_service(need.service)
        assert len(found) >= target.services[need.service].replicas
        assert all(meets(one, need.condition) or (need.condition is Condition.STARTED and completed(one)) for one in found)


@thoroughly
@given(stacks(), st.lists(st.tuples(st.sampled_from(sorted(DISTURBING)), st.integers(0, 50)), max_size=6))
def test_it_comes_back(target: Desired, disturbances: list[tuple[str, int]]) -> None:
    async def scene(engine: FakeEngine) -> None:
        engine_for(target, engine)
        (await up(engine, target))[1].raise_if_failed()
        await add_strangers(engine)
        await kept(engine, target)
        assert engine.calls == []
        for how, choice in disturbances:
            own = [one for one in await engine.containers(all=True) if one.spec.labels.get("com.docker.compose.project") == "shop"]
            if own:
                await DISTURBING[how](engine, own[choice % len(own)])
        engine.calls.clear()
        await kept(engine, target)
        assert {call.split()[1] for call in engine.calls}.isdisjoint({*STRANGERS, "lan", "pool"})
        await assert_runs(engine, target)

    if not conflicting(target):
        run(scene)


async def assert_runs(engine: FakeEngine, target: Desired) -> None:
    own = [one for one in await engine.containers(all=True) if one.spec.labels.get("com.docker.compose.project") == "shop"]
    for name, service in target.services.items():
        found = [one for one in own if service_of(one) == name]
        assert len(found) == service.replicas
        assert all(one.state.running != service.job for one in found)
        for one in found:
            assert {its.network_name for its in one.endpoints} >= set(service.networks)
