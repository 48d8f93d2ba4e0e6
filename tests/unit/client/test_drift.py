"""A drift report over HTTP and as a document."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fakes.engine import FakeEngine
from fakes.served import served
from fakes.stacks import FakeStacks

from stackrun.api.drift import Drift, DriftOptions, DriftReport, Repair
from stackrun.api.stacks import StackSource
from stackrun.api.wire import drift as wire
from stackrun.client.stacks import HttpStacks
from stackrun.errors import InvalidArgument, NotFound

SOURCE = StackSource("/srv", project_name="shop")
DRIFTS = tuple(Drift(f"Container {one.name}", "field", "declared", "actual", one) for one in Repair)
REPORT = DriftReport("shop", DRIFTS, DRIFTS[:1], repaired=True, kernel=False, failures=("why",))


def test_a_report_survives_the_way(short_tmp: Path) -> None:
    options = DriftOptions(("web",), repair=True, timeout_s=1.5)

    async def scene() -> None:
        fake = FakeStacks(drifted=REPORT)
        async with served(FakeEngine(), short_tmp, fake) as host, HttpStacks(host) as stacks:
            assert await stacks.drift(SOURCE, options) == REPORT
            assert fake.requests == [("drift", SOURCE, options)]
            fake.error = NotFound("no such service: web")
            with pytest.raises(NotFound, match="no such service"):
                await stacks.drift(SOURCE, DriftOptions())

    asyncio.run(scene())


def test_a_document_says_its_version() -> None:
    document = wire.drift_to_json(REPORT)
    assert next(iter(document)) == "version" and document["version"] == wire.DRIFT_VERSION
    assert wire.drift_from_json(document) == REPORT
    with pytest.raises(InvalidArgument, match="version 9"):
        wire.drift_from_json({**document, "version": 9})
    with pytest.raises(InvalidArgument, match="repair must be one of"):
        wire.drift_from_json({**document, "found": [{"repair": "magic"}]})
