"""The history of a stack's decisions on disk: bounded, torn, full, shared, and counting what repeats itself."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stackrun.api.stacks import Decision
from stackrun.stack.journal import FILE_BYTES_MAX, TEXT_CHARS_MAX, Journal

NOW = 1_700_000_000.0


def made(number: int = 0, **words: Any) -> Decision:
    return replace(Decision(NOW + number, "db", "Container shop-db-1", "created", f"missing {number}"), **words)


def looped(number: int) -> Decision:
    return made(number, did="restarted", cause="exited (1)", by="policy", detail=f"log {number}")


def file(folder: Path, project: str = "shop") -> Path:
    return folder / ".journal" / f"{project}.jsonl"


def test_what_was_noted_is_read_by_another_process(tmp_path: Path) -> None:
    decisions = [made(0, detail="ünïcode\nand a line"), made(1, service="web", by="keep")]
    Journal(str(tmp_path)).note("shop", decisions)
    later = Journal(str(tmp_path))
    assert later.read("shop") == tuple(decisions)
    assert later.read("shop", "web") == (decisions[1],)
    assert later.read("shop", limit=1) == (decisions[1],)
    assert later.read("shop", limit=0) == later.read("other") == ()


def test_it_never_grows_beyond_two_files(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    for number in range(0, 6000, 100):
        journal.note("shop", [made(one, detail="x" * 100) for one in range(number, number + 100)])
    sizes = [one.stat().st_size for one in (tmp_path / ".journal").iterdir()]
    assert len(sizes) == 2 and all(size <= FILE_BYTES_MAX for size in sizes)
    told = journal.read("shop", limit=10_000)
    assert told[-1].cause == "missing 5999" and len(told) >= 800
    assert [one.time_s for one in told] == [NOW + 6000 - len(told) + at for at in range(len(told))]


def test_one_batch_larger_than_a_file(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.note("shop", [made(number, detail="y" * 10 * TEXT_CHARS_MAX) for number in range(500)])
    assert all(one.stat().st_size <= FILE_BYTES_MAX for one in (tmp_path / ".journal").iterdir())
    assert journal.read("shop")[-1].detail == "y" * TEXT_CHARS_MAX


@pytest.mark.parametrize("rest", [b'{"time_s":17', b"\xff\xfe\x00", b"[]", b"null\n12\n{}"])
def test_a_torn_line_costs_that_line(tmp_path: Path, rest: bytes) -> None:
    Journal(str(tmp_path)).note("shop", [made(0)])
    with file(tmp_path).open("ab") as torn:
        torn.write(rest)
    journal = Journal(str(tmp_path))
    journal.note("shop", [made(1)])
    assert journal.read("shop") == (made(0), made(1))


def test_fields_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.note("shop", [made(0)])
    line = json.loads(file(tmp_path).read_text())
    file(tmp_path).write_text(json.dumps({**line, "mood": "blue"}) + "\n")
    assert journal.read("shop") == (made(0),)


def test_a_full_disk_loses_the_note_alone_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(str(tmp_path))
    journal.note("shop", [made(0)])

    real, budget = os.write, [10]

    def write(fd: int, data: bytes) -> int:
        if not budget[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(fd, bytes(data)[: budget[0]])
        budget[0] -= written
        return written

    with monkeypatch.context() as full, caplog.at_level(logging.WARNING):
        full.setattr("os.write", write)
        journal.note("shop", [made(1)])
        journal.note("shop", [made(2)])
    assert [one.message for one in caplog.records] == [f"cannot note what became of shop in {tmp_path}/.journal: No space left on device"]
    journal.note("shop", [made(3)])
    assert journal.read("shop") == (made(0), made(3))
    assert file(tmp_path).read_bytes().count(b"\n") == 2


def test_a_state_directory_that_cannot_be_made_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    journal = Journal(str(tmp_path / "state"))
    journal.note("shop", [made(0)])
    assert journal.read("shop") == ()


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    journals = [Journal(str(tmp_path)) for _ in range(4)]

    def write(at: int) -> None:
        for number in range(25):
            journals[at].note("shop", [made(number, service=f"s{at}", resource=f"Container shop-s{at}-1")])

    threads = [threading.Thread(target=write, args=(at,)) for at in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    told = Journal(str(tmp_path)).read("shop", limit=1000)
    assert len(told) == 100
    assert [one.cause for one in told if one.service == "s2"] == [f"missing {number}" for number in range(25)]


def test_a_restart_loop_is_counted_and_hardly_written(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.note("shop", [made(0)])
    for number in range(1, 1001):
        journal.note("shop", [looped(number)])
    created, restarted = journal.read("shop")
    assert created == made(0)
    assert (restarted.times, restarted.since_s, restarted.time_s, restarted.detail) == (1000, NOW + 1, NOW + 1000, "log 1000")
    assert len(file(tmp_path).read_bytes().splitlines()) < 15
    after_a_crash = Journal(str(tmp_path)).read("shop")[1]
    assert after_a_crash.times >= 500 and after_a_crash.since_s == NOW + 1


def test_a_repeat_after_a_deed_or_a_quiet_hour_is_news(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.note("shop", [looped(0), looped(1), made(2, did="restarted", by="restart"), looped(3), looped(4), looped(4000)])
    assert [(one.by, one.times) for one in journal.read("shop")] == [("policy", 2), ("restart", 1), ("policy", 2), ("policy", 1)]


def test_what_a_person_did_twice_is_told_twice(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.note("shop", [made(0, cause="same"), made(1, cause="same")])
    assert [one.times for one in journal.read("shop")] == [1, 1]


def test_a_slow_loop_is_written_now_and_then(tmp_path: Path) -> None:
    """So that a daemon that is killed forgets ten minutes of it."""
    journal = Journal(str(tmp_path))
    for number in range(60):
        journal.note("shop", [looped(number * 60)])
    assert 50 <= Journal(str(tmp_path)).read("shop")[0].times <= 60


def test_counts_are_written_by_a_process_that_ends(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    for number in range(7):
        journal.note("shop", [looped(number)])
    counted = journal.read("shop")
    assert Journal(str(tmp_path)).read("shop")[0].times == 4
    journal.settle()
    written = file(tmp_path).read_bytes()
    assert Journal(str(tmp_path)).read("shop") == counted and counted[0].times == 7
    journal.settle()
    assert file(tmp_path).read_bytes() == written
