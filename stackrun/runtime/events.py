"""`stackrun-runtime events`: what a container uses, and that it ran out of memory, as runc's JSON lines.

    {"type": "stats", "id": …, "data": {"cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", …}}
    {"type": "oom", "id": …}

Sources: runc-events(8) and what runc prints on the same machine; cgroup-v2.rst.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from typing import Any

from stackrun.errors import InvalidArgument
from stackrun.kernel.cgroup import Cgroup
from stackrun.kernel.cgroup_files import flat_keyed, number, read_or_empty
from stackrun.kernel.shortage import LOOK_S, LOOKS, Shortage
from stackrun.runtime.record import Record

_UNLIMITED = 2**63 - 1
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """A positive Go duration of one unit, such as `5s` or `500ms`."""
    digits = text.rstrip("mhs")
    unit = text[len(digits) :]
    try:
        found = float(digits) * _UNITS_S[unit]
    except (KeyError, ValueError):
        raise InvalidArgument(f"invalid value {text!r} for flag -interval: it is no duration", hint="such as 5s") from None
    if found <= 0:
        raise InvalidArgument("duration interval must be greater than 0")
    return found


def follow(record: Record, interval_s: float) -> None:
    """Print a sample each interval and every want of memory, until the container ends."""
    group = record.group()
    pid_fd = record.open_init()
    shortage = Shortage(group)
    poller = select.poll()
    poller.register(pid_fd, select.POLLIN)
    if shortage.fd >= 0:
        poller.register(shortage.fd, shortage.mask)
    due = time.monotonic() + interval_s
    while True:
        ready = {fd for fd, _ in poller.poll(max(0.0, due - time.monotonic()) * 1000)}
        if shortage.fd in ready and _has_come(shortage):
            say(record, "oom")
        if pid_fd in ready:
            return
        if not ready:
            say(record, "stats", sample(group))
            due += interval_s


def _has_come(shortage: Shortage) -> bool:
    for _ in range(LOOKS):
        if shortage.kills():
            return True
        time.sleep(LOOK_S)
    return shortage.is_going_on()


def say(record: Record, kind: str, data: dict[str, Any] | None = None) -> None:
    line = {"type": kind, "id": record.id, **({} if data is None else {"data": data})}
    try:
        print(json.dumps(line, separators=(",", ":")), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's own flush at exit does not fail
        raise


# --- one sample ---


def sample(group: Cgroup) -> dict[str, Any]:
    from stackrun.kernel import cgroup_stats

    used = cgroup_stats.sample(group)
    return {
        "cpu": _cpu(group, used["cpu"]),
        "cpuset": _cpuset(group),
        "memory": _memory(group),
        "pids": {name: value for name, value in used["pids"].items() if value},
        "blkio": _block_io(used["block_io"]),
        "hugetlb": _huge_pages(group),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _cpu(group: Cgroup, used: dict[str, int]) -> dict[str, Any]:
    usage: dict[str, Any] = {"total": used["usage_ns"], "kernel": used["system_ns"], "user": used["user_ns"]}
    if "cpuacct" in group.layout.v1:
        text = read_or_empty(f"{group.directory('cpuacct')}/cpuacct.usage_percpu")
        usage["percpu"] = [int(word) for word in text.split()]
    names = (("periods", "periods"), ("throttledPeriods", "throttled_periods"), ("throttledTime", "throttled_ns"))
    return {"usage": usage, "throttling": {theirs: used[ours] for theirs, ours in names if used[ours]}}


def _cpuset(group: Cgroup) -> dict[str, list[int]]:
    directory = group.directory("cpuset")
    suffix = "" if "cpuset" in group.layout.v1 else ".effective"
    found = {}
    for name in ("cpus", "mems") if directory else ():
        found[name] = _numbers(read_or_empty(f"{directory}/cpuset.{name}{suffix}"))
    return found


def _numbers(text: str) -> list[int]:
    """`0-2,5` → [0, 1, 2, 5]"""
    found: list[int] = []
    for part in text.strip().split(",") if text.strip() else ():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _memory(group: Cgroup) -> dict[str, Any]:
    directory = group.directory("memory")
    if not directory:
        return {}
    stats = flat_keyed(read_or_empty(f"{directory}/memory.stat"))
    if "memory" in group.layout.v1:
        names = (("usage", "memory"), ("swap", "memory.memsw"), ("kernel", "memory.kmem"), ("kernelTCP", "memory.kmem.tcp"))
        return {"cache": stats.get("cache", 0), **{name: _memory_v1(directory, prefix) for name, prefix in names}, "raw": stats}
    usage = {"limit": _limit(f"{directory}/memory.max"), "usage": number(f"{directory}/memory.current")}
    usage |= {"max": number(f"{directory}/memory.peak"), "failcnt": flat_keyed(read_or_empty(f"{directory}/memory.events")).get("max", 0)}
    swap = {"limit": _limit(f"{directory}/memory.swap.max"), "usage": number(f"{directory}/memory.swap.current"), "failcnt": 0}
    # As runc has it: memory and swap together, as version 1 counts.
    swap = {**swap, "limit": min(swap["limit"] + usage["limit"], _UNLIMITED), "usage": swap["usage"] + usage["usage"]}
    return {"cache": stats.get("file", 0), "usage": usage, "swap": swap, "kernel": {"limit": 0, "failcnt": 0}, "raw": stats}


def _memory_v1(directory: str, prefix: str) -> dict[str, int]:
    files = (("limit", "limit_in_bytes"), ("usage", "usage_in_bytes"), ("max", "max_usage_in_bytes"), ("failcnt", "failcnt"))
    return {name: number(f"{directory}/{prefix}.{file}") for name, file in files}


def _limit(file: str) -> int:
    return _UNLIMITED if read_or_empty(file).strip() in ("", "max") else number(file)


def _block_io(found: list[tuple[int, int, str, int]]) -> dict[str, Any]:
    entries = [{"major": major, "minor": minor, "op": kind.capitalize(), "value": value} for major, minor, kind, value in found]
    return {"ioServiceBytesRecursive": entries} if entries else {}


def _huge_pages(group: Cgroup) -> dict[str, dict[str, int]]:
    directory = group.directory("hugetlb")
    if not directory:
        return {}
    is_v1 = "hugetlb" in group.layout.v1
    found = {}
    for name in sorted(os.listdir(directory)):
        prefix, _, last = name.rpartition(".")
        if prefix.startswith("hugetlb.") and not prefix.endswith(".rsvd") and last == ("usage_in_bytes" if is_v1 else "current"):
            size = prefix.removeprefix("hugetlb.")
            usage = number(f"{directory}/{name}")
            if usage:
                found[size] = {"usage": usage}
    return found
