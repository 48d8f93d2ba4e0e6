"""What the runtime-spec 1.2 says and Debian's runc does not know yet, or what takes more than a look inside to see."""

from __future__ import annotations

import array
import fcntl
import json
import os
import pty
import select
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles import Config, Runtime, has_busybox, runtime_in

pytestmark = pytest.mark.skipif(not has_busybox, reason="busybox-static is not installed")
MAPPING = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    short_tmp.chmod(0o755)
    with runtime_in(short_tmp) as made:
        (made.bundle / "rootfs").chmod(0o777)  # roots of user namespaces are other users
        yield made


def exec_with(runtime: Runtime, name: str, process: dict[str, Any], *options: str) -> list[str]:
    path = runtime.root / "process.json"
    path.write_text(json.dumps({"cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, **process}))
    return runtime.run("exec", "--process", str(path), *options, name).splitlines()


# --- process ---


def test_the_scheduler(runtime: Runtime) -> None:
    def change(config: Config) -> None:
        config["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}

    assert runtime.output("cut -d' ' -f19,41 /proc/self/stat", change) == ["7 3"]


def test_a_scheduler_that_the_kernel_refuses_is_named(runtime: Runtime) -> None:
    runtime.configure("true")
    deadline = {"policy": "SCHED_DEADLINE", "runtime": 10, "deadline": 5, "period": 5}
    runtime.change(lambda config: config["process"].update(scheduler=deadline))
    assert "process.scheduler: sched_setattr policy 6: EINVAL" in runtime.run("create", "-b", str(runtime.bundle), "a", code=1)


def test_the_priority_of_io(runtime: Runtime) -> None:
    def change(config: Config) -> None:
        config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}

    assert runtime.output("ionice -p $$", change) == ["best-effort: prio 6"]


def test_the_cpus_of_an_exec(runtime: Runtime) -> None:
    runtime.start("a", "sleep", "1000")
    seen = exec_with(runtime, "a", {"args": ["grep", "Cpus_allowed_list", "/proc/self/status"], "execCPUAffinity": {"final": "0"}})
    assert seen == ["Cpus_allowed_list:\t0"]


def test_the_personality_also_of_an_exec(runtime: Runtime) -> None:
    runtime.configure("sleep", "1000")
    runtime.change(lambda config: config["linux"].update(personality={"domain": "LINUX32"}))
    runtime.create("a")
    runtime.run("start", "a")
    assert runtime.run("exec", "a", "uname", "-m") == "i686\n"
    assert runtime.output("cat /proc/self/personality", lambda config: config["linux"].update(personality={"domain": "LINUX32"})) == [
        "00000008"
    ]


def test_the_size_of_a_terminal(runtime: Runtime, short_tmp: Path) -> None:
    runtime.configure("sh", "-c", "stty size; exec sleep 1000", terminal=True, consoleSize={"height": 33, "width": 99})
    path = str(short_tmp / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        runtime.create("a", "--console-socket", path)
        with listener.accept()[0] as connection:
            _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    runtime.run("start", "a")
    assert os.read(fds[0], 100) == b"33 99\r\n"
    os.close(fds[0])


def test_groups_limits_and_unknown_capabilities(runtime: Runtime) -> None:
    def change(config: Config) -> None:
        config["process"]["user"] = {"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o77}
        config["process"]["capabilities"]["bounding"].append("CAP_NEVER_HEARD_OF")

    assert runtime.output("id; umask", change) == ["uid=5 gid=6 groups=7,8", "0077"]


def test_an_exec_does_not_ignore_what_is_lacking(runtime: Runtime) -> None:
    runtime.start("a", "sleep", "1000")
    path = runtime.root / "process.json"
    path.write_text(json.dumps({"args": ["true"], "cwd": "/", "apparmorProfile": "p"}))
    assert "process.apparmorProfile is not supported" in runtime.run("exec", "--process", str(path), "a", code=255)
    path.write_text("[]")
    assert "it holds no JSON object" in runtime.run("exec", "--process", str(path), "a", code=255)
    path.write_text(json.dumps({"args": ["true"], "cwd": "/", "user": 7}))
    assert "process: a value has the wrong type" in runtime.run("exec", "--process", str(path), "a", code=255)


WRONG: list[dict[str, Any]] = [
    {"hooks": {"prestart": ["x"]}},
    {"hooks": ["x"]},
    {"linux": {"seccomp": 7}},
    {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": 7, "action": "SCMP_ACT_ERRNO"}]}}},
    {"linux": {"resources": {"devices": [{"allow": False, "major": "x"}]}}},
    {"linux": {"resources": {"memory": {"limit": "x"}}}},
    {"linux": {"resources": 7}},
    {"linux": {"cgroupsPath": "../../x"}},
    {"annotations": 7},
    {"process": {"args": ["true"], "scheduler": 7}},
    {"mounts": [{"destination": "/x", "type": "bind", "source": "/", "uidMappings": [7]}]},
    {"root": 7},
]


@pytest.mark.parametrize("change", WRONG, ids=[json.dumps(change) for change in WRONG])
def test_no_configuration_gives_a_traceback(runtime: Runtime, change: dict[str, Any]) -> None:
    runtime.configure("true")
    runtime.change(lambda config: config.update(change))
    runtime.change(lambda config: config.setdefault("linux", {}).setdefault("namespaces", [{"type": "mount"}]))
    runtime.change(lambda config: config["linux"].update(namespaces=[{"type": kind} for kind in ("mount", "uts", "pid")]))
    for verb in ("create", "run"):
        error = runtime.run(verb, "-b", str(runtime.bundle), "a", code=1)
        assert error.startswith("stackrun-runtime: ") and "Traceback" not in error and "RuntimeError" not in error
    assert runtime.run("list", "-q") == ""


# --- mounts ---


def bind(source: Path, *options: str, **more: Any) -> dict[str, Any]:
    return {"destination": "/v", "type": "bind", "source": str(source), "options": list(options), **more}


@pytest.fixture
def nested(runtime: Runtime) -> Iterator[Path]:
    """A directory with a file of uid 100005, and a tmpfs mounted below it."""
    outer = runtime.root / "outer"
    inner = outer / "inner"
    inner.mkdir(parents=True)
    (outer / "file").write_text("")
    os.chown(outer / "file", 5, 5)
    outer.chmod(0o777)
    (outer / "file").chmod(0o666)
    subprocess.run(["mount", "-t", "tmpfs", "inner", inner], check=True)
    (inner / "file").write_text("")
    os.chown(inner / "file", 5, 5)
    (inner / "file").chmod(0o666)
    yield outer
    subprocess.run(["umount", inner], check=True)


def test_recursive_read_only(runtime: Runtime, nested: Path) -> None:
    script = "for d in /v /v/inner; do (echo > $d/file) 2>/dev/null && echo rw || echo ro; done"
    assert runtime.output(script, lambda config: config["mounts"].append(bind(nested, "rbind", "ro"))) == ["ro", "rw"]
    assert runtime.output(script, lambda config: config["mounts"].append(bind(nested, "rbind", "rro"))) == ["ro", "ro"]


maps_tmpfs = pytest.mark.skipif(
    tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 3), reason="tmpfs maps ids since Linux 6.3"
)


@maps_tmpfs
def test_mapped_ids(runtime: Runtime, nested: Path) -> None:
    mapping = [{"containerID": 0, "hostID": 1000, "size": 100}]
    maps = {"uidMappings": mapping, "gidMappings": mapping}
    script = "stat -c %u:%g /v/file /v/inner/file"
    assert runtime.output(script, lambda config: config["mounts"].append(bind(nested, "rbind", **maps))) == ["1005:1005", "5:5"]
    assert runtime.output(script, lambda config: config["mounts"].append(bind(nested, "rbind", "idmap", **maps))) == ["1005:1005", "5:5"]
    assert runtime.output(script, lambda config: config["mounts"].append(bind(nested, "rbind", "ridmap", **maps))) == ["1005:1005"] * 2


def user_namespace(config: Config) -> None:
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"].update(uidMappings=MAPPING, gidMappings=MAPPING)
    config["root"]["readonly"] = False


@maps_tmpfs
def test_mapped_ids_in_a_user_namespace(runtime: Runtime, nested: Path) -> None:
    def change(config: Config) -> None:
        user_namespace(config)
        config["mounts"].append(bind(nested, "rbind", "ridmap"))

    assert runtime.output("stat -c %u /v/file /v/inner/file; touch /v/new && stat -c %u /v/new", change) == ["5", "5", "0"]
    assert (nested / "new").stat().st_uid == 0


def test_binds_of_a_user_namespace_from_where_its_root_may_not_go(runtime: Runtime) -> None:
    hidden = runtime.root / "hidden"
    (hidden / "below").mkdir(parents=True)
    (hidden / "below/file").write_text("seen\n")
    hidden.chmod(0o700)

    def change(config: Config) -> None:
        user_namespace(config)
        config["mounts"].append(bind(hidden / "below", "rbind", "ro"))

    assert runtime.output("cat /v/file", change) == ["seen"]


def test_a_tmpfs_begins_with_what_it_covers(runtime: Runtime) -> None:
    covered = runtime.bundle / "rootfs/data"
    (covered / "deep/er").mkdir(parents=True)
    (covered / "deep/er/file").write_text("text\n")
    (covered / "link").symlink_to("deep")
    os.chown(covered / "deep", 3, 4)
    (covered / "deep").chmod(0o2755)
    (covered / "setuid").write_text("")
    os.chown(covered / "setuid", 3, 4)
    (covered / "setuid").chmod(0o4755)
    os.mkfifo(covered / "fifo")
    mount = {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}
    script = "cd /data; cat link/er/file; stat -c '%a %u %g' deep setuid; ls -l fifo | cut -c1; (touch x) 2>/dev/null || echo ro"
    assert runtime.output(script, lambda config: config["mounts"].append(mount)) == ["text", "2755 3 4", "4755 3 4", "p", "ro"]


def test_a_tmpfs_has_the_mode_of_what_it_covers_and_the_kernels_where_there_was_nothing(runtime: Runtime) -> None:
    (runtime.bundle / "rootfs/kept").mkdir(0o710)

    def change(config: Config) -> None:
        config["mounts"] += [{"destination": path, "type": "tmpfs", "source": "t"} for path in ("/kept", "/made/new")]

    assert runtime.output("stat -c %a /kept /made/new", change) == ["710", "1777"]


def test_a_tmpfs_too_small_for_that_is_an_error(runtime: Runtime) -> None:
    (runtime.bundle / "rootfs/data").mkdir()
    (runtime.bundle / "rootfs/data/big").write_bytes(b"x" * 100000)
    runtime.configure("true")
    mount = {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=16k"]}
    runtime.change(lambda config: config["mounts"].append(mount))
    assert "mount tmpfs on /data" in runtime.run("create", "-b", str(runtime.bundle), "a", code=1)


@pytest.mark.parametrize(("word", "seen"), [("shared", "shared:"), ("slave", ""), ("private", ""), ("unbindable", "unbindable")])
def test_the_propagation_of_the_root(runtime: Runtime, word: str, seen: str) -> None:
    """As the root itself, once it is the container's."""
    script = "grep ' / / \\| / rw\\| / ro' /proc/self/mountinfo | head -1 | cut -d' ' -f7-"
    (line,) = runtime.output(script, lambda config: config["linux"].update(rootfsPropagation=word))
    assert line.startswith(seen or "- ")


# --- namespaces ---


def test_time_runs_ahead(runtime: Runtime) -> None:
    def change(config: Config) -> None:
        config["linux"]["namespaces"].append({"type": "time"})
        config["linux"]["timeOffsets"] = {"boottime": {"secs": 1000000}, "monotonic": {"secs": 5, "nanosecs": 7}}

    up, *offsets = runtime.output("cut -d. -f1 /proc/uptime; cat /proc/self/timens_offsets", change)
    assert int(up) > 1000000
    assert [line.split() for line in offsets] == [["monotonic", "5", "7"], ["boottime", "1000000", "0"]]


def test_an_exec_is_in_the_containers_time(runtime: Runtime) -> None:
    runtime.configure("sleep", "1000")
    runtime.change(lambda config: config["linux"]["namespaces"].append({"type": "time"}))
    runtime.change(lambda config: config["linux"].update(timeOffsets={"boottime": {"secs": 1000000}}))
    runtime.create("a")
    runtime.run("start", "a")
    assert int(runtime.run("exec", "a", "cut", "-d.", "-f1", "/proc/uptime")) > 1000000


def test_every_kind_of_namespace_can_be_joined(runtime: Runtime) -> None:
    """Another container's: user, network, ipc, uts, pid, cgroup and time."""
    runtime.configure("sleep", "1000")

    def first(config: Config) -> None:
        user_namespace(config)
        config["linux"]["namespaces"].append({"type": "time"})
        config["hostname"] = "first"

    runtime.change(first)
    runtime.create("first")
    runtime.run("start", "first")
    pid = runtime.state("first")["pid"]
    files = {"network": "net", "mount": "mnt"}
    kinds = ("user", "network", "ipc", "uts", "pid", "cgroup", "time")
    spaces = [{"type": kind, "path": f"/proc/{pid}/ns/{files.get(kind, kind)}"} for kind in kinds]

    def second(config: Config) -> None:
        config["linux"]["namespaces"] = [*spaces, {"type": "mount"}]
        config["root"]["readonly"] = False
        config.pop("hostname")
        config["mounts"] = [mount for mount in config["mounts"] if mount["type"] not in ("mqueue",)]

    script = "hostname; id -u; cat /proc/self/uid_map; " + "; ".join(f"readlink /proc/self/ns/{files.get(kind, kind)}" for kind in kinds)
    expected = [os.readlink(f"/proc/{pid}/ns/{files.get(kind, kind)}") for kind in kinds]
    name, uid, ids, *found = runtime.output(script, second)
    assert (name, uid, ids.split()) == ("first", "0", ["0", "100000", "65536"])
    assert found == expected


# --- seccomp ---

RECEIVE, SEND = 0xC0502100, 0xC0182101


def answer_one(listener: socket.socket, seen: dict[str, Any]) -> None:
    """The part of a supervisor: take the descriptor, answer one question with ENOTNAM (118)."""
    with listener.accept()[0] as connection:
        data, fds, _, _ = socket.recv_fds(connection, 65536, 4)
    seen["state"] = json.loads(data)
    question = array.array("B", bytes(80))
    assert select.select([fds[0]], [], [], 20)[0]
    fcntl.ioctl(fds[0], RECEIVE, question)
    seen["pid"] = struct.unpack_from("=QI", question.tobytes())[1]
    reply = struct.pack("=QqiI", *struct.unpack_from("=Q", question.tobytes()), 0, -118, 0)
    fcntl.ioctl(fds[0], SEND, array.array("B", reply))
    os.close(fds[0])


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_filter_that_asks_somebody_else(runtime: Runtime, no_new_privileges: bool) -> None:
    path = str(runtime.root / "listener")
    seen: dict[str, Any] = {}

    def change(config: Config) -> None:
        config["root"]["readonly"] = False
        config["process"]["noNewPrivileges"] = no_new_privileges
        rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "for you", "syscalls": rules,
        }  # fmt: skip

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        answering = threading.Thread(target=answer_one, args=(listener, seen))
        answering.start()
        printed = runtime.output("mkdir /x 2>&1", change, code=1)
        answering.join()
    assert printed == ["mkdir: can't create directory '/x': Not a XENIX named type file"] or "XENIX" in printed[0]
    state = seen["state"]
    assert (state["fds"], state["metadata"], state["state"]["id"]) == (["seccompFd"], "for you", "out")
    assert state["pid"] == state["state"]["pid"] and seen["pid"] > 1


# --- what is passed on ---


def test_descriptors_are_preserved(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "cat <&3; cat <&4; ls /proc/self/fd | wc -l; echo $LISTEN_FDS")
    files = [runtime.root / name for name in ("one", "two")]
    fds = []
    for path in files:
        path.write_text(f"{path.name}\n")
        fds.append(os.open(path, os.O_RDONLY))
    script = f'exec "$@" 3<{files[0]} 4<{files[1]}'
    command = runtime.command("run", "--preserve-fds", "2", "-b", str(runtime.bundle), "a")
    done = subprocess.run(["sh", "-c", script, "sh", *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["one", "two", "6"]), done.stderr
    for fd in fds:
        os.close(fd)


def test_descriptors_are_preserved_by_exec_too(runtime: Runtime) -> None:
    runtime.start("a", "sleep", "1000")
    (runtime.root / "one").write_text("one\n")
    command = runtime.command("exec", "--preserve-fds", "1", "a", "cat", "/proc/self/fd/3")
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" 3<{runtime.root}/one', "sh", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "one\n"), done.stderr


def test_without_pivot_root(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "ls /; cat /proc/self/mountinfo | head -1 | cut -d' ' -f5")
    done = runtime.run("run", "--no-pivot", "-b", str(runtime.bundle), "a").split()
    assert "bin" in done and "home" not in done


def test_the_callers_keyring_stays_when_asked_for(runtime: Runtime) -> None:
    runtime.configure("cat", "/proc/keys")
    runtime.change(lambda config: config["linux"].update(maskedPaths=[]))
    own = runtime.run("run", "-b", str(runtime.bundle), "a")
    kept = runtime.run("run", "--no-new-keyring", "-b", str(runtime.bundle), "b")
    assert "_ses.a" in own and "_ses.b" not in kept


def test_an_exec_below_the_group(runtime: Runtime) -> None:
    runtime.start("a", "sleep", "1000")
    groups = [Path(line.split(":", 2)[2]) for line in Path(f"/proc/{runtime.state('a')['pid']}/cgroup").read_text().splitlines()]
    assert groups
    made = [Path(path) / "stackrun-runtime/a/below" for path in _points()]
    for path in made:
        path.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (path / name).exists() and path.parent.joinpath("cgroup.clone_children").exists():
                (path / name).write_text((path.parent / name).read_text())
    seen = runtime.run("exec", "--cgroup", "below", "a", "cut", "-d:", "-f3", "/proc/self/cgroup").split()
    assert set(seen) == {"/below"}


def _points() -> list[str]:
    from stackrun.kernel import cgroup

    return list(cgroup.detect().mount_points)


def test_an_exec_on_a_terminal_in_the_background(runtime: Runtime, short_tmp: Path) -> None:
    """As containerd does it: a process object, a console socket, a pid file."""
    runtime.start("a", "sleep", "1000")
    path = str(short_tmp / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        process = {"args": ["sh", "-c", "tty; exec sleep 1000"], "terminal": True}
        exec_with(runtime, "a", process, "--detach", "--console-socket", path, "--pid-file", str(short_tmp / "pid"))
        with listener.accept()[0] as connection:
            _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    assert os.read(fds[0], 100).startswith(b"/dev/pts/")
    assert Path(f"/proc/{(short_tmp / 'pid').read_text()}/comm").read_text() in ("sh\n", "sleep\n")  # before or after its exec
    os.close(fds[0])


@pytest.mark.skipif(not shutil.which("runc"), reason="runc is not installed")
def test_features_name_all_that_runcs_do(runtime: Runtime) -> None:
    ours = json.loads(runtime.run("features"))
    theirs = json.loads(subprocess.run(["runc", "features"], capture_output=True, text=True, check=True).stdout)
    assert set(theirs["hooks"]) <= set(ours["hooks"])
    assert set(theirs["linux"]["namespaces"]) <= set(ours["linux"]["namespaces"])
    for name in ("actions", "operators"):
        assert set(theirs["linux"]["seccomp"][name]) <= set(ours["linux"]["seccomp"][name])
    assert set(theirs["linux"]["capabilities"]) <= set(ours["linux"]["capabilities"])


def test_every_mount_option_that_features_names_is_known(runtime: Runtime) -> None:
    words = json.loads(runtime.run("features"))["mountOptions"]
    from stackrun.kernel.mounts import Options

    assert {"rro", "idmap", "ridmap", "tmpcopyup", "rbind", "rslave"} <= set(words)
    for word in words:
        assert Options([word]).data in ([], [word])


def test_a_terminal_is_not_made_for_nobody(runtime: Runtime) -> None:
    ours, theirs = pty.openpty()
    runtime.configure("true", terminal=True)
    assert "cannot allocate tty" in runtime.run("create", "-b", str(runtime.bundle), "a", code=1)
    os.close(ours)
    os.close(theirs)


# --- resources that are seen from outside ---


def _file_of(runtime: Runtime, controller: str, name: str, resources: dict[str, Any]) -> str:
    """What `name` of a running container's group holds."""
    from stackrun.kernel import cgroup

    group = cgroup.Cgroup.load(cgroup.detect(), "stackrun-runtime/a")
    if not group.directory(controller):
        pytest.skip(f"this machine has no {controller} controller")
    runtime.configure("sleep", "1000")
    runtime.change(lambda config: config["linux"]["resources"].update(resources))
    runtime.create("a")
    return Path(group.directory(controller), name).read_text().strip()


def _is_v1(controller: str) -> bool:
    from stackrun.kernel import cgroup

    return controller in cgroup.detect().v1


def test_huge_pages(runtime: Runtime) -> None:
    name = "hugetlb.2MB." + ("limit_in_bytes" if _is_v1("hugetlb") else "max")
    assert _file_of(runtime, "hugetlb", name, {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}) == str(4 << 20)


def test_block_io(runtime: Runtime) -> None:
    device = os.stat(runtime.bundle).st_dev
    major, minor = os.major(device), os.minor(device)
    if not Path(f"/sys/dev/block/{major}:{minor}/queue").exists():
        pytest.skip(f"{major}:{minor} is no whole disk, and only those are throttled")
    limits = {"blockIO": {"throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 1 << 20}]}}
    v1 = _is_v1("blkio")
    seen = _file_of(runtime, "blkio" if v1 else "io", "blkio.throttle.read_bps_device" if v1 else "io.max", limits)
    assert seen.startswith(f"{major}:{minor} ") and str(1 << 20) in seen


def test_files_of_version_2_by_name(runtime: Runtime) -> None:
    from stackrun.kernel import cgroup

    controllers = cgroup.detect().v2_controllers
    file, value = ("memory.high", str(64 << 20)) if "memory" in controllers else ("hugetlb.2MB.max", str(2 << 20))
    assert _file_of(runtime, file.partition(".")[0], file, {"unified": {file: value}}) == value


def test_weights(runtime: Runtime) -> None:
    seen = _file_of(runtime, "cpu", "cpu.shares" if _is_v1("cpu") else "cpu.weight", {"cpu": {"shares": 512}})
    assert seen == ("512" if _is_v1("cpu") else "59")


def test_a_limit_below_usage_can_be_refused_beforehand(runtime: Runtime, short_tmp: Path) -> None:
    runtime.start("a", "sleep", "1000")
    (short_tmp / "r").write_text(json.dumps({"memory": {"limit": 4096, "checkBeforeUpdate": True}}))
    assert "linux.resources.memory.limit: 4096 is below what is used" in runtime.run("update", "-r", str(short_tmp / "r"), "a", code=1)
