"""Containers in their groups, on whatever kind of hierarchy this machine has: v1, hybrid or v2 (`make vm` has the latter)."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackrun.engine.seccomp_profile import default_profile
from stackrun.errors import KernelError
from stackrun.kernel import cgroup, seccomp
from stackrun.kernel.cgroup_devices import DEFAULT_RULES
from stackrun.runtime import container
from stackrun.runtime.container import Handle
from stackrun.runtime.zygote import Zygote

BUSYBOX = "/usr/bin/busybox"
LAYOUT = cgroup.detect()
KINDS = ("mount", "pid", "network", "uts", "ipc", "cgroup")
ORDINARY = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_MKNOD"]
RESOURCES = {
    "memory": {"limit": 48 << 20, "swap": 48 << 20},
    "pids": {"limit": 16},
    "cpu": {"quota": 20000, "period": 100000},
    "devices": list(DEFAULT_RULES),
}

pytestmark = [
    pytest.mark.skipif(not os.access(BUSYBOX, os.X_OK), reason="busybox-static is not installed"),
    pytest.mark.skipif(
        not {"memory", "pids", "cpu"} <= LAYOUT.controllers, reason=f"of memory, pids and cpu only {sorted(LAYOUT.controllers)} here"
    ),
]
pure_v2 = pytest.mark.skipif(LAYOUT.mode != "v2", reason=f"cgroups are {LAYOUT.mode} here, not pure v2")


class Box:
    """One busybox container and its group."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.zygote = Zygote.launch(str(root / "run"))
        self.path = f"stackrun-test-{root.name}/box"
        self.group = cgroup.Cgroup.load(LAYOUT, self.path)
        self.handle: Handle
        for name in ("bin", "proc", "sys", "dev", "tmp"):
            (root / "rootfs" / name).mkdir(parents=True)
        shutil.copy(BUSYBOX, root / "rootfs/bin/busybox")
        (root / "rootfs/bin/sh").symlink_to("busybox")

    def start(
        self, script: str, *, resources: dict[str, Any] = RESOURCES, cgroup_options: tuple[str, ...] = ("ro",), confined: bool = True
    ) -> Handle:
        capabilities = ORDINARY if confined else [*ORDINARY, "CAP_SYS_ADMIN"]
        mounts = [("/proc", "proc", ["nosuid"]), ("/sys", "sysfs", ["ro"]), ("/sys/fs/cgroup", "cgroup", [*cgroup_options, "nosuid"])]
        config = {
            "ociVersion": "1.2.0",
            "process": self.process(script, capabilities),
            "root": {"path": "rootfs"},
            "mounts": [{"destination": to, "type": kind, "source": kind, "options": options} for to, kind, options in mounts],
            "linux": {
                "namespaces": [{"type": kind} for kind in KINDS],
                "resources": resources,
            },
        }
        (self.root / "config.json").write_text(json.dumps(config))
        self.handle = container.create(
            self.zygote,
            container_id=self.root.name,
            bundle=str(self.root),
            run_dir=str(self.root / "run" / "box"),
            cgroup_path=self.path,
            log={"path": str(self.root / "log"), "max_bytes": 0, "max_files": 1},
            seccomp=seccomp.compile_filter(default_profile(frozenset(capabilities))) if confined else b"",
        )
        self.handle.start()
        return self.handle

    @staticmethod
    def process(script: str, capabilities: list[str] = ORDINARY) -> dict[str, Any]:
        sets = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
        install = "/bin/busybox --install -s /bin 2> /dev/null; "
        return {
            "args": ["sh", "-c", install + script],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "capabilities": sets,
        }

    def event(self) -> dict[str, Any]:
        assert select.select([self.handle.events], [], [], 30)[0], "no event came"
        found = self.handle.read_event()
        assert found is not None, "the shim is gone without a word"
        return found

    def output(self, script: str, **options: Any) -> list[str]:
        """What both streams of a container said until it ended by itself."""
        self.start(script, **options)
        assert self.event()["event"] == "exit"
        return "".join(json.loads(line)["log"] for line in (self.root / "log").read_text().splitlines()).splitlines()

    def execute(self, script: str) -> tuple[int, list[str]]:
        """Exit code and output of another process in it."""
        _, sock = self.handle.exec(exec_id="e", process=self.process(script))
        assert sock is not None
        sock.settimeout(30)
        text = b""
        with sock, sock.makefile("rb") as file:
            while header := file.read(8):
                text += file.read(int.from_bytes(header[4:], "big"))
        return self.event()["code"], text.decode().splitlines()

    def close(self) -> None:
        self.handle.delete()
        self.handle.close()
        self.zygote.close()
        assert not self.group.exists()
        for directory in cgroup.Cgroup.load(LAYOUT, os.path.dirname(self.path)).directories:
            Path(directory).rmdir()


