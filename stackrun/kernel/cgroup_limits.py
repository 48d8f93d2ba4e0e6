"""OCI `linux.resources` → the cgroup files to write: a pure plan that `kernel.cgroup` carries out.

Each limit is one `Limit`; the same field becomes different files under v1 and v2, and which of the
two a controller is bound to is decided controller by controller, as a hybrid machine needs it.
Light: imported on a container's start path.

Sources: runtime-spec config-linux.md "Control groups", Documentation/admin-guide/cgroup-v1/, cgroup-v2.rst;
the conversions of shares, swap and blkio weight are those that runc and crun publish for cgroup v2.
"""

from __future__ import annotations

import math

from stackrun.errors import InvalidArgument, Unsupported
from stackrun.kernel import privileges

TYPE_CHECKING = False  # typing itself is too heavy for the start path; checkers take this name as true
if TYPE_CHECKING:
    from typing import Any

    Resources = dict[str, Any]

DELEGATE = "start the engine where one is: systemd-run --user --scope stackrun daemon"
DELEGATE_MORE = 'as root: systemctl edit user@.service, with "Delegate=cpu cpuset io memory pids" below [Service]'
"""systemd's own choice is cpu, memory and pids (systemd.resource-control(5), user@.service(5))."""
V1, V2 = "v1", "v2"
UNIFIED = "unified"
_PREFIX = "linux.resources."


class Limit:
    """`field` of the OCI document, to be written below `controller` of hierarchy `version`.

    `choices` are (file, value) pairs of which the first whose file exists is written.  `optional`: the
    value asks for no more than what a kernel without the file does anyhow.
    """

    __slots__ = ("choices", "controller", "field", "optional", "version")

    def __init__(self, field: str, version: str, controller: str, *choices: tuple[str, str], optional: bool = False) -> None:
        self.field = field
        self.version = version
        self.controller = controller
        self.choices = choices
        self.optional = optional

    def __repr__(self) -> str:
        return f"{self.version} {self.controller}: {' | '.join(f'{file}={value}' for file, value in self.choices)}"


def limits(resources: Resources, v1: frozenset[str], v2: frozenset[str]) -> list[Limit]:
    """Everything to write, in order.

    `v1` and `v2` are the controllers bound to each.  Raises Unsupported for a field whose controller
    neither has, InvalidArgument for a value that contradicts itself.  Device rules are not among them:
    see kernel.cgroup_devices.
    """
    where = _Where(v1, v2)
    plan: list[Limit] = []
    for section in (_memory, _cpu, _cpuset, _pids, _block_io, _huge_pages, _network, _rdma, _unified):
        plan += section(resources, where)
    return plan


class _Where:
    __slots__ = ("v1", "v2")

    def __init__(self, v1: frozenset[str], v2: frozenset[str]) -> None:
        self.v1 = v1
        self.v2 = v2

    def version(self, controller: str, field: str, v2_controller: str = "") -> str:
        if controller in self.v1:
            return V1
        if (v2_controller or controller) in self.v2:
            return V2
        if privileges.current().rootless:
            raise Unsupported(f"{_PREFIX}{field}: no {controller} cgroup controller is delegated to this user", hint=DELEGATE_MORE)
        raise Unsupported(f"{_PREFIX}{field}: this kernel has no {controller} cgroup controller", hint=_hint(controller))


def _hint(controller: str) -> str:
    if controller == "memory":
        return "boot with cgroup_enable=memory, or leave the limit out"
    return "leave the limit out, or boot a kernel that has the controller"


def _only_v1(version: str, field: str) -> None:
    if version == V2:
        raise Unsupported(f"{_PREFIX}{field}: cgroup v2 has no such setting", hint="leave it out")


def _memory(resources: Resources, where: _Where) -> list[Limit]:
    memory = resources.get("memory") or {}
    plan: list[Limit] = []
    for name in ("kernel", "kernelTCP"):
        if memory.get(name):
            raise Unsupported(f"{_PREFIX}memory.{name}: kernels no longer limit kernel memory apart", hint="memory.limit counts it in")
    if memory.get("useHierarchy") is False:
        raise Unsupported(f"{_PREFIX}memory.useHierarchy: kernels no longer have flat hierarchies", hint="leave it out")
    limit, swap, reservation = (memory.get(name) or 0 for name in ("limit", "swap", "reservation"))
    if limit == -1 and not swap:
        swap = -1  # no limit on memory means none on memory+swap either, else the write is refused
    if limit:
        version = where.version("memory", "memory.limit")
        plan.append(Limit("memory.limit", version, "memory", _sized(version, "memory.limit_in_bytes", "memory.max", limit)))
    if swap:
        plan.append(_swap(where.version("memory", "memory.swap"), limit, swap))
    if reservation:
        version = where.version("memory", "memory.reservation")
        plan.append(
            Limit("memory.reservation", version, "memory", _sized(version, "memory.soft_limit_in_bytes", "memory.low", reservation))
        )
    if memory.get("swappiness") is not None:
        version = where.version("memory", "memory.swappiness")
        _only_v1(version, "memory.swappiness")
        plan.append(Limit("memory.swappiness", version, "memory", ("memory.swappiness", str(memory["swappiness"]))))
    if memory.get("disableOOMKiller"):
        version = where.version("memory", "memory.disableOOMKiller")
        _only_v1(version, "memory.disableOOMKiller")
        plan.append(Limit("memory.disableOOMKiller", version, "memory", ("memory.oom_control", "1")))
    return plan


