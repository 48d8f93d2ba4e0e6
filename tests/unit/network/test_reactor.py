from __future__ import annotations

import os

from stackrun.network.reactor import Reactor


def test_handlers_and_deadlines_in_order() -> None:
    reactor = Reactor()
    reader, writer = os.pipe()
    seen: list[str] = []

    def readable() -> None:
        seen.append(os.read(reader, 9).decode())
        reactor.forget(reader)
        reactor.forget(reader)

    reactor.watch(reader, readable)
    reactor.after(0.02, reactor.stop)
    reactor.after(0.01, lambda: seen.append("later"))
    reactor.after(0, lambda: os.write(writer, b"data") and None)
    reactor.run()
    assert seen == ["data", "later"]
    os.close(reader)
    os.close(writer)


def test_a_descriptor_closed_in_the_same_round_is_not_called_under_its_new_owner() -> None:
    reactor = Reactor()
    (one, one_writer), (two, two_writer) = os.pipe(), os.pipe()
    seen: list[str] = []

    def replace(mine: int, other: int) -> None:
        seen.append("first")
        os.read(mine, 9)
        reactor.forget(other)
        reactor.watch(other, lambda: seen.append("new owner") or reactor.forget(other))

    reactor.watch(one, lambda: replace(one, two))
    reactor.watch(two, lambda: replace(two, one))
    os.write(one_writer, b"x")
    os.write(two_writer, b"x")
    reactor.after(0.02, reactor.stop)
    reactor.run()
    assert seen == ["first", "new owner"], "only its own readiness, in the next round, counts"
    for fd in (one, one_writer, two, two_writer):
        os.close(fd)
