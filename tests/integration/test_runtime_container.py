"""The isolation core on a real kernel: what a process inside sees, how it is spoken to, how it ends."""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stackrun.engine.seccomp_profile import default_profile
from stackrun.errors import CommandNotExecutable, CommandNotFound, Conflict, InvalidArgument, KernelError, Unsupported
from stackrun.kernel import cgroup, seccomp
from stackrun.runtime import container
from stackrun.runtime.container import Handle
from stackrun.runtime.zygote import Zygote

BUSYBOX = "/usr/bin/busybox"
APPLETS = [
    "sh",
    "cat",
    "ls",
    "id",
    "hostname",
    "sleep",
    "true",
    "false",
    "ps",
    "mount",
    "stat",
    "kill",
    "head",
    "yes",
    "dd",
    "tty",
    "stty",
    "readlink",
    "grep",
    "env",
    "chmod",
    "tr",
    "wc",
    "ip",
    "ping",
]
CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        [
            "CHOWN",
            "DAC_OVERRIDE",
            "FSETID",
            "FOWNER",
            "MKNOD",
            "NET_RAW",
            "SETGID",
            "SETUID",
            "SETFCAP",
            "SETPCAP",
            "NET_BIND_SERVICE",
            "SYS_CHROOT",
            "KILL",
            "AUDIT_WRITE",
        ]
    )
]
MOUNTS = [
    ("/proc", "proc", ["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", ["ro", "nosuid", "noexec", "nodev"]),
    ("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
]
KINDS = ("mount", "pid", "network", "uts", "ipc", "cgroup")
Config = dict[str, Any]

pytestmark = pytest.mark.skipif(not os.access(BUSYBOX, os.X_OK), reason="busybox-static is not installed")


def config_of(*arguments: str) -> Config:
    return {
        "ociVersion": "1.2.0",
        "process": {
            "args": list(arguments),
            "env": ["PATH=/bin"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [{"destination": path, "type": kind, "source": kind, "options": options} for path, kind, options in MOUNTS],
        "linux": {
            "namespaces": [{"type": kind} for kind in KINDS],
            "resources": {"pids": {"limit": 64}, "memory": {"limit": 64 << 20}},
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/no-such-thing"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


class Lab:
    """Makes containers below one directory, and sees that nothing of them is left."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.image = root / "image"
        self.zygote = Zygote.launch(str(root / "run"))
        self.handles: list[Handle] = []
        self._make_image()

    def _make_image(self) -> None:
        for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "home/app"):
            (self.image / name).mkdir(parents=True)
        shutil.copy(BUSYBOX, self.image / "bin/busybox")
        for applet in APPLETS:
            (self.image / "bin" / applet).symlink_to("busybox")
        (self.image / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
        (self.image / "etc/group").write_text("root:x:0:\napp:x:1001:\nextra:x:2000:app\nmore:x:2001:\n")

    @property
    def cgroup_parent(self) -> str:
        """This lab's alone: other tests that run at this time remove theirs."""
        return f"stackrun-test-{self.root.name}"

    def cgroup_path(self, name: str) -> str:
        return f"{self.cgroup_parent}/{name}"

    def create(self, name: str, config: Config, **options: Any) -> Handle:
        bundle = self.root / name
        bundle.mkdir(exist_ok=True)
        (bundle / "config.json").write_text(json.dumps(config))
        arguments: dict[str, Any] = {
            "container_id": name,
            "bundle": str(bundle),
            "run_dir": str(self.root / "run" / name),
            "cgroup_path": self.cgroup_path(name),
            "overlay": {
                "lower": [str(self.image)],
                "upper": str(bundle / "upper"),
                "work": str(bundle / "work"),
                "target": str(bundle / "merged"),
            },
            "log": {"path": str(bundle / "log"), "max_bytes": 0, "max_files": 1},
        }
        handle = container.create(self.zygote, **{**arguments, **options})
        self.handles.append(handle)
        return handle

    def start(self, name: str, *arguments: str, **options: Any) -> Handle:
        handle = self.create(name, config_of(*arguments), **options)
        handle.start()
        return handle

    def output(self, *arguments: str, change: Callable[[Config], Any] = lambda config: None, **options: Any) -> str:
        """What a container prints on stdout."""
        config = config_of(*arguments)
        change(config)
        handle = self.create("out", config, **options)
        handle.start()
        wait_exit(handle)
        handle.await_removal()
        text = self.log("out")["stdout"]
        (self.root / "out/log").unlink()
        return text

    def log(self, name: str) -> dict[str, str]:
        streams = {"stdout": "", "stderr": ""}
        for line in (self.root / name / "log").read_text().splitlines():
            entry = json.loads(line)
            streams[entry["stream"]] += entry["log"]
        return streams

    def remains(self, name: str) -> list[str]:
        """What is left of a container besides its bundle."""
        group = cgroup.Cgroup.load(cgroup.detect(), self.cgroup_path(name))
        run_dir = self.root / "run" / name
        found = [path for path in group.directories if os.path.isdir(path)]
        return found + [str(path) for path in run_dir.glob("*")] + [line for line in mounts() if f"{self.root}/{name}" in line]

    def close(self) -> None:
        assert [path.read_text() for path in (self.root / "run").glob("*/shim.err")] == []
        for handle in self.handles:
            if handle.pid_fd >= 0:
                handle.delete()
                handle.close()
        self.zygote.close()
        for directory in cgroup.Cgroup.load(cgroup.detect(), self.cgroup_parent).directories:
            if os.path.isdir(directory):
                Path(directory).rmdir()
        assert not [line for line in mounts() if str(self.root) in line]


def mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


@pytest.fixture
def lab(short_tmp: Path) -> Iterator[Lab]:
    made = Lab(short_tmp)
    yield made
    made.close()


def next_event(handle: Handle, timeout_s: float = 20) -> dict[str, Any] | None:
    assert select.select([handle.events], [], [], timeout_s)[0], "no event came"
    return handle.read_event()


def wait_exit(handle: Handle) -> dict[str, Any]:
    while True:
        event = next_event(handle)
        assert event is not None, "the shim is gone without an exit event"
        if event["event"] == "exit":
            return event


def read_frames(sock: socket.socket) -> dict[int, bytes]:
    """Everything until the end of file, by stream number."""
    sock.settimeout(20)
    streams = {1: b"", 2: b""}
    with sock, sock.makefile("rb") as file:
        while header := file.read(8):
            streams[header[0]] += file.read(int.from_bytes(header[4:], "big"))
    return streams


def process_of(*arguments: str, **more: Any) -> Config:
    return {"args": list(arguments), "env": ["PATH=/bin"], "cwd": "/", **more}


# --- life and death ---


def test_after_its_exit_code_is_told_everything_of_a_container_goes(lab: Lab) -> None:
    handle = lab.start("a", "sh", "-c", "exit 3")
    event = wait_exit(handle)
    assert (event["code"], event["signal"], event["oom"]) == (3, 0, False)
    handle.await_removal()
    assert lab.remains("a") == [str(lab.root / "run/a/exit.json")]
    assert container.read_exit(handle.run_dir) == {key: event[key] for key in ("code", "signal", "oom", "at_ns")}
    assert next_event(handle) is None


def test_a_container_starts_again_with_its_files(lab: Lab) -> None:
    first = lab.start("a", "sh", "-c", "echo kept > /tmp/file")
    wait_exit(first)
    first.await_removal()
    second = lab.start("a", "cat", "/tmp/file")
    wait_exit(second)
    assert lab.log("a")["stdout"] == "kept\n"


def test_death_by_signal_is_reported_as_128_and_more(lab: Lab) -> None:
    handle = lab.start("a", "sleep", "1000")
    handle.signal(signal.SIGKILL)
    event = wait_exit(handle)
    assert (event["code"], event["signal"]) == (137, 9)


def test_a_handler_inside_gets_the_signal(lab: Lab) -> None:
    handle = lab.create("a", config_of("sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"))
    output = handle.attach(stdin=False, stdout=True, stderr=False)
    handle.start()
    assert output.recv(100)[8:] == b"ready\n"
    handle.signal(signal.SIGTERM)
    assert wait_exit(handle)["code"] == 7
    output.close()


def test_running_out_of_memory_is_reported(lab: Lab) -> None:
    handle = lab.start("a", "sh", "-c", "x=a; while :; do x=$x$x; done")
    event = wait_exit(handle)
    assert (event["oom"], event["code"]) == (True, 137)


def test_pause_stops_and_resume_goes_on(lab: Lab) -> None:
    handle = lab.start("a", "sleep", "1000")
    handle.pause()
    assert handle.status() == "paused"
    with pytest.raises(Conflict, match="paused"):
        handle.exec(exec_id="e", process=process_of("true"))
    handle.resume()
    assert handle.status() == "running"
    handle.pause()
    handle.signal(signal.SIGKILL)
    assert wait_exit(handle)["code"] == 137


@pytest.mark.parametrize(
    ("command", "error", "text"),
    [
        ("/nope", CommandNotFound, 'exec: "/nope": stat /nope: no such file or directory'),
        ("nope", CommandNotFound, 'exec: "nope": executable file not found in $PATH'),
        ("/etc/passwd", CommandNotExecutable, 'exec: "/etc/passwd": permission denied'),
        ("/etc", CommandNotExecutable, 'exec: "/etc": is a directory'),
    ],
)
def test_a_command_that_cannot_run_leaves_nothing(lab: Lab, command: str, error: type[Exception], text: str) -> None:
    handle = lab.create("a", config_of(command))
    with pytest.raises(error) as raised:
        handle.start()
    assert str(raised.value) == text
    assert lab.remains("a") == []
    assert handle.pid_fd == -1


def test_a_mount_that_fails_is_named_and_leaves_nothing(lab: Lab) -> None:
    config = config_of("true")
    config["mounts"].append({"destination": "/data", "type": "bind", "source": "/no/such/place", "options": ["rbind"]})
    handle = lab.create("a", config)
    with pytest.raises(KernelError, match=r"bind /no/such/place on /data: open_tree .*ENOENT"):
        handle.start()
    assert lab.remains("a") == []


def await_message(pid: int) -> None:
    """Until `pid` has nothing to do but to wait for a message, which the kernel tells nobody who is not that message."""
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/wchan").read_text() != "__skb_wait_for_more_packets":
        assert time.monotonic() < deadline, "it does not come to wait"
        time.sleep(0.01)


def test_a_failure_long_before_start_is_told_by_start(lab: Lab) -> None:
    """Init is there until it has been heard: others take hold of its namespaces, whose ends of their own that must not be."""
    config = config_of("true")
    config["mounts"].append({"destination": "/data", "type": "bind", "source": "/no/such/place", "options": ["rbind"]})
    handle = lab.create("a", config)
    await_message(handle.pid)
    assert handle.status() == "created"
    os.close(handle.netns_fd())
    with pytest.raises(KernelError, match="no/such/place"):
        handle.start()
    assert lab.remains("a") == []
    second = lab.create("b", config)
    await_message(second.pid)
    second.delete()
    assert [path for path in lab.remains("b") if not path.endswith("/exit.json")] == []


def test_a_container_killed_before_its_start_has_ended(lab: Lab) -> None:
    handle = lab.create("a", config_of("true"))
    handle.signal(signal.SIGKILL)
    assert wait_exit(handle)["code"] == 137


def test_a_configuration_that_makes_no_sense_is_refused_before_any_effect(lab: Lab) -> None:
    config = config_of("true")
    config["process"]["rlimits"] = [{"type": "RLIMIT_TEA", "soft": 1, "hard": 1}]
    with pytest.raises(InvalidArgument, match=r"process\.rlimits: unknown type 'RLIMIT_TEA'"):
        lab.create("a", config)
    config = config_of("true")
    config["hooks"] = {"poststop": [{"path": "/bin/true"}]}
    with pytest.raises(Unsupported, match="hooks: a container of the engine"):
        lab.create("a", config)
    assert lab.remains("a") == []


def test_a_limit_that_the_kernel_refuses_is_named_though_init_is_there_already(lab: Lab) -> None:
    config = config_of("true")
    config["linux"]["resources"]["cpu"] = {"cpus": "4000"}
    with pytest.raises(KernelError, match=r"linux\.resources\.cpu\.cpus: write '4000'"):
        lab.create("a", config)
    assert lab.remains("a") == []


def test_a_container_that_runs_cannot_be_created_again(lab: Lab) -> None:
    lab.start("a", "sleep", "1000")
    with pytest.raises(Conflict, match="running already"):
        lab.create("a", config_of("true"))


def test_twenty_containers_start_side_by_side(lab: Lab) -> None:
    failures: list[BaseException] = []

    def run(name: str) -> None:
        try:
            wait_exit(lab.start(name, "true"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(f"c{number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# --- who outlives whom ---


def test_a_shim_outlives_its_zygote_and_is_adopted(lab: Lab) -> None:
    first = lab.create("a", config_of("sh", "-c", "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.05; done"))
    with first.attach(stdin=False, stdout=True, stderr=False) as output:
        first.start()
        assert output.recv(100)[8:] == b"ready\n"
    lab.zygote.close()
    first.close()
    adopted = Handle.connect("a", str(lab.root / "run/a"))
    assert adopted is not None
    lab.handles = [adopted]
    assert (adopted.status(), adopted.pid > 0) == ("running", True)
    adopted.signal(signal.SIGTERM)
    assert wait_exit(adopted)["code"] == 4
    assert lab.log("a")["stdout"] == "ready\nbye\n"
    assert Handle.connect("a", str(lab.root / "run/a")) is None
    lab.zygote = Zygote.launch(str(lab.root / "run"))


def test_a_killed_shim_takes_its_container_along_and_can_be_cleaned_up(lab: Lab) -> None:
    handle = lab.start("a", "sleep", "1000")
    os.kill(handle.shim_pid, signal.SIGKILL)
    assert next_event(handle) is None
    assert select.select([handle.pid_fd], [], [], 10)[0], "init lives on without its shim"
    run_dir = handle.run_dir
    assert Handle.connect("a", run_dir) is None
    assert container.read_exit(run_dir) is None
    container.cleanup(run_dir, lab.cgroup_path("a"))
    container.cleanup(run_dir, lab.cgroup_path("a"))
    assert lab.remains("a") == [] and not os.path.exists(run_dir)
    handle.close()


def test_a_dead_zygote_is_seen(lab: Lab) -> None:
    os.kill(lab.zygote.pid, signal.SIGKILL)
    os.waitid(os.P_PID, lab.zygote.pid, os.WEXITED | os.WNOWAIT)
    assert not lab.zygote.is_alive


# --- streams ---


def test_stdout_and_stderr_are_kept_apart(lab: Lab) -> None:
    handle = lab.create("a", config_of("sh", "-c", "echo out; echo err >&2; printf part"))
    sock = handle.attach(stdin=False, stdout=True, stderr=True)
    handle.start()
    assert read_frames(sock) == {1: b"out\npart", 2: b"err\n"}
    wait_exit(handle)
    assert lab.log("a") == {"stdout": "out\npart", "stderr": "err\n"}


def test_the_end_of_attached_input_ends_the_process(lab: Lab) -> None:
    handle = lab.create("a", config_of("cat"), open_stdin=True, stdin_once=True)
    sock = handle.attach(stdin=True, stdout=True, stderr=True)
    handle.start()
    sock.sendall(b"hello")
    sock.shutdown(socket.SHUT_WR)
    assert read_frames(sock)[1] == b"hello"
    assert wait_exit(handle)["code"] == 0


def test_without_stdin_once_a_client_only_detaches(lab: Lab) -> None:
    handle = lab.create("a", config_of("cat"), open_stdin=True)
    first = handle.attach(stdin=True, stdout=True, stderr=True)
    handle.start()
    first.sendall(b"one\n")
    assert first.recv(100)[8:] == b"one\n"
    first.close()
    second = handle.attach(stdin=True, stdout=True, stderr=True)
    second.sendall(b"two\n")
    assert second.recv(100)[8:] == b"two\n"
    second.close()


def test_much_output_reaches_a_slow_reader_whole(lab: Lab) -> None:
    size = 8 << 20
    handle = lab.create("a", config_of("head", "-c", str(size), "/dev/zero"), log=None)
    sock = handle.attach(stdin=False, stdout=True, stderr=True)
    handle.start()
    assert len(read_frames(sock)[1]) == size


def test_attached_sockets_may_be_given_at_create(lab: Lab) -> None:
    ours, theirs = socket.socketpair()
    handle = lab.create("a", config_of("cat"), open_stdin=True, stdin_once=True, attach_stdio=[theirs.fileno()])
    theirs.close()
    handle.start()
    ours.sendall(b"x")
    ours.shutdown(socket.SHUT_WR)
    assert read_frames(ours)[1] == b"x"


def test_own_descriptors_replace_pipes_and_log(lab: Lab) -> None:
    reader, writer = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    handle = lab.create("a", config_of("sh", "-c", "echo straight"), stdio=[null, writer, writer], log=None)
    os.close(writer)
    os.close(null)
    handle.start()
    wait_exit(handle)
    with os.fdopen(reader) as file:
        assert file.read() == "straight\n"


def test_a_terminal_is_the_containers_own(lab: Lab) -> None:
    script = "tty; stty size; read word; echo got $word; stat -c %t:%T /dev/console"
    handle = lab.create("a", config_of("sh", "-c", script), tty=True, open_stdin=True, console_size=(40, 100))
    sock = handle.attach(stdin=True, stdout=True, stderr=True)
    handle.start()
    sock.sendall(b"yes\n")
    words = read_frames(sock)[1].decode().split()
    assert "/dev/pts/0" in words and "88:0" in words
    assert words[words.index("40") :][:2] == ["40", "100"] and words[words.index("got") + 1] == "yes"


def test_a_terminal_can_be_resized(lab: Lab) -> None:
    handle = lab.create("a", config_of("sh", "-c", "read word; stty size"), tty=True, open_stdin=True)
    sock = handle.attach(stdin=True, stdout=True, stderr=True)
    handle.start()
    handle.resize(33, 77)
    sock.sendall(b"\n")
    assert read_frames(sock)[1].decode().split()[-2:] == ["33", "77"]


# --- exec ---


def test_exec_joins_everything_and_reports_its_end(lab: Lab) -> None:
    handle = lab.start("a", "sleep", "1000")
    script = "hostname; readlink /proc/self/ns/net; readlink /proc/1/ns/net; cat /proc/self/cgroup; echo e >&2; exit 5"
    capabilities = dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES)
    pid, sock = handle.exec(exec_id="e", process=process_of("sh", "-c", script, capabilities=capabilities))
    assert sock is not None and pid > 0
    streams = read_frames(sock)
    lines = streams[1].decode().splitlines()
    assert lines[0] == "box" and lines[1] == lines[2]
    assert all(line.endswith(":/") for line in lines[3:])
    assert streams[2] == b"e\n"
    assert next_event(handle) == {"event": "exec-exit", "id": "e", "code": 5, "signal": 0}
    assert handle.exec_exit("e") == {"event": "exec-exit", "id": "e", "code": 5, "signal": 0}


def test_exec_takes_input_and_ends_with_it(lab: Lab) -> None:
    handle = lab.start("a", "sleep", "1000")
    _, sock = handle.exec(exec_id="e", process=process_of("wc", "-c"), stdin=True)
    assert sock is not None
    sock.sendall(b"x" * 300_000)
    sock.shutdown(socket.SHUT_WR)
    assert read_frames(sock)[1].strip() == b"300000"


def test_exec_on_a_terminal(lab: Lab) -> None:
    handle = lab.start("a", "sleep", "1000")
    _, sock = handle.exec(exec_id="e", process=process_of("sh", "-c", "tty; stty size"), tty=True, console_size=(10, 20))
    assert sock is not None
    assert read_frames(sock)[1].decode().split() == ["/dev/pts/0", "10", "20"]


def test_exec_as_a_user_of_the_container(lab: Lab) -> None:
    handle = lab.start("a", "sleep", "1000")
    process = process_of("sh", "-c", "id; echo $HOME", stackrunUser="app", stackrunGroups=["more"])
    _, sock = handle.exec(exec_id="e", process=process)
    assert sock is not None
    assert read_frames(sock)[1] == b"uid=1000(app) gid=1001(app) groups=2000(extra),2001(more)\n/home/app\n"


def test_exec_that_cannot_run_is_told_and_leaves_the_container_alone(lab: Lab) -> None:
    handle = lab.start("a", "sleep", "1000")
    for _ in range(3):
        with pytest.raises(CommandNotFound, match="stat /nope: no such file or directory"):
            handle.exec(exec_id="e", process=process_of("/nope"))
    assert handle.status() == "running"


def test_exec_can_be_signalled_and_dies_with_the_container(lab: Lab) -> None:
    handle = lab.start("a", "sleep", "1000")
    handle.exec(exec_id="one", process=process_of("sleep", "1000"), want_output=False)
    handle.exec(exec_id="two", process=process_of("sleep", "1000"), want_output=False)
    handle.signal_exec("one", signal.SIGTERM)
    assert next_event(handle) == {"event": "exec-exit", "id": "one", "code": 143, "signal": 15}
    handle.signal(signal.SIGKILL)
    assert next_event(handle) == {"event": "exec-exit", "id": "two", "code": 137, "signal": 9}
    assert wait_exit(handle)["code"] == 137


# --- what is inside ---


def test_namespaces_are_the_containers_own(lab: Lab) -> None:
    handle = lab.start("a", "sleep", "1000")
    for name in ("mnt", "pid", "net", "uts", "ipc", "cgroup"):
        assert os.readlink(f"/proc/{handle.pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"), name
    assert os.readlink(f"/proc/{handle.pid}/ns/user") == os.readlink("/proc/self/ns/user")


def test_a_namespace_can_be_shared_with_another_container(lab: Lab) -> None:
    first = lab.start("a", "sleep", "1000")
    config = config_of("readlink", "/proc/self/ns/net")
    config["linux"]["namespaces"] = [{"type": kind} for kind in KINDS if kind != "network"]
    config["linux"]["namespaces"].append({"type": "network", "path": f"/proc/{first.pid}/ns/net"})
    second = lab.create("b", config)
    second.start()
    wait_exit(second)
    assert lab.log("b")["stdout"].strip() == os.readlink(f"/proc/{first.pid}/ns/net")


def test_no_descriptor_of_the_runtime_gets_inside(lab: Lab) -> None:
    # `ls` itself has one descriptor open, that of the directory it lists.
    assert lab.output("sh", "-c", "set -- /proc/self/fd/*; echo $*").split()[:3] == [f"/proc/self/fd/{number}" for number in range(3)]
    assert lab.output("sh", "-c", "exec ls /proc/self/fd").split() == ["0", "1", "2", "3"]


def test_the_null_device_inside_is_not_the_hosts(lab: Lab) -> None:
    before = os.stat("/dev/null").st_mode
    lab.output("sh", "-c", "chmod 600 /proc/self/fd/0 /dev/null /proc/keys /proc/timer_list")
    assert os.stat("/dev/null").st_mode == before


def test_masked_paths_are_empty_and_proc_sys_is_read_only(lab: Lab) -> None:
    script = "wc -c < /proc/timer_list; wc -c < /proc/keys; ls /sys/firmware | wc -l; ls /proc/acpi | wc -l;"
    script += "(echo x > /proc/sys/kernel/hostname) 2>/dev/null || echo ro"
    assert lab.output("sh", "-c", script).split() == ["0", "0", "0", "0", "ro"]


def test_capabilities_are_the_ones_wanted(lab: Lab) -> None:
    text = lab.output("grep", "Cap", "/proc/self/status")
    assert dict(line.split() for line in text.splitlines()) == {
        "CapInh:": "0" * 16,
        "CapPrm:": "00000000a80425fb",
        "CapEff:": "00000000a80425fb",
        "CapBnd:": "00000000a80425fb",
        "CapAmb:": "0" * 16,
    }


def test_ambient_capabilities_reach_a_plain_user(lab: Lab) -> None:
    def change(config: Config) -> None:
        config["process"]["user"] = {"uid": 1000, "gid": 1000}
        for name in ("bounding", "effective", "permitted", "inheritable", "ambient"):
            config["process"]["capabilities"][name] = ["CAP_NET_RAW"]

    assert "CapEff:\t0000000000002000" in lab.output("grep", "CapEff", "/proc/self/status", change=change)


def test_what_the_caller_lacks_is_left_out_with_a_warning(lab: Lab) -> None:
    status = Path("/proc/self/status").read_text()
    bounding = int(next(line for line in status.splitlines() if line.startswith("CapBnd")).split()[1], 16)
    if bounding >> 24 & 1:
        pytest.skip("this root has CAP_SYS_RESOURCE")
    config = config_of("true")
    config["process"]["capabilities"]["bounding"] = [*CAPABILITIES, "CAP_SYS_RESOURCE"]
    config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1 << 20, "hard": 1 << 20}]
    config["process"]["oomScoreAdj"] = -500
    handle = lab.create("a", config)
    handle.start()
    assert sorted(warning.split()[0] for warning in handle.warnings) == ["RLIMIT_NOFILE", "capabilities", "oom_score_adj"]


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_seccomp_is_in_force(lab: Lab, no_new_privileges: bool) -> None:
    program = seccomp.compile_filter(default_profile(frozenset(CAPABILITIES)))
    script = "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status; mount -t tmpfs x /tmp 2>/dev/null || echo refused"
    text = lab.output(
        "sh", "-c", script, change=lambda config: config["process"].update(noNewPrivileges=no_new_privileges), seccomp=program
    )
    assert text.split() == ["NoNewPrivs:", str(int(no_new_privileges)), "Seccomp:", "2", "refused"]


def test_seccomp_holds_for_exec_and_the_tiny_init_too(lab: Lab) -> None:
    program = seccomp.compile_filter(default_profile(frozenset(CAPABILITIES)))
    handle = lab.start("a", "sleep", "1000", seccomp=program, init=True)
    _, sock = handle.exec(exec_id="e", process=process_of("grep", "-h", "Seccomp:", "/proc/self/status", "/proc/1/status"))
    assert sock is not None
    assert read_frames(sock)[1].split() == [b"Seccomp:", b"2"] * 2


def test_the_tiny_init_reaps_passes_signals_on_and_ends_like_its_child(lab: Lab) -> None:
    script = "(sleep 0.01 &); trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    handle = lab.create("a", config_of("sh", "-c", script), init=True)
    output = handle.attach(stdin=False, stdout=True, stderr=False)
    handle.start()
    assert output.recv(100)[8:] == b"ready\n"
    output.close()
    _, sock = handle.exec(exec_id="e", process=process_of("cat", "/proc/1/comm", "/proc/1/cmdline"))
    assert sock is not None
    assert read_frames(sock)[1].rstrip(b"\0") == b"init\ninit"
    handle.signal(signal.SIGTERM)
    assert wait_exit(handle)["code"] == 9


def test_user_directory_and_umask(lab: Lab) -> None:
    def change(config: Config) -> None:
        config["process"].update(stackrunUser="app", cwd="/made/for/me", env=["PATH=/bin"])
        config["process"]["user"]["umask"] = 0o027

    script = "id; pwd; umask; echo $HOME; echo again > /dev/stdout"
    assert lab.output("sh", "-c", script, change=change).splitlines() == [
        "uid=1000(app) gid=1001(app) groups=2000(extra)", "/made/for/me", "0027", "/home/app", "again",
    ]  # fmt: skip


def test_an_unknown_user_is_told_in_dockers_words(lab: Lab) -> None:
    config = config_of("true")
    config["process"]["stackrunUser"] = "nobody-here"
    handle = lab.create("a", config)
    with pytest.raises(InvalidArgument, match="unable to find user nobody-here: no matching entries in passwd file"):
        handle.start()
    assert lab.remains("a") == []


def test_binds_read_only_recursive_files_and_links_that_point_out(lab: Lab) -> None:
    source = lab.root / "source"
    (source / "below").mkdir(parents=True)
    (source / "file").write_text("content")
    outside = lab.root / "outside"
    outside.mkdir()
    (lab.image / "out").symlink_to(f"../../../../..{outside}")
    (lab.image / str(outside).lstrip("/")).mkdir(parents=True)

    def change(config: Config) -> None:
        config["mounts"] += [
            {"destination": "/data", "type": "bind", "source": str(source), "options": ["rbind", "ro", "rro", "rprivate"]},
            {"destination": "/etc/one", "type": "bind", "source": str(source / "file"), "options": ["bind", "ro"]},
            {"destination": "/out/in", "type": "bind", "source": str(source), "options": ["rbind"]},
        ]

    script = "cat /data/file /etc/one; (echo x > /data/below/x) 2>/dev/null || echo ro; ls /out/in"
    assert lab.output("sh", "-c", script, change=change).split() == ["contentcontentro", "below", "file"]
    assert list(outside.iterdir()) == []


def test_a_mount_inside_proc_is_refused(lab: Lab) -> None:
    (lab.image / "trick").symlink_to("/proc/self")
    for destination in ("/proc/sys/kernel", "/trick/attr"):
        config = config_of("true")
        config["mounts"].append({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": []})
        handle = lab.create("a", config)
        with pytest.raises((InvalidArgument, KernelError)):
            handle.start()
        assert lab.remains("a") == []


def test_a_read_only_root_with_a_tmpfs(lab: Lab) -> None:
    def change(config: Config) -> None:
        config["root"]["readonly"] = True
        options = ["size=1m", "mode=1777", "noexec"]
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options})

    script = "(echo x > /x) 2>/dev/null || echo ro; echo y > /tmp/y && cat /tmp/y; stat -c %a /tmp"
    assert lab.output("sh", "-c", script, change=change).split() == ["ro", "y", "1777"]


def test_a_hundred_and_twenty_layers(lab: Lab) -> None:
    layers = []
    for number in range(120):
        layer = lab.root / "layers" / f"{number:064x}" / "diff"
        layer.mkdir(parents=True)
        (layer / f"f{number}").touch()
        layers.append(str(layer))
    bundle = lab.root / "out"
    overlay = {
        "lower": [*layers, str(lab.image)], "upper": f"{bundle}/upper", "work": f"{bundle}/work", "target": f"{bundle}/merged",
    }  # fmt: skip
    assert lab.output("sh", "-c", "ls -d /f* | wc -l", overlay=overlay).strip() == "120"


@pytest.mark.parametrize("layers", [1, 20])
def test_the_root_is_the_first_of_its_mounts(lab: Lab, layers: int) -> None:
    """Whether it was made ahead, as one of few layers is, or by init."""
    lower = [lab.root / "layers" / str(number) for number in range(1, layers)]
    for one in lower:
        one.mkdir(parents=True)
    bundle = lab.root / "out"
    overlay = {
        "lower": [*map(str, lower), str(lab.image)], "upper": f"{bundle}/upper", "work": f"{bundle}/work", "target": f"{bundle}/merged",
    }  # fmt: skip
    points = [line.split()[4] for line in lab.output("cat", "/proc/self/mountinfo", overlay=overlay).splitlines()]
    assert points[0] == "/" and {"/dev", "/dev/pts", "/dev/shm", "/proc"} <= set(points)
    assert points.index("/dev") < points.index("/dev/pts")


def test_sysctls_of_its_own_namespaces(lab: Lab) -> None:
    change = {"net.ipv4.ip_unprivileged_port_start": "0", "kernel.shmmax": "65536"}
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmax"
    assert lab.output("sh", "-c", script, change=lambda config: config["linux"].update(sysctl=change)).split() == ["0", "65536"]


def test_a_user_namespace(lab: Lab) -> None:
    config = config_of("sleep", "1000")
    config["linux"]["namespaces"].append({"type": "user"})
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    config["linux"].update(uidMappings=mapping, gidMappings=mapping)
    for directory in (lab.root, lab.root / "a"):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o711)
    handle = lab.create("a", config)
    handle.start()
    script = "id -u; cat /proc/self/uid_map; echo x > /dev/null; cat /proc/self/cgroup"
    _, sock = handle.exec(exec_id="e", process=process_of("sh", "-c", script))
    assert sock is not None
    words = read_frames(sock)[1].decode().split()
    assert words[:4] == ["0", "0", "100000", "65536"]
    assert all(word.endswith(":/") for word in words[4:])
    assert os.stat(f"/proc/{handle.pid}").st_uid == 100000


def test_a_descriptor_as_working_directory_is_no_way_out(lab: Lab) -> None:
    """Whichever numbers init happens to have open are refused as such; of the others there is nothing."""
    refused = set()
    running = lab.start("b", "sleep", "1000")
    for number in range(3, 14):
        config = config_of("sleep", "1000")
        config["process"]["cwd"] = f"/proc/self/fd/{number}"
        handle = lab.create("a", config)
        with pytest.raises(KernelError, match=rf"make directory /proc/self/fd/{number}: .*(ELOOP|ENOENT)") as told:
            handle.start()
        refused |= {number} if told.value.errno == errno.ELOOP else set()
        with pytest.raises(KernelError, match=rf"chdir /proc/self/fd/{number}"):
            running.exec(exec_id="e", process={"args": ["cat", "etc/shadow"], "cwd": f"/proc/self/fd/{number}", "env": ["PATH=/bin"]})
    assert len(refused) > 5, refused


# --- network ---


def test_netlink_batches_and_resolver_sockets_are_made_inside(lab: Lab) -> None:
    from stackrun.network.endpoint import container_batches

    handle = lab.create("a", config_of("ip", "addr", "show", "lo"))
    handle.configure_network(container_batches((), dns=False))
    descriptors = handle.dns_sockets()
    again = handle.dns_sockets()
    names = [socket.socket(fileno=fd) for fd in (*descriptors, *again)]
    assert [one.getsockname() for one in names] == [("127.0.0.11", 61053)] * 4
    assert [one.type for one in names[:2]] == [socket.SOCK_DGRAM, socket.SOCK_STREAM]
    for one in names:
        one.close()
    handle.start()
    wait_exit(handle)
    assert "127.0.0.1/8" in lab.log("a")["stdout"]


def test_a_refused_netlink_message_raises_the_kernels_words(lab: Lab) -> None:
    handle = lab.create("a", config_of("true"))
    # RTM_NEWLINK asking to change a link with an index that is not there.
    payload = bytes(4) + (9999).to_bytes(4, "little") + bytes(8)
    message = (16 + len(payload)).to_bytes(4, "little") + (16).to_bytes(2, "little") + (5).to_bytes(2, "little") + bytes(8) + payload
    with pytest.raises(KernelError, match="netlink 0"):
        handle.configure_network([(0, message)])


def test_held_ports_stay_taken_until_the_container_ends(lab: Lab) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = held.getsockname()
        handle = lab.create("a", config_of("sleep", "1000"), held_fds=[held.fileno()])
    handle.start()
    with socket.socket() as other, pytest.raises(OSError):
        other.bind(address)
    handle.signal(signal.SIGKILL)
    wait_exit(handle)
    with socket.socket() as other:
        other.bind(address)


def test_an_idle_container_costs_little(lab: Lab) -> None:
    handles = [lab.start(f"c{number}", "sleep", "1000") for number in range(3)]
    pss_kb = 0
    for pid in [pid for handle in handles for pid in (handle.pid, handle.shim_pid)]:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        pss_kb += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    assert pss_kb / len(handles) < 5 * 1024


def test_the_host_interpreter_cannot_be_reached_from_inside(lab: Lab) -> None:
    handle = lab.start("a", "sleep", "1000", init=True)
    with pytest.raises(OSError):
        os.open(f"/proc/{handle.pid}/exe", os.O_WRONLY)
    _, sock = handle.exec(exec_id="e", process=process_of("sh", "-c", "readlink /proc/1/exe || echo hidden"))
    assert sock is not None
    assert read_frames(sock)[1].strip() == b"hidden"
