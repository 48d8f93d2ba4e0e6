"""What a test left behind on this host: the kernel's own lists before and after, compared."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, fields
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class HostState:
    """Sorted lines a facility; only what bears a mark of ours, so that other programs on the host do not matter."""

    mounts: frozenset[str]
    links: frozenset[str]
    namespaces: frozenset[str]
    cgroups: frozenset[str]
    firewall: frozenset[str]
    processes: frozenset[str]

    def added_since(self, before: HostState) -> list[str]:
        found = []
        for facility in fields(self):
            new = getattr(self, facility.name) - getattr(before, facility.name)
            found += [f"{facility.name}: {line}" for line in sorted(new)]
        return found


def host_state() -> HostState:
    return HostState(
        mounts=frozenset(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        links=frozenset(os.listdir("/sys/class/net")),
        namespaces=frozenset(os.listdir("/run/netns")) if Path("/run/netns").is_dir() else frozenset(),
        cgroups=frozenset(_cgroups()),
        firewall=frozenset(_firewall()),
        processes=frozenset(_processes()),
    )


def _cgroups() -> list[str]:
    """Every cgroup of ours, in every hierarchy; the empty parents `stackrun…` themselves do not count."""
    found: list[str] = []
    for parent, names, _ in os.walk(CGROUPS):  # which does not mind that somebody removes theirs meanwhile
        if os.path.basename(parent).startswith("stackrun"):
            found += [f"{parent}/{name}" for name in names]
    return found


def _firewall() -> list[str]:
    """Tables of ours, and rules of ours in other programs' chains."""
    done = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=False)
    return [line.strip() for line in done.stdout.splitlines() if "stackrun" in line]


def _processes() -> list[str]:
    """Living processes that run our code: daemon, zygote, shims, dns, and what runs in our containers."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            cgroup = (entry / "cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ours = "/stackrun" in cgroup or "stackrun.cli.daemon" in command or "stackrun-" in command or "stackrun.network.dns" in command
        if ours and state not in "ZX":
            found.append(f"{entry.name} {command[:120]}")
    return found


def settled(before: HostState, timeout_s: float = 10.0) -> list[str]:
    """What is still there that was not before, once the kernel has had `timeout_s` to take namespaces apart.

    The kernel removes a dead namespace's links asynchronously and tells nobody who is not in it, hence the look every 50 ms.
    """
    deadline = time.monotonic() + timeout_s
    while (left := host_state().added_since(before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
