"""Health: the verdict over a series of probes, and the pauses between them, on a clock of the test's."""

from __future__ import annotations

import asyncio

import pytest

from stackrun.api.types import Health, Healthcheck, HealthStatus
from stackrun.engine.health import ProbeResult, Schedule, judged, pause_s, schedule, watch

STARTING = Health(HealthStatus.STARTING)


def plan(**changes: float) -> Schedule:
    values = {"interval_s": 10.0, "timeout_s": 1.0, "retries": 3, "start_period_s": 0.0, "start_interval_s": 5.0, **changes}
    return Schedule(("true",), **values)  # type: ignore[arg-type]


def result(code: int) -> ProbeResult:
    return ProbeResult(code, "text", "s", "e")


def verdicts(codes: list[int], made: Schedule, up_s: float = 1000.0) -> str:
    health, found = STARTING, ""
    for code in codes:
        health = judged(health, result(code), made, up_s=up_s)
        found += health.status[0]
    return found


@pytest.mark.parametrize(
    ("codes", "found"),
    [([0], "h"), ([1, 1, 1, 1], "ssuu"), ([1, 1, 0], "ssh"), ([0, 1, 1, 0], "hhhh"), ([0, 1, 1, 1, 0], "hhhuh"), ([1, -1, 2], "ssu")],
)
def test_three_failures_in_a_row_make_it_unhealthy(codes: list[int], found: str) -> None:
    assert verdicts(codes, plan()) == found


def test_failures_in_the_start_period_do_not_count_until_it_was_healthy() -> None:
    made = plan(start_period_s=2000.0)
    assert verdicts([1, 1, 1, 1], made) == "ssss"
    assert verdicts([1, 0, 1, 1, 1], made) == "shhhu"


def test_the_last_five_probes_are_kept() -> None:
    health = STARTING
    for code in range(7):
        health = judged(health, result(code), plan(), up_s=0)
    assert [probe.exit_code for probe in health.log] == [2, 3, 4, 5, 6]


def test_the_pause_is_shorter_while_it_starts() -> None:
    made = plan(start_period_s=60.0)
    assert pause_s(STARTING, made, up_s=59.0) == 5.0
    assert pause_s(STARTING, made, up_s=60.0) == 10.0
    assert pause_s(Health(HealthStatus.HEALTHY), made, up_s=1.0) == 10.0
    assert pause_s(STARTING, plan(), up_s=0.0) == 10.0


def test_defaults_and_forms_of_the_command() -> None:
    made = schedule(Healthcheck(("CMD-SHELL", "test -e /x")))
    assert made == Schedule(("/bin/sh", "-c", "test -e /x"), 30.0, 30.0, 3, 0.0, 5.0)
    assert schedule(Healthcheck(("CMD-SHELL", "x")), ("bash", "-lc")) == Schedule(("bash", "-lc", "x"), 30.0, 30.0, 3, 0.0, 5.0)
    assert schedule(Healthcheck(("CMD", "a", "b"))).command == ("a", "b")  # type: ignore[union-attr]
    for none in (None, Healthcheck(), Healthcheck(("NONE",))):
        assert schedule(none) is None


def test_watching_probes_and_reports_until_cancelled() -> None:
    async def scenario() -> None:
        state, now, slept, codes = [STARTING], [0.0], list[float](), iter([1, 0, 0])
        done = asyncio.Event()

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            now[0] += seconds
            await asyncio.sleep(0)

        async def probe(made: Schedule) -> ProbeResult:
            code = next(codes, None)
            if code is None:
                done.set()
                await asyncio.Event().wait()
            return result(code or 0)

        def report(health: Health) -> None:
            state.append(health)

        watching = asyncio.create_task(
            watch(plan(), current=lambda: state[-1], probe=probe, report=report, up_s=lambda: now[0], sleep=sleep)
        )
        await done.wait()
        watching.cancel()
        assert [one.status[0] for one in state] == ["s", "s", "h", "h"] and slept == [10.0] * 4

    asyncio.run(scenario())
