"""Reading and checking stack files, whole processes beside Docker Compose's: part of `make bench`.

Bytecode counts as installed: pip compiles what it installs, so it is compiled here too.
"""

from __future__ import annotations

import compileall
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import compose
from machine import REPOSITORY, STACKRUN

COMPOSE = Path(compose.__file__).with_name("docker-compose")
RUNS = 9
SERVICES, MANY, LINTED = 20, 500, 200
MB = 1_000_000


def stack_file(services: int) -> str:
    """Services as people write them: variables, ports, a volume and a healthcheck each, and a chain of dependencies."""
    lines = ["name: bench", "services:"]
    for number in range(services):
        lines += [
            f"  s{number}:", "    image: busybox:1.36", "    command: [sleep, '1000']",
            "    environment:", "      A: b", "      C: ${HOME}",
            "    ports:", f"      - '127.0.0.1:{8000 + number}:80'", "    volumes:", f"      - data{number}:/data", "    healthcheck:",
            "      test: [CMD, test, -f, /data/ready]", "      interval: 5s", "      timeout: 2s",
        ]  # fmt: skip
        lines += ["    depends_on:", f"      - s{number - 1}"] if number else []
    lines += ["volumes:", *(f"  data{number}:" for number in range(services))]
    return "\n".join(lines) + "\n"


def whole(command: Sequence[str | Path], cwd: str) -> tuple[float, float]:
    """(seconds from start to exit, peak bytes) of one process, which must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command}: {process.returncode}"
    return seconds, peak_bytes(usage)


def peak_bytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss * 1024.0


def bench_reading() -> dict[str, list[float]]:
    """Samples by name; the peers take turns, so that a machine that slows down slows both."""
    compileall.compile_dir(REPOSITORY / "stackrun", quiet=1)
    samples: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="srt-reading-") as folder:
        for services in (SERVICES, MANY):
            Path(folder, f"{services}.yaml").write_text(stack_file(services))
        Path(folder, f"{LINTED}.yaml").write_text(stack_file(LINTED))
        for _ in range(RUNS + 1):
            for name, command in _commands():
                seconds, peak = whole(command, folder)
                samples.setdefault(name, []).append(seconds)
                samples.setdefault(f"{name}: peak", []).append(peak)
    return {name: values[1:] for name, values in samples.items()}


def _commands() -> list[tuple[str, list[str | Path]]]:
    found: list[tuple[str, list[str | Path]]] = []
    for services in (SERVICES, MANY):
        words = ["-f", f"{services}.yaml", "config", "-q"]
        found += [
            (f"compose config -q, {services} services", [COMPOSE, *words]),
            (f"stackrun config -q, {services} services", [STACKRUN, *words]),
        ]
    return [*found, (f"stackrun validate, {LINTED} services", [STACKRUN, "validate", f"{LINTED}.yaml"])]


if __name__ == "__main__":
    sys.exit("run `make bench`")
