"""Huge pages: they come from the host's pool, and no memory limit counts them.  A container takes as many as its cgroup lets it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import Runtime, has_busybox, runtime_in

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
PAGES = 6
SCRIPT = """
import mmap
taken = []
while True:
    taken.append(mmap.mmap(-1, 2 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000))
    taken[-1][0] = 1
    print(len(taken), flush=True)
"""
HOSTS = ("usr", "lib", "lib64", "etc")

pytestmark = pytest.mark.skipif(not POOL.exists() or not has_busybox, reason="no huge pages of 2 MiB, or no busybox-static")


@pytest.fixture
def pool() -> Iterator[None]:
    """Of the host's, for this test."""
    before = POOL.read_text()
    POOL.write_text(str(PAGES))
    if int(POOL.read_text()) < PAGES:
        POOL.write_text(before)
        pytest.skip("the machine has no six huge pages to spare")
    yield
    POOL.write_text(before)


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    with runtime_in(short_tmp) as made:
        made.configure("/usr/bin/python3", "-c", SCRIPT)
        yield made


def taken(runtime: Runtime, **resources: object) -> int:
    """How many pages a process can use before it is refused or killed."""
    path = runtime.bundle / "config.json"
    config = json.loads(path.read_text())
    options = ["rbind", "ro"]
    config["mounts"] += [{"destination": f"/{name}", "type": "bind", "source": f"/{name}", "options": options} for name in HOSTS]
    config["linux"]["resources"].update(resources)
    path.write_text(json.dumps(config))
    command = runtime.command("run", "--bundle", str(runtime.bundle), "greedy")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode, "it never stopped"
    return int((done.stdout.split() or ["0"])[-1])


def test_a_limit_is_one(runtime: Runtime, pool: None) -> None:
    assert taken(runtime, hugepageLimits=[{"pageSize": "2MB", "limit": 2 * (2 << 20)}]) == 2


def test_the_attempt_works_without_one_whatever_the_memory_limit(runtime: Runtime, pool: None) -> None:
    assert taken(runtime, memory={"limit": 8 << 20}) == PAGES
