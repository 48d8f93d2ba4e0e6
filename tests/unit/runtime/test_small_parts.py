"""State files, executables, netlink replies, the event loop's edges, and what the start path may import."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from stackrun.errors import CommandNotExecutable, CommandNotFound, InvalidArgument, KernelError, NotFound
from stackrun.runtime import executable, state, wiring
from stackrun.runtime.loop import READ, Loop
from stackrun.runtime.record import Record


def test_a_record_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = str(tmp_path / "state.json")
    assert state.read(path) is None
    state.write(path, {"a": 1})
    state.write(path, {"a": 2})
    assert state.read(path) == {"a": 2} and os.listdir(tmp_path) == ["state.json"]
    Path(path).write_text("{")
    assert state.read(path) is None
    state.remove(path)
    state.remove(path)


def test_a_process_is_known_by_its_start() -> None:
    ticks = state.start_ticks(os.getpid())
    assert ticks > 0 and state.is_alive(os.getpid(), ticks) and not state.is_alive(os.getpid(), ticks + 1)
    assert state.start_ticks(2**22 + 1) == 0


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    ticks = state.start_ticks(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not state.is_alive(child.pid, ticks)
    child.wait()


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    for name, mode in (("tool", 0o755), ("data", 0o644)):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(mode)
    (tmp_path / "dir").mkdir()
    return tmp_path


def test_a_command_is_found_in_the_path(tools: Path) -> None:
    assert executable.find("tool", f"/no-such:{tools}") == f"{tools}/tool"
    assert executable.find(f"{tools}/tool", "") == f"{tools}/tool"


@pytest.mark.parametrize(
    ("command", "error", "text"),
    [
        ("nothing", CommandNotFound, 'exec: "nothing": executable file not found in $PATH'),
        ("{}/nothing", CommandNotFound, 'exec: "{0}/nothing": stat {0}/nothing: no such file or directory'),
        ("{}/tool/x", CommandNotFound, 'exec: "{0}/tool/x": stat {0}/tool/x: no such file or directory'),
        ("{}/data", CommandNotExecutable, 'exec: "{0}/data": permission denied'),
        ("{}/dir", CommandNotExecutable, 'exec: "{0}/dir": is a directory'),
        ("data", CommandNotExecutable, 'exec: "data": permission denied'),
    ],
)
def test_refusals_in_runcs_words(tools: Path, command: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        executable.find(command.format(tools), str(tools))
    assert str(raised.value) == text.format(tools)


def netlink_error(code: int, sequence: int, words: str = "") -> bytes:
    body = struct.pack("=i", code) + struct.pack("=IHHII", 20, 16, 5, sequence, 0)
    text = words.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), 1) + text if words else b""
    return struct.pack("=IHHII", 16 + len(body) + len(attribute), 2, 0x300 if words else 0x100, sequence, 0) + body + attribute


def test_acknowledgements_are_counted() -> None:
    batch = struct.pack("=IHHII", 20, 16, 5, 1, 0) + bytes(4) + struct.pack("=IHHII", 16, 16, 1, 2, 0)
    assert wiring._acknowledged(batch) == 1
    assert wiring._replies(netlink_error(0, 1) + netlink_error(0, 2), 0) == 2
    with pytest.raises(KernelError):
        wiring._acknowledged(bytes(16))


def test_a_refusal_has_the_kernels_words() -> None:
    with pytest.raises(KernelError, match="netlink 12: message 7: EINVAL") as raised:
        wiring._replies(netlink_error(-22, 7, "no such chain"), 12)
    assert raised.value.hint == "no such chain"


def test_a_callback_that_was_forgotten_in_the_same_turn_is_not_called() -> None:
    loop = Loop()
    pipes = [os.pipe() for _ in range(2)]
    called: list[int] = []

    def callback(mine: int, other: int) -> None:
        called.append(mine)
        loop.forget(other)

    for index in range(2):
        mine, other = pipes[index][0], pipes[1 - index][0]
        loop.watch(mine, READ, lambda _, mine=mine, other=other: callback(mine, other))  # type: ignore[misc]
        os.write(pipes[index][1], b"x")
    loop.turn()
    assert len(called) == 1
    for fd in (fd for pair in pipes for fd in pair):
        os.close(fd)


def test_deadlines_come_once_and_can_be_cancelled() -> None:
    loop = Loop()
    came: list[str] = []

    def never() -> None:
        came.append("never")

    loop.after(0, lambda: came.append("now"))
    loop.after(0, never)
    loop.cancel(never)
    loop.turn()
    loop.after(0, lambda: came.append("next"))
    loop.turn()
    assert came == ["now", "next"]


def test_records_have_safe_names(tmp_path: Path) -> None:
    for name in ("..", "a/b", "", "x" * 2000):
        with pytest.raises(InvalidArgument):
            Record(str(tmp_path), name)
    with pytest.raises(NotFound, match="container does not exist"):
        Record.load("/r", "a")


@pytest.mark.parametrize("module", ["nursery", "command", "birth", "foreground"])
def test_the_start_path_stays_light(module: str) -> None:
    """Also by way of other modules, and without site: what import-linter cannot see.  Each of these costs a start milliseconds."""
    heavy = (
        *("argparse", "array", "asyncio", "collections", "contextlib", "dataclasses", "enum", "functools", "inspect", "json", "logging"),
        *("pathlib", "pyroute2", "re", "signal", "socket", "subprocess", "traceback", "typing"),
    )
    root = str(Path(__file__).resolve().parents[3])
    code = (
        f"import sys; sys.path.append({root!r}); import stackrun.runtime.{module}; print(*[one for one in {heavy!r} if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
