"""Events on disk: what the next daemon reads, and what a file in any state costs."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from stackrun.api.types import Event
from stackrun.engine import chronicle as module
from stackrun.engine.chronicle import Chronicle
from stackrun.engine.events import REMEMBERED, Events

EVERYTHING = (0, 1 << 62)


def at(time_ns: int, action: str = "start") -> Event:
    return Event("container", action, "1", {"name": "shop-web-1", "ünï": "a\nb"}, time_ns)


def kept(root: Path) -> Chronicle:
    return Chronicle(str(root), lambda work: work())


def test_another_process_reads_what_was_added(tmp_path: Path) -> None:
    chronicle = kept(tmp_path)
    for number in (1, 2, 3):
        chronicle.add(at(number))
    chronicle.close()
    assert kept(tmp_path).read(*EVERYTHING) == [at(1), at(2), at(3)]
    assert kept(tmp_path).read(2, 3) == [at(2)]
    assert os.stat(tmp_path / "events.jsonl").st_mode & 0o777 == 0o600


def test_what_is_read_includes_what_was_not_written_yet(tmp_path: Path) -> None:
    chronicle = kept(tmp_path)
    chronicle.add(at(1))
    assert chronicle.read(*EVERYTHING) == [at(1)]


def test_events_are_written_many_at_a_time_and_by_themselves(tmp_path: Path) -> None:
    async def scenario() -> None:
        written = asyncio.Event()
        begun = 0

        def run(work: object) -> None:
            nonlocal begun
            begun += 1
            work()  # type: ignore[operator]
            written.set()

        chronicle = Chronicle(str(tmp_path), run)
        for number in range(50):
            chronicle.add(at(number))
        async with asyncio.timeout(10):
            await written.wait()
        assert begun == 1 and len((tmp_path / "events.jsonl").read_bytes().splitlines()) == 50

    asyncio.run(scenario())


def test_torn_and_foreign_lines_cost_themselves(tmp_path: Path) -> None:
    chronicle = kept(tmp_path)
    chronicle.add(at(1))
    chronicle.close()
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'[]\n7\n{"time_ns":"x"}\n\xff\n{"time_ns":2,"type":"cont')
    chronicle.add(at(3))
    chronicle.close()
    assert kept(tmp_path).read(*EVERYTHING) == [at(1), at(3)]


def test_it_never_grows_beyond_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILE_BYTES_MAX", 4096)
    chronicle = kept(tmp_path)
    for number in range(300):
        chronicle.add(at(number))
        if number % 7 == 0:
            chronicle.flush()
    chronicle.close()
    assert all(one.stat().st_size <= 4096 for one in tmp_path.iterdir()) and len(list(tmp_path.iterdir())) == 2
    times = [one.time_ns for one in chronicle.read(*EVERYTHING)]
    assert times == list(range(300 - len(times), 300)) and len(times) > 30


def test_a_disk_that_refuses_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chronicle = Chronicle(str(tmp_path / "gone"), lambda work: work())
    with caplog.at_level(logging.WARNING):
        for number in (1, 2):
            chronicle.add(at(number))
            chronicle.flush()
    assert len(caplog.records) == 1 and chronicle.read(*EVERYTHING) == []


def test_one_stream_has_those_on_disk_first_and_none_twice(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = iter(range(1, 1 << 20))
        chronicle = kept(tmp_path)
        events = Events(lambda: next(clock), chronicle.add)
        for _ in range(REMEMBERED + 100):
            events.publish("container", "start", "1", {})
        earlier = chronicle.read(0, events.remembered_from_ns)
        until_s = 2000e-9
        found = [one.time_ns async for one in events.subscribe(since_s=50e-9, until_s=until_s, earlier=earlier)]
        assert found == list(range(50, REMEMBERED + 101))

    asyncio.run(scenario())
