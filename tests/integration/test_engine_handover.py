"""One container takes another's published port over, on the real kernel: no connection notices, whoever ends and whenever."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from engines import BUSYBOX, add_busybox, engine_on, execute, remove_everything, run, until
from free_ports import free_port

from stackrun.api.engine import HandsOver
from stackrun.api.types import ContainerSpec, EndpointSpec, NetworkSpec, PortBinding, RestartPolicy
from stackrun.engine.local import LocalEngine
from stackrun.errors import Conflict

ECHO = "printf '#!/bin/sh\\nwhile read l; do echo $(hostname) $l; done\\n' > /echo && chmod +x /echo && exec nc -ll -p 80 -e /echo"
"""Answers each line with the host's name and the line."""
Scene = Callable[["Stage"], Awaitable[None]]


class Stage:
    """An engine with `old`, which has a port of the host, and `new`, which wants the same."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.engine: LocalEngine

    async def play(self, *scenes: Scene) -> None:
        """Each scene in an engine of its own on the same state: between two of them a daemon has gone and another come."""
        for position, scene in enumerate(scenes):
            async with engine_on(self.root) as self.engine:
                if not position:
                    await self._set()
                try:
                    await scene(self)
                except BaseException:
                    await remove_everything(self.engine)
                    raise
                if position == len(scenes) - 1:
                    await remove_everything(self.engine)

    async def _set(self) -> None:
        await add_busybox(self.engine, self.root)
        await self.engine.create_network(NetworkSpec("net"))
        await run(self.engine, "peer", network_mode="net", init=True)
        await run(self.engine, "old", "sh", "-c", ECHO, hostname="old", **self.options())
        await self.create("new")

    async def create(self, name: str) -> None:
        await self.engine.create_container(name, ContainerSpec(BUSYBOX, command=("sh", "-c", ECHO), hostname=name, **self.options()))

    def options(self) -> dict[str, Any]:
        ports = (PortBinding(80, host_port=self.port), PortBinding(53, "udp", host_port=self.port))
        endpoints = (EndpointSpec("net", aliases=("web",)),)
        return {
            "network_mode": "net",
            "endpoints": endpoints,
            "ports": ports,
            "restart_policy": RestartPolicy("unless-stopped"),
            "init": True,
        }

    async def begin_beside(self, name: str = "new") -> None:
        await self.engine.start_container_beside(name, "old")
        address = (await self.engine.container(name)).endpoints[0].ipv4_address
        assert await asked(address, 80) == f"{name} hello", "it listens"

    async def answers(self, address: str = "127.0.0.1") -> str:
        return await asked(address, self.port)

    async def named(self) -> list[str]:
        """Who answers to the alias, by their names."""
        _, text = await execute(self.engine, "peer", "nslookup", "web")
        found = {one.endpoints[0].ipv4_address: one.name for one in await self.engine.containers()}
        return sorted(found[word] for word in text.partition("Name:")[2].split() if word in found)

    async def owner(self) -> dict[str, list[int]]:
        return {one.name: [port.host_port for port in one.ports] for one in await self.engine.containers() if one.name != "peer"}


async def asked(address: str, port: int) -> str:
    async def ask() -> str | None:
        try:
            reader, writer = await asyncio.open_connection(address, port)
        except ConnectionError:
            return None
        text = await say(reader, writer, "hello")
        writer.close()
        return text or None

    return str(await until(ask))


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str) -> str:
    writer.write(f"{line}\n".encode())
    try:
        return (await reader.readline()).decode().strip()
    except ConnectionError:
        return ""


def perform(root: Path, *scenes: Scene) -> None:
    asyncio.run(Stage(root).play(*scenes))


def test_new_connections_lead_to_the_new_one_and_old_ones_go_on(short_tmp: Path) -> None:
    async def scene(stage: Stage) -> None:
        assert isinstance(stage.engine, HandsOver) and await stage.answers() == "old hello"
        await stage.begin_beside()
        assert await stage.answers() == "old hello" and await stage.named() == ["old"], "it waits"
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        assert await say(reader, writer, "1") == "old 1"
        moving = asyncio.create_task(stage.engine.take_over("new", drain_s=30))
        await until(lambda: _if(stage.answers(), "new hello"))
        assert await stage.answers((await stage.engine.network("net")).spec.pools[0].gateway) == "new hello"
        assert await say(reader, writer, "2") == "old 2" and not moving.done(), "the old one's connection is waited for"
        writer.close()
        await asyncio.wait_for(moving, 10)
        assert await stage.named() == ["new"]
        assert await stage.owner() == {"new": [stage.port, stage.port], "old": []}
        await stage.engine.stop_container("old")
        assert await stage.answers() == "new hello"
        with pytest.raises(Conflict, match="taken by container new"):
            await stage.engine.start_container("old")

    perform(short_tmp, scene)


def test_a_connection_that_does_not_end_is_waited_for_no_longer_than_asked(short_tmp: Path) -> None:
    async def scene(stage: Stage) -> None:
        await stage.begin_beside()
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        assert await say(reader, writer, "1") == "old 1"
        await asyncio.wait_for(stage.engine.take_over("new", drain_s=0.1), 5)
        assert await say(reader, writer, "2") == "old 2"
        writer.close()

    perform(short_tmp, scene)


def test_whoever_waits_gets_the_port_when_the_other_ends(short_tmp: Path) -> None:
    async def scene(stage: Stage) -> None:
        await stage.begin_beside()
        await stage.engine.stop_container("old")
        await until(lambda: _if(stage.answers(), "new hello"))
        await stage.engine.start_container_beside("old", "new")
        await stage.engine.take_over("old", drain_s=0)
        assert await stage.named() == ["old"]
        await until(lambda: _if(stage.answers(), "old hello"))
        await stage.engine.stop_container("old")
        await until(lambda: _if(stage.answers(), "new hello"))

    perform(short_tmp, scene)


def test_who_waits_in_vain_does_not_take_the_port_from_another(short_tmp: Path) -> None:
    """A replacement that failed and was left beside the old one, and the next replacement."""

    async def scene(stage: Stage) -> None:
        await stage.begin_beside()
        await stage.create("third")
        await stage.begin_beside("third")
        await stage.engine.take_over("third", drain_s=0)
        await stage.engine.remove_container("old", force=True)
        assert await stage.owner() == {"third": [stage.port, stage.port], "new": []}
        assert await stage.answers() == "third hello" and await stage.named() == ["third"]
        await stage.engine.stop_container("third")
        await until(lambda: _if(stage.answers(), "new hello"))

    perform(short_tmp, scene)


def test_the_one_with_the_port_may_crash_and_come_back(short_tmp: Path) -> None:
    async def scene(stage: Stage) -> None:
        await stage.begin_beside()
        before = (await stage.engine.container("old")).state

        async def again() -> bool | None:
            state = (await stage.engine.container("old")).state
            return True if state.running and state.started_at != before.started_at else None

        os.kill(before.pid, signal.SIGKILL)
        await until(again)
        assert await stage.answers() == "old hello"
        await stage.engine.take_over("new", drain_s=0)
        os.kill((await stage.engine.container("old")).state.pid, signal.SIGKILL)
        assert await stage.answers() == "new hello", "a crash of who waits moves nothing"

    perform(short_tmp, scene)


def test_the_next_daemon_finds_who_waits_and_who_has_taken_over(short_tmp: Path) -> None:
    async def waits(stage: Stage) -> None:
        await stage.begin_beside()

    async def still_waits(stage: Stage) -> None:
        assert await stage.answers() == "old hello"
        assert await stage.owner() == {"new": [], "old": [stage.port, stage.port]} and await stage.named() == ["old"]
        await stage.engine.take_over("new", drain_s=0)

    async def has_it(stage: Stage) -> None:
        assert await stage.answers() == "new hello"
        assert await stage.owner() == {"new": [stage.port, stage.port], "old": []} and await stage.named() == ["new"]

    perform(short_tmp, waits, still_waits, has_it)


async def _if(answer: Awaitable[str], wanted: str) -> bool | None:
    return True if await answer == wanted else None
