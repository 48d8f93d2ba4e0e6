"""The same bundle under stackrun-runtime and under Debian's runc: what a process inside can see must be the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import Config, Runtime, has_busybox, runtime_in

pytestmark = pytest.mark.skipif(not has_busybox or not shutil.which("runc"), reason="busybox-static or runc is not installed")

CAPABILITIES = ["CAP_CHOWN", "CAP_NET_RAW", "CAP_SETUID", "CAP_SYS_ADMIN"]
PROCESS = (
    "grep -E 'Uid|Gid|Groups|Cap|NoNew|Seccomp:|Sig[PBIC]|Shd' /proc/self/status; umask; pwd; env | sort; ulimit -a;"
    "cat /proc/self/oom_score_adj; ls /proc/self/fd; cat /proc/self/limits | grep -v Units"
)
MOUNTS = "cut -d' ' -f4- /proc/self/mountinfo | grep -vE ' /(proc|sys)/.* - (tmpfs|devtmpfs|proc|sysfs) ' | sed 's/ [^ ]* [^ ]*$//'"
"""Without the masks, where we have stricter flags, and without sources, which are only names."""
ROOT = f"{MOUNTS} | head -1 | cut -d' ' -f5-"
GROUPS = "ls /sys/fs/cgroup; for f in /sys/fs/cgroup/*; do ls -d $f/cgroup.procs; done; cut -d: -f3 /proc/self/cgroup"
DEVICES = "ls -ln /dev | grep -v total | awk '{print $1,$3,$4,$5,$6,$NF}' | sed 's/[0-9]*:[0-9]*$//'"


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    with runtime_in(short_tmp) as made:
        yield made


def as_user(config: Config) -> None:
    config["process"]["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o027}
    config["process"]["cwd"] = "/work"


def with_capabilities(config: Config) -> None:
    as_user(config)
    config["process"]["noNewPrivileges"] = False
    config["process"]["capabilities"] = {
        "bounding": CAPABILITIES, "permitted": CAPABILITIES, "effective": CAPABILITIES[:2],
        "inheritable": CAPABILITIES[:1], "ambient": CAPABILITIES[:1],
    }  # fmt: skip


def with_limits(config: Config) -> None:
    config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    config["process"]["oomScoreAdj"] = 500
    config["process"]["env"] = ["PATH=/bin", "A=1", "A=2", "EMPTY="]


def with_filter(config: Config) -> None:
    rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}


def with_mounts(config: Config) -> None:
    config["root"]["readonly"] = False
    config["mounts"] += [
        {"destination": "/t", "type": "tmpfs", "source": "t", "options": ["nosuid", "size=64k", "mode=1770", "uid=3", "gid=4"]},
        {"destination": "/b", "type": "bind", "source": "rootfs/bin", "options": ["rbind", "ro", "nodev"]},
        {"destination": "/f", "type": "bind", "source": "config.json", "options": ["bind", "ro", "nosuid", "noexec", "rprivate"]},
        {"destination": "/s", "type": "bind", "source": "rootfs/bin", "options": ["bind", "rslave", "noatime"]},
    ]


def with_devices(config: Config) -> None:
    config["linux"]["devices"] = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600, "uid": 3, "gid": 4},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o622},
        {"path": "/dev/deep/er", "type": "b", "major": 7, "minor": 0},
    ]


def with_sysctls(config: Config) -> None:
    config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "4096", "kernel.domainname": "example"}


def propagated(word: str) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        config["linux"]["rootfsPropagation"] = word

    return change


def without_namespaces(config: Config) -> None:
    config["linux"]["namespaces"] = [{"type": "mount"}]
    config.pop("hostname")


CASES: list[tuple[str, Callable[[Config], None], str]] = [
    ("plain", lambda config: None, PROCESS),
    ("user", as_user, PROCESS),
    ("capabilities", with_capabilities, PROCESS),
    ("limits", with_limits, PROCESS),
    ("filter", with_filter, PROCESS + "; mkdir /x 2>&1 | cut -d: -f3"),
    ("plain mounts", lambda config: None, MOUNTS),
    ("mounts", with_mounts, MOUNTS + "; stat -c '%u %g' /t; df /t | tail -1; ls /b | head -3; (echo > /b/x) 2>&1; (echo > /f) 2>&1; true"),
    ("devices", with_devices, DEVICES + "; ls -l /dev/deep | wc -l; ls -l /dev/fd /dev/ptmx /dev/stdin | awk '{print $NF}'"),
    ("device rules", lambda config: None, "mknod /dev/shm/d b 7 0; (cat /dev/shm/d) 2>&1 | cut -d: -f3; head -c 3 /dev/zero | wc -c"),
    ("no device rules", lambda config: config["linux"].pop("resources"), "mknod /dev/shm/d b 7 0; (cat /dev/shm/d) 2>&1 | cut -d: -f3"),
    ("sysctls", with_sysctls, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax /proc/sys/kernel/domainname; hostname"),
    ("groups", lambda config: None, GROUPS),
    ("no namespaces", without_namespaces, "readlink /proc/self/ns/pid; readlink /proc/self/ns/net; hostname"),
    *((f"propagation {word}", propagated(word), ROOT) for word in ("private", "slave", "rslave", "rprivate")),
]  # fmt: skip


@pytest.mark.parametrize(("change", "script"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_same_inside(runtime: Runtime, change: Callable[[Config], None], script: str) -> None:
    ours = runtime.output(script, change)
    assert ours == [_not_inherited(line) for line in runtime.output_of_runc()]


def _not_inherited(line: str) -> str:
    """runc hands on the ignored signals that it was started with (make, by posix_spawn, starts us with 32 and 33); we hand on none."""
    name, _, value = line.partition("\t")
    if name != "SigIgn:":
        return line
    status = Path("/proc/self/status").read_text()
    inherited = int(status.partition("SigIgn:\t")[2].split()[0], 16)
    return f"{name}\t{int(value, 16) & ~inherited:016x}"
