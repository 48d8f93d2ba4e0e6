"""One round of a kept stack: what it does now, and what it waits for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.projects import CHECK, COMPLETED, HEALTHY, all_running, container, present, service, wanted

from stackrun.api.types import Container, EndedBy
from stackrun.compose import model
from stackrun.stack.declared import Declared
from stackrun.stack.desired import Desired
from stackrun.stack.keep import Round, decide_round, pause_s, touched

HELD = {"db": "hold"}
AGAIN = {"db": "restart"}


def shop(**web: Any) -> Desired:
    return wanted(
        service("db", healthcheck=CHECK, on_unhealthy=web.pop("on_unhealthy", "ignore")), service("web", depends_on={"db": HEALTHY}, **web)
    )


def ended(one: Container, by: EndedBy) -> Container:
    return replace(one, state=replace(one.state, ended_by=by))


def began(one: Container, second: int) -> Container:
    return replace(one, state=replace(one.state, started_at=f"2026-01-01T00:00:{second:02}.000000000Z"))


def round_of(target: Desired, *containers: Container, resting: frozenset[str] = frozenset(), **declared: Any) -> Round:
    return decide_round(Declared(target, **declared), present(target, *containers), resting)


def done(found: Round) -> list[str]:
    return "\n".join(map(str, found.plans)).splitlines()


def test_nothing_is_done_for_a_stack_that_is_as_it_was_declared() -> None:
    target = wanted(
        service("db", healthcheck=CHECK), service("job", "db", kind="job"), service("web", "db", deploy=model.Deploy(replicas=2))
    )
    assert round_of(target, *all_running(target)) == Round()


@pytest.mark.parametrize(
    ("keys", "state", "by", "cause"),
    [
        ({}, "exited 137", EndedBy.CALLER, "stopped from outside"),
        ({}, "exited 0", EndedBy.CALLER, "stopped from outside"),
        ({}, "exited 255", EndedBy.LOST, "its end was not seen"),
        ({}, "exited 137", EndedBy.ITSELF, "exited (137)"),
        ({}, "exited 0", EndedBy.ITSELF, ""),
        ({}, "created", EndedBy.ITSELF, "was not started"),
        ({}, "restarting", EndedBy.ITSELF, ""),
        ({}, "paused", EndedBy.ITSELF, ""),
        ({"restart": "no"}, "exited 1", EndedBy.ITSELF, ""),
        ({"restart": "no"}, "exited 1", EndedBy.CALLER, "stopped from outside"),
        ({"restart": "no"}, "exited 255", EndedBy.LOST, "its end was not seen"),
        ({"restart": "on-failure:3"}, "exited 1", EndedBy.ITSELF, ""),
        ({"restart": "always"}, "exited 0", EndedBy.CALLER, "stopped from outside"),
        ({"kind": "job"}, "exited 1", EndedBy.ITSELF, ""),
        ({"kind": "job"}, "exited 0", EndedBy.ITSELF, ""),
        ({"kind": "job"}, "exited 255", EndedBy.LOST, "its end was not seen"),
        ({"deploy": model.Deploy(restart_policy=model.RestartPolicy("none"))}, "exited 1", EndedBy.ITSELF, ""),
    ],
)  # fmt: skip
def test_whether_what_has_ended_comes_back(keys: dict[str, Any], state: str, by: EndedBy, cause: str) -> None:
    target = wanted(service("a", **keys))
    found = round_of(target, ended(container(target, "a", status=state), by))
    assert done(found) == ([f"1 [] Container shop-a-1: start ({cause})"] if cause else [])
    assert found.revived == (frozenset({"a"}) if cause else frozenset())


def test_what_was_removed_is_made_again_with_its_network() -> None:
    target = wanted(service("a"), volumes=[model.Volume("data", "shop_data")])
    found = decide_round(Declared(target), replace(present(target), networks={}))
    assert done(found) == [
        "1 [] Network shop_default: create (missing)",
        "2 [1] Container shop-a-1: create (missing)",
        "3 [2] Container shop-a-1: start",
    ]


def test_a_service_comes_back_only_after_what_it_waits_for() -> None:
    target = shop()
    both_down = (container(target, "db", status="exited 1"), container(target, "web", status="exited 1"))
    first = round_of(target, *both_down)
    assert (done(first), first.waiting) == (["1 [] Container shop-db-1: start (exited (1))"], {"web": "db to be healthy"})
    second = round_of(target, container(target, "db", status="starting"), both_down[1])
    assert (done(second), second.waiting) == ([], {"web": "db to be healthy"})
    third = round_of(target, container(target, "db", status="healthy"), both_down[1])
    assert (done(third), third.waiting) == (["1 [] Container shop-web-1: start (exited (1))"], {})


def test_what_runs_goes_on_though_its_dependency_is_gone() -> None:
    target = shop()
    found = round_of(target, container(target, "db", status="exited 1"), container(target, "web"), resting=frozenset({"db"}))
    assert found == Round(resting=frozenset({"db"}))


def test_what_has_come_to_its_end_has_been_started() -> None:
    target = wanted(service("init"), service("web", "init"))
    assert done(round_of(target, container(target, "init", status="exited 0"), container(target, "web", status="exited 9"))) == [
        "1 [] Container shop-web-1: start (exited (9))"
    ]


def test_a_job_that_failed_keeps_back_what_waits_for_it() -> None:
    target = wanted(service("job"), service("web", depends_on={"job": COMPLETED}))
    found = round_of(target, container(target, "job", status="exited 1"), container(target, "web", status="created"))
    assert (done(found), found.waiting) == ([], {"web": "job to be completed"})


def test_a_dependency_that_is_not_required_is_not_waited_for() -> None:
    target = wanted(service("db"), service("web", depends_on={"db": model.Dependency(required=False)}))
    found = round_of(target, container(target, "db", status="exited 0"), resting=frozenset({"db"}))
    assert done(found)[0] == "1 [] Container shop-web-1: create (missing)"


def test_an_unhealthy_container_is_restarted_when_the_file_says_so() -> None:
    sick = shop(on_unhealthy="restart")
    assert done(round_of(sick, container(sick, "db", status="unhealthy"), container(sick, "web"))) == [
        "1 [] Container shop-db-1: stop (unhealthy after 0 probes)",
        "2 [1] Container shop-db-1: start (unhealthy after 0 probes)",
    ]
    left = shop()
    assert round_of(left, container(left, "db", status="unhealthy"), container(left, "web")) == Round()


def test_a_dependent_is_held_while_its_dependency_is_not_there() -> None:
    target = shop(on_dependency=HELD)
    found = round_of(target, container(target, "db", status="unhealthy"), container(target, "web"))
    assert (done(found), found.revived) == (["1 [] Container shop-web-1: stop (dependency db is not healthy)"], frozenset())
    assert found.waiting == {"web": "db to be healthy"}
    assert done(round_of(target, container(target, "db", status="unhealthy"), container(target, "web"), resting=frozenset({"web"})))
    back = ended(container(target, "web", status="exited 143"), EndedBy.CALLER)
    assert done(round_of(target, container(target, "db", status="healthy"), back)) == [
        "1 [] Container shop-web-1: start (stopped from outside)"
    ]


def test_a_dependent_follows_a_dependency_that_has_started_anew() -> None:
    target = shop(on_dependency=AGAIN)
    db, web = container(target, "db", status="healthy"), container(target, "web")
    assert round_of(target, began(db, 1), began(web, 2)) == Round()
    assert done(round_of(target, began(db, 3), began(web, 2))) == [
        "1 [] Container shop-web-1: stop (dependency db has started anew)",
        "2 [1] Container shop-web-1: start (dependency db has started anew)",
    ]
    starting = began(container(target, "db", status="starting"), 3)
    assert round_of(target, starting, began(web, 2)) == Round()
    ignoring = wanted(service("db"), service("web", depends_on={"db": model.Dependency(restart=True)}, on_dependency={"db": "ignore"}))
    assert round_of(ignoring, began(container(ignoring, "db"), 3), began(container(ignoring, "web"), 2)) == Round()


def test_one_of_several_that_starts_anew_restarts_nobody() -> None:
    target = wanted(service("db", deploy=model.Deploy(replicas=2)), service("web", "db", on_dependency=AGAIN))
    dbs = (began(container(target, "db", 1), 3), began(container(target, "db", 2), 1))
    assert round_of(target, *dbs, began(container(target, "web"), 2)) == Round()


def test_a_service_in_anothers_namespace_joins_it_again() -> None:
    target = wanted(service("vpn"), service("app", "vpn", network_mode="service:vpn"))
    vpn, app = container(target, "vpn"), container(target, "app")
    assert done(round_of(target, began(vpn, 5), began(app, 2))) == [
        "1 [] Container shop-app-1: stop (shares with vpn, which has started anew)",
        "2 [1] Container shop-app-1: start (shares with vpn, which has started anew)",
    ]
    another = replace(container(target, "vpn", id="f" * 64), name="shop-vpn-1")
    assert "create as" in done(round_of(target, another, app))[0]


@pytest.mark.parametrize("left", [{"stopped": frozenset({"db"})}, {"held": frozenset({"db"})}, {"resting": frozenset({"db"})}])
def test_what_is_stopped_or_held_or_rests_is_left_alone(left: dict[str, Any]) -> None:
    target = shop()
    found = round_of(target, container(target, "db", status="exited 1"), container(target, "web", status="exited 1"), **left)
    assert (done(found), found.waiting) == ([], {"web": "db to be healthy"})


def test_what_is_merely_other_than_declared_is_not_touched() -> None:
    target = wanted(service("a", deploy=model.Deploy(replicas=2)))
    found = [container(target, "a", number, CONFIG_HASH="other") for number in (1, 2, 3)]
    assert round_of(target, *found) == Round()


def test_a_service_without_replicas_is_nobodys_to_bring_back() -> None:
    target = wanted(service("a", deploy=model.Deploy(replicas=0)))
    assert round_of(target) == Round()


def test_waiting_for_a_service_does_not_touch_it() -> None:
    target = shop()
    found = round_of(target)
    assert touched(found.plans[0].nodes, present(target)) == {"db"}


def test_what_has_nothing_to_do_with_each_other_is_done_apart() -> None:
    target = wanted(service("a"), service("b", on_unhealthy="restart", healthcheck=CHECK), service("c"))
    found = round_of(target, container(target, "a", status="exited 1"), container(target, "b", status="unhealthy"))
    assert [[node.action.resource for node in plan.nodes] for plan in found.plans] == [
        ["Container shop-a-1"], ["Container shop-b-1"] * 2, ["Container shop-c-1"] * 2,
    ]  # fmt: skip
    alone = decide_round(Declared(target), replace(present(target), networks={}))
    assert [len(plan.nodes) for plan in alone.plans] == [7]


def test_what_is_just_being_removed_is_not_made_again_before_it_is_gone() -> None:
    target = wanted(service("a"))
    assert decide_round(Declared(target), replace(present(target), leaving=frozenset({"a"}))) == Round()


def test_what_an_earlier_round_works_on_is_left_to_it() -> None:
    target = wanted(service("a"), service("b"))
    found = decide_round(Declared(target), present(target), busy=frozenset({"a"}))
    assert found.revived == {"b"}


def test_pauses_grow_to_a_minute() -> None:
    assert [pause_s(times) for times in (1, 2, 3, 6, 7, 8, 1000)] == [1, 2, 4, 32, 60, 60, 60]
