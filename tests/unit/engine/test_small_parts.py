"""Clock, names, processes, log settings, tasks: the small pieces."""

from __future__ import annotations

import asyncio

import pytest

from stackrun.api.types import NEVER, ContainerSpec, LogConfig
from stackrun.engine.clock import nanoseconds, stamp
from stackrun.engine.launch import log_settings
from stackrun.engine.local import instance
from stackrun.engine.names import made_up_name
from stackrun.engine.processes import parse
from stackrun.engine.record import Definition
from stackrun.engine.registry import Registry
from stackrun.engine.tasks import Tasks
from stackrun.errors import InvalidArgument


def test_stamps_have_nanoseconds_and_come_back() -> None:
    assert stamp(1_767_225_600_000_000_007) == "2026-01-01T00:00:00.000000007Z"
    for at in (0, 1, 1_767_225_600_123_456_789):
        assert nanoseconds(stamp(at)) == at
    assert nanoseconds("2026-01-01T00:00:00.5Z") == 1_767_225_600_500_000_000
    assert nanoseconds(NEVER) == nanoseconds("") == nanoseconds("yesterday") == 0


def test_made_up_names_are_valid_names() -> None:
    registry = Registry()
    for number in range(50):
        registry.reserve(made_up_name(), str(number))


def test_top_keeps_the_containers_lines_and_blanks_in_the_last_column() -> None:
    table = parse("UID   PID CMD\nroot    1 init\nroot   77 sh -c  two  blanks\n", frozenset({77}))
    assert table.titles == ("UID", "PID", "CMD") and table.processes == (("root", "77", "sh -c  two  blanks"),)
    with pytest.raises(InvalidArgument, match="Couldn't find PID field in ps output"):
        parse("UID CMD\n", frozenset())


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (LogConfig(), {"path": "/d/i-json.log", "max_bytes": 20 << 20, "max_files": 5}),
        (LogConfig("local", {"max-size": "10m", "max-file": "3"}), {"path": "/d/i-json.log", "max_bytes": 10 << 20, "max_files": 3}),
        (LogConfig(options={"max-size": "-1", "max-file": "1"}), {"path": "/d/i-json.log", "max_bytes": 0, "max_files": 1}),
        (LogConfig("none"), None),
    ],
)
def test_log_settings(config: LogConfig, found: object) -> None:
    definition = Definition("i", "n", "c", "true", (), "sha256:1", ContainerSpec("x", log_config=config))
    assert log_settings(definition, "/d") == found


def test_only_the_default_root_has_no_instance() -> None:
    assert instance("/var/lib/stackrun") == instance("/var/lib/../lib/stackrun/") == ""
    assert instance("/a") != instance("/b") and len(instance("/a")) == 8


def test_work_is_finished_although_its_caller_is_cancelled() -> None:
    async def scenario() -> None:
        tasks, go, done = Tasks(lambda text: None), asyncio.Event(), []

        async def work() -> None:
            await go.wait()
            done.append(1)

        caller = asyncio.create_task(tasks.finish(work()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        go.set()
        await tasks.settle()
        assert done == [1]

    asyncio.run(scenario())


def test_a_failure_nobody_awaits_is_reported() -> None:
    async def scenario() -> None:
        said: list[str] = []
        tasks = Tasks(said.append)

        async def fail() -> None:
            raise InvalidArgument("broken")

        tasks.spawn(fail(), "this work")
        await tasks.settle()
        await asyncio.sleep(0)
        assert said == ["this work: InvalidArgument: broken"]

    asyncio.run(scenario())
