"""Whose shared memory and message queues a container has: its own, another container's, the host's."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import fresh_engine, run
from machine import Machine

from stackrun.errors import Conflict
from stackrun.runtime import container as runtime


@pytest.fixture(scope="module")
def machine(_clean_host: None) -> Iterator[Machine]:
    made = Machine()
    try:
        made.run("info")
        yield made
    finally:
        made.close()


@pytest.fixture
def donor(machine: Machine) -> Iterator[str]:
    machine.docker("run", "-d", "--name", "donor", "--ipc", "shareable", "--shm-size", "3m", "--cap-add", "SYS_ADMIN",
                   "--security-opt", "seccomp=unconfined", "host", "sleep", "1000")  # fmt: skip
    yield "donor"
    machine.docker("rm", "-f", "donor")


def joined(machine: Machine, script: str, *, code: int | None = 0) -> str:
    done = machine.docker("run", "--rm", "--ipc", "container:donor", "host", "sh", "-c", script, code=code)
    return str(done.stdout + done.stderr)


def test_a_container_that_joins_has_the_same_shared_memory(machine: Machine, donor: str) -> None:
    machine.docker("exec", donor, "sh", "-c", "echo theirs > /dev/shm/one; ipcmk -Q")
    assert joined(machine, "cat /dev/shm/one; echo ours > /dev/shm/two") == "theirs\n"
    assert machine.docker("exec", donor, "cat", "/dev/shm/two").stdout == "ours\n"
    assert joined(machine, "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d ' ' -f 2; ipcs -q | grep -c 0x").split() == ["3072", "1"]
    assert machine.docker("inspect", "--format", "{{.State.Running}}", donor).stdout == "true\n"
    flags = joined(machine, "grep ' /dev/shm ' /proc/self/mounts")
    assert {"nosuid", "nodev", "noexec", "rw"} <= set(flags.split()[3].split(","))


def test_drift_finds_nothing_in_one_that_has_joined(machine: Machine, donor: str) -> None:
    machine.docker("run", "-d", "--name", "joiner", "--ipc", "container:donor", "host", "sleep", "1000")
    try:
        source = machine.inspect("donor")["State"]["Pid"]
        shown = Path(f"/proc/{machine.inspect('joiner')['State']['Pid']}/root/dev/shm").stat()
        assert shown.st_dev == Path(f"/proc/{source}/root/dev/shm").stat().st_dev
        found = machine.run("drift", code=None)
        assert "joiner" not in found.stdout, found.stdout
    finally:
        machine.docker("rm", "-f", "joiner")


def test_links_that_the_other_has_put_there_lead_into_its_own_root(machine: Machine, donor: str) -> None:
    machine.docker("exec", donor, "sh", "-c", "umount /dev/shm && rmdir /dev/shm && ln -s / /dev/shm && touch /tmp/marker-of-donor")
    assert joined(machine, "ls /dev/shm/tmp") == "marker-of-donor\n"


def test_one_that_has_none_and_one_that_does_not_run_are_refused(machine: Machine) -> None:
    machine.docker("run", "-d", "--name", "donor", "--ipc", "none", "host", "sleep", "1000")
    try:
        assert "non-shareable IPC" in joined(machine, "true", code=125)
        machine.docker("kill", "donor")
        machine.docker("wait", "donor")
        assert "cannot join ipc of a non running container" in joined(machine, "true", code=125)
    finally:
        machine.docker("rm", "-f", "donor")


def test_the_hosts_where_no_message_queues_are_mounted(machine: Machine) -> None:
    script = "grep -c ' /dev/mqueue mqueue ' /proc/self/mounts; stat -c %d /dev/shm; readlink /proc/self/ns/ipc"
    seen = machine.docker("run", "--rm", "--ipc", "host", "host", "sh", "-c", script).stdout.split()
    assert seen == ["1", str(Path("/dev/shm").stat().st_dev), str(Path("/proc/self/ns/ipc").readlink())]


def test_one_that_ends_at_the_moment_it_is_joined(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pid may be anybody's by then, and so may the namespaces that were joined by it."""
    create = runtime.create

    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            donor = await run(engine, "donor", network_mode="none", ipc_mode="shareable")
            pid = (await engine.container(donor)).state.pid

            def late(*arguments: Any, **options: Any) -> runtime.Handle:
                made = create(*arguments, **options)
                os.kill(pid, signal.SIGKILL)
                deadline = time.monotonic() + 10
                while runtime.is_alive(f"{short_tmp}/run/c/{donor[:16]}"):
                    assert time.monotonic() < deadline
                return made

            monkeypatch.setattr(runtime, "create", late)
            with pytest.raises(Conflict, match="cannot join the namespaces of a non running container"):
                await run(engine, "joiner", network_mode="none", ipc_mode=f"container:{donor}")
            assert not (await engine.container("joiner")).state.running

    asyncio.run(scenario())
