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


def test_who_comes_while_others_are_deleted_goes_with_the_next_turn() -> None:
    turns: list[list[str]] = []
    gate = asyncio.Event()

    class Pool:
        async def run(self, work: object, names: list[str]) -> None:
            turns.append(names)
            await gate.wait()

    async def scenario() -> None:
        networks = EngineNetworks.__new__(EngineNetworks)
        networks._discarded, networks._discarding = [], asyncio.Lock()
        networks._pool, networks._mechanism = Pool(), Networks.__new__(Networks)  # type: ignore[assignment]
        tasks = [asyncio.create_task(networks.discard((Endpoint("net", "id", endpoint_id=name),))) for name in "abcde"]
        await asyncio.sleep(0)  # each has come as far as it can
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert turns == [["a"], ["b", "c", "d", "e"]]
