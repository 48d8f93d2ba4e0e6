"""How a process is scheduled and which Linux it sees: `process.scheduler`, `ioPriority`, `execCPUAffinity`, `linux.personality`.

Sources: runtime-spec 1.2 config.md; sched_setattr(2), ioprio_set(2), personality(2), include/uapi/linux/sched.h.  Light.
"""

from __future__ import annotations

import os

from stackrun.errors import InvalidArgument, KernelError, Unsupported
from stackrun.kernel import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackrun.runtime.messages import Message

_POLICIES = {"SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6}
_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_DOMAINS = {"LINUX": 0, "LINUX32": 0x0008}
_CPUS_MAX = 8192


class Scheduling:
    """All of it for one process; nothing set costs nothing."""

    __slots__ = ("affinity", "final_affinity", "io_priority", "policy")

    def __init__(self, process: Message, where: str) -> None:
        self.policy = _policy(process.get("scheduler"), f"{where}.scheduler")
        self.io_priority = _io_priority(process.get("ioPriority"), f"{where}.ioPriority")
        affinity = process.get("execCPUAffinity") or {}
        self.affinity = _cpus(affinity.get("initial"), f"{where}.execCPUAffinity.initial")
        self.final_affinity = _cpus(affinity.get("final"), f"{where}.execCPUAffinity.final")

    @property
    def is_set(self) -> bool:
        return self.policy is not None or self.io_priority >= 0

    def apply(self) -> None:
        """On the calling process, while it has its rights; children may not inherit it (SCHED_FLAG_RESET_ON_FORK)."""
        if self.policy:
            try:
                syscalls.sched_setattr(*self.policy)
            except KernelError as error:
                hint = "the cgroup has no realtime budget, or CAP_SYS_NICE is missing" if self.policy[0] in (1, 2, 6) else ""
                raise KernelError(f"process.scheduler: {error.call}", error.errno, hint=hint) from error
        if self.io_priority >= 0:
            syscalls.ioprio_set(self.io_priority)


def run_on(cpus: frozenset[int], where: str) -> None:
    """Let the calling process run on these alone; on any when empty."""
    if not cpus:
        return
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise KernelError(f"process.execCPUAffinity.{where}: sched_setaffinity", error.errno or 0) from error


def _policy(scheduler: Message | None, where: str) -> tuple[int, int, int, int, tuple[int, int, int]] | None:
    if not scheduler:
        return None
    name = scheduler.get("policy")
    if name == "SCHED_ISO":
        raise Unsupported(f"{where}.policy: Linux never got SCHED_ISO")
    if name not in _POLICIES:
        raise InvalidArgument(f"{where}.policy: unknown policy {name!r}", hint=f"known are {', '.join(_POLICIES)}")
    flags = 0
    for flag in scheduler.get("flags") or ():
        if flag not in _FLAGS:
            raise InvalidArgument(f"{where}.flags: unknown flag {flag!r}", hint=f"known are {', '.join(_FLAGS)}")
        flags |= _FLAGS[flag]
    nice, priority = (_number(scheduler, field, where) for field in ("nice", "priority"))
    if priority and name not in ("SCHED_FIFO", "SCHED_RR"):
        raise InvalidArgument(f"{where}.priority: only SCHED_FIFO and SCHED_RR have one")
    times = tuple(_number(scheduler, field, where) for field in ("runtime", "deadline", "period"))
    if any(times) and name != "SCHED_DEADLINE":
        raise InvalidArgument(f"{where}: runtime, deadline and period are for SCHED_DEADLINE")
    return _POLICIES[name], flags, nice, priority, (times[0], times[1], times[2])


def _number(holder: Message, name: str, where: str) -> int:
    value = holder.get(name) or 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidArgument(f"{where}.{name}: {value!r} is not a number")
    if not (-20 <= value <= 19 if name == "nice" else 0 <= value < 2**63):
        raise InvalidArgument(f"{where}.{name}: {value} is out of range")
    return value


def _io_priority(wanted: Message | None, where: str) -> int:
    """-1 when there is none."""
    if not wanted:
        return -1
    kind, priority = wanted.get("class"), wanted.get("priority") or 0
    if kind not in _IO_CLASSES:
        raise InvalidArgument(f"{where}.class: unknown class {kind!r}", hint=f"known are {', '.join(_IO_CLASSES)}")
    if not isinstance(priority, int) or not 0 <= priority <= 7:
        raise InvalidArgument(f"{where}.priority: {priority!r} is not a number from 0 to 7")
    return _IO_CLASSES[kind] << 13 | priority


def _cpus(text: object, where: str) -> frozenset[int]:
    """`0-3,7` → {0, 1, 2, 3, 7}"""
    found: set[int] = set()
    for part in str(text).split(",") if text else ():
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or not int(first) <= int(last or first) < _CPUS_MAX:
            raise InvalidArgument(f"{where}: {text!r} is no list of cpus", hint="such as 0-3,7")
        found |= set(range(int(first), int(last or first) + 1))
    return frozenset(found)


def personality(linux: Message) -> int:
    """The number for personality(2), -1 when none is asked for."""
    wanted = linux.get("personality")
    if not wanted:
        return -1
    if wanted.get("flags"):
        raise Unsupported("linux.personality.flags: the runtime-spec knows none yet", hint="leave it empty")
    if wanted.get("domain") not in _DOMAINS:
        raise InvalidArgument(f"linux.personality.domain: unknown domain {wanted.get('domain')!r}", hint=f"known are {', '.join(_DOMAINS)}")
    return _DOMAINS[wanted["domain"]]


NONE = Scheduling({}, "")
"""Of nearly every process."""


def parse(process: Message, where: str) -> Scheduling:
    if process.keys() & {"scheduler", "ioPriority", "execCPUAffinity"}:
        return Scheduling(process, where)
    return NONE
