"""Groups on this machine's real hierarchies, and on each half of a hybrid one by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stackrun.errors import Conflict, DeadlineExceeded, KernelError, Unsupported
from stackrun.kernel.cgroup import Cgroup, Layout, create, detect
from stackrun.kernel.cgroup_devices import DEFAULT_RULES
from stackrun.runtime import membership

DETECTED = detect()
V1_HALF = Layout("v1", DETECTED.v1, "", frozenset())
V2_HALF = Layout("v2", {}, DETECTED.v2, DETECTED.v2_controllers)
LAYOUTS = [pytest.param(DETECTED, id=DETECTED.mode or "none")]
if DETECTED.mode == "hybrid":
    LAYOUTS += [pytest.param(V1_HALF, id="v1-half"), pytest.param(V2_HALF, id="v2-half")]

every_layout = pytest.mark.parametrize("layout", LAYOUTS)
needs_memory = pytest.mark.skipif("memory" not in DETECTED.controllers, reason="no memory controller here")
needs_pids = pytest.mark.skipif("pids" not in DETECTED.controllers, reason="no pids controller here")


@contextmanager
def group(layout: Layout, **resources: Any) -> Iterator[Cgroup]:
    made = create(layout, f"stackrun-srt/{uuid.uuid4().hex}", resources)
    try:
        yield made
    finally:
        made.kill()
        made.delete()
        assert not made.exists()


def run_inside(made: Cgroup, program: str) -> subprocess.Popen[str]:
    """A Python program that joins the group before it does anything else, as a container's init does."""
    joins = "".join(f"open({directory + '/cgroup.procs'!r}, 'w').write('0')\n" for directory in made.directories)
    return subprocess.Popen(
        [sys.executable, "-S", "-c", f"{joins}print('in', flush=True)\n{program}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_inside(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, errors = process.communicate(timeout=20)
    return process.returncode, output + errors


@every_layout
def test_members_are_seen_killed_and_nothing_stays(layout: Layout) -> None:
    with group(layout) as made:
        process = run_inside(made, "import os\nos.fork()\nimport signal\nsignal.pause()")
        wait_inside(process)
        assert process.pid in made.pids()
        made.kill()
        assert made.pids() == ()
        assert process.wait(timeout=10) == -signal.SIGKILL
        process.communicate()


@every_layout
def test_freeze_stops_and_thaw_lets_go(layout: Layout) -> None:
    with group(layout) as made:
        process = run_inside(made, "import signal\nsignal.pause()")
        wait_inside(process)
        made.freeze()
        assert made.is_frozen()
        made.thaw()
        assert not made.is_frozen()
        made.freeze()
        made.kill()  # also when frozen
        assert ended(process)[0] == -signal.SIGKILL


@needs_memory
def test_memory_limit_kills_and_counts() -> None:
    limit = 32 << 20
    with group(DETECTED, memory={"limit": limit, "swap": limit}, devices=list(DEFAULT_RULES)) as made:
        process = run_inside(made, "block = bytearray(256 << 20)\nprint(len(block))")
        assert ended(process)[0] == -signal.SIGKILL
        assert made.oom_kills() == 1
        stats = made.stats()
        assert stats["memory"]["limit_bytes"] == limit
        assert stats["memory"]["oom_kills"] == 1
        assert stats["cpu"]["usage_ns"] > 0


@needs_memory
def test_memory_limit_can_be_raised_and_lowered() -> None:
    low, high = 32 << 20, 64 << 20
    with group(DETECTED, memory={"limit": low, "swap": low}) as made:
        made.apply({"memory": {"limit": high, "swap": high}})
        assert made.stats()["memory"]["limit_bytes"] == high
        made.apply({"memory": {"limit": low, "swap": low}})
        assert made.stats()["memory"]["limit_bytes"] == low


@needs_pids
def test_pids_limit_stops_forks() -> None:
    program = """
import os, signal
children = 0
try:
    while children < 50:
        if os.fork() == 0:
            signal.pause()
        children += 1
except BlockingIOError:
    print(children, flush=True)
"""
    with group(DETECTED, pids={"limit": 5}) as made:
        process = run_inside(made, program)
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["in\n", "4\n"]
        assert made.stats()["pids"]["limit"] == 5
        made.kill()
        process.communicate(timeout=10)


def test_cpu_settings_are_written() -> None:
    if not {"cpu", "cpuset"} <= DETECTED.controllers:
        pytest.skip("no cpu and cpuset controllers here")
    with group(DETECTED, cpu={"quota": 25000, "period": 50000, "shares": 512, "cpus": "0", "mems": "0"}) as made:
        process = run_inside(made, "import os\nprint(os.sched_getaffinity(0))")
        assert "{0}" in ended(process)[1]
        assert Path(made.directory("cpuset"), "cpuset.cpus").read_text().strip() == "0"
        made.apply({"cpu": {"quota": 100000, "period": 200000}})


@every_layout
def test_devices_outside_the_rules_do_not_open(layout: Layout) -> None:
    program = """
import os
for path in ("/dev/null", "/dev/urandom", "/dev/kmsg"):
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK)); print(path, "opened")
    except PermissionError:
        print(path, "refused")
"""
    with group(layout, devices=list(DEFAULT_RULES)) as made:
        code, output = ended(run_inside(made, program))
        assert (code, output.split("\n", 1)[1]) == (0, "/dev/null opened\n/dev/urandom opened\n/dev/kmsg refused\n")
        made.apply({"devices": [{"allow": True}, {"allow": False, "type": "c", "major": 1, "minor": 9, "access": "r"}]})
        assert "/dev/urandom refused" in ended(run_inside(made, program))[1]


@every_layout
def test_groups_below_go_first(layout: Layout) -> None:
    with group(layout) as made:
        for directory in made.directories:
            os.makedirs(f"{directory}/inner/innermost", exist_ok=True)
        if "cpuset" in layout.v1:
            outer = Path(made.directory("cpuset"))
            for directory in (outer / "inner", outer / "inner" / "innermost"):
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (directory / name).write_text((outer / name).read_text())
        inner = Cgroup.load(layout, f"{made.path}/inner/innermost")
        process = run_inside(inner, "import signal\nsignal.pause()")
        wait_inside(process)
        assert process.pid in made.pids()
        made.kill()
        assert ended(process)[0] == -signal.SIGKILL


def test_a_v2_controller_is_switched_on_on_the_way_down() -> None:
    if "hugetlb" not in DETECTED.v2_controllers:
        pytest.skip("no hugetlb controller on cgroup v2 here")
    control = Path(DETECTED.v2, "cgroup.subtree_control")
    before = control.read_text().split()
    sizes = [name.removeprefix("hugepages-").removesuffix("kB") for name in os.listdir("/sys/kernel/mm/hugepages")]
    if "2048" not in sizes:
        pytest.skip("no 2 MB huge pages here")
    with group(DETECTED, hugepageLimits=[{"pageSize": "2MB", "limit": 4 << 20}]) as made:
        assert Path(made.v2_directory, "hugetlb.2MB.max").read_text().strip() == str(4 << 20)
    if "hugetlb" not in before:
        Path(DETECTED.v2, "stackrun-srt/cgroup.subtree_control").write_text("-hugetlb")
        control.write_text("-hugetlb")


def test_a_group_in_use_is_a_conflict_and_stays() -> None:
    with group(DETECTED) as made:
        process = run_inside(made, "import signal\nsignal.pause()")
        wait_inside(process)
        with pytest.raises(Conflict, match=f"in use by process {process.pid}"):
            create(DETECTED, made.path, {})
        assert made.exists()
        with pytest.raises((DeadlineExceeded, KernelError)):
            made.delete(timeout_s=0.0)
        made.kill()
        process.communicate()


@needs_pids
def test_what_is_left_of_an_earlier_run_is_made_anew() -> None:
    with group(DETECTED, pids={"limit": 4}) as made:
        os.makedirs(f"{made.directories[-1]}/below")
        made.kill()
        again = create(DETECTED, made.path, {}, anew=True)
        assert Path(again.directory("pids"), "pids.max").read_text() == "max\n"
        assert [os.path.exists(f"{one}/below") for one in again.directories] == [False] * len(again.directories)
        for _ in range(2):  # a group that cgroup.kill was written to may kill whoever is born into it
            pid, pid_fd = membership.clone(again, 0, signal.SIGCHLD)
            if not pid:
                os._exit(7)
            os.close(pid_fd)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_making_a_group_in_use_anew_is_a_conflict() -> None:
    with group(DETECTED) as made:
        process = run_inside(made, "import signal\nsignal.pause()")
        wait_inside(process)
        with pytest.raises(Conflict, match=f"in use by process {process.pid}"):
            create(DETECTED, made.path, {}, anew=True)
        assert process.poll() is None
        made.kill()
        process.communicate()


def test_an_impossible_limit_leaves_nothing() -> None:
    path = f"stackrun-srt/{uuid.uuid4().hex}"
    with pytest.raises((Unsupported, KernelError), match=r"linux\.resources\."):
        create(DETECTED, path, {"cpu": {"cpus": "4000"}})
    assert not Cgroup.load(DETECTED, path).exists()


def test_deleting_twice_is_fine() -> None:
    with group(DETECTED) as made:
        made.delete()
        made.delete()


def test_open_v2_gives_the_directory() -> None:
    if not DETECTED.v2:
        pytest.skip("no cgroup v2 here")
    with group(DETECTED) as made:
        fd = made.open_v2()
        try:
            assert os.readlink(f"/proc/self/fd/{fd}") == made.v2_directory
        finally:
            os.close(fd)


@pytest.fixture(autouse=True, scope="module")
def _no_parent_stays() -> Iterator[None]:
    """The shared parent belongs to nobody, so these tests remove their own."""
    yield
    for point in DETECTED.mount_points:
        if os.path.isdir(f"{point}/stackrun-srt"):
            os.rmdir(f"{point}/stackrun-srt")
