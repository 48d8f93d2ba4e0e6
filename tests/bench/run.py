"""Side by side with Debian's docker.io and the real Docker Compose, in one run: `make bench`.

Prints medians and ratios; a ratio above its goal is marked, and the exit code stays 0: a timing is a figure, not a test.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dockerd import Dockerd
from machine import STACKRUN, Machine, busybox_tar
from reading import bench_reading
from starts import IDLE_CONTAINERS, PARALLEL, bench_starts, pss_bytes
from watching import CHANGE, IDLE, STOP, SYNC, watched_change

SERVICES = 50
MANY_SERVICES = 500


def compose_file(services: int) -> str:
    """Independent services of one busybox each, on the stack's default network."""
    body = "".join(f"  s{number:02}:\n    image: busybox:test\n    command: [sleep, '100000']\n" for number in range(services))
    return f"name: bench\nservices:\n{body}"


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Figures:
    """Samples by name; prints the median, the spread and, against a peer, the ratio and its goal."""

    def __init__(self) -> None:
        self.samples: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        self.samples.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        return statistics.median(self.samples[name])

    def show(self, name: str, unit: str, scale: float, *, peer: str = "", goal: float = 0.0) -> None:
        values = sorted(self.samples[name])
        line = f"{name:58} {self.median(name) * scale:9.1f} {unit}  [{values[0] * scale:.1f} … {values[-1] * scale:.1f}]"
        measured = self.median(name) / self.median(peer) if peer else self.median(name) * scale
        if goal:
            wanted = f"goal ≤ {goal:.2f} × {peer}" if peer else f"goal ≤ {goal:g} {unit}"
            found = f"  {measured:.2f} ×" if peer else ""
            line += f"{found}  ({wanted}: {'reached' if measured <= goal else 'MISSED'})"
        print(line, flush=True)


def our_processes() -> dict[int, str]:
    """Every living process of stackrun's and of its containers, by pid."""
    from leftovers import host_state

    return {int(line.split()[0]): line for line in host_state().processes}


def bench_stacks(figures: Figures, runs: int) -> None:
    machine, dockerd = Machine(), Dockerd()
    try:
        tar = busybox_tar(machine.root)
        machine.run("import", str(tar), "busybox:test")
        dockerd.docker("import", str(tar), "busybox:test")
        ours = machine.project("ours", compose_file(SERVICES))
        theirs = machine.project("theirs", compose_file(SERVICES))
        for _ in range(runs):
            figures.add("compose up -d, 50 services", timed(lambda: dockerd.compose("up", "-d", cwd=theirs)))
            figures.add("stackrun up -d, 50 services", timed(lambda: machine.run("up", "-d", cwd=ours)))
            for _ in range(3):
                figures.add("compose up -d, nothing to do", timed(lambda: dockerd.compose("up", "-d", cwd=theirs)))
                figures.add("stackrun up -d, nothing to do", timed(lambda: machine.run("up", "-d", cwd=ours)))
                figures.add("stackrun plan, nothing to do", timed(lambda: machine.run("plan", cwd=ours)))
            figures.add("compose down -t 0, 50 services", timed(lambda: dockerd.compose("down", "-t", "0", cwd=theirs)))
            figures.add("stackrun down -t 0, 50 services", timed(lambda: machine.run("down", "-t", "0", cwd=ours)))
        version = [str(STACKRUN), "version"]
        for _ in range(20):
            done = timed(lambda: subprocess.run(version, env=machine.environment, check=True, capture_output=True))
            figures.add("stackrun version", done)
        before = pss_bytes(list(our_processes()))
        machine.run("up", "-d", cwd=ours)
        after = pss_bytes(list(our_processes()))
        figures.add("PSS of one idle container", (after - before) / SERVICES)
        bench_plan(figures, machine)
    finally:
        machine.close()
        dockerd.close()


def bench_plan(figures: Figures, machine: Machine) -> None:
    """A plan of many services without a change; their containers are made and not started, which planning does not look at."""
    many = machine.project("many", compose_file(MANY_SERVICES))
    machine.run("-p", "many", "up", "--no-start", cwd=many)
    name = f"stackrun plan, {MANY_SERVICES} services unchanged"
    for _ in range(5):
        figures.add(name, timed(lambda: machine.run("-p", "many", "plan", "--no-start", cwd=many)))
    machine.run("-p", "many", "down", cwd=many)


