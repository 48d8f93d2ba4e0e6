"""Finding containers, reserving names, telling those who wait."""

from __future__ import annotations

import asyncio

import pytest

from stackrun.api.types import ContainerSpec, ExitStatus, WaitCondition
from stackrun.engine.record import Definition, Situation
from stackrun.engine.registry import Entry, Registry, Waiter
from stackrun.errors import Conflict, InvalidArgument, NotFound


def entry(identity: str, name: str) -> Entry:
    return Entry(Definition(identity, name, "now", "true", (), "sha256:1", ContainerSpec("x")), Situation())


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    for identity, name in (("ab" * 32, "web"), ("ac" * 32, "abab"), ("d0" * 32, "db")):
        made.reserve(name, identity)
        made.add(entry(identity, name))
    return made


def test_by_id_name_and_unique_prefix(registry: Registry) -> None:
    for ref in ("ab" * 32, "web", "/web", "ababa"):
        assert registry.find(ref).name == "web"
    assert registry.find("abab").name == "abab"
    assert registry.find("d").name == "db"


def test_what_is_not_found(registry: Registry) -> None:
    with pytest.raises(NotFound, match=r"^No such container: nope$"):
        registry.find("nope")
    with pytest.raises(InvalidArgument, match=r"^Multiple IDs found with provided prefix: a$"):
        registry.find("a")
    with pytest.raises(NotFound):
        registry.find("")


def test_names_are_reserved_once(registry: Registry) -> None:
    with pytest.raises(Conflict, match=f'The container name "/web" is already in use by container "{"ab" * 32}"'):
        registry.reserve("web", "1")
    registry.release("web", "1")
    registry.reserve("web", "ab" * 32)
    registry.remove(registry.find("web"))
    registry.reserve("web", "1")
    for bad in ("", "a", "-x", "a b", "ä1", "x/y"):
        with pytest.raises(InvalidArgument, match="Invalid container name"):
            registry.reserve(bad, "1")


def test_waiters_hear_of_what_they_wait_for() -> None:
    async def scenario() -> None:
        one = entry("1", "one")
        loop = asyncio.get_running_loop()
        futures = {condition: loop.create_future() for condition in WaitCondition}
        one.waiters = [Waiter(condition, future) for condition, future in futures.items()]
        one.resolve(WaitCondition.NEXT_EXIT, ExitStatus(3))
        assert futures[WaitCondition.NEXT_EXIT].result() == ExitStatus(3) and len(one.waiters) == 2
        futures[WaitCondition.NOT_RUNNING].cancel()
        one.resolve(WaitCondition.REMOVED, ExitStatus(4))
        assert futures[WaitCondition.REMOVED].result() == ExitStatus(4) and one.waiters == []

    asyncio.run(scenario())