def _sized(version: str, v1_file: str, v2_file: str, value: int) -> tuple[str, str]:
    if version == V1:
        return v1_file, str(value)
    return v2_file, "max" if value < 0 else str(value)


def _swap(version: str, limit: int, swap: int) -> Limit:
    """OCI's swap is memory+swap together (v1's memsw); v2 wants the swap alone."""
    if version == V1:
        return Limit("memory.swap", version, "memory", ("memory.memsw.limit_in_bytes", str(swap)), optional=swap < 0)
    if swap < 0:
        return Limit("memory.swap", version, "memory", ("memory.swap.max", "max"), optional=True)
    if limit <= 0:
        raise InvalidArgument(f"{_PREFIX}memory.swap: needs memory.limit", hint="on cgroup v2 swap is the part above the memory limit")
    if swap < limit:
        raise InvalidArgument(f"{_PREFIX}memory.swap: {swap} is below memory.limit {limit}", hint="it is memory and swap together")
    return Limit("memory.swap", version, "memory", ("memory.swap.max", str(swap - limit)), optional=swap == limit)


def cpu_weight(shares: int) -> int:
    """v1 shares 2…262144 → v2 weight 1…10000, with the default 1024 ↦ 100 (the curve of runc 1.3.2 and crun 1.23)."""
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    exponent = math.log2(shares)
    return math.ceil(10 ** ((exponent * exponent + 125 * exponent) / 612.0 - 7.0 / 34.0))


def _cpu(resources: Resources, where: _Where) -> list[Limit]:
    cpu = resources.get("cpu") or {}
    plan: list[Limit] = []
    if cpu.get("shares"):
        version = where.version("cpu", "cpu.shares")
        choice = ("cpu.shares", str(cpu["shares"])) if version == V1 else ("cpu.weight", str(cpu_weight(cpu["shares"])))
        plan.append(Limit("cpu.shares", version, "cpu", choice))
    if cpu.get("quota") or cpu.get("period"):
        plan += _cpu_bandwidth(where.version("cpu", "cpu.quota"), cpu.get("quota") or 0, cpu.get("period") or 0)
    if cpu.get("burst") is not None:
        version = where.version("cpu", "cpu.burst")
        plan.append(Limit("cpu.burst", version, "cpu", ("cpu.cfs_burst_us" if version == V1 else "cpu.max.burst", str(cpu["burst"]))))
    for name, file in (("realtimePeriod", "cpu.rt_period_us"), ("realtimeRuntime", "cpu.rt_runtime_us")):
        if cpu.get(name):
            version = where.version("cpu", f"cpu.{name}")
            _only_v1(version, f"cpu.{name}")
            plan.append(Limit(f"cpu.{name}", version, "cpu", (file, str(cpu[name]))))
    if cpu.get("idle") is not None:
        plan.append(Limit("cpu.idle", where.version("cpu", "cpu.idle"), "cpu", ("cpu.idle", str(cpu["idle"])), optional=not cpu["idle"]))
    return plan


def _cpu_bandwidth(version: str, quota: int, period: int) -> list[Limit]:
    if version == V2:
        text = str(quota) if quota > 0 else "max"
        return [Limit("cpu.quota", version, "cpu", ("cpu.max", f"{text} {period}" if period else text))]
    plan = [Limit("cpu.period", version, "cpu", ("cpu.cfs_period_us", str(period)))] if period else []
    if quota:
        plan.append(Limit("cpu.quota", version, "cpu", ("cpu.cfs_quota_us", str(quota))))
    return plan


def _cpuset(resources: Resources, where: _Where) -> list[Limit]:
    cpu = resources.get("cpu") or {}
    plan = []
    for name in ("cpus", "mems"):
        if cpu.get(name):
            plan.append(Limit(f"cpu.{name}", where.version("cpuset", f"cpu.{name}"), "cpuset", (f"cpuset.{name}", cpu[name])))
    return plan


