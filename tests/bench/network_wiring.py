"""What the network costs a container's start, in a namespace of its own: medians in ms over a hundred containers.

python tests/bench/network_wiring.py [COUNT]
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from network_lab import Machine, isolated, send_batch

from stackrun.network.endpoint import container_batches
from stackrun.network.networks import Networks, Publication
from stackrun.network.ports import PortRequest, close, reserve


def measure(count: int) -> None:
    spent: dict[str, list[float]] = {}

    def timed(step: str, action: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = action()
        spent.setdefault(step, []).append((time.perf_counter() - started) * 1000)
        return result

    networks = Networks()
    timed("create a network, the decoder's import included", lambda: networks.create("0" * 64, "first"))
    network = timed("create another network", lambda: networks.create("a" * 64, "bench"))
    taken: set[str] = set()
    for number in range(count):
        machine = Machine()
        held = timed("reserve a port", lambda: reserve([PortRequest("tcp")]))
        planned = timed("plan", lambda: networks.plan_endpoint(network.network_id, os.urandom(32).hex(), taken=taken))
        taken.add(planned.ipv4_address)
        wired = timed("wire, host side", lambda planned=planned, machine=machine: networks.wire([planned], machine.pid))
        batches = timed("pack the inner batches", lambda wired=wired: container_batches(wired))
        for protocol, data in batches:
            step = "inner batch, " + ("links and routes" if protocol == 0 else "resolver's table")
            spent.setdefault(step, []).append(machine.do(lambda protocol=protocol, data=data: _elapsed_ms(protocol, data)))
        timed("settle", lambda wired=wired: networks.settle(wired))
        port = Publication("tcp", "", 20000 + number, planned.ipv4_address, 80)
        timed("publish a port", lambda port=port: networks.publish([port]))
        close(held)
    timed("ensure, nothing missing", networks.ensure)
    for step, times in spent.items():
        print(f"{statistics.median(times):8.2f}  {max(times):8.2f} max  {step}")
    per_container = sum(statistics.median(times) for times in spent.values() if len(times) == count)
    print(f"{per_container:8.2f}  a container in all")


def _elapsed_ms(protocol: int, data: bytes) -> float:
    started = time.perf_counter()
    send_batch(protocol, data)
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    isolated(measure)(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
