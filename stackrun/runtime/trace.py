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
    """The profile: microseconds since the first step, and since the same process's step before; medians where there are several
    containers."""
    found: dict[str, list[tuple[int, str, str]]] = {}
    for line in lines:
        at, container_id, process, step = line.split(" ", 3)
        found.setdefault(container_id, []).append((int(at), process, _plain(step, container_id)))
    spent: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for marks in found.values():
        _add(spent, sorted(marks))
    rows = sorted((_median(at), _median(took), process, step) for (process, step), (at, took) in spent.items())
    title = f"{len(found)} containers, medians" if len(found) > 1 else next(iter(found), "nothing was traced")
    return "\n".join(
        [title, f"{'at':>9} {'took':>8}  process  step", *(f"{at:9.0f} {took:8.0f}  {who:<8} {step}" for at, took, who, step in rows)]
    )


def _plain(step: str, container_id: str) -> str:
    """The same for every container: of a path that holds its id only the name."""
    return " ".join(word.rpartition("/")[2] if container_id and container_id in word else word for word in step.split(" "))


def _add(spent: dict[tuple[str, str], tuple[list[float], list[float]]], marks: list[tuple[int, str, str]]) -> None:
    first = marks[0][0]
    last: dict[str, int] = {}
    for at, process, step in marks:
        ats, took = spent.setdefault((process, step), ([], []))
        ats.append((at - first) / 1000)
        # A process's first step has taken it since whoever came before.
        took.append((at - last.get(process, max(last.values(), default=first))) / 1000)
        last[process] = at


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