@pytest.fixture
def box(short_tmp: Path) -> Iterator[Box]:
    made = Box(short_tmp)
    yield made
    made.close()


def groups_of(pid: int) -> dict[str, str]:
    """Hierarchy's mount point → the group of a process in it, as /proc/PID/cgroup has it."""
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        point = LAYOUT.v1.get(controllers.split(",")[0], "") if controllers else LAYOUT.v2
        found[point] = path
    return {point: path for point, path in found.items() if point}


def test_init_and_exec_are_members_everywhere_and_the_shim_nowhere(box: Box) -> None:
    handle = box.start("sleep 1000")
    pid, _ = handle.exec(exec_id="e", process=box.process("sleep 1000"), want_output=False)
    for member in (handle.pid, pid):
        assert groups_of(member) == dict.fromkeys(LAYOUT.mount_points, f"/{box.path}")
    assert {handle.pid, pid} <= set(box.group.pids())
    assert f"/{box.path}" not in groups_of(handle.shim_pid).values()


def test_inside_only_the_own_group_is_seen_and_cannot_be_written(box: Box) -> None:
    script = """
    cut -d: -f3 /proc/self/cgroup | sort -u
    grep ' /sys/fs/cgroup' /proc/mounts | cut -d' ' -f2,4 | grep -v ' ro,'
    for file in $(find /sys/fs/cgroup -name cgroup.procs); do
        grep -qx 1 $file || echo not mine: $file
        (echo 0 > $file) 2> /dev/null && echo written: $file
    done
    echo end
    """
    assert box.output(script) == ["/", "end"]


@pure_v2
def test_on_v2_the_mount_is_the_group_itself(box: Box) -> None:
    script = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max cgroup.type; grep ' /sys/fs/cgroup' /proc/mounts | cut -d' ' -f2,3"
    assert box.output(script) == [str(48 << 20), "16", "20000 100000", "domain", "/sys/fs/cgroup cgroup2"]


def test_more_processes_than_allowed_are_refused(box: Box) -> None:
    handle = box.start("sleep 1000")
    code, output = box.execute("for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18; do sleep 1000 & done")
    assert code != 0 and any("fork" in line for line in output)
    assert box.group.stats()["pids"]["limit"] == 16
    assert handle.status() == "running"


def test_want_of_memory_ends_it_and_is_told(box: Box) -> None:
    box.start("x=0123456789abcdef; while :; do x=$x$x; done")
    event = box.event()
    assert (event["oom"], event["code"]) == (True, 137)


def test_an_exec_that_wants_too_much_dies_alone(box: Box) -> None:
    handle = box.start("sleep 1000")
    code, _ = box.execute("x=0123456789abcdef; while :; do x=$x$x; done")
    assert code == 137
    assert handle.status() == "running"
    assert box.group.oom_kills() == 1


