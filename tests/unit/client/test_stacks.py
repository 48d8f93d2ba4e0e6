"""The Stacks contract over HTTP: what the server is asked for, and what comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fakes.engine import FakeEngine
from fakes.served import served
from fakes.stacks import FakeStacks

from stackrun.api.stacks import (
    FieldChange,
    History,
    Phase,
    PlannedAction,
    ResourceChange,
    RevisionEntry,
    StackEvent,
    StackPlan,
    StackSource,
    StateDifference,
    Symbol,
    UpOptions,
)
from stackrun.api.wire import stacks as wire
from stackrun.client.stacks import HttpStacks
from stackrun.errors import Conflict, InvalidArgument, NotFound

SOURCE = StackSource("/srv", project_name="shop")
CHANGES = (FieldChange("image", "a", "b", "compose.yaml:1:2"), FieldChange("tty", None, "true"), FieldChange("user", "0", None))
PLAN = StackPlan(
    "shop",
    (PlannedAction(Symbol.REPLACE, "Container web", "why", ("create", "start"), CHANGES, ("db healthy",), ("all",), ("note",)),),
    (StackEvent("Project shop", Phase.DONE, "Warning", "detail", "hint"),),
    ("web ready",),
    ("Volume data",),
    {"the plan": "abc"},
)


def test_a_plan_survives_the_way(short_tmp: Path) -> None:
    async def scene() -> None:
        fake = FakeStacks(planned=PLAN)
        async with served(FakeEngine(), short_tmp, fake) as host, HttpStacks(host) as stacks:
            assert await stacks.plan(SOURCE, UpOptions(scale={"web": 2})) == PLAN
            assert fake.requests == [("plan", SOURCE, UpOptions(scale={"web": 2}))]
            fake.error = Conflict("moved", hint="plan again")
            with pytest.raises(Conflict, match="moved"):
                await stacks.plan(SOURCE, UpOptions())

    asyncio.run(scene())


def test_a_past_and_its_differences_survive_the_way(short_tmp: Path) -> None:
    past = History("shop", (RevisionEntry(1, 1.5, "up", "+web"), RevisionEntry(2, current=True, fault="broken")), "up web", 2.5)
    difference = StateDifference("shop", "revision 1", "the file", (ResourceChange(Symbol.CHANGE, "Service web", CHANGES),))

    async def scene() -> None:
        fake = FakeStacks(past=past, difference=difference, events=[StackEvent("", Phase.DONE, "Done")])
        async with served(FakeEngine(), short_tmp, fake) as host, HttpStacks(host) as stacks:
            assert await stacks.history(SOURCE) == past
            assert await stacks.diff(SOURCE, 1, 0) == difference
            options = UpOptions(revision=-1, atomic=True, revert=True)
            assert [one async for one in await stacks.up(SOURCE, options)] == fake.events
            assert fake.requests == [("history", SOURCE), ("diff", SOURCE, 1, 0), ("up", SOURCE, options)]
            fake.error = NotFound("stack shop has no revisions")
            for asked in (stacks.history(SOURCE), stacks.diff(SOURCE, 0, 0)):
                with pytest.raises(NotFound, match="has no revisions"):
                    await asked

    asyncio.run(scene())


def test_a_seal_reaches_up(short_tmp: Path) -> None:
    async def scene() -> None:
        fake = FakeStacks(events=[StackEvent("", Phase.DONE, "Done")])
        async with served(FakeEngine(), short_tmp, fake) as host, HttpStacks(host) as stacks:
            assert [one async for one in await stacks.up(SOURCE, UpOptions(seal=PLAN.seal))] == fake.events
            assert fake.requests == [("up", SOURCE, UpOptions(seal=PLAN.seal))]

    asyncio.run(scene())


def test_a_plan_of_another_version_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="a plan of version 2 cannot be read: this is version 1"):
        wire.plan_from_json({**wire.plan_to_json(PLAN), "version": 2})
    with pytest.raises(InvalidArgument, match=r"actions\[0\].symbol must be one of"):
        wire.plan_from_json({"version": 1, "actions": [{"symbol": "?"}]})
