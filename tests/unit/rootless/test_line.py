"""A connection to a process that dies and has a successor: noticed once each time, and found however late it comes."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from stackrun.rootless import words
from stackrun.rootless.line import Line


def test_each_successor_is_found_and_told_once(tmp_path: Path) -> None:
    path = str(tmp_path / "process.sock")

    async def scenario() -> None:
        found: asyncio.Queue[socket.socket] = asyncio.Queue()
        listener = words.listener(path)
        first = words.seqpacket()
        first.connect(path)
        line = Line(path, found.put_nowait)
        line.watch(first)
        held = [first]
        served, _ = listener.accept()
        for _ in range(2):
            listener.close()
            Path(path).unlink()
            served.close()
            listener = words.listener(path)
            async with asyncio.timeout(10):
                held.append(await found.get())
            served, _ = listener.accept()
            served.send(b"an answer that somebody else waits for")
            assert held[-1].recv(100) and found.empty()
        line.close()
        for one in (served, listener, *held):
            one.close()

    asyncio.run(scenario())


def test_a_line_that_is_closed_looks_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        ours, theirs = words.pair()
        line = Line(str(tmp_path / "nobody.sock"), lambda connection: None)
        line.watch(ours)
        theirs.close()
        await asyncio.sleep(0)
        line.close()
        ours.close()
        assert not asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]

    asyncio.run(scenario())
