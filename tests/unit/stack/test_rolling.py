"""`deploy.update_config`: which nodes it asks for, and what becomes of a service when one of them fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from textwrap import dedent
from typing import Any

import pytest
from fakes.engine import Behaviour, FakeEngine
from fakes.projects import CHECK, HEALTHY, RESTARTED, all_running, container, network, present, service, wanted

from stackrun.api.stacks import StackEvent
from stackrun.api.types import PublishedPort
from stackrun.compose import model
from stackrun.errors import Conflict
from stackrun.stack.desired import Desired
from stackrun.stack.execute import Outcome, execute
from stackrun.stack.observed import Observed, observe
from stackrun.stack.plan import Plan
from stackrun.stack.reconcile import decide
from stackrun.stack.rolling import Rollout
from stackrun.stack.verdict import Policy

A, B, C = "a" * 64, "b" * 64, "c" * 64
OLD, NEW = "1", "2"
PORT = (model.Port(80, "8080"),)
FIXED = {"default": model.NetworkAttachment(ipv4_address="10.0.0.9")}


def check(plan: Plan, text: str) -> None:
    assert str(plan) == dedent(text).strip()


def web(version: str, config: dict[str, Any] | None, *others: model.Service, **keys: Any) -> Desired:
    deploy = None if config is None else model.Deploy(update_config=model.UpdateConfig(**config))
    keys.setdefault("healthcheck", CHECK)
    return wanted(service("web", environment={"VERSION": version}, deploy=deploy, **keys), *others)


def found(target: Desired, *, hands_over: bool = True) -> Observed:
    """Every container of it, web's with the ids aaaa…, bbbb…, cccc…."""
    webs = [container(target, "web", number, "healthy", id=id) for number, id in enumerate((A, B, C)[: target.services["web"].replicas], 1)]
    others = [one for one in all_running(target) if "-web-" not in one.name]
    return replace(present(target, *webs, *others), hands_over=hands_over)


def update(config: dict[str, Any] | None, *, hands_over: bool = True, **keys: Any) -> Plan:
    return decide(web(NEW, config, **keys), found(web(OLD, config, **keys), hands_over=hands_over))


# --- the plan


def test_without_the_key_everything_is_replaced_at_once() -> None:
    check(update(None, scale=2), """
        1 [] Container shop-web-1: create as aaaaaaaaaaaa_shop-web-1 (configuration changed)
        2 [1] Container shop-web-1: stop (configuration changed)
        3 [2] Container shop-web-1: remove (configuration changed)
        4 [3] Container shop-web-1: rename
        5 [4] Container shop-web-1: start
        6 [] Container shop-web-2: create as bbbbbbbbbbbb_shop-web-2 (configuration changed)
        7 [6] Container shop-web-2: stop (configuration changed)
        8 [7] Container shop-web-2: remove (configuration changed)
        9 [8] Container shop-web-2: rename
        10 [9] Container shop-web-2: start
    """)  # fmt: skip


def test_an_empty_key_means_one_after_the_other_each_gated_on_health() -> None:
    check(update({}, scale=2), """
        1 [] Container shop-web-1: create as aaaaaaaaaaaa_shop-web-1 (configuration changed)
        2 [] Container shop-web-2: create as bbbbbbbbbbbb_shop-web-2 (configuration changed)
        3 [1] Container shop-web-1: stop (configuration changed)
        4 [1 3] Container shop-web-1: start
        5 [4] Container shop-web-1: wait until ready
        6 [2 5] Container shop-web-2: stop (configuration changed)
        7 [2 5 6] Container shop-web-2: start
        8 [7] Container shop-web-2: wait until ready
        9 [5] Container shop-web-1: remove (configuration changed)
        10 [9] Container shop-web-1: rename
        11 [8] Container shop-web-2: remove (configuration changed)
        12 [11] Container shop-web-2: rename
    """)  # fmt: skip


def test_start_first_hands_the_published_port_over_before_the_old_one_stops() -> None:
    check(update({"order": "start-first", "monitor_s": 5.0}, ports=PORT, stop_grace_period_s=3.0), """
        1 [] Container shop-web-1: create as aaaaaaaaaaaa_shop-web-1 (configuration changed)
        2 [1] Container shop-web-1: start beside the old one
        3 [2] Container shop-web-1: wait until ready and for 5s after
        4 [3] Container shop-web-1: take over 8080/tcp, drain within 3s
        5 [4] Container shop-web-1: stop (configuration changed)
        6 [5] Container shop-web-1: remove (configuration changed)
        7 [6] Container shop-web-1: rename
    """)  # fmt: skip


