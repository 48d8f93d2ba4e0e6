"""Plans for what is there already, from labels alone."""

from __future__ import annotations

from textwrap import dedent

import pytest
from fakes.projects import CHECK, COMPLETED, HEALTHY, RESTARTED, all_running, container, present, service, volume, wanted

from stackrun.compose import model
from stackrun.errors import InvalidArgument
from stackrun.stack.desired import Desired
from stackrun.stack.lifecycle import decide_down, decide_kill, decide_restart, decide_start, decide_stop
from stackrun.stack.observed import Observed
from stackrun.stack.plan import Plan


def check(plan: Plan, text: str) -> None:
    assert str(plan) == dedent(text).strip()


def shop() -> Desired:
    data = model.VolumeMount("volume", "/data", "data")
    return wanted(
        service("db", healthcheck=CHECK, volumes=(data,)),
        service("migrate", depends_on={"db": HEALTHY}),
        service("web", depends_on={"migrate": COMPLETED, "db": RESTARTED}),
        volumes=[volume("data")],
    )


def up() -> Observed:
    return present(shop(), *all_running(shop()))


def stopped(**states: str) -> Observed:
    return present(shop(), *(container(shop(), name, 1, states.get(name, "exited 143")) for name in ("db", "migrate", "web")))


def test_down_stops_dependents_first_and_then_removes() -> None:
    check(decide_down(up()), """
        1 [] Container shop-web-1: stop (down)
        2 [~1] Container shop-db-1: stop (down)
        3 [2] Container shop-db-1: remove (down)
        4 [] Container shop-migrate-1: remove (down)
        5 [1] Container shop-web-1: remove (down)
        6 [3 4 5] Network shop_default: remove (down)
    """)  # fmt: skip


def test_down_with_volumes_takes_anonymous_ones_too() -> None:
    check(decide_down(up(), volumes=True, timeout_s=3.0), """
        1 [] Container shop-web-1: stop within 3s (down)
        2 [~1] Container shop-db-1: stop within 3s (down)
        3 [2] Container shop-db-1: remove with volumes (down)
        4 [] Container shop-migrate-1: remove with volumes (down)
        5 [1] Container shop-web-1: remove with volumes (down)
        6 [3 4 5] Network shop_default: remove (down)
        7 [3 4 5] Volume shop_data: remove (down)
    """)  # fmt: skip


def test_down_of_one_service_keeps_the_rest() -> None:
    check(decide_down(up(), services=("web",)), """
        1 [] Container shop-web-1: stop (down)
        2 [1] Container shop-web-1: remove (down)
    """)  # fmt: skip


def test_down_names_orphans_and_leaves_them() -> None:
    check(decide_down(up(), known=frozenset({"db", "migrate"})), """
        ! Project shop: found orphan containers: shop-web-1
        1 [] Container shop-db-1: stop (down)
        2 [1] Container shop-db-1: remove (down)
        3 [] Container shop-migrate-1: remove (down)
        4 [2 3] Network shop_default: remove (down)
    """)  # fmt: skip


def test_down_takes_one_offs_along() -> None:
    target = wanted(service("web"))
    run = container(target, "web", 1, called="shop-web-run-1", ONEOFF="True")
    assert "shop-web-run-1: remove" in str(decide_down(present(target, run), known=frozenset({"web"})))


def test_down_of_nothing_says_so() -> None:
    check(decide_down(Observed("shop")), "! Project shop: no resource found to remove")


def test_stop_goes_against_the_dependencies() -> None:
    chain = wanted(service("a"), service("b", "a"), service("c", "b", scale=2))
    check(decide_stop(present(chain, *all_running(chain))), """
        1 [] Container shop-c-2: stop (stop)
        2 [] Container shop-c-1: stop (stop)
        3 [~1 ~2] Container shop-b-1: stop (stop)
        4 [~3] Container shop-a-1: stop (stop)
    """)  # fmt: skip


def test_stop_of_one_service() -> None:
    check(decide_stop(up(), ("db",), 5.0), "1 [] Container shop-db-1: stop within 5s (stop)")


def test_start_goes_with_the_dependencies_and_waits_as_declared() -> None:
    check(decide_start(stopped()), """
        1 [] Container shop-db-1: start (start)
        2 [1] Service db: wait until healthy
        3 [2] Container shop-migrate-1: start (start)
        4 [3] Service migrate: wait until completed
        5 [1 4] Container shop-web-1: start (start)
    """)  # fmt: skip


def test_start_leaves_done_jobs_and_running_ones_alone() -> None:
    check(decide_start(stopped(migrate="exited 0", db="healthy")), "1 [] Container shop-web-1: start (start)")
    check(decide_start(up()), "")


def test_start_of_one_service_alone() -> None:
    check(decide_start(stopped(), ("web",)), "1 [] Container shop-web-1: start (start)")


def test_restart_goes_with_the_dependencies_and_leaves_done_jobs_alone() -> None:
    check(decide_restart(up(), (), 2.0), """
        1 [] Container shop-db-1: restart within 2s (restart)
        2 [1] Container shop-web-1: restart within 2s (restart)
    """)  # fmt: skip


def test_a_named_job_is_restarted() -> None:
    check(decide_restart(up(), ("migrate",)), "1 [] Container shop-migrate-1: restart (restart)")


def test_restart_takes_those_along_that_asked_for_it() -> None:
    check(decide_restart(up(), ("db",)), """
        1 [] Container shop-db-1: restart (restart)
        2 [1] Container shop-web-1: restart (dependency db restarted)
    """)  # fmt: skip


def test_kill_signals_what_runs() -> None:
    check(decide_kill(up(), (), "SIGHUP"), """
        1 [] Container shop-db-1: kill by SIGHUP (kill)
        2 [] Container shop-web-1: kill by SIGHUP (kill)
    """)  # fmt: skip


def test_an_unknown_service_is_refused() -> None:
    for decide in (decide_stop, decide_start, decide_restart, decide_kill):
        with pytest.raises(InvalidArgument, match="no such service: nope") as caught:
            decide(up(), ("nope",))
        assert caught.value.hint == "project shop has db, migrate, web"


def test_labels_that_contradict_each_other_still_give_an_order() -> None:
    target = wanted(service("a"), service("b"))
    found = present(
        target,
        container(target, "a", DEPENDS_ON="b:service_started:false"),
        container(target, "b", DEPENDS_ON="a:service_started:false"),
    )
    assert len(decide_stop(found).nodes) == len(decide_restart(found).nodes) == 2


def test_a_label_of_an_unknown_shape_is_a_plain_dependency() -> None:
    target = wanted(service("a"), service("b"))
    found = present(target, container(target, "a", 1, "created"), container(target, "b", 1, "created", DEPENDS_ON="a"))
    check(decide_start(found), """
        1 [] Container shop-a-1: start (start)
        2 [1] Container shop-b-1: start (start)
    """)  # fmt: skip
