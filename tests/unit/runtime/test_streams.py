"""Streams on pipes and socket pairs: nothing lost, nobody waited for who does not read."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from stackrun.runtime import streams as module
from stackrun.runtime.loop import Loop
from stackrun.runtime.streams import BACKLOG_BYTES_MAX, Streams

BOTH = frozenset(("stdout", "stderr"))


class Recorder:
    """Stands in for a log."""

    def __init__(self) -> None:
        self.text = b""
        self.failure = ""
        self.flushed: list[str] = []

    def write(self, stream: str, data: bytes) -> None:
        self.text += data

    def flush(self, stream: str) -> None:
        self.flushed.append(stream)


class Bench:
    def __init__(self, stall_s: float = 10.0) -> None:
        self.loop = Loop()
        self.log = Recorder()
        self.troubles: list[str] = []
        self.streams = Streams(self.loop, self.log, stall_s, self.troubles.append)  # type: ignore[arg-type]
        reader, self.stdout = os.pipe()
        self.streams.add_source(reader, "stdout")

    def attach(self, *, gives_input: bool = False) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.streams.attach(ours, BOTH, gives_input)
        theirs.setblocking(False)
        return theirs

    def turn_until(self, done: Callable[[], bool]) -> None:
        self.loop.after(10, lambda: pytest.fail("nothing more happens"))
        while not done():
            self.loop.turn()


def test_output_goes_to_the_log_and_in_frames_to_all_who_are_attached() -> None:
    bench = Bench()
    first, second = bench.attach(), bench.attach()
    os.write(bench.stdout, b"hello")
    bench.loop.turn()
    assert bench.log.text == b"hello"
    for sock in (first, second):
        assert sock.recv(100) == b"\x01\0\0\0\0\0\0\x05hello"
        sock.close()
    os.close(bench.stdout)
    bench.streams.drain()


def test_the_end_of_output_reaches_readers_after_the_last_byte() -> None:
    bench = Bench()
    sock = bench.attach()
    os.write(bench.stdout, b"x" * 1000)
    os.close(bench.stdout)
    bench.turn_until(lambda: bench.streams.is_settled)
    assert len(sock.recv(5000)) == 1008 and sock.recv(1) == b""
    assert bench.log.flushed == ["stdout"]
    sock.close()


def test_a_full_reader_holds_the_source_until_it_reads_again() -> None:
    bench = Bench()
    sock = bench.attach()
    os.set_blocking(bench.stdout, False)
    written = 0
    bench.loop.after(10, lambda: pytest.fail("the source is never held"))
    while not bench.streams._is_held:
        written += os.write(bench.stdout, b"y" * 65536)
        bench.loop.turn()
    written += os.write(bench.stdout, b"more")
    assert bench.streams._is_held
    os.close(bench.stdout)
    received = 0

    def drained() -> bool:
        nonlocal received
        try:
            while data := sock.recv(1 << 20):
                received += len(data)
        except BlockingIOError:
            return False
        return True

    bench.turn_until(drained)
    assert received > written == len(bench.log.text)
    sock.close()


def test_a_reader_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("stackrun.runtime.loop.time.monotonic", lambda: clock[0])
    bench = Bench(stall_s=10)
    sock = bench.attach()
    sent = 0
    while not bench.streams._watches_stall or sent < BACKLOG_BYTES_MAX:
        sent += os.write(bench.stdout, b"z" * 65536)
        bench.loop.turn()
    for _ in range(2):
        clock[0] += 11
        bench.loop.turn()
    assert bench.streams._attachments == []
    os.close(bench.stdout)
    bench.streams.drain()
    sock.close()


def test_input_flows_and_its_end_closes_the_process_input() -> None:
    bench = Bench()
    process_end, shim_end = os.pipe()
    bench.streams.set_input(shim_end, ends_with_client=True)
    sock = bench.attach(gives_input=True)
    sock.sendall(b"typed")
    sock.shutdown(socket.SHUT_WR)
    bench.turn_until(lambda: bench.streams._input_fd < 0)
    assert os.read(process_end, 100) == b"typed" and os.read(process_end, 1) == b""
    os.close(process_end)
    sock.close()
    os.close(bench.stdout)
    bench.streams.drain()
    bench.streams.close()


def test_without_that_the_input_stays_open() -> None:
    bench = Bench()
    process_end, shim_end = os.pipe()
    bench.streams.set_input(shim_end, ends_with_client=False)
    sock = bench.attach(gives_input=True)
    sock.sendall(b"typed")
    sock.close()
    bench.turn_until(lambda: not bench.streams._attachments)
    assert os.read(process_end, 100) == b"typed"
    assert bench.streams._input_fd >= 0
    os.close(process_end)
    os.close(bench.stdout)
    bench.streams.drain()


def test_more_input_than_the_process_takes_waits() -> None:
    bench = Bench()
    process_end, shim_end = os.pipe()
    os.set_blocking(process_end, False)
    bench.streams.set_input(shim_end, ends_with_client=True)
    sock = bench.attach(gives_input=True)
    size = 400_000
    pending = memoryview(b"i" * size)
    received = 0

    def step() -> bool:
        nonlocal pending, received
        try:
            pending = pending[sock.send(pending) :] if pending else pending
            if not pending:
                sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        try:
            while received < size:
                received += len(os.read(process_end, 8192))
        except BlockingIOError:
            return False
        return True

    bench.turn_until(step)
    os.close(process_end)
    sock.close()
    os.close(bench.stdout)
    bench.streams.drain()
    bench.streams.close()


def test_a_log_that_cannot_be_written_is_told_once() -> None:
    bench = Bench()
    bench.log.failure = "disk full"
    for _ in range(2):
        os.write(bench.stdout, b"x")
        bench.loop.turn()
    assert bench.troubles == ["disk full"]
    os.close(bench.stdout)
    bench.streams.drain()


def test_numbers_are_dockers() -> None:
    assert module.STREAM_NUMBERS == {"stdin": 0, "stdout": 1, "stderr": 2}