def test_an_engine_that_cannot_hand_over_replaces_a_service_with_a_port_stop_first() -> None:
    check(update({"order": "start-first"}, ports=PORT, hands_over=False), """
        ! Service web: this engine gives a published port to one container at a time: it is replaced stop-first
        1 [] Container shop-web-1: create as aaaaaaaaaaaa_shop-web-1 (configuration changed)
        2 [1] Container shop-web-1: stop (configuration changed)
        3 [1 2] Container shop-web-1: start
        4 [3] Container shop-web-1: wait until ready
        5 [4] Container shop-web-1: remove (configuration changed)
        6 [5] Container shop-web-1: rename
    """)  # fmt: skip


def test_and_one_without_ports_start_first_all_the_same() -> None:
    check(update({"order": "start-first"}, hands_over=False), """
        1 [] Container shop-web-1: create as aaaaaaaaaaaa_shop-web-1 (configuration changed)
        2 [1] Container shop-web-1: start
        3 [2] Container shop-web-1: wait until ready
        4 [3] Container shop-web-1: stop (configuration changed)
        5 [4] Container shop-web-1: remove (configuration changed)
        6 [5] Container shop-web-1: rename
    """)  # fmt: skip


def test_batches_wait_for_each_other_and_for_the_delay() -> None:
    plan = str(update({"parallelism": 2, "delay_s": 10.0}, scale=3))
    assert "10 [6 9] Container shop-web-3: pause for 10s" in plan
    assert "11 [3 10] Container shop-web-3: stop (configuration changed)" in plan


def test_a_rollback_is_part_of_the_plan_under_the_condition_of_a_failure() -> None:
    check(update({"failure_action": "rollback", "order": "start-first"}, ports=PORT), """
        1 [] Container shop-web-1: create as aaaaaaaaaaaa_shop-web-1 (configuration changed)
        2 [1] Container shop-web-1: start beside the old one
        3 [2] Container shop-web-1: wait until ready
        4 [3] Container shop-web-1: take over 8080/tcp, drain within 10s
        5 [4] Container shop-web-1: stop (configuration changed)
        6 [5] Container shop-web-1: remove (configuration changed)
        7 [6] Container shop-web-1: rename
        8 [~2 ~3 ~4 ?5] Container shop-web-1: start beside the old one (the update failed)
        9 [8 ?5] Container shop-web-1: wait until ready (the update failed)
        10 [9 ?5] Container shop-web-1: take over 8080/tcp, drain within 10s (the update failed)
        11 [1 10 ?5] Container shop-web-1: remove (the update failed)
    """)  # fmt: skip


def test_what_is_put_up_with_is_counted_after_every_batch() -> None:
    plan = str(update({"max_failure_ratio": 0.4, "failure_action": "pause"}, scale=3))
    assert "7 [~6] Container shop-web-2: count failures: at most 1 of 3" in plan
    assert "15 [11 ~6 ~10 ~14] Container shop-web-3: count failures: at most 1 of 3" in plan
    assert "count" not in str(update({"max_failure_ratio": 0.2}, scale=3)), "less than one container"


def test_dependents_wait_for_the_whole_update() -> None:
    edge = service("edge", environment={"V": "1"}, depends_on={"web": HEALTHY})
    old, new = web(OLD, {}, edge), web(NEW, {}, replace(edge, environment={"V": "2"}))
    plan = str(decide(new, found(old)))
    assert "6 [5] Container shop-web-1: rename\n7 [] Container shop-edge-1: create" in plan
    assert "8 [6] Service web: wait until healthy\n9 [7 8] Container shop-edge-1: stop" in plan


def test_those_that_restart_with_it_stop_once_its_first_batch_is_ready() -> None:
    old, new = (web(one, {"order": "start-first"}, service("edge", depends_on={"web": RESTARTED})) for one in (OLD, NEW))
    plan = str(decide(new, found(old)))
    assert "5 [4] Container shop-edge-1: stop (dependency web replaced)\n6 [4 ~5] Container shop-web-1: stop" in plan
    assert "9 [5 8] Container shop-edge-1: start (dependency web replaced)" in plan


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"networks": FIXED}, "its address is fixed, and two containers cannot have it"),
        ({"ports": (model.Port(80, "8080", host_ip="127.0.0.1"),)}, "port 8080/tcp moves to another address of the host"),
    ],
)
def test_what_two_cannot_have_at_a_time_is_told_and_replaced_stop_first(keys: dict[str, Any], why: str) -> None:
    target = web(NEW, {"order": "start-first"}, **keys)
    old = replace(container(target, "web", 1, "healthy", CONFIG_HASH="x"), ports=(PublishedPort(80, "tcp", "0.0.0.0", 8080),))
    plan = decide(target, replace(present(target, old), hands_over=True))
    assert [one.message for one in plan.notices] == [f"{why}: it is replaced stop-first"]
    assert "beside" not in str(plan)


