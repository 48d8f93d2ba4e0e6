"""Reading logs: tail from the end, rotation, followers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from stackrun.api.types import LogLine, LogQuery
from stackrun.engine.logs import LogReader, parse, read, tail_offset


def record(text: str, stream: str = "stdout", second: int = 0) -> str:
    return json.dumps({"log": text, "stream": stream, "time": f"2026-01-01T00:00:{second:02}.5Z"}) + "\n"


def write(path: Path, *texts: str) -> None:
    with path.open("a") as file:
        file.writelines(record(f"{text}\n") for text in texts)


async def texts(path: Path, query: LogQuery) -> list[str]:
    ended = asyncio.Event()
    ended.set()
    return [line.data.decode().strip() async for line in read(path, query, ended)]


def query(path: Path, **fields: object) -> list[str]:
    return asyncio.run(texts(path, LogQuery(**fields)))  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "id-json.log"


def test_records_and_damage() -> None:
    assert parse(record("x\n", "stderr").encode()) == LogLine(2, "2026-01-01T00:00:00.5Z", b"x\n")
    for damaged in (b"", b"{", b"[]", b'{"log":"x"}', b'{"log":1,"stream":"stdout","time":"x"}', b'{"log":"x","stream":"?","time":"x"}'):
        assert parse(damaged) is None


def test_all_and_the_last_few(log: Path) -> None:
    write(log, *(str(number) for number in range(1000)))
    assert query(log) == [str(number) for number in range(1000)]
    assert query(log, tail=3) == ["997", "998", "999"]
    assert query(log, tail=0) == []
    assert len(query(log, tail=5000)) == 1000


@pytest.mark.parametrize("lines", [1, 2, 7])
@pytest.mark.parametrize("width", [1, 40_000, 65_534, 65_535, 65_536])
def test_the_tail_is_found_whatever_the_block_borders(tmp_path: Path, lines: int, width: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"".join(b"%d" % number + b"x" * width + b"\n" for number in range(9)))
    with path.open("rb") as file:
        offset, found = tail_offset(file, lines)
        file.seek(offset)
        assert found == lines and [line[:1] for line in file] == [b"%d" % number for number in range(9 - lines, 9)]


def test_rotated_files_are_read_oldest_first(log: Path) -> None:
    write(log.with_name(log.name + ".2"), "a", "b")
    write(log.with_name(log.name + ".1"), "c")
    write(log, "d", "e")
    assert query(log) == ["a", "b", "c", "d", "e"]
    assert query(log, tail=3) == ["c", "d", "e"]
    assert query(log, tail=4) == ["b", "c", "d", "e"]


def test_streams_and_times_choose(log: Path) -> None:
    log.write_text(record("out\n", second=1) + record("err\n", "stderr", 2) + record("late\n", second=3))
    assert query(log, stderr=False) == ["out", "late"]
    assert query(log, stdout=False) == ["err"]
    base = 1767225600.0
    assert query(log, since_s=base + 2) == ["err", "late"]
    assert query(log, until_s=base + 2.5) == ["out", "err"]


def test_no_log_yet_is_no_lines(log: Path) -> None:
    assert query(log) == []


def test_a_partial_record_waits_for_its_rest(log: Path) -> None:
    whole = record("whole\n")
    log.write_text(whole[:20])
    reader = LogReader(log, LogQuery())
    assert reader.lines() == []
    with log.open("a") as file:
        file.write(whole[20:])
    assert [line.data for line in reader.lines()] == [b"whole\n"]
    reader.close()


def test_what_was_written_before_and_after_a_rotation_is_read(log: Path) -> None:
    write(log, "1")
    reader = LogReader(log, LogQuery())
    assert len(reader.lines()) == 1
    write(log, "2")
    log.rename(log.with_name(log.name + ".1"))
    write(log, "3")
    log.with_name(log.name + ".1").rename(log.with_name(log.name + ".2"))
    log.rename(log.with_name(log.name + ".1"))
    write(log, "4")
    assert [line.data for line in reader.lines()] == [b"2\n", b"3\n", b"4\n"]
    reader.close()


def test_a_follower_hears_of_lines_rotation_and_the_end(log: Path) -> None:
    async def scenario() -> None:
        write(log, "old", "last")
        ended = asyncio.Event()
        lines = read(log, LogQuery(follow=True, tail=1), ended)
        assert (await anext(lines)).data == b"last\n"
        waiting = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        write(log, "new")
        assert (await asyncio.wait_for(waiting, 5)).data == b"new\n"
        waiting = asyncio.ensure_future(anext(lines))
        log.rename(log.with_name(log.name + ".1"))
        write(log, "rotated")
        assert (await asyncio.wait_for(waiting, 5)).data == b"rotated\n"
        write(log, "parting")
        ended.set()
        assert [line.data async for line in lines] == [b"parting\n"]

    asyncio.run(scenario())


def test_a_follower_stops_at_its_time(log: Path) -> None:
    async def scenario() -> None:
        write(log, "old")
        lines = read(log, LogQuery(follow=True, until_s=1.0e9), asyncio.Event())
        assert [line async for line in lines] == []

    asyncio.run(scenario())
