"""What one daemon costs that keeps many containers which do nothing: processor and memory over half a minute.

    idle.py [--containers 200] [--seconds 30] [--healthchecks]

Processor time is that of daemon, zygote, resolver and all shims (proc(5), stat), in percent of one core; memory is the daemon's RSS and
all processes' PSS.  With `--healthchecks` each container has one of `true`, every 30 s as by default.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from leaks import IN_FLIGHT, SUBNET
from machine import Machine, busybox_tar

from stackrun.api.types import ContainerSpec, Healthcheck, IpamPool, NetworkSpec
from stackrun.client.engine import HttpEngine

GOAL_PERCENT = 1.0
GOAL_KIB = 100 * 1024
CHECK = Healthcheck(("CMD", "true"))


def processor_s(pid: int) -> float:
    """Its own and its reaped children's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(one) for one in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def wakeups(pid: int) -> int:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((one / "status").read_text().partition("voluntary_ctxt_switches:")[2].split()[0]) for one in tasks)


def memory_kib(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.partition(f"\n{name}:")[2].split()[0])


async def fill(engine: HttpEngine, count: int, check: Healthcheck | None) -> list[str]:
    await engine.create_network(NetworkSpec("lan", pools=(IpamPool(SUBNET),)))
    turn = asyncio.Semaphore(IN_FLIGHT)

    async def start(number: int) -> str:
        async with turn:
            spec = ContainerSpec(image="busybox:test", command=("sleep", "100000"), network_mode="lan", healthcheck=check)
            made = await engine.create_container(f"idle-{number}", spec)
            await engine.start_container(made.id)
            return made.id

    return await asyncio.gather(*(start(number) for number in range(count)))


async def empty(engine: HttpEngine, ids: list[str]) -> None:
    turn = asyncio.Semaphore(IN_FLIGHT)

    async def remove(container_id: str) -> None:
        async with turn:
            await engine.remove_container(container_id, force=True)

    await asyncio.gather(*(remove(one) for one in ids))
    await engine.remove_network("lan")


def our_processes(machine: Machine) -> dict[int, str]:
    """By pid: the daemon, its zygote and resolver, and the shims, by the log of theirs that each has open."""
    daemon = machine.daemon_pid()
    found = {daemon: "daemon"}
    for pid in Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split():
        found[int(pid)] = "zygote" if "zygote" in Path(f"/proc/{pid}/comm").read_text() else "resolver"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if "shim" in Path(f"/proc/{pid}/comm").read_text() and any(
                os.readlink(one).startswith(str(machine.root)) for one in Path(f"/proc/{pid}/fd").iterdir()
            ):
                found[int(pid)] = "shim"
        except OSError:
            continue
    return found


async def measure(machine: Machine, count: int, seconds: float, check: Healthcheck | None) -> bool:
    machine.run("import", str(busybox_tar(machine.root)), "busybox:test")
    engine = HttpEngine(machine.host)
    ids = await fill(engine, count, check)
    await asyncio.sleep(2)  # what follows a start has ended: records, names
    processes = our_processes(machine)
    before, woken = {pid: processor_s(pid) for pid in processes}, wakeups(machine.daemon_pid())
    began = time.monotonic()
    await asyncio.sleep(seconds)
    took_s = time.monotonic() - began
    used = {name: sum(processor_s(pid) - before[pid] for pid, one in processes.items() if one == name) for name in set(processes.values())}
    resident = memory_kib(machine.daemon_pid(), "Rss")
    for name in sorted(used):
        pids = [pid for pid, one in processes.items() if one == name]
        pss = sum(memory_kib(pid, "Pss") for pid in pids)
        print(f"{name:9} {len(pids):4} of them  {used[name] / took_s * 100:6.2f} % of a core  {pss:8} KiB PSS")
    print(f"daemon: {resident} KiB RSS, woken {(wakeups(machine.daemon_pid()) - woken) / took_s:.1f} times a second")
    await empty(engine, ids)
    await engine.close()
    return used["daemon"] / took_s * 100 <= GOAL_PERCENT and resident <= GOAL_KIB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--healthchecks", action="store_true")
    options = parser.parse_args()
    machine = Machine()
    try:
        reached = asyncio.run(measure(machine, options.containers, options.seconds, CHECK if options.healthchecks else None))
    finally:
        machine.close()
    print(f"goal (daemon: under {GOAL_PERCENT:g} % of a core, under {GOAL_KIB // 1024} MiB): {'reached' if reached else 'MISSED'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