def test_a_network_that_is_replaced_stops_everything_at_once() -> None:
    old, new = (web(one, {}, networks={"default": model.NetworkAttachment()}) for one in (OLD, NEW))
    networks = [network(old, "shop_default", CONFIG_HASH="x")]
    apart = replace(found(old), networks={one.spec.name: one for one in networks})
    plan = decide(new, apart)
    assert [str(one) for one in plan.notices] == ["! Service web: network shop_default is replaced: update_config is passed over"]
    assert "ready" not in str(plan)


def test_no_start_and_jobs_are_replaced_as_ever() -> None:
    assert "ready" not in str(decide(web(NEW, {}), found(web(OLD, {})), Policy(no_start=True)))
    assert "ready" not in str(update({}, kind="job"))


def test_an_unfinished_update_goes_on_where_it_stopped() -> None:
    target = web(NEW, {"order": "start-first"}, ports=PORT)
    new = container(target, "web", 1, "starting", called="aaaaaaaaaaaa_shop-web-1", id=B)
    old = container(web(OLD, {"order": "start-first"}, ports=PORT), "web", 1, "healthy", id=A)
    check(decide(target, replace(present(target, new, old), hands_over=True)), """
        1 [] Container shop-web-1: wait until ready
        2 [1] Container shop-web-1: take over 8080/tcp, drain within 10s
        3 [2] Container shop-web-1: stop (superseded)
        4 [3] Container shop-web-1: remove (superseded)
        5 [4] Container shop-web-1: rename (was aaaaaaaaaaaa_shop-web-1)
    """)  # fmt: skip


@pytest.mark.parametrize(
    ("config", "total", "wanted"),
    [
        ({}, 4, Rollout(1, 0.0, 0.0, "pause", 0, False)),
        ({"parallelism": 0}, 4, Rollout(4, 0.0, 0.0, "pause", 0, False)),
        ({"failure_action": "continue"}, 4, Rollout(1, 0.0, 0.0, "continue", 4, False)),
        ({"failure_action": "continue", "max_failure_ratio": 0.3}, 4, Rollout(1, 0.0, 0.0, "continue", 1, False)),
        ({"failure_action": "rollback", "max_failure_ratio": 0.5}, 4, Rollout(1, 0.0, 0.0, "rollback", 2, False)),
    ],
)
def test_defaults_are_the_specifications(config: dict[str, Any], total: int, wanted: Rollout) -> None:
    assert Rollout.of(model.UpdateConfig(**config), total) == wanted


# --- carried out


class Stage:
    def __init__(self) -> None:
        self.engine = FakeEngine(images=("busybox:1",))
        self.events: list[StackEvent] = []

    async def up(self, target: Desired) -> tuple[Plan, Outcome]:
        now = await observe(self.engine, "shop", ["busybox:1"])
        plan = decide(target, now)
        return plan, await execute(plan, self.engine, "shop", self.events.append, ids=now.ids())

    async def has_started(self, name: str) -> None:
        while name not in self.running():  # noqa: ASYNC110 - steps of the loop, no time
            await asyncio.sleep(0)

    def running(self) -> dict[str, str]:
        return {one.name: one.id for one in self.engine.boxes.values() if one.state.running}


