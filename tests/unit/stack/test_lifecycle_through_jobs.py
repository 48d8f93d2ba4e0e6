"""The order of what runs holds through a job that is over: its dependents still need what it needed."""

from __future__ import annotations

from textwrap import dedent

from fakes.projects import CHECK, COMPLETED, HEALTHY, all_running, container, present, service, wanted

from stackrun.stack.desired import Desired
from stackrun.stack.lifecycle import decide_down, decide_restart, decide_start, decide_stop
from stackrun.stack.observed import Observed
from stackrun.stack.plan import Plan


def check(plan: Plan, text: str) -> None:
    assert str(plan) == dedent(text).strip()


def chain() -> Desired:
    """web needs the database only by way of the migration."""
    return wanted(
        service("db", healthcheck=CHECK), service("migrate", depends_on={"db": HEALTHY}), service("web", depends_on={"migrate": COMPLETED})
    )


def up() -> Observed:
    return present(chain(), *all_running(chain()))


def stopped(**states: str) -> Observed:
    return present(chain(), *(container(chain(), name, 1, states.get(name, "exited 143")) for name in ("db", "migrate", "web")))


def test_stop() -> None:
    check(decide_stop(up()), """
        1 [] Container shop-web-1: stop (stop)
        2 [~1] Container shop-db-1: stop (stop)
    """)  # fmt: skip


def test_down() -> None:
    check(decide_down(up()), """
        1 [] Container shop-web-1: stop (down)
        2 [~1] Container shop-db-1: stop (down)
        3 [2] Container shop-db-1: remove (down)
        4 [] Container shop-migrate-1: remove (down)
        5 [1] Container shop-web-1: remove (down)
        6 [3 4 5] Network shop_default: remove (down)
    """)  # fmt: skip


def test_start() -> None:
    check(decide_start(stopped(migrate="exited 0")), """
        1 [] Container shop-db-1: start (start)
        2 [1] Service db: wait until healthy
        3 [2] Container shop-web-1: start (start)
    """)  # fmt: skip


def test_start_below_what_runs_waits_for_nobody() -> None:
    check(decide_start(stopped(migrate="exited 0", web="running", db="healthy")), "")


def test_restart() -> None:
    check(decide_restart(up()), """
        1 [] Container shop-db-1: restart (restart)
        2 [1] Container shop-web-1: restart (restart)
    """)  # fmt: skip
