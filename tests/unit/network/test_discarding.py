"""Interfaces of containers that end together are taken away together."""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence

import pytest

from stackrun.errors import KernelError
from stackrun.kernel.netlink import Request
from stackrun.network import bridge
from stackrun.network.networks import Networks


class Wire:
    """Takes what is sent; `gate` holds the first one up."""

    def __init__(self, error: int = 0) -> None:
        self.sent: list[list[str]] = []
        self.error = error
        self.busy = threading.Event()
        self.gate = threading.Event()

    def send(self, requests: Sequence[Request]) -> list[object]:
        self.sent.append([one.description for one in requests])
        self.busy.set()
        self.gate.wait(10)
        if self.error:
            raise KernelError("delete", self.error)
        return []


def test_one_link_goes_by_its_name_and_several_by_a_group_of_their_own() -> None:
    wire = Wire()
    wire.gate.set()
    bridge.delete_all(wire, ["a"])  # type: ignore[arg-type]
    bridge.delete_all(wire, ["a", "b"])  # type: ignore[arg-type]
    assert wire.sent[0] == ["delete link a"]
    assert wire.sent[1][:2] == ["set group of a", "set group of b"] and wire.sent[1][2].startswith("delete links of group ")


def test_links_that_are_gone_are_no_failure_and_others_are() -> None:
    for names in (["a"], ["a", "b"]):
        wire = Wire(errno.ENODEV)
        wire.gate.set()
        bridge.delete_all(wire, names)  # type: ignore[arg-type]
        wire.error = errno.EPERM
        with pytest.raises(KernelError):
            bridge.delete_all(wire, names)  # type: ignore[arg-type]


def test_who_comes_while_others_are_deleted_goes_with_the_next_turn() -> None:
    networks = Networks.__new__(Networks)
    wire = Wire()
    networks._route = wire  # type: ignore[assignment]
    networks._discarded, networks._discarding, networks._turn = [], threading.Lock(), threading.Lock()
    threads = [threading.Thread(target=networks.discard, args=([f"{number:012}"],)) for number in range(5)]
    threads[0].start()
    assert wire.busy.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(networks._discarded) < 4:
        threading.Event().wait(0.001)
    wire.gate.set()
    for thread in threads:
        thread.join(10)
    assert [len(one) for one in wire.sent] == [1, 5]
