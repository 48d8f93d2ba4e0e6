"""Interfaces of containers that end together are taken away together."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence

import pytest

from stackrun.api.types import Endpoint
from stackrun.engine.networks import EngineNetworks
from stackrun.errors import KernelError
from stackrun.kernel.netlink import Request
from stackrun.network import bridge
from stackrun.network.networks import Networks


class Wire:
    """Takes what is sent."""

    def __init__(self, error: int = 0) -> None:
        self.sent: list[list[str]] = []
        self.error = error

    def send(self, requests: Sequence[Request]) -> list[object]:
        self.sent.append([one.description for one in requests])
        if self.error:
            raise KernelError("delete", self.error)
        return []


def test_one_link_goes_by_its_name_and_several_by_a_group_of_their_own() -> None:
    wire = Wire()
    bridge.delete_all(wire, ["a"])  # type: ignore[arg-type]
    bridge.delete_all(wire, ["a", "b"])  # type: ignore[arg-type]
    assert wire.sent[0] == ["delete link a"]
    assert wire.sent[1][:2] == ["set group of a", "set group of b"] and wire.sent[1][2].startswith("delete links of group ")


def test_links_that_are_gone_are_no_failure_and_others_are() -> None:
    for names in (["a"], ["a", "b"]):
        wire = Wire(errno.ENODEV)
        bridge.delete_all(wire, names)  # type: ignore[arg-type]
        wire.error = errno.EPERM
        with pytest.raises(KernelError):
            bridge.delete_all(wire, names)  # type: ignore[arg-type]


class Pool:
    """Work waits for `gate`; `turns` are the names of each turn."""

    def __init__(self, error: KernelError | None = None) -> None:
        self.turns: list[list[str]] = []
        self.gate = asyncio.Event()
        self._error = error

    async def run(self, work: object, names: list[str]) -> None:
        self.turns.append(names)
        await self.gate.wait()
        if self._error:
            raise self._error


def networks_with(pool: Pool) -> EngineNetworks:
    networks = EngineNetworks.__new__(EngineNetworks)
    networks._discarded, networks._discarding, networks._leaving = [], asyncio.Lock(), {}
    networks._pool, networks._mechanism = pool, Networks.__new__(Networks)  # type: ignore[assignment]
    networks._taken = {"id": {f"10.0.0.{number}": name for number, name in enumerate("abcde")}}
    return networks


def endpoints(name: str) -> tuple[Endpoint, ...]:
    return (Endpoint("net", "id", endpoint_id=name),)


def test_who_comes_while_others_are_deleted_goes_with_the_next_turn() -> None:
    async def scenario() -> Pool:
        pool = Pool()
        networks = networks_with(pool)
        tasks = [networks.discard(name, endpoints(name)) for name in "abcde"]
        await asyncio.sleep(0)  # each has come as far as it can
        pool.gate.set()
        await asyncio.gather(*(task for task in tasks if task))
        return pool

    turns = asyncio.run(scenario()).turns
    assert [name for turn in turns for name in turn] == list("abcde") and len(turns) <= 2


def test_an_address_is_somebody_elses_only_when_the_interface_is_gone() -> None:
    async def scenario() -> list[list[str]]:
        pool = Pool()
        networks = networks_with(pool)
        task = networks.discard("b", endpoints("b"))
        assert task is not None
        waiting = asyncio.create_task(networks._nobody_leaves())
        others = asyncio.create_task(networks._nobody_leaves("c"))
        assert not await others and not waiting.done()
        held = list(networks._taken["id"].values())
        pool.gate.set()
        assert await waiting
        return [held, list(networks._taken["id"].values())]

    assert asyncio.run(scenario()) == [list("abcde"), list("acde")]


def test_a_failure_is_told_to_who_asked_and_the_address_is_free() -> None:
    async def scenario() -> EngineNetworks:
        pool = Pool(KernelError("delete", errno.EPERM))
        networks = networks_with(pool)
        task = networks.discard("b", endpoints("b"))
        pool.gate.set()
        with pytest.raises(KernelError):
            await asyncio.gather(task)  # type: ignore[arg-type]
        return networks

    networks = asyncio.run(scenario())
    assert not networks._leaving and "b" not in networks._taken["id"].values()


def test_a_container_without_an_interface_gives_its_addresses_back_at_once() -> None:
    networks = networks_with(Pool())
    assert networks.discard("b", (Endpoint("none", "none"),)) is None
    assert "b" not in networks._taken["id"].values()
