"""Health, restarts, and an engine that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from engines import BUSYBOX, add_busybox, engine_on, execute, fresh_engine, output_of, remove_everything, run, until

from stackrun.api.types import (
    ContainerSpec,
    EndpointSpec,
    Filters,
    Healthcheck,
    HealthStatus,
    NetworkSpec,
    PortBinding,
    RestartPolicy,
    Status,
    WaitCondition,
)
from stackrun.engine.local import LocalEngine
from stackrun.errors import Conflict

HOLDER = """
import asyncio, sys
from stackrun.engine.local import LocalEngine

async def main():
    engine = LocalEngine.open(sys.argv[1] + "/state", sys.argv[1] + "/run")
    await engine.start()
    print("ready", flush=True)
    for line in sys.stdin:
        verb, *words = line.split()
        await getattr(engine, verb)(*words)
        print("done", flush=True)

asyncio.run(main())
"""


class Holder:
    """An engine in a process of its own, to be killed."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, "-c", HOLDER, str(root)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"

    def call(self, *words: str) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


def test_health_is_watched(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            check = Healthcheck(("CMD-SHELL", "test -e /ok && echo fine"), interval_s=0.05, timeout_s=5, retries=2)
            events = await engine.events(filters=Filters({"event": ("health_status",)}))
            await run(engine, "one", healthcheck=check, network_mode="none")
            assert (await engine.container("one")).state.health.status is HealthStatus.STARTING  # type: ignore[union-attr]
            assert (await anext(events)).action == "health_status: unhealthy"
            await execute(engine, "one", "touch", "/ok")
            assert (await anext(events)).action == "health_status: healthy"
            health = (await engine.container("one")).state.health
            assert health is not None and health.log[-1].output == "fine\n" and len(health.log) <= 5
            await events.aclose()

    asyncio.run(scenario())


def test_a_probe_that_hangs_is_killed(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            check = Healthcheck(("CMD", "sleep", "77"), interval_s=0.05, timeout_s=0.1, retries=1)
            events = await engine.events(filters=Filters({"event": ("health_status",)}))
            await run(engine, "one", healthcheck=check, network_mode="none")
            assert (await anext(events)).action == "health_status: unhealthy"
            await events.aclose()
            health = (await engine.container("one")).state.health
            assert health is not None and "exceeded timeout (0.1s)" in health.log[0].output
            await engine.stop_container("one", timeout_s=0)

    asyncio.run(scenario())


def test_restart_policies(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            deaths = await engine.events(filters=Filters({"event": ("die",)}))
            policy = RestartPolicy("on-failure", 2)
            container_id = await run(engine, "failing", "sh", "-c", "exit 4", restart_policy=policy, network_mode="none")
            wait = await engine.wait_container(container_id, WaitCondition.NOT_RUNNING)
            for _ in range(3):
                assert (await anext(deaths)).attributes["exitCode"] == "4"
            assert (await wait).code == 4
            assert (await engine.container("failing")).restart_count == 2

            await run(engine, "stubborn", restart_policy=RestartPolicy("always"), network_mode="none")
            pid = (await engine.container("stubborn")).state.pid
            os.kill(pid, signal.SIGKILL)
            assert (await anext(deaths)).attributes["exitCode"] == "137"

            async def back() -> int | None:
                state = (await engine.container("stubborn")).state
                return state.pid if state.status is Status.RUNNING and state.pid != pid else None

            await until(back)
            await engine.kill_container("stubborn")
            assert (await engine.container("stubborn")).state.status is Status.EXITED
            await deaths.aclose()

    asyncio.run(scenario())


def test_a_container_that_waits_for_its_restart_can_be_stopped_and_removed(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            for name in ("one", "two"):
                await run(engine, name, "false", restart_policy=RestartPolicy("always"), network_mode="none")

                async def restarting(name: str = name) -> bool | None:
                    return True if (await engine.container(name)).state.status is Status.RESTARTING else None

                await until(restarting)
            await engine.stop_container("one")
            assert (await engine.container("one")).state.status is Status.EXITED
            await engine.remove_container("two", force=True)

    asyncio.run(scenario())


def test_only_one_engine_has_a_root(short_tmp: Path) -> None:
    holder = Holder(short_tmp)
    try:
        with pytest.raises(Conflict, match=f"is in use by process {holder.process.pid}"):
            LocalEngine.open(str(short_tmp / "state"), str(short_tmp / "run"))
    finally:
        holder.kill()


def test_containers_survive_the_engines_death_and_are_adopted(short_tmp: Path) -> None:
    async def before() -> None:
        async with engine_on(short_tmp) as engine:
            await add_busybox(engine, short_tmp)
            await engine.create_network(NetworkSpec("net"))
            server = ("sh", "-c", "echo begun; mkdir /www; echo page > /www/index.html; exec httpd -f -p 80 -h /www")
            endpoint = EndpointSpec("net", aliases=("web-alias",))
            await run(engine, "web", *server, network_mode="net", endpoints=(endpoint,), ports=(PortBinding(80),))
            await run(engine, "ends", "sh", "-c", "echo waiting; sleep 1000", network_mode="none")
            await run(engine, "fails", "sh", "-c", "while [ ! -e /stop ]; do sleep 0.05; done; exit 9", network_mode="none")
            again = RestartPolicy("always")
            await run(engine, "again", "sleep", "1000", restart_policy=again, network_mode="none")

    async def meanwhile_and_after() -> None:
        holder = Holder(short_tmp)
        holder.kill()
        pids = {}
        for state in (short_tmp / "run" / "c").glob("*/state.json"):
            record = json.loads(state.read_text())
            pids[record["id"]] = record["pid"]
        async with engine_on(short_tmp) as engine:
            assert {one.name for one in await engine.containers()} == {"web", "ends", "fails", "again"}
            assert pids[(await engine.container("web")).id] == (await engine.container("web")).state.pid
            await execute(engine, "fails", "touch", "/stop")
            again = (await engine.container("again")).state.pid
        holder = Holder(short_tmp)
        holder.kill()
        os.kill(again, signal.SIGKILL)

        async def dead() -> bool | None:
            return True if not Path(f"/proc/{again}").exists() else None

        await until(dead)
        async with engine_on(short_tmp) as engine:
            fails = (await engine.container("fails")).state
            assert (fails.status, fails.exit_code) == (Status.EXITED, 9)
            await until(lambda: _running(engine, "again"))
            assert "begun" in await output_of(engine, "web")
            port = (await engine.container("web")).ports[0].host_port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert b"page" in await reader.read()
            writer.close()
            await run(engine, "asks", network_mode="net")
            assert (await execute(engine, "asks", "wget", "-qO-", "http://web-alias/"))[1] == "page\n"
            await engine.stop_container("ends", timeout_s=0)
            await remove_everything(engine)

    asyncio.run(before())
    asyncio.run(meanwhile_and_after())


async def _running(engine: LocalEngine, name: str) -> bool | None:
    return True if (await engine.container(name)).state.status is Status.RUNNING else None


def test_a_killed_shim_costs_its_container_alone(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            await run(engine, "lost", network_mode="none")
            await run(engine, "kept", network_mode="none")
            lost = await engine.container("lost")
            wait = await engine.wait_container("lost", WaitCondition.NEXT_EXIT)
            shim = int(Path(f"/proc/{lost.state.pid}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(shim, signal.SIGKILL)
            assert (await asyncio.wait_for(wait, 20)).code == 255
            assert (await execute(engine, "kept", "echo", "here"))[1] == "here\n"
            await engine.start_container("lost")

    asyncio.run(scenario())


def test_the_resolver_and_the_zygote_are_replaced_when_they_die(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            await engine.create_network(NetworkSpec("net"))
            for name in ("one", "two"):
                await run(engine, name, network_mode="net")
            for pid in helpers(short_tmp):
                os.kill(pid, signal.SIGKILL)
            await run(engine, "three", network_mode="net")

            async def all_known() -> bool | None:
                found = [await execute(engine, "one", "nslookup", name) for name in ("two", "three")]
                return True if all(code == 0 for code, _ in found) else None

            assert await until(all_known)

    asyncio.run(scenario())


def helpers(root: Path) -> list[int]:
    """This process's children that serve containers: the zygote, and the resolver, whose socket is below `root`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == os.getpid() and (b"stackrun-zygote" in command or b"stackrun.network.dns" in command):
                found.append(int(entry.name))
    assert len(found) == 2, f"the zygote and the resolver of {root}: {found}"
    return found


def test_a_creation_cut_short_leaves_no_anonymous_volume(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with engine_on(short_tmp) as engine:
            await add_busybox(engine, short_tmp)
            await run(engine, "one", "true", anonymous_volumes=("/data",), network_mode="none")
        (kept,) = (short_tmp / "state" / "volumes").iterdir()
        (short_tmp / "state" / "volumes" / "half" / "_data").mkdir(parents=True)
        lost = short_tmp / "state" / "volumes" / ("f" * 64)
        shutil.copytree(kept, lost)
        (lost / "volume.json").write_text((lost / "volume.json").read_text().replace(kept.name, lost.name))
        (lost / "made-for").write_text("0" * 64)
        async with engine_on(short_tmp) as engine:
            assert [one.name for one in await engine.volumes()] == [kept.name]
            assert [one.name for one in (short_tmp / "state" / "volumes").iterdir()] == [kept.name]
            await remove_everything(engine)

    asyncio.run(scenario())


def test_a_start_cut_short_is_undone_by_the_next_engine(short_tmp: Path) -> None:
    """The engine dies between the shim's birth and the record of it: whatever the shim had become, the next start finds its place free."""

    async def make() -> None:
        async with engine_on(short_tmp) as engine:
            await add_busybox(engine, short_tmp)
            await engine.create_network(NetworkSpec("net"))
            spec = ContainerSpec(image=BUSYBOX, command=("sleep", "1000"), network_mode="net", ports=(PortBinding(80),))
            await engine.create_container("one", spec)
            await engine.start_container("one")

    asyncio.run(make())
    holder = Holder(short_tmp)
    holder.kill()
    (record,) = (short_tmp / "state" / "containers").glob("*/state.json")
    record.unlink()

    async def again() -> None:
        async with engine_on(short_tmp) as engine:
            assert (await engine.container("one")).state.status is Status.CREATED
            assert (await engine.network("net")).members == ()
            await engine.start_container("one")
            await remove_everything(engine)

    asyncio.run(again())