def _pids(resources: Resources, where: _Where) -> list[Limit]:
    limit = (resources.get("pids") or {}).get("limit")
    if limit is None:
        return []
    if limit <= 0:
        if "pids" not in where.v1 | where.v2:
            return []
        return [Limit("pids.limit", where.version("pids", "pids.limit"), "pids", ("pids.max", "max"), optional=True)]
    return [Limit("pids.limit", where.version("pids", "pids.limit"), "pids", ("pids.max", str(limit)))]


_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)


def _block_io(resources: Resources, where: _Where) -> list[Limit]:
    block_io = resources.get("blockIO") or {}
    plan: list[Limit] = []
    if block_io.get("weight"):
        version = where.version("blkio", "blockIO.weight", "io")
        plan.append(Limit("blockIO.weight", version, _block_controller(version), *_weight_choices(version, block_io["weight"], "")))
    if block_io.get("leafWeight"):
        raise Unsupported(f"{_PREFIX}blockIO.leafWeight: its scheduler is gone from kernels since 5.0", hint="leave it out")
    for device in block_io.get("weightDevice") or ():
        version = where.version("blkio", "blockIO.weightDevice", "io")
        choices = _weight_choices(version, device["weight"], f"{device['major']}:{device['minor']} ")
        plan.append(Limit("blockIO.weightDevice", version, _block_controller(version), *choices))
    for name, v1_file, v2_key in _THROTTLES:
        for device in block_io.get(name) or ():
            version = where.version("blkio", f"blockIO.{name}", "io")
            number = f"{device['major']}:{device['minor']}"
            choice = (
                (v1_file, f"{number} {device['rate']}") if version == V1 else ("io.max", f"{number} {v2_key}={device['rate'] or 'max'}")
            )
            plan.append(Limit(f"blockIO.{name}", version, _block_controller(version), choice))
    return plan


def _block_controller(version: str) -> str:
    return "blkio" if version == V1 else "io"


def _weight_choices(version: str, weight: int, device: str) -> tuple[tuple[str, str], ...]:
    """BFQ's files take OCI's 10…1000 as it is, io.weight wants 1…10000."""
    if version == V1:
        suffix = "_device" if device else ""
        return (f"blkio.weight{suffix}", f"{device}{weight}"), (f"blkio.bfq.weight{suffix}", f"{device}{weight}")
    scaled = 1 + (weight - 10) * 9999 // 990
    return ("io.bfq.weight", f"{device}{weight}"), ("io.weight", f"{device or 'default '}{scaled}")


def _huge_pages(resources: Resources, where: _Where) -> list[Limit]:
    plan = []
    for page in resources.get("hugepageLimits") or ():
        version = where.version("hugetlb", "hugepageLimits")
        file = f"hugetlb.{page['pageSize']}." + ("limit_in_bytes" if version == V1 else "max")
        plan.append(Limit(f"hugepageLimits[{page['pageSize']}]", version, "hugetlb", (file, str(page["limit"]))))
    return plan


def _network(resources: Resources, where: _Where) -> list[Limit]:
    network = resources.get("network") or {}
    plan = []
    if network.get("classID"):
        version = where.version("net_cls", "network.classID")
        plan.append(Limit("network.classID", version, "net_cls", ("net_cls.classid", str(network["classID"]))))
    for priority in network.get("priorities") or ():
        version = where.version("net_prio", "network.priorities")
        plan.append(Limit("network.priorities", version, "net_prio", ("net_prio.ifpriomap", f"{priority['name']} {priority['priority']}")))
    return plan


def _rdma(resources: Resources, where: _Where) -> list[Limit]:
    plan = []
    for device, rule in (resources.get("rdma") or {}).items():
        names = (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
        text = " ".join([device, *(f"{key}={rule[name]}" for name, key in names if rule.get(name) is not None)])
        plan.append(Limit(f"rdma.{device}", where.version("rdma", "rdma"), "rdma", ("rdma.max", text)))
    return plan


def _unified(resources: Resources, where: _Where) -> list[Limit]:
    plan = []
    for file, value in (resources.get("unified") or {}).items():
        if "/" in file or file.startswith("cgroup."):
            raise InvalidArgument(f"{_PREFIX}unified: {file!r} is no limit's file name", hint="write a name such as memory.high")
        controller = file.partition(".")[0]
        if controller not in where.v2:
            raise Unsupported(f"{_PREFIX}unified: {file} needs the {controller} controller on cgroup v2", hint=_hint(controller))
        plan.append(Limit(f"unified.{file}", V2, controller, (file, str(value))))
    return plan
