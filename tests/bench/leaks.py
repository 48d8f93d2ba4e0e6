"""Many containers at once, made and destroyed over and over: what is left of them in the daemon, the zygote and the kernel.

python tests/bench/leaks.py [CONTAINERS] [ROUNDS]     `make leaks`: 300 and 10

Counts descriptors, mounts, cgroups, links, namespaces, processes and the memory of daemon and zygote after the first round, when all
is warm, and after the last; exits 1 when anything but memory has grown, or memory by more than 4 MB.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from starts import Connection, Engine, engine_on_tmpfs, pss_bytes

from stackrun.kernel import cgroup

WORKERS = 12
MEMORY_GROWTH_BYTES_MAX = 4_000_000


def census(engine: Engine) -> dict[str, int]:
    """What there is of this engine's in the kernel, and in its own two processes."""
    found = {}
    for pid, name in zip(engine.pids, ("daemon", "zygote"), strict=False):
        found[f"descriptors of the {name}"] = len(os.listdir(f"/proc/{pid}/fd"))
        found[f"PSS of the {name}"] = int(pss_bytes([pid]))
    root = str(engine.machine.root)
    found["mounts"] = sum(root in line for line in Path("/proc/self/mountinfo").read_text().splitlines())
    found["cgroups"] = sum(len(_containers(f"{point}/stackrun", engine)) for point in cgroup.detect().mount_points)
    found["container directories"] = len(os.listdir(f"{engine.machine.state}/containers"))
    found["run directories"] = len(os.listdir(f"{engine.machine.state}/run/c"))
    found["children of the zygote"] = len(Path(f"/proc/{engine.pids[1]}/task/{engine.pids[1]}/children").read_text().split())
    return found


def _containers(directory: str, engine: Engine) -> list[str]:
    """The groups of containers that this engine has made: others may run beside it."""
    return [name for name in (os.listdir(directory) if os.path.isdir(directory) else ()) if name in engine.ever_made]


def destroy_and_make(engine: Engine, count: int, network: str) -> None:
    """`count` containers that run at once, then none of them."""
    made: list[str] = []
    _in_parallel(count, engine, lambda connection: made.append(engine.start_long(network, connection)))
    _in_parallel(count, engine, lambda connection: engine.remove(made.pop(), connection))


def _in_parallel(count: int, engine: Engine, work) -> None:  # type: ignore[no-untyped-def]
    left = iter(range(count))
    lock = threading.Lock()
    failures: list[BaseException] = []

    def run() -> None:
        connection = Connection(str(engine.machine.socket))
        while not failures:
            with lock:
                if next(left, None) is None:
                    return
            try:
                work(connection)
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def settled(engine: Engine) -> dict[str, int]:
    """The census once removals that go on in the background have ended: when two of them are the same."""
    before = census(engine)
    for _ in range(100):
        time.sleep(0.2)
        now = census(engine)
        if {name: value for name, value in now.items() if "PSS" not in name} == {n: v for n, v in before.items() if "PSS" not in n}:
            return now
        before = now
    return before


def main() -> int:
    count, rounds = (int(word) for word in [*sys.argv[1:3], *("300", "10")[len(sys.argv) - 1 :]])
    with engine_on_tmpfs() as engine:
        destroy_and_make(engine, count, "bridge")
        first = settled(engine)
        for number in range(1, rounds):
            began = time.monotonic()
            destroy_and_make(engine, count, "bridge")
            print(f"round {number + 1} of {rounds}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
        last = settled(engine)
    leaked = False
    for name, before in first.items():
        grown = last[name] - before
        is_leak = grown > (MEMORY_GROWTH_BYTES_MAX if "PSS" in name else 0)
        leaked |= is_leak
        print(f"{name:28} {before:>12} → {last[name]:>12}{'   LEAKS' if is_leak else ''}")
    return int(leaked)


if __name__ == "__main__":
    sys.exit(main())
