"""A container's life in the local engine, on the real kernel."""

from __future__ import annotations

import asyncio
import json
import os
import select
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engines import BUSYBOX, add_busybox, engine_on, execute, finished, fresh_engine, output_of, remove_everything, run, until

from stackrun.api.types import (
    AttachQuery,
    ContainerSpec,
    DeviceMapping,
    EndpointSpec,
    ExecSpec,
    Filters,
    LogConfig,
    LogQuery,
    Mount,
    MountType,
    Resources,
    Status,
    Ulimit,
    WaitCondition,
)
from stackrun.engine import launch
from stackrun.engine.local import LocalEngine
from stackrun.errors import CommandNotFound, Conflict, InvalidArgument, KernelError, NotFound, NotModified
from stackrun.runtime import trace
from stackrun.runtime.container import Handle, is_littered


async def ready(engine: LocalEngine, name: str) -> None:
    """Its script has said so."""
    lines = await engine.container_logs(name, LogQuery(follow=True))
    async for line in lines:
        if line.data == b"ready\n":
            return


def test_a_container_runs_logs_and_ends(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            code, text = await finished(engine, "one", "sh", "-c", "echo out; echo err >&2; exit 3", network_mode="none")
            assert (code, sorted(text.splitlines())) == (3, ["err", "out"])
            state = (await engine.container("one")).state
            assert (state.status, state.exit_code, state.pid, state.error) == (Status.EXITED, 3, 0, "")
            assert state.started_at < state.finished_at

    asyncio.run(scenario())


def test_files_of_etc_are_there_though_somebody_has_taken_them_away(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they are filled: init binds them, and waits for nobody."""
    filled, there = launch._write_files, []

    def looked_at(plan: launch.LaunchPlan, config: Mapping[str, Any]) -> None:
        there.extend(name for name in ("hosts", "hostname", "resolv.conf") if (plan.directory / name).exists())
        filled(plan, config)

    monkeypatch.setattr(launch, "_write_files", looked_at)

    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            spec = ContainerSpec(image=BUSYBOX, command=("cat", "/etc/hostname", "/etc/hosts"), hostname="me", network_mode="none")
            created = await engine.create_container("one", spec)
            directory = short_tmp / "state" / "containers" / created.id
            for name in ("hosts", "hostname", "resolv.conf"):
                (directory / name).unlink()
            wait = await engine.wait_container("one", WaitCondition.NEXT_EXIT)
            await engine.start_container("one")
            assert (await wait).code == 0
            text = await output_of(engine, "one")
            assert text.startswith("me\n127.0.0.1\tlocalhost\n")
            assert {(directory / name).stat().st_mode & 0o7777 for name in there} == {0o644} and len(there) == 3

    asyncio.run(scenario())


def test_a_file_that_cannot_be_written_fails_the_start_and_leaves_nothing(short_tmp: Path) -> None:
    """It is written while the container is made already."""

    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            created = await engine.create_container("one", ContainerSpec(image=BUSYBOX, command=("true",), network_mode="none"))
            directory = short_tmp / "state" / "containers" / created.id
            (directory / "config.json").mkdir()
            with pytest.raises(KernelError, match=r"write .*config.json"):
                await engine.start_container("one")
            state = (await engine.container("one")).state
            assert (state.status, state.exit_code) == (Status.CREATED, 128) and "config.json" in state.error
            assert not any(is_littered(str(one)) for one in (short_tmp / "run" / "c").iterdir())
            (directory / "config.json").rmdir()
            wait = await engine.wait_container("one", WaitCondition.NEXT_EXIT)
            await engine.start_container("one")
            assert (await wait).code == 0

    asyncio.run(scenario())


def test_a_written_file_outlives_stop_and_start(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            await run(engine, "one", network_mode="none")
            assert await execute(engine, "one", "sh", "-c", "echo kept > /root/file") == (0, "")
            await engine.stop_container("one", timeout_s=0)
            with pytest.raises(NotModified):
                await engine.stop_container("one")
            await engine.start_container("one")
            with pytest.raises(NotModified):
                await engine.start_container("one")
            assert await execute(engine, "one", "cat", "/root/file") == (0, "kept\n")
            assert (await engine.container("one", size=True)).size_rw_bytes == 5

    asyncio.run(scenario())


def test_stop_sends_the_stop_signal_and_then_kills(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            loop = "echo ready; while :; do sleep 0.1; done"
            await run(engine, "polite", "sh", "-c", f"trap 'exit 7' USR1; {loop}", stop_signal="SIGUSR1", network_mode="none")
            await ready(engine, "polite")
            await engine.stop_container("polite")
            assert (await engine.container("polite")).state.exit_code == 7
            await run(engine, "deaf", "sh", "-c", f"trap '' TERM; {loop}", network_mode="none")
            await ready(engine, "deaf")
            await engine.stop_container("deaf", timeout_s=0.2)
            assert (await engine.container("deaf")).state.exit_code == 137

    asyncio.run(scenario())


def test_a_missing_command_leaves_it_created_with_code_127(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            created = await engine.create_container("one", ContainerSpec(image=BUSYBOX, command=("/nope",)))
            with pytest.raises(CommandNotFound, match='exec: "/nope": stat /nope: no such file or directory'):
                await engine.start_container(created.id)
            state = (await engine.container("one")).state
            assert (state.status, state.exit_code) == (Status.CREATED, 127)
            assert "no such file or directory" in state.error
            code = await execute(engine, await run(engine, "two", network_mode="none"), "/nope")
            assert code[0] == 127 and "no such file or directory" in code[1]

    asyncio.run(scenario())


def test_what_is_refused_in_dockers_words(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            with pytest.raises(NotFound, match=r"^No such container: nope$"):
                await engine.container("nope")
            with pytest.raises(NotFound, match=r"^No such image: nope:1$"):
                await engine.create_container("x", ContainerSpec(image="nope:1"))
            with pytest.raises(InvalidArgument, match="no command specified"):
                await engine.create_container("x", ContainerSpec(image=BUSYBOX, entrypoint=(), command=()))
            container_id = await run(engine, "one", network_mode="none")
            with pytest.raises(Conflict, match=f'The container name "/one" is already in use by container "{container_id}"'):
                await engine.create_container("one", ContainerSpec(image=BUSYBOX, command=("true",)))
            with pytest.raises(Conflict, match='cannot remove container "/one": container is running'):
                await engine.remove_container("one")
            with pytest.raises(InvalidArgument, match="cannot kill container: one: invalid signal: FOO"):
                await engine.kill_container("one", "FOO")
            await engine.kill_container("one")
            with pytest.raises(Conflict, match=f"cannot kill container: one: container {container_id} is not running"):
                await engine.kill_container("one")
            with pytest.raises(Conflict, match=f"container {container_id} is not running"):
                await engine.create_exec("one", ExecSpec(("true",)))

    asyncio.run(scenario())


def test_attach_before_start_misses_nothing_and_carries_stdin(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            spec = ContainerSpec(image=BUSYBOX, command=("cat",), open_stdin=True, stdin_once=True, attach_stdin=True, network_mode="none")
            await engine.create_container("one", spec)
            stream = await engine.attach_container("one", AttachQuery(stdin=True))
            wait = await engine.wait_container("one", WaitCondition.NEXT_EXIT)
            await engine.start_container("one")
            await stream.write(b"through\n")
            await stream.close_stdin()
            assert b"".join([piece.data async for piece in stream]) == b"through\n"
            assert (await wait).code == 0
            await stream.close()

    asyncio.run(scenario())


def test_a_terminal_is_one(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            code, text = await finished(engine, "one", "sh", "-c", "tty; stty size", tty=True, network_mode="none")
            assert code == 0 and text.startswith("/dev/")
            await run(engine, "two", tty=True, network_mode="none")
            exec_id = await engine.create_exec("two", ExecSpec(("stty", "size"), tty=True))
            stream = await engine.start_exec(exec_id, tty=True, rows=33, columns=99)
            assert b"".join([piece.data async for piece in stream]).strip() == b"33 99"
            await stream.close()

    asyncio.run(scenario())


def test_logs_follow_to_the_end_and_rotate(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            script = "for i in 1 2 3 4 5; do echo line $i; sleep 0.05; done"
            spec = ContainerSpec(image=BUSYBOX, command=("sh", "-c", script), network_mode="none")
            await engine.create_container("one", spec)
            await engine.start_container("one")
            lines = await engine.container_logs("one", LogQuery(follow=True))
            assert [line.data async for line in lines] == [b"line %d\n" % number for number in range(1, 6)]
            lines = await engine.container_logs("one", LogQuery(tail=2))
            assert [line.data async for line in lines] == [b"line 4\n", b"line 5\n"]
            small = LogConfig(options={"max-size": "2k", "max-file": "3"})
            await finished(engine, "two", "sh", "-c", "seq 1 100", log_config=small, network_mode="none")
            kept = (await output_of(engine, "two")).splitlines()
            assert kept == [str(number) for number in range(101 - len(kept), 101)] and 20 < len(kept) < 100

    asyncio.run(scenario())


def test_environment_user_directory_and_names(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            script = "id -u; id -g; pwd; hostname; echo $A $HOME; cat /etc/hostname; ulimit -n"
            code, text = await finished(
                engine, "one", "sh", "-c", script, user="1234:567", working_dir="/work/dir", hostname="called", environment=("A=b", "A=c"),
                resources=Resources(ulimits=(Ulimit("nofile", 77, 88),)),
            )  # fmt: skip
            assert (code, text.split()) == (0, ["1234", "567", "/work/dir", "called", "c", "/", "called", "77"])

    asyncio.run(scenario())


def test_limits_devices_tmpfs_and_a_read_only_root(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            script = "touch /x; touch /scratch/x && df -k /scratch | tail -1; ls -l /dev/mine; df -k /dev/shm | tail -1"
            mine = DeviceMapping("/dev/null", "/dev/mine")
            limits = Resources(memory_bytes=32 << 20, pids_limit=50, nano_cpus=500_000_000, devices=(mine,))
            code, text = await finished(
                engine, "one", "sh", "-c", script, read_only_rootfs=True, tmpfs={"/scratch": "size=1m"}, shm_size_bytes=2 << 20,
                resources=limits, network_mode="none",
            )  # fmt: skip
            assert code == 0, text
            assert "Read-only file system" in text and " 1024 " in text and " 2048 " in text and "1,   3" in text

    asyncio.run(scenario())


def test_out_of_memory_is_told(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            hungry = ("sh", "-c", "head -c 100m /dev/zero | tail")
            code, _ = await finished(engine, "one", *hungry, resources=Resources(memory_bytes=16 << 20), network_mode="none")
            assert code != 0
            assert (await engine.container("one")).state.oom_killed

    asyncio.run(scenario())


@pytest.mark.parametrize("removed", [False, True], ids=["killed", "removed"])
def test_a_paused_container_that_is_killed_may_be_gone_before_it_could_be_resumed(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    def resume_late(handle: Handle) -> None:
        assert select.select([handle._shim_pid_fd], [], [], 20)[0]
        resume(handle)

    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            await run(engine, "one", "sleep", "1000")
            await engine.pause_container("one")
            if removed:
                await engine.remove_container("one", force=True)
                with pytest.raises(NotFound):
                    await engine.container("one")
            else:
                await engine.kill_container("one", "KILL")
                assert (await engine.container("one")).state.exit_code == 137

    resume = Handle.resume
    monkeypatch.setattr(Handle, "resume", resume_late)
    asyncio.run(scenario())


def test_pause_rename_update_and_events(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            events = await engine.events()
            container_id = await run(engine, "one", network_mode="none", labels={"a": "b"})
            await engine.pause_container("one")
            assert (await engine.container("one")).state.status is Status.PAUSED
            with pytest.raises(Conflict, match="Container one is paused, unpause the container before exec"):
                await engine.create_exec("one", ExecSpec(("true",)))
            await engine.unpause_container("one")
            await engine.rename_container("one", "two")
            assert (await engine.container("/two")).id == container_id
            await engine.update_container("two", Resources(memory_bytes=64 << 20), None)
            assert (await engine.container("two")).spec.resources.memory_bytes == 64 << 20
            await engine.stop_container("two", timeout_s=0)
            await engine.remove_container("two")
            seen = []
            async for event in events:
                if event.type == "container":
                    seen.append(event.action)
                    assert event.attributes["a"] == "b"
                if event.action == "destroy":
                    break
            assert seen == ["create", "start", "pause", "unpause", "rename", "update", "kill", "kill", "die", "stop", "destroy"]

    asyncio.run(scenario())


def test_removal_by_itself_and_by_force(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            created = await engine.create_container(
                "one", ContainerSpec(image=BUSYBOX, command=("true",), auto_remove=True, network_mode="none", anonymous_volumes=("/data",))
            )
            gone = await engine.wait_container(created.id, WaitCondition.REMOVED)
            await engine.start_container(created.id)
            assert (await asyncio.wait_for(gone, 20)).code == 0
            await run(engine, "two", "sh", "-c", "trap '' TERM; sleep 1000")
            await engine.remove_container("two", force=True)
            assert await engine.containers(all=True) == ()
            assert await until(lambda: _none_left(engine)) is True

    async def _none_left(engine: object) -> bool | None:
        return True if not await engine.volumes() else None  # type: ignore[attr-defined]

    asyncio.run(scenario())


def test_joined_and_host_namespaces(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            await run(engine, "one", hostname="first", network_mode="none")
            _, text = await finished(
                engine,
                "two",
                "sh",
                "-c",
                "hostname; ps | grep -c 'sleep 1000'; readlink /proc/self/ns/net",
                network_mode="container:one",
                pid_mode="container:one",
            )
            (_, own) = await execute(engine, "one", "readlink", "/proc/self/ns/net")
            assert text.split()[1] != "0" and text.split()[2] == own.strip()
            _, text = await finished(engine, "three", "readlink", "/proc/self/ns/net", network_mode="host")
            assert text.strip() == str(Path("/proc/self/ns/net").readlink())

    asyncio.run(scenario())


def test_top_lists_the_containers_processes_alone(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            await run(engine, "one", "sleep", "999", network_mode="none")
            table = await engine.container_top("one")
            assert table.titles[1] == "PID" and [row[-1] for row in table.processes] == ["sleep 999"]

    asyncio.run(scenario())


def test_the_record_is_what_inspect_says(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            mounts = (Mount(MountType.TMPFS, "/t", tmpfs_size_bytes=4096),)
            await engine.create_container("one", ContainerSpec(image=BUSYBOX, command=("sh",), mounts=mounts, labels={"x": "ü"}))
            view = await engine.container("one")
            stored = json.loads((short_tmp / "state" / "containers" / view.id / "container.json").read_text())
            assert (stored["name"], stored["spec"]["labels"]) == ("one", {"x": "ü"})
            assert view.endpoints[0].network_name == "bridge" and view.endpoints[0].spec == EndpointSpec("bridge")
            assert replace(view.spec, labels={}).mounts == mounts

    asyncio.run(scenario())


def test_a_trace_tells_every_step_across_four_processes(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "fd", -1)
    trace.to_file("engine", str(short_tmp / "trace"))

    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            assert await finished(engine, "one", "true", network_mode="none") == (0, "")

    try:
        asyncio.run(scenario())
    finally:
        os.close(trace.fd)
    marks = [line.split(" ", 3) for line in (short_tmp / "trace").read_text().splitlines()]
    assert len({container for _, container, _, _ in marks}) == 1
    assert {process for _, _, process, _ in marks} == {"engine", "zygote", "shim", "init"}
    assert {"begin the start", "clone init", "pivot_root", "see execve happen", "tell waiters"} <= {step for *_, step in marks}


GROW = "x=0123456789abcdef; while :; do x=$x$x; done"


@pytest.mark.parametrize(("script", "code"), [(GROW, 137), (f"({GROW}); exit 3", 3)], ids=["first", "other"])
def test_whichever_process_the_kernel_kills_for_want_of_memory_is_told(short_tmp: Path, script: str, code: int) -> None:
    """As with Docker: not only the first one's end counts, and the event comes once."""

    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            limits = Resources(memory_bytes=32 << 20, memory_swap_bytes=32 << 20)
            events = await engine.events(filters=Filters({"event": ("oom", "die")}))
            assert (await finished(engine, "one", "sh", "-c", script, resources=limits, network_mode="none"))[0] == code
            assert [(await anext(events)).action for _ in range(2)] == ["oom", "die"]
            assert (await engine.container("one")).state.oom_killed
            await events.aclose()
            await finished(engine, "two", "sh", "-c", "exit 137", resources=limits, network_mode="none")
            assert not (await engine.container("two")).state.oom_killed

    asyncio.run(scenario())


def test_a_process_killed_for_want_of_memory_is_told_while_its_container_goes_on(short_tmp: Path) -> None:
    """Also to an engine that has found the container running, and once for each."""

    async def scenario() -> None:
        limits = Resources(memory_bytes=32 << 20, memory_swap_bytes=32 << 20)
        async with engine_on(short_tmp) as engine:
            await add_busybox(engine, short_tmp)
            await run(engine, "one", "sleep", "1000", resources=limits, network_mode="none")
            await grow_once(engine)
        async with engine_on(short_tmp) as engine:
            assert (await engine.container("one")).state.oom_killed  # on the disk
            await grow_once(engine)
            events = await engine.events(filters=Filters({"event": ("oom", "die")}))
            await engine.kill_container("one")
            assert (await anext(events)).action == "die"
            await events.aclose()
            await remove_everything(engine)

    async def grow_once(engine: LocalEngine) -> None:
        events = await engine.events(filters=Filters({"event": ("oom", "die")}))
        await execute(engine, "one", "sh", "-c", f"({GROW}); true")
        assert (await anext(events)).action == "oom"
        found = await engine.container("one")
        assert found.state.running and found.state.oom_killed
        await events.aclose()

    asyncio.run(scenario())
