"""What a group has used, in the same words for v1 and v2."""

from __future__ import annotations

import os

from stackrun.kernel.cgroup_files import flat_keyed, number, read_or_empty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from stackrun.kernel.cgroup import Cgroup

_UNLIMITED_V1 = 1 << 62
"""v1 writes "no limit" as the largest page-aligned number, a little below 2**63."""


def sample(group: Cgroup) -> dict[str, Any]:
    """{cpu: {usage_ns, user_ns, system_ns, periods, throttled_periods, throttled_ns},
    memory: {usage_bytes, limit_bytes (0: none), max_usage_bytes, oom_kills, stats: {…kernel's names…}},
    pids: {current, limit (0: none)}, block_io: [(major, minor, operation, bytes)]}; what the kernel does not count is 0 or empty.
    """
    return {"cpu": _cpu(group), "memory": _memory(group), "pids": _pids(group), "block_io": _block_io(group)}


def _cpu(group: Cgroup) -> dict[str, int]:
    throttle = flat_keyed(read_or_empty(f"{group.directory('cpu')}/cpu.stat")) if group.directory("cpu") else {}
    counts = {"periods": throttle.get("nr_periods", 0), "throttled_periods": throttle.get("nr_throttled", 0)}
    if "cpuacct" not in group.layout.v1:
        # cpu.stat's times are there on v2 even without the cpu controller.
        times = flat_keyed(read_or_empty(f"{group.v2_directory}/cpu.stat")) if group.v2_directory else {}
        names = (("usage_ns", "usage_usec"), ("user_ns", "user_usec"), ("system_ns", "system_usec"), ("throttled_ns", "throttled_usec"))
        return {ours: times.get(theirs, 0) * 1000 for ours, theirs in names} | counts
    directory = group.directory("cpuacct")
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    split = flat_keyed(read_or_empty(f"{directory}/cpuacct.stat"))
    return {
        "usage_ns": number(f"{directory}/cpuacct.usage"),
        "user_ns": split.get("user", 0) * tick_ns,
        "system_ns": split.get("system", 0) * tick_ns,
        "throttled_ns": throttle.get("throttled_time", 0),
    } | counts


def _memory(group: Cgroup) -> dict[str, Any]:
    directory = group.directory("memory")
    if not directory:
        return {"usage_bytes": 0, "limit_bytes": 0, "max_usage_bytes": 0, "oom_kills": 0, "stats": {}}
    usage, limit, peak = (
        ("memory.usage_in_bytes", "memory.limit_in_bytes", "memory.max_usage_in_bytes")
        if "memory" in group.layout.v1
        else ("memory.current", "memory.max", "memory.peak")
    )
    limit_bytes = number(f"{directory}/{limit}")
    return {
        "usage_bytes": number(f"{directory}/{usage}"),
        "limit_bytes": 0 if limit_bytes >= _UNLIMITED_V1 else limit_bytes,
        "max_usage_bytes": number(f"{directory}/{peak}"),
        "oom_kills": group.oom_kills(),
        "stats": flat_keyed(read_or_empty(f"{directory}/memory.stat")),
    }


def _pids(group: Cgroup) -> dict[str, int]:
    directory = group.directory("pids")
    return {name: number(f"{directory}/pids.{file}") if directory else 0 for name, file in (("current", "current"), ("limit", "max"))}


def _block_io(group: Cgroup) -> list[tuple[int, int, str, int]]:
    if "blkio" in group.layout.v1:
        return _block_io_v1(read_or_empty(f"{group.directory('blkio')}/blkio.throttle.io_service_bytes_recursive"))
    return _block_io_v2(read_or_empty(f"{group.v2_directory}/io.stat")) if group.v2_directory else []


def _block_io_v1(text: str) -> list[tuple[int, int, str, int]]:
    """`8:0 Read 4096` lines and a closing total."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:
            major, _, minor = words[0].partition(":")
            found.append((int(major), int(minor), words[1].lower(), int(words[2])))
    return found


def _block_io_v2(text: str) -> list[tuple[int, int, str, int]]:
    """`8:0 rbytes=4096 wbytes=0 …` lines."""
    found = []
    for line in text.splitlines():
        number, *pairs = line.split()
        major, _, minor = number.partition(":")
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        for operation, key in (("read", "rbytes"), ("write", "wbytes")):
            if key in values:
                found.append((int(major), int(minor), operation, int(values[key])))
    return found
