"""Watching: from a saved line to the new container, and what an idle watch costs."""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from machine import Machine

from stackrun.client.http import Transport
from stackrun.errors import Unavailable

SERVICES = 20
CHANGES = 12
IDLE_S = 5.0
CHANGE = "watch: saved line → new container"
STOP = "watch: of that, the service's own stop time"
SYNC = "watch: saved source → in the container"
IDLE = "watch: idle, processor time per second"


def compose_file(services: int, level: int) -> str:
    """Services that end at once when told to, on the stack's default network; the line that changes is one of s07's."""
    body = "".join(
        f"  s{number:02}:\n    image: busybox:test\n    init: true\n    command: [sleep, '100000']\n"
        f"    environment:\n      LEVEL: '{level if number == 7 else 0}'\n"
        f"    develop: {{watch: [{{path: src{number}, action: sync, target: /app}}]}}\n"
        for number in range(services)
    )
    return f"name: watched\nservices:\n{body}"


class Events:
    """What happens to the stack's containers, as (time in seconds, action, name)."""

    def __init__(self, host: str) -> None:
        self._queue: queue.Queue[tuple[float, str, str]] = queue.Queue()
        self._link = Transport(host)
        self._response = self._link.request("GET", "/events", query={"filters": {"type": ["container"]}})
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(Unavailable):  # closed
            for line in self._response.lines():
                event = json.loads(line)
                self._queue.put((event["timeNano"] / 1e9, event["Action"], event["Actor"]["Attributes"]["name"]))

    def close(self) -> None:
        self._response.shutdown()
        self._thread.join()
        self._link.close()

    def until(self, action: str, part: str) -> list[tuple[float, str, str]]:
        """Everything up to an action of a container whose name holds `part`."""
        found = []
        while not found or found[-1][1] != action or part not in found[-1][2]:
            found.append(self._queue.get(timeout=30))
        return found


def watched_change(machine: Machine, add: Callable[[str, float], None]) -> None:
    """Adds the time from a save to the new container's start without the old one's own stop time, and what idling costs."""
    sources = {f"src{number}/{name}": "x\n" * 100 for number in range(SERVICES) for name in ("program", "lib/one", "lib/two")}
    folder = machine.project("watched", compose_file(SERVICES, 0), sources)
    log = machine.root / "watched.log"
    with log.open("w") as output:
        process = machine.start_to(output, "watch", cwd=folder)
    while "watching" not in log.read_text():
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    events = Events(machine.host)
    for level in range(1, CHANGES + 1):
        time.sleep(0.5)  # the watch is idle again
        saved = time.time()
        (folder / "compose.yaml").write_text(compose_file(SERVICES, level))
        happened = events.until("start", "s07")
        told, died = (next(when for when, action, _ in happened if action == wanted) for wanted in ("kill", "die"))
        add(CHANGE, happened[-1][0] - saved - (died - told))
        add(STOP, died - told)
        time.sleep(0.5)
        saved = time.time()
        (folder / "src3" / "program").write_text(f"{level}\n")
        add(SYNC, events.until("extract-to-dir", "s03")[-1][0] - saved)
    events.close()
    time.sleep(1)
    before = processor_s(process.pid)
    time.sleep(IDLE_S)
    add(IDLE, (processor_s(process.pid) - before) / IDLE_S)
    process.send_signal(signal.SIGINT)
    process.wait(10)
    machine.run("down", "-t", "0", cwd=folder)


def processor_s(pid: int) -> float:
    """User and system time (proc(5), stat, fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
