"""What a running container stands on is taken away under it, one thing at a time: it is stopped, removed and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from engines import engine_on, fresh_engine, run, until

from stackrun.api.types import Container, NetworkSpec
from stackrun.engine.local import LocalEngine
from stackrun.errors import NotModified
from stackrun.kernel import cgroup

NAME = "victim"


@dataclass(frozen=True, slots=True)
class Victim:
    root: Path
    container: Container

    @property
    def id(self) -> str:
        return self.container.id

    @property
    def pid(self) -> int:
        return self.container.state.pid

    @property
    def directory(self) -> Path:
        return self.root / "state" / "containers" / self.id

    @property
    def run_dir(self) -> Path:
        return self.root / "run" / "c" / self.id[:16]

    @property
    def groups(self) -> tuple[str, ...]:
        return cgroup.Cgroup.load(cgroup.detect(), f"stackrun/{self.id}").directories


def _its_files(victim: Victim) -> None:
    for name in ("upper", "work", "merged"):
        shutil.rmtree(victim.directory / name, ignore_errors=True)


def _its_directory(victim: Victim) -> None:
    shutil.rmtree(victim.directory)


def _its_groups(victim: Victim) -> None:
    """Its process moved to the top, as somebody who tidies up might do."""
    for directory in victim.groups:
        for pid in Path(directory, "cgroup.procs").read_text().split():
            Path(directory).parent.parent.joinpath("cgroup.procs").write_text(pid)
        os.rmdir(directory)


def _its_run_directory(victim: Victim) -> None:
    shutil.rmtree(victim.run_dir)


def _its_socket(victim: Victim) -> None:
    (victim.run_dir / "shim.sock").unlink()


def _its_shim(victim: Victim) -> None:
    parent = int(Path(f"/proc/{victim.pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert "shim" in Path(f"/proc/{parent}/comm").read_text()
    os.kill(parent, signal.SIGKILL)


def _the_zygote(victim: Victim) -> None:
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        if Path(f"/proc/{child}/comm").read_text() == "stackrun-zygote\n":
            os.kill(int(child), signal.SIGKILL)


def _its_link(victim: Victim) -> None:
    subprocess.run(["nsenter", "-t", str(victim.pid), "-n", "ip", "link", "delete", "eth0"], check=True)


def _its_bridge(victim: Victim) -> None:
    subprocess.run(["ip", "link", "delete", f"sr-{victim.container.endpoints[0].network_id[:12]}"], check=True)


THINGS: tuple[Callable[[Victim], None], ...] = (
    _its_files, _its_directory, _its_groups, _its_run_directory, _its_socket, _its_shim, _the_zygote, _its_link, _its_bridge,
)  # fmt: skip


async def _stopped_and_removed(engine: LocalEngine, victim: Victim) -> None:
    try:
        async with asyncio.timeout(15):
            await engine.stop_container(NAME, timeout_s=0)
    except NotModified:
        pass  # with its shim it has ended by itself
    assert not (await engine.container(NAME)).state.running
    assert _gone(victim.pid)
    await engine.remove_container(NAME)


async def _removed(engine: LocalEngine, victim: Victim) -> None:
    async with asyncio.timeout(15):
        await engine.remove_container(NAME, force=True)


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("end", [_stopped_and_removed, _removed, None], ids=["stop", "remove", "next-engine"])
def test_each_thing(short_tmp: Path, end: Callable[[LocalEngine, Victim], Awaitable[None]] | None) -> None:
    """`end` None: the engine too is another one by then."""

    async def taken(engine: LocalEngine, take: Callable[[Victim], None]) -> Victim:
        network = await engine.create_network(NetworkSpec("lan"))
        await run(engine, NAME, network_mode="lan")
        victim = Victim(short_tmp, await engine.container(NAME))
        take(victim)
        assert network.id == victim.container.endpoints[0].network_id
        return victim

    async def check_gone(engine: LocalEngine, victim: Victim, take: Callable[[Victim], None]) -> None:
        await engine.remove_network("lan")

        async def gone() -> bool | None:
            left = [victim.directory, victim.run_dir, *map(Path, victim.groups)]
            return True if _gone(victim.pid) and not any(one.exists() for one in left) else None

        try:
            await until(gone, 5)
        except TimeoutError:
            raise AssertionError(f"{take.__name__}: something is left") from None

    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            for take in THINGS if end else ():
                assert end
                victim = await taken(engine, take)
                try:
                    await end(engine, victim)
                except BaseException as error:
                    error.add_note(take.__name__)
                    raise
                await check_gone(engine, victim, take)
        for take in () if end else THINGS:
            async with engine_on(short_tmp) as engine:
                victim = await taken(engine, take)
            async with engine_on(short_tmp) as engine:
                if await engine.containers(all=True):
                    await engine.remove_container(NAME, force=True)
                await check_gone(engine, victim, take)

    asyncio.run(scenario())