def test_a_busy_loop_is_throttled(box: Box) -> None:
    box.start("sleep 1000", resources={**RESOURCES, "cpu": {"quota": 2000, "period": 10000}})
    code, _ = box.execute("n=0; while [ $n -lt 3000 ]; do n=$((n+1)); done")
    assert code == 0
    assert box.group.stats()["cpu"]["throttled_ns"] > 0


def test_limits_of_a_running_container_change(box: Box) -> None:
    handle = box.start("sleep 1000")
    handle.update({"memory": {"limit": 96 << 20, "swap": 96 << 20}, "pids": {"limit": 32}, "cpu": {"quota": 50000, "period": 100000}})
    stats = box.group.stats()
    assert (stats["memory"]["limit_bytes"], stats["pids"]["limit"]) == (96 << 20, 32)
    with pytest.raises(KernelError, match=r"linux\.resources\.cpu"):
        handle.update({"cpu": {"cpus": "4000"}})
    assert handle.status() == "running"


def test_a_device_made_inside_opens_only_within_the_rules(box: Box) -> None:
    """Of two numbers that no driver has, the one that is allowed is looked for (ENXIO), the other refused (EPERM)."""
    rules = [*DEFAULT_RULES, {"allow": True, "type": "c", "major": 4001, "minor": 7, "access": "r"}]
    script = """
    for minor in 7 8; do mknod /tmp/$minor c 4001 $minor; cat /tmp/$minor; done
    (echo > /tmp/7) 2>&1
    mknod /tmp/null c 1 3; cat /tmp/null && echo null opens
    """
    output = box.output(script, resources={**RESOURCES, "devices": rules})
    assert [line.rpartition(": ")[2] for line in output] == [
        "No such device or address",
        "Operation not permitted",
        "Operation not permitted",
        "null opens",
    ]


def test_paused_means_that_nothing_runs(box: Box) -> None:
    handle = box.start("while :; do echo tick; sleep 0.05; done")
    handle.pause()
    assert box.group.is_frozen()
    states = {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in box.group.pids()}
    assert states <= {"S", "D"}
    size = (box.root / "log").stat().st_size
    usage = box.group.stats()["cpu"]["usage_ns"]
    assert not select.select([handle.events], [], [], 0.3)[0]
    assert box.group.stats()["cpu"]["usage_ns"] == usage
    assert (box.root / "log").stat().st_size - size <= 200  # what was in the pipe already
    handle.resume()
    assert not box.group.is_frozen()


def test_what_forks_all_the_time_is_killed_whole(box: Box) -> None:
    handle = box.start("f() { sleep 1000 & while :; do (exit 0); done; }; f & f & f & wait", resources={"pids": {"limit": 64}})
    handle.signal(signal.SIGKILL, all=True)
    event = box.event()
    assert (event["event"], event["code"]) == ("exit", 137)
    handle.delete()
    assert not box.group.exists()


@pure_v2
def test_a_container_with_groups_of_its_own_is_still_entered_and_removed(box: Box) -> None:
    """A group whose children have controllers takes no process any more, so an exec goes where init went."""
    script = """
    cd /sys/fs/cgroup && mkdir inner && echo 0 > inner/cgroup.procs && echo +pids +memory > cgroup.subtree_control &&
    mkdir other && grep max other/memory.max && echo ready > /tmp/ready; exec sleep 1000
    """
    os.mkfifo(box.root / "rootfs/tmp/ready")
    handle = box.start(script, cgroup_options=("rw",), confined=False)
    assert (box.root / "rootfs/tmp/ready").read_text() == "ready\n"
    assert groups_of(handle.pid) == {LAYOUT.v2: f"/{box.path}/inner"}
    assert box.execute("cat /proc/self/cgroup") == (0, ["0::/inner"])
    if "nsdelegate" in Path("/proc/mounts").read_text():
        code, output = box.execute("echo max > /sys/fs/cgroup/memory.max")
        assert code and "Operation not permitted" in output[-1]
    handle.delete()
    assert not box.group.exists()