def bench_watching(figures: Figures) -> None:
    machine = Machine()
    try:
        machine.run("import", str(busybox_tar(machine.root)), "busybox:test")
        watched_change(machine, figures.add)
    finally:
        machine.close()
    figures.show(CHANGE, "ms", 1e3, goal=300)
    figures.show(STOP, "ms", 1e3)
    figures.show(SYNC, "ms", 1e3)
    figures.show(IDLE, "ms", 1e3, goal=1)


def show_reading(figures: Figures) -> None:
    for services, goal in ((20, 1.5), (500, 1.0)):
        figures.show(f"compose config -q, {services} services", "ms", 1e3)
        peer = f"compose config -q, {services} services"
        figures.show(f"stackrun config -q, {services} services", "ms", 1e3, peer=peer, goal=goal)
        figures.show(f"stackrun config -q, {services} services: peak", "MB", 1e-6, goal=80)
    figures.show("stackrun validate, 200 services", "ms", 1e3, goal=400)
    figures.show("stackrun validate, 200 services: peak", "MB", 1e-6, goal=80)


def show_starts(figures: Figures) -> None:
    """Starts of a busybox `true` and execs of it, beside who is there of runc and crun."""
    peers = [name for name in ("runc", "crun") if f"{name} run" in figures.samples]
    for name in (*peers, "floor (C)"):
        for one in (f"{name} run", f"{name} run: cpu"):
            if one in figures.samples:
                figures.show(one, "ms", 1e3)
    for name, goals in (("engine: run", {"runc": 1 / 3, "crun": 0.8}), ("stackrun-runtime run", {"runc": 1.0})):
        for peer in peers:
            figures.show(name, "ms", 1e3, peer=f"{peer} run", goal=goals.get(peer, 0.0))
    figures.show("engine: run, asked after the start", "ms", 1e3)
    figures.show("stackrun-runtime run: cpu", "ms", 1e3)
    figures.show("engine: run: cpu, made and removed as well", "ms", 1e3)
    figures.show("engine: run on a bridge", "ms", 1e3)
    figures.show("wiring of a bridge network", "ms", 1e3, goal=3)
    for peer in peers:
        figures.show(f"{peer} exec", "ms", 1e3)
    for name in ("engine: exec", "stackrun-runtime exec"):
        figures.show(name, "ms", 1e3, peer="runc exec", goal=0.5 if name.startswith("engine") else 1.0)
    figures.show(f"engine: {PARALLEL} runs at once", "ms", 1e3)
    figures.show(f"engine: {PARALLEL} runs at once: share of all cores", "%", 100)
    figures.show(f"engine: {IDLE_CONTAINERS} idle containers: share of a core", "%", 100, goal=1)
    figures.show(f"engine: {IDLE_CONTAINERS} idle containers: PSS of daemon and zygote", "MB", 1e-6, goal=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--starts", type=int, default=30, help="rounds of single starts")
    options = parser.parse_args()
    figures = Figures()
    figures.samples |= bench_reading()
    show_reading(figures)
    figures.samples |= bench_starts(options.starts)
    show_starts(figures)
    bench_watching(figures)
    bench_stacks(figures, options.runs)
    figures.show("compose up -d, 50 services", "ms", 1e3)
    figures.show("stackrun up -d, 50 services", "ms", 1e3, peer="compose up -d, 50 services", goal=0.2)
    figures.show("compose up -d, nothing to do", "ms", 1e3)
    figures.show("stackrun up -d, nothing to do", "ms", 1e3, peer="compose up -d, nothing to do", goal=1.5)
    figures.show("stackrun plan, nothing to do", "ms", 1e3, peer="compose up -d, nothing to do", goal=1)
    figures.show(f"stackrun plan, {MANY_SERVICES} services unchanged", "ms", 1e3, goal=1000)
    figures.show("compose down -t 0, 50 services", "ms", 1e3)
    figures.show("stackrun down -t 0, 50 services", "ms", 1e3)
    figures.show("stackrun version", "ms", 1e3, goal=100)
    figures.show("PSS of one idle container", "MB", 1e-6, goal=2.5)


if __name__ == "__main__":
    main()
