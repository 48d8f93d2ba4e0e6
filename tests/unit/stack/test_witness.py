"""What happens to containers of stacks by themselves, and by others, in plain words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.engine import FakeEngine

from stackrun.api import labels
from stackrun.api.stacks import Decision
from stackrun.api.types import (
    Container,
    ContainerSpec,
    ContainerState,
    EndedBy,
    Event,
    Filters,
    Health,
    Healthcheck,
    HealthProbe,
    HealthStatus,
    Resources,
    RestartPolicy,
    Status,
)
from stackrun.stack.journal import Journal
from stackrun.stack.witness import Sightings, Witness, told

LABELS = {labels.PROJECT: "shop", labels.SERVICE: "db", labels.ONEOFF: "False"}


def event(action: str, at_s: float = 1.0, **attributes: str) -> Event:
    return Event("container", action, "c1", {**LABELS, "name": "shop-db-1", **attributes}, round(at_s * 1e9))


def container(restart: str = "no", retries: int = 0, count: int = 0, limit: int = 0, **state: Any) -> Container:
    spec = ContainerSpec("busybox:1", restart_policy=RestartPolicy(restart, retries), resources=Resources(memory_bytes=limit))
    return Container("c1", "shop-db-1", "", "", (), "", spec, ContainerState(**state), restart_count=count)


def line(*events: Event, now: Container | None = None, log: str = "", ours: bool = False) -> str:
    """What is told of the last of the events."""
    sightings = Sightings(lambda project: ours)
    seen = [sightings.seen(one) for one in events][-1]
    decision = told(seen, now, log) if seen else None
    return f"{decision.did} by {decision.by}: {decision.cause}; {decision.detail}".removesuffix("; ") if decision else ""


EXITED = container(status=Status.EXITED)
DIED = event("die", exitCode="1", execDuration="3")
KILLED = event("die", exitCode="137", execDuration="0")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (line(DIED, now=EXITED, log="no route"), "died by itself: exited (1); ran 3s; last log: no route"),
        (line(KILLED, now=EXITED), "died by itself: exited (137), as SIGKILL ends it; ran less than a second"),
        (line(event("die", exitCode="0", execDuration="3"), now=EXITED), "ended by itself: exited (0); ran 3s"),
        (line(DIED), "died by itself: exited (1); ran 3s"),
        (line(DIED, now=container("always", status=Status.RESTARTING, count=1)), "restarted by policy: exited (1); ran 3s"),
        (line(DIED, now=container("always", status=Status.RUNNING, count=9)), "restarted by policy: exited (1); ran 3s"),
        (
            line(DIED, now=container("on-failure", 3, 3, status=Status.EXITED)),
            "gave up by policy: exited (1) after 3 restarts, which is all its policy allows; ran 3s",
        ),
        (
            line(KILLED, now=container(limit=64 << 20, status=Status.EXITED, oom_killed=True)),
            "died by itself: out of memory (its limit is 64 MiB); ran less than a second",
        ),
        (
            line(event("oom"), KILLED, now=container("always", count=1, status=Status.RUNNING)),
            "restarted by policy: out of memory; ran less than a second",
        ),
        (line(event("oom"), now=container(status=Status.RUNNING)), "ran out of memory by itself: the kernel killed a process of it"),
        (
            line(KILLED, now=container(status=Status.EXITED, ended_by=EndedBy.LOST)),
            "died by itself: nobody saw its end: its shim was killed, or the machine went down; ran less than a second",
        ),
        (
            line(event("kill", signal="15"), event("kill", signal="9"), KILLED, now=EXITED),
            "stopped by outside: somebody sent it SIGTERM over the engine's API; exited (137); ran less than a second",
        ),
        (
            line(event("kill", signal="9"), KILLED, now=EXITED),
            "killed by outside: somebody sent it SIGKILL over the engine's API; exited (137); ran less than a second",
        ),
        (line(event("kill", signal="1")), "signalled by outside: somebody sent it SIGHUP over the engine's API"),
        (line(event("kill", signal="9")), ""),
        (
            line(event("kill", signal="15"), event("die", 700.0, exitCode="0"), now=EXITED),
            "ended by itself: exited (0); ran less than a second",
        ),
        (line(event("kill", signal="9"), event("start"), DIED, now=EXITED), "died by itself: exited (1); ran 3s"),
        (line(event("kill", signal="9"), KILLED, ours=True), ""),
        (line(DIED, now=EXITED, ours=True), "died by itself: exited (1); ran 3s"),
        (line(event("start"), now=container(status=Status.RUNNING)), "started by outside: somebody started it over the engine's API"),
        (line(event("start"), now=container("always", count=1, status=Status.RUNNING)), ""),
        (line(event("start"), ours=True), ""),
        (line(event("repair", field="interface.srv1.master", was="no bridge")), "repaired by keep: interface.srv1.master was no bridge"),
        (line(event("repair"), ours=True), ""),
        (line(event("destroy")), "removed by outside: somebody removed it over the engine's API"),
        (line(event("health_status: healthy"), ours=True), "became healthy by itself: its probe succeeds"),
        (line(event("health_status: unhealthy")), "became unhealthy by itself: its probes fail"),
        (line(event("create", **{labels.ONEOFF: "True"})), ""),
        (line(event("die", exitCode="1", **{labels.PROJECT: ""})), ""),
    ],
)
def test_what_is_told(found: str, expected: str) -> None:
    assert found == expected


@pytest.mark.parametrize(
    ("code", "output", "detail"),
    [(1, "\nfirst\nrefused \n\n", "exit code 1: refused"), (-1, "", "it took too long"), (3, "x" * 5000, "exit code 3: " + "x" * 300)],
)
def test_an_unhealthy_one_tells_its_last_probe(code: int, output: str, detail: str) -> None:
    health = Health(HealthStatus.UNHEALTHY, 3, (HealthProbe("", "", code, output),))
    seen = Sightings(lambda _: False).seen(event("health_status: unhealthy"))
    assert seen
    decision = told(seen, replace(EXITED, state=ContainerState(Status.RUNNING, health=health)))
    assert decision and (decision.cause, decision.detail) == ("3 probes failed", detail)


class Scene:
    def __init__(self, folder: Path) -> None:
        self.engine = FakeEngine(images=("busybox:1",))
        self.journal = Journal(str(folder))
        self.busy = False
        self.heard = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hear(project: str, decision: Decision) -> None:
            loop.call_soon_threadsafe(self.heard.set)

        self.journal.listen(hear)

    async def container(self, restart: str = "no") -> str:
        spec = ContainerSpec(
            "busybox:1", command=("sleep",), labels=LABELS, restart_policy=RestartPolicy(restart), healthcheck=Healthcheck(("CMD", "true"))
        )
        return (await self.engine.create_container("shop-db-1", spec)).id

    async def noted(self, enough: Callable[[tuple[Decision, ...]], bool]) -> tuple[Decision, ...]:
        while not enough(found := self.journal.read("shop")):
            self.heard.clear()
            await self.heard.wait()
        return found


def at_least(count: int) -> Callable[[tuple[Decision, ...]], bool]:
    return lambda found: len(found) >= count


def witnessed(folder: Path, scene: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        stage = Scene(folder)
        watching = asyncio.create_task(Witness(stage.engine, stage.journal, lambda project: stage.busy).watch())
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await scene(stage)
        watching.cancel()
        await asyncio.wait([watching])

    asyncio.run(run())


def test_a_witness_writes_down_what_it_hears(tmp_path: Path) -> None:
    async def scene(stage: Scene) -> None:
        stage.busy = True
        id = await stage.container()
        await stage.engine.start_container(id)
        stage.engine.print(id, b"first\n")
        stage.engine.print(id, b"cannot go on\n\n")
        await asyncio.sleep(0)
        stage.busy = False
        await stage.engine.set_health(id, "unhealthy")
        await stage.engine.exit(id, 7)
        healthy, unhealthy, died = await stage.noted(at_least(3))
        assert (healthy.did, unhealthy.did, unhealthy.service) == ("became healthy", "became unhealthy", "db")
        assert (died.did, died.cause, died.resource) == ("died", "exited (7)", "Container shop-db-1")
        assert died.detail == "ran less than a second; last log: cannot go on"

    witnessed(tmp_path, scene)


def test_a_restart_loop_is_one_line(tmp_path: Path) -> None:
    async def scene(stage: Scene) -> None:
        stage.busy = True
        id = await stage.container("always")
        starts = await stage.engine.events(filters=Filters({"event": ("start",)}))
        await stage.engine.start_container(id)
        for _ in range(3):
            await anext(starts)
            await stage.engine.exit(id, 1)
        (restarted,) = await stage.noted(lambda found: bool(found) and found[0].times == 3)
        assert (restarted.did, restarted.by, restarted.cause) == ("restarted", "policy", "exited (1)")

    witnessed(tmp_path, scene)


def test_what_is_gone_before_it_is_looked_at_is_told_all_the_same(tmp_path: Path) -> None:
    async def scene(stage: Scene) -> None:
        stage.busy = True
        id = await stage.container()
        await stage.engine.start_container(id)
        await asyncio.sleep(0)
        stage.busy = False
        await stage.engine.remove_container(id, force=True)
        assert [one.did for one in await stage.noted(at_least(3))] == ["became healthy", "died", "removed"]

    witnessed(tmp_path, scene)
