"""Many containers at once, made and removed again and again: what stays behind?  `make leaks`.

    leaks.py [--containers 300] [--rounds 10]

Prints a line a round: descriptors, threads and memory of daemon and zygote, and what the host has of ours.  The first
round loads what is loaded once; from there on nothing may grow, and the exit code says whether something did.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine import Machine, busybox_tar

from stackrun.api.types import ContainerSpec, IpamPool, Mount, MountType, NetworkSpec
from stackrun.client.engine import HttpEngine
from stackrun.kernel import cgroup

IN_FLIGHT = 16
"""Requests at a time: more only wait for the same cores."""
GROWTH_KIB_A_CONTAINER = 1.0
"""Of the daemon, for each container that came and went: noise of an allocator, far below a record that is kept (some 10 KiB)."""
ZYGOTE_GROWTH_KIB = 512
SUBNET = "10.213.0.0/20"


@dataclass(frozen=True, slots=True)
class Sample:
    """Counts, and memory (RSS) in KiB."""

    daemon_fds: int
    daemon_threads: int
    daemon_kib: int
    zygote_fds: int
    zygote_kib: int
    mounts: int
    links: int
    cgroups: int
    processes: int
    files: int


class Lab:
    """A machine with one network, on which every container is."""

    def __init__(self, machine: Machine, bridge: str) -> None:
        self._machine = machine
        self._root = str(machine.root)
        self._bridge = bridge
        self.ids: set[str] = set()

    def sample(self) -> Sample:
        daemon = self._machine.daemon_pid()
        zygote = _zygote(daemon)
        points = cgroup.detect().mount_points
        return Sample(
            daemon_fds=_fds(daemon),
            daemon_threads=len(os.listdir(f"/proc/{daemon}/task")),
            daemon_kib=_resident_kib(daemon),
            zygote_fds=_fds(zygote),
            zygote_kib=_resident_kib(zygote),
            mounts=sum(self._root in line for line in Path(f"/proc/{daemon}/mountinfo").read_text().splitlines()),
            links=len(os.listdir(f"/sys/class/net/{self._bridge}/brif")),
            cgroups=sum(os.path.isdir(f"{point}/stackrun/{one}") for point in points for one in self.ids),
            processes=sum(1 for _ in self._processes()),
            files=sum(len(os.listdir(self._machine.state / place)) for place in ("run/c", "containers", "volumes")),
        )

    def _processes(self) -> Iterator[str]:
        """Containers' own by their cgroup, shims by the log that they write."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
                opened = [os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir()]
            except OSError:
                continue  # it has ended, or is none of ours
            in_ours = any(one.rpartition("/")[2] in self.ids for one in groups)
            if in_ours or any(one.startswith(self._root) and one.endswith("-json.log") for one in opened):
                yield pid


def _zygote(daemon: int) -> int:
    children = Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()
    return next(int(one) for one in children if Path(f"/proc/{one}/comm").read_text() == "stackrun-zygote\n")


def _fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _resident_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


async def one_round(engine: HttpEngine, lab: Lab, count: int) -> tuple[float, float]:
    """All of them at once, then none: (seconds until all run, seconds until all are gone)."""
    turn = asyncio.Semaphore(IN_FLIGHT)
    spec = ContainerSpec(image="busybox:test", command=("sleep", "100000"), network_mode="lan", mounts=(Mount(MountType.VOLUME, "/data"),))

    async def start(number: int) -> str:
        async with turn:
            made = await engine.create_container(f"leak-{number}", spec)
            await engine.start_container(made.id)
            return made.id

    async def remove(container_id: str) -> None:
        async with turn:
            await engine.remove_container(container_id, force=True, volumes=True)

    began = time.monotonic()
    ids = await asyncio.gather(*(start(number) for number in range(count)))
    lab.ids.update(ids)
    running = time.monotonic()
    await asyncio.gather(*(remove(one) for one in ids))
    return running - began, time.monotonic() - running


async def settled(lab: Lab) -> Sample:
    """Namespaces, and the shims' last moments, take the kernel a while; nobody tells of their end."""
    deadline = time.monotonic() + 20
    while True:
        found = lab.sample()
        if time.monotonic() > deadline:
            return found
        if not (found.links or found.cgroups or found.processes or found.files):
            return lab.sample()  # anew: the descriptors of that one were counted while trees were still being removed
        await asyncio.sleep(0.2)


def grown(first: Sample, last: Sample, containers: int) -> list[str]:
    """What must not have; descriptors and threads may come and go by one that is just being used."""
    allowed = {
        "daemon_fds": 2,
        "daemon_threads": 8,  # of a pool that makes them as it needs them
        "daemon_kib": max(4096, int(GROWTH_KIB_A_CONTAINER * containers)),
        "zygote_kib": ZYGOTE_GROWTH_KIB,
    }
    before, after = asdict(first), asdict(last)
    return [f"{name}: {before[name]} → {after[name]}" for name in before if after[name] > before[name] + allowed.get(name, 0)]


async def measure(machine: Machine, count: int, rounds: int) -> list[str]:
    machine.run("import", str(busybox_tar(machine.root)), "busybox:test")
    engine = HttpEngine(machine.host)
    network = await engine.create_network(NetworkSpec("lan", pools=(IpamPool(SUBNET),)))
    lab = Lab(machine, f"sr-{network.id[:12]}")
    samples = [lab.sample()]
    print("round   up s   down s  " + "  ".join(f"{name:>{len(name)}}" for name in asdict(samples[0])), flush=True)
    _show(0, (0.0, 0.0), samples[0])
    for number in range(1, rounds + 1):
        taken = await one_round(engine, lab, count)
        samples.append(await settled(lab))
        _show(number, taken, samples[-1])
    await engine.remove_network("lan")
    await engine.close()
    left = grown(samples[1], samples[-1], count * (rounds - 1))
    return left + [
        f"{name} left: {value}"
        for name, value in asdict(samples[-1]).items()
        if name in ("links", "cgroups", "processes", "files") and value
    ]


def _show(number: int, taken: tuple[float, float], found: Sample) -> None:
    print(
        f"{number:5} {taken[0]:6.1f} {taken[1]:8.1f}  " + "  ".join(f"{value:{len(name)}}" for name, value in asdict(found).items()),
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    machine = Machine()
    try:
        left = asyncio.run(measure(machine, options.containers, options.rounds))
    finally:
        machine.close()
    print("\n".join(left) or "nothing leaks")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
