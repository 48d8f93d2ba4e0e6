"""`stackrun-runtime update`: options or a JSON file become OCI `linux.resources`."""

from __future__ import annotations

import sys

from stackrun.errors import InvalidArgument, Unsupported
from stackrun.runtime import jsontext
from stackrun.runtime.options import NUMBER, VALUE, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIELDS = (
    ("blkio-weight", "blockIO", "weight", "weight of its block I/O, 10 to 1000"),
    ("cpu-period", "cpu", "period", "microseconds that --cpu-quota is a part of"),
    ("cpu-quota", "cpu", "quota", "cpu time in a period, in microseconds"),
    ("cpu-burst", "cpu", "burst", "cpu time saved up for later periods, in microseconds"),
    ("cpu-share", "cpu", "shares", "weight of its cpu time, 1024 is the default"),
    ("cpu-rt-period", "cpu", "realtimePeriod", "the same for realtime tasks"),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", "the same for realtime tasks"),
    ("cpu-idle", "cpu", "idle", "1: only what nobody else wants"),
    ("memory", "memory", "limit", "bytes"),
    ("memory-reservation", "memory", "reservation", "bytes it keeps when memory is short"),
    ("memory-swap", "memory", "swap", "bytes of memory and swap together, -1 for no limit"),
    ("kernel-memory", "memory", "kernel", ""),
    ("kernel-memory-tcp", "memory", "kernelTCP", ""),
    ("pids-limit", "pids", "limit", "processes"),
)
_TEXTS = (
    ("cpuset-cpus", "cpu", "cpus", "cpus to use, such as 0-2"),
    ("cpuset-mems", "cpu", "mems", "memory nodes to use"),
)
_ABSENT = -(2**62)
OPTIONS = (
    Option("resources r", VALUE, "a file of linux.resources, - for the input; no other option counts then", metavar="FILE"),
    *(Option(name, NUMBER, text, default=_ABSENT, metavar="N") for name, _, _, text in _FIELDS),
    *(Option(name, VALUE, text) for name, _, _, text in _TEXTS),
    Option("l3-cache-schema", VALUE),
    Option("mem-bw-schema", VALUE),
)


def resources(arguments: Any) -> dict[str, Any]:
    """What of `linux.resources` is to change."""
    if arguments.resources:
        return _of_file(arguments.resources)
    for name in ("l3_cache_schema", "mem_bw_schema"):
        if getattr(arguments, name):
            raise Unsupported(f"--{name.replace('_', '-')}: cache and memory bandwidth are not divided here")
    found: dict[str, Any] = {}
    for name, section, field, _ in _FIELDS:
        value = getattr(arguments, name.replace("-", "_"))
        if value != _ABSENT:
            found.setdefault(section, {})[field] = value
    for name, section, field, _ in _TEXTS:
        text = getattr(arguments, name.replace("-", "_"))
        if text:
            found.setdefault(section, {})[field] = text
    return found


def _of_file(path: str) -> dict[str, Any]:
    try:
        if path == "-":
            found = jsontext.loads(sys.stdin.read())
        else:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123
                found = jsontext.loads(file.read())
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"--resources {path}: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, (dict, list)) for value in found.values() if value is not None):
        raise InvalidArgument(f"--resources {path}: it holds no linux.resources")
    return found
