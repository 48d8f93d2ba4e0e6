"""CVE-2025-52881: what the runtime writes to /proc goes to a file of the container's instead, or from there to a dangerous one.

A runtime writes sysctls, LSM labels and oom_score_adj.  Ours writes them to procfs that the container has no part in.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import Config, Runtime, runtime_in

FAKE = {"sys/net/ipv4/ip_forward": "fake", "self/oom_score_adj": "fake", "1/oom_score_adj": "fake", "self/attr/exec": "fake"}


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    """A bundle without a procfs: what is at /proc are files of the image's."""
    with runtime_in(short_tmp) as made:
        for name, text in FAKE.items():
            path = made.bundle / "rootfs/proc" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        yield made


def fake_proc(config: Config) -> None:
    config["mounts"] = [one for one in config["mounts"] if one["destination"] != "/proc"]
    config["linux"].update(maskedPaths=[], readonlyPaths=[], sysctl={"net.ipv4.ip_forward": "1"})
    config["process"]["oomScoreAdj"] = 321
    config["root"]["readonly"] = False


def untouched(runtime: Runtime) -> bool:
    return all((runtime.bundle / "rootfs/proc" / name).read_text() == text for name, text in FAKE.items())


def start(runtime: Runtime) -> int:
    runtime.configure("sleep", "100")
    runtime.change(fake_proc)
    runtime.create("c")
    runtime.run("start", "c")
    pid: int = runtime.state("c")["pid"]
    return pid


def test_they_reach_the_kernel_and_not_the_fake(runtime: Runtime) -> None:
    pid = start(runtime)
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "321\n"
    command = ["nsenter", "-t", str(pid), "-n", "cat", "/proc/sys/net/ipv4/ip_forward"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == "1\n" and untouched(runtime)


def test_nor_do_those_of_an_exec(runtime: Runtime) -> None:
    """It joins the container's mount namespace, where /proc/self is what the container says."""
    (runtime.bundle / "rootfs/proc/self/oom_score_adj").unlink()
    (runtime.bundle / "rootfs/victim").write_text("untouched")
    (runtime.bundle / "rootfs/proc/self/oom_score_adj").symlink_to("/victim")
    start(runtime)
    runtime.run("exec", "c", "true")
    process = runtime.root / "process.json"
    process.write_text('{"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "oomScoreAdj": 500}')
    runtime.run("exec", "--process", str(process), "c")
    assert (runtime.bundle / "rootfs/victim").read_text() == "untouched"


def test_the_attempt_works_on_whoever_writes_by_path(runtime: Runtime) -> None:
    """In the container's root, as a runtime that has entered it."""
    child = os.fork()
    if child == 0:
        os.chroot(runtime.bundle / "rootfs")
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
            file.write("500")
        os._exit(0)
    os.waitpid(child, 0)
    assert not untouched(runtime)
