"""`why` and `events` through the server and back, as one protocol."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fakes.engine import FakeEngine
from fakes.served import served
from fakes.stacks import FakeStacks

from stackrun.api.stacks import Change, ChangeQuery, Decision, Reasons, StackSource, Standing
from stackrun.client.stacks import HttpStacks
from stackrun.errors import NotFound

SOURCE = StackSource("/", project_name="shop")
REASONS = Reasons(
    "shop",
    "web",
    (Standing("shop-web-1", "c1", "created", error="no", waits=("db to be healthy",)),),
    (Decision(1.5, "web", "Container shop-web-1", "restarted", "exited (1)", "ran 3s", "policy", 12, 0.5),),
    ("db to be healthy",),
    ("partial",),
)
CHANGES = [
    Change(1, "container", "start", "c1", "shop", "web", {"name": "shop-web-1"}),
    Change(2, "stack", "created", "Container shop-web-1", "shop", "web", {"by": "up"}),
]


def test_reasons_survive_the_way(short_tmp: Path) -> None:
    async def scene() -> None:
        fake = FakeStacks(reasons=REASONS)
        async with served(FakeEngine(), short_tmp, fake) as host, HttpStacks(host) as stacks:
            assert await stacks.why(SOURCE, "web", 7) == REASONS
            assert fake.requests == [("why", SOURCE, "web", 7)]
            fake.error = NotFound("no such service: nope", hint="the services are web")
            with pytest.raises(NotFound, match="no such service: nope"):
                await stacks.why(SOURCE, "nope")

    asyncio.run(scene())


def test_changes_survive_the_way(short_tmp: Path) -> None:
    async def scene() -> None:
        fake = FakeStacks(changed=CHANGES)
        query = ChangeQuery(("web",), 1.5, 2.5, all=True)
        async with served(FakeEngine(), short_tmp, fake) as host, HttpStacks(host) as stacks:
            assert [one async for one in await stacks.changes(SOURCE, query)] == CHANGES
            assert fake.requests == [("changes", SOURCE, query)]

    asyncio.run(scene())
