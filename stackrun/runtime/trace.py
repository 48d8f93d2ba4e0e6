"""Where the time of a start goes: one line a step, from the request to execve, across every process on the way.

Off, a `mark` is one comparison.  On, each process appends its lines to one file (`begin`), which the others inherit; a line
goes out in one write, so none is torn.  The wall clock, since a time namespace moves all others (time_namespaces(7)).

    1732459201123456789 4f2a91c03b77 init mount proc on /proc
"""

from __future__ import annotations

import os
import time

INHERITED_FD = 4
"""Where a process of ours that is executed afresh finds the file."""
_ID_LENGTH = 12
_HIGH_FD = 200
"""Away from the numbers that --preserve-fds gives to the container."""

fd = -1
"""The file, or -1: tracing is off."""
_who = ["", ""]


def begin(process: str, descriptor: int) -> None:
    """Trace this process, and those it forks, into `descriptor`, which is open for appending and close-on-exec."""
    global fd
    fd = descriptor
    _who[0] = process


def to_file(process: str, path: str) -> None:
    import fcntl

    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    begin(process, fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, INHERITED_FD + 1))
    os.close(opened)


def to_memory(process: str, container_id: str) -> None:
    """Until `remembered`; what this process has done before counts as one step, by its cpu time."""
    import fcntl

    opened = os.memfd_create("trace", os.MFD_CLOEXEC)
    moved = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD)
    os.close(opened)
    fcntl.fcntl(moved, fcntl.F_SETFL, os.O_APPEND)
    begin(process, moved)
    become(process, container_id)
    now = time.time_ns()
    mark("be executed", at_ns=now - time.process_time_ns())
    mark("start interpreters, load modules", at_ns=now)


def remembered() -> list[str]:
    return os.pread(fd, 1 << 20, 0).decode().splitlines()


def become(process: str, container_id: str = "") -> None:
    """Who marks from now on; without an id the one known before."""
    _who[0] = process
    if container_id:
        _who[1] = container_id


def mark(step: str, container_id: str = "", at_ns: int = 0) -> None:
    """`step` is done now (or was, `at_ns`).  Threads that work for several containers name theirs."""
    if fd >= 0:
        process, known = _who
        os.write(fd, f"{at_ns or time.time_ns()} {(container_id or known)[:_ID_LENGTH]} {process} {step}\n".encode())


def table(lines: list[str]) -> str:
    """The profile of each container: microseconds since its first step and since the step before, in any process."""
    found: dict[str, list[tuple[int, str, str]]] = {}
    for line in lines:
        at, container_id, process, step = line.split(" ", 3)
        found.setdefault(container_id, []).append((int(at), process, step))
    return "\n".join("\n".join(_profile(container_id, sorted(marks))) for container_id, marks in found.items())


def _profile(container_id: str, marks: list[tuple[int, str, str]]) -> list[str]:
    first = before = marks[0][0]
    rows = [f"{container_id}: microseconds since the first step, and since the last", f"{'at':>9} {'took':>8}  process  step"]
    for at, process, step in marks:
        rows.append(f"{(at - first) / 1000:9.0f} {(at - before) / 1000:8.0f}  {process:<8} {step}")
        before = at
    return rows