def play(scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def within_a_limit() -> None:
        async with asyncio.timeout(20):
            await scene(Stage())

    asyncio.run(within_a_limit())


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
def test_a_failed_update_is_rolled_back_to_the_very_containers_of_before(order: str) -> None:
    config = {"failure_action": "rollback", "order": order}

    async def scene(stage: Stage) -> None:
        await stage.up(web(OLD, config, scale=2))
        before = stage.running()
        second = before["shop-web-2"]
        stage.engine.behave(f"{second[:12]}_shop-web-2", Behaviour(health=("unhealthy",)))
        _, outcome = await stage.up(web(NEW, config, scale=2))
        assert outcome.lines[0].startswith(
            f"update of service web failed and is rolled back: container {second[:12]}_shop-web-2 is unhealthy"
        )
        assert len(outcome.failures) == 1
        assert stage.running() == before and len(stage.engine.boxes) == 2

    play(scene)


def test_a_failure_pauses_the_rest_which_is_told_why() -> None:
    async def scene(stage: Stage) -> None:
        await stage.up(web(OLD, {}, scale=3))
        before = stage.running()
        stage.engine.behave("web", Behaviour(health=("unhealthy",)))
        _, outcome = await stage.up(web(NEW, {}, scale=3))
        assert outcome.lines[0].startswith("update of service web failed and is paused: container ")
        after = stage.running()
        assert {name for name in before if after.get(name) == before[name]} == {"shop-web-2", "shop-web-3"}
        told = {one.resource: one.detail for one in stage.events if one.text == "Skipped"}
        assert set(told) == {"Container shop-web-2", "Container shop-web-3"}
        assert set(told.values()) == {outcome.lines[0].partition("\n")[0]}

    play(scene)


def test_continue_goes_on_and_tells_every_failure() -> None:
    config = {"failure_action": "continue"}

    async def scene(stage: Stage) -> None:
        await stage.up(web(OLD, config, scale=2))
        stage.engine.behave("web", Behaviour(health=("unhealthy",)))
        _, outcome = await stage.up(web(NEW, config, scale=2))
        assert [one.partition(": ")[0] for one in outcome.lines] == ["update of service web failed"] * 2

    play(scene)


def test_too_many_failures_end_what_a_few_do_not() -> None:
    config = {"failure_action": "continue", "max_failure_ratio": 0.3}

    async def scene(stage: Stage) -> None:
        await stage.up(web(OLD, config, scale=4))
        stage.engine.behave("web", Behaviour(health=("unhealthy",)))
        _, outcome = await stage.up(web(NEW, config, scale=4))
        assert outcome.lines[-1].endswith("2 of 4 containers failed, more than the 1 that are put up with")
        assert len(outcome.failures) == 3

    play(scene)


def test_one_that_ends_while_it_is_monitored_has_failed_whatever_its_restart_policy_does() -> None:
    config = {"monitor_s": 60.0}

    async def scene(stage: Stage) -> None:
        await stage.up(web(OLD, config, restart="always"))
        old = stage.running()["shop-web-1"]
        update = asyncio.create_task(stage.up(web(NEW, config, restart="always")))
        new = f"{old[:12]}_shop-web-1"
        await stage.has_started(new)
        await stage.engine.exit(new, 3)
        _, outcome = await update
        assert outcome.lines[0].startswith(f"update of service web failed and is paused: container {new} exited (3)")

    play(scene)


def test_the_port_is_the_old_ones_until_the_new_one_is_healthy() -> None:
    config = {"order": "start-first"}

    async def scene(stage: Stage) -> None:
        await stage.up(web(OLD, config, ports=PORT))
        old = stage.engine.box("shop-web-1")
        stage.engine.behave("web", Behaviour(health=()))
        update = asyncio.create_task(stage.up(web(NEW, config, ports=PORT)))
        new = f"{old.id[:12]}_shop-web-1"
        await stage.has_started(new)
        assert old.published and not stage.engine.box(new).published
        await stage.engine.set_health(new, "healthy")
        (await update)[1].raise_if_failed()
        assert list(stage.engine.box("shop-web-1").published.values()) == [8080]
        calls = [one for one in stage.engine.calls if "web" in one][-5:]
        assert [one.partition(" ")[0] for one in calls] == [
            "start_container_beside", "take_over", "stop_container", "remove_container", "rename_container",
        ]  # fmt: skip

    play(scene)


def test_what_is_there_for_a_failure_is_needless_without_one() -> None:
    config = {"failure_action": "rollback"}

    async def scene(stage: Stage) -> None:
        await stage.up(web(OLD, config))
        plan, outcome = await stage.up(web(NEW, config))
        assert outcome.needless == tuple(node.number for node in plan.nodes if node.if_failed) and not outcome.skipped
        stage.engine.fail("start_container", Conflict("no"))
        plan, outcome = await stage.up(web(OLD, config))
        assert not outcome.needless and len(outcome.failures) == 1
        assert list(stage.running()) == ["shop-web-1"]

    play(scene)
