"""Healthchecks: a probe is run in the container again and again, and its results become a verdict.

The verdict is pure (`judged`); `watch` is one task a container, on a clock and a probe that it is given.
Source: moby daemon/health.go for defaults, the start period and the start interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from stackrun.api.types import Health, Healthcheck, HealthProbe, HealthStatus

KEPT_PROBES = 5
OUTPUT_BYTES_MAX = 4096
TIMED_OUT = -1
_DEFAULT_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """`exit_code` TIMED_OUT (-1) when the probe had to be killed; `start` and `end` are stamps."""

    exit_code: int
    output: str
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """A healthcheck with its defaults filled in."""

    command: tuple[str, ...]
    interval_s: float
    timeout_s: float
    retries: int
    start_period_s: float
    start_interval_s: float


def schedule(check: Healthcheck | None, shell: tuple[str, ...] = ()) -> Schedule | None:
    """None when the container has no healthcheck, or one that is switched off (NONE)."""
    if check is None or not check.test or check.test[0] == "NONE":
        return None
    kind, *rest = check.test
    command = (*(shell or _DEFAULT_SHELL), *rest) if kind == "CMD-SHELL" else tuple(rest)
    return Schedule(
        command=command,
        interval_s=check.interval_s or 30.0,
        timeout_s=check.timeout_s or 30.0,
        retries=check.retries or 3,
        start_period_s=check.start_period_s,
        start_interval_s=check.start_interval_s or 5.0,
    )


def judged(health: Health, result: ProbeResult, plan: Schedule, *, up_s: float) -> Health:
    """The health after one more probe of a container that has been up for `up_s` when the probe began.

    A failure inside the start period counts only when the container has been healthy before.
    """
    probe = HealthProbe(result.start, result.end, result.exit_code, result.output)
    log = (*health.log, probe)[-KEPT_PROBES:]
    if result.exit_code == 0:
        return Health(HealthStatus.HEALTHY, 0, log)
    if health.status is HealthStatus.STARTING and up_s < plan.start_period_s:
        return replace(health, log=log)
    streak = health.failing_streak + 1
    return Health(HealthStatus.UNHEALTHY if streak >= plan.retries else health.status, streak, log)


def pause_s(health: Health, plan: Schedule, *, up_s: float) -> float:
    """How long to wait before the next probe."""
    if health.status is HealthStatus.STARTING and up_s < plan.start_period_s:
        return min(plan.start_interval_s, plan.interval_s) if plan.start_period_s else plan.interval_s
    return plan.interval_s


async def watch(
    plan: Schedule,
    *,
    current: Callable[[], Health],
    probe: Callable[[Schedule], Awaitable[ProbeResult]],
    report: Callable[[Health], None],
    up_s: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Probes until cancelled; each new health goes to `report`."""
    while True:
        await sleep(pause_s(current(), plan, up_s=up_s()))
        began_s = up_s()
        result = await probe(plan)
        report(judged(current(), result, plan, up_s=began_s))
