"""stackrun-runtime on plain OCI bundles, verb by verb, as a caller of runc would use it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import Runtime, has_busybox, runtime_in

pytestmark = pytest.mark.skipif(not has_busybox, reason="busybox-static is not installed")


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    with runtime_in(short_tmp) as made:
        yield made


def test_run_prints_and_ends_as_the_process_does(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "cat; exit 7")
    done = subprocess.run(runtime.command("run", "-b", str(runtime.bundle), "a"), input=b"through", capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"through", b"")
    assert runtime.run("list", "-q") == ""


def test_the_life_of_a_container(runtime: Runtime, short_tmp: Path) -> None:
    runtime.configure("sleep", "1000")
    runtime.create("a", "--pid-file", str(short_tmp / "pid"))
    state = runtime.state("a")
    assert (state["status"], state["bundle"]) == ("created", str(runtime.bundle))
    assert int((short_tmp / "pid").read_text()) == state["pid"]
    runtime.run("start", "a")
    assert runtime.state("a")["status"] == "running"
    assert "cannot start a container in the running state" in runtime.run("start", "a", code=1)
    assert json.loads(runtime.run("ps", "--format", "json", "a")) == [state["pid"]]
    runtime.run("pause", "a")
    assert runtime.state("a")["status"] == "paused"
    runtime.run("resume", "a")
    assert "cannot delete container a that is not stopped: running" in runtime.run("delete", "a", code=1)
    pid_fd = os.pidfd_open(state["pid"])
    runtime.run("kill", "a", "SIGKILL")
    assert _ended(pid_fd)
    runtime.run("delete", "a")
    assert "container does not exist" in runtime.run("state", "a", code=1)
    runtime.run("delete", "--force", "a")


def _ended(pid_fd: int) -> bool:
    import select

    try:
        return bool(select.select([pid_fd], [], [], 10)[0])
    finally:
        os.close(pid_fd)


def test_exec_in_a_running_container(runtime: Runtime) -> None:
    runtime.configure("sleep", "1000")
    runtime.create("a")
    runtime.run("start", "a")
    assert runtime.run("exec", "a", "cat", given="in and out") == "in and out"
    runtime.run("exec", "a", "sh", "-c", "exit 5", code=5)
    assert 'exec: "/nope": stat /nope: no such file or directory' in runtime.run("exec", "a", "/nope", code=255)
    assert runtime.run("exec", "--user", "12:34", "--env", "X=y", "a", "sh", "-c", "id -u; id -g; echo $X").split() == ["12", "34", "y"]


def test_a_console_socket_gets_the_terminal(runtime: Runtime, short_tmp: Path) -> None:
    runtime.configure("sh", "-c", "tty; read word; echo got $word", terminal=True)
    path = str(short_tmp / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        runtime.create("a", "--console-socket", path)
        connection, _ = listener.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    runtime.run("start", "a")
    os.write(fds[0], b"it\n")
    with os.fdopen(fds[0], "rb", buffering=0) as console:
        seen = b""
        while b"got it" not in seen:
            seen += console.read(100) or b""
    assert b"/dev/pts/0" in seen


def test_run_on_a_terminal(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "tty; read word; exit 3", terminal=True)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(runtime.command("run", "-b", str(runtime.bundle), "a"), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"/dev/pts/0" not in seen:
        seen += os.read(ours, 1000)
    os.write(ours, b"\r")
    assert process.wait(30) == 3
    os.close(ours)


def test_a_failure_is_logged_as_callers_of_runc_expect_it(runtime: Runtime, short_tmp: Path) -> None:
    runtime.configure("/nope")
    log = short_tmp / "log.json"
    runtime.run("--log", str(log), "--log-format", "json", "run", "-b", str(runtime.bundle), "a", code=1)
    entry = json.loads(log.read_text())
    assert (entry["level"], entry["msg"]) == ("error", 'exec: "/nope": stat /nope: no such file or directory')
    assert runtime.run("list", "-q") == ""


def test_ids_are_checked_and_taken_once(runtime: Runtime) -> None:
    runtime.configure("sleep", "1000")
    runtime.create("a")
    assert "already exists" in runtime.run("create", "-b", str(runtime.bundle), "a", code=1)
    for name in ("..", "a/b"):
        assert "invalid container ID format" in runtime.run("state", name, code=1)
    assert [one["id"] for one in json.loads(runtime.run("list", "-f", "json"))] == ["a"]


def test_features_and_version(runtime: Runtime) -> None:
    assert "network" in json.loads(runtime.run("features"))["linux"]["namespaces"]
    assert "stackrun-runtime version" in runtime.run("--version")


@pytest.mark.skipif(not shutil.which("runc"), reason="runc is not installed")
def test_runc_and_we_agree_on_what_a_container_sees(runtime: Runtime) -> None:
    script = "grep -E 'Cap|NoNew' /proc/self/status; ls /dev /sys/fs/cgroup; wc -l < /proc/self/mountinfo; ls /proc/self/fd"
    runtime.configure("sh", "-c", script)
    ours = subprocess.run(runtime.command("run", "-b", str(runtime.bundle), "a"), stdin=subprocess.DEVNULL, capture_output=True, check=True)
    theirs = subprocess.run(
        ["runc", "run", "-b", str(runtime.bundle), f"srt-{runtime.root.name}"], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    assert ours.stdout == theirs.stdout


def test_words_are_read_as_runc_reads_them(runtime: Runtime) -> None:
    """One dash or two, a value behind an equals sign, and no option after the id."""
    runtime.configure("sh", "-c", "echo $A; echo $@", "sh")
    assert runtime.run("run", f"-bundle={runtime.bundle}", "a") == "\n\n"
    runtime.start("b", "sleep", "1000")
    assert runtime.run("exec", "-env=A=1", "b", "sh", "-c", "echo $A $@", "sh", "--env", "x") == "1 --env x\n"
    for words, text in (
        (("exec", "--nope", "b"), "flag provided but not defined: -nope"),
        (("create", "--bundle"), "flag needs an argument: -bundle"),
        (("state",), '"state" requires a minimum of 1 argument'),
        (("nope",), "no such command: nope"),
        (("kill", "b", "NOPE"), "invalid signal: NOPE"),
        (("list", "--format", "xml"), "invalid format option"),
        (("checkpoint", "b"), "checkpoint: containers are not checkpointed here"),
        (("run", "--preserve-fds", "x", "c"), "invalid value 'x' for flag -preserve-fds"),
    ):
        assert text in runtime.run(*words, code=255 if words[0] == "exec" else 1)
    for words in ((), ("help",), ("exec", "--help"), ("--help",)):
        assert "stackrun-runtime" in runtime.run(*words)


def test_systemd_is_accepted_for_a_plain_path_and_refused_for_a_slice(runtime: Runtime) -> None:
    runtime.configure("true")
    runtime.run("--systemd-cgroup", "run", "-b", str(runtime.bundle), "a")
    runtime.change(lambda config: config["linux"].update(cgroupsPath="system.slice:runc:a"))
    assert "linux.cgroupsPath 'system.slice:runc:a'" in runtime.run("--systemd-cgroup", "run", "-b", str(runtime.bundle), "a", code=1)


def test_the_log_in_both_formats(runtime: Runtime, short_tmp: Path) -> None:
    runtime.configure("true", rlimits=[{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 2**62}])
    for form in ("text", "json"):
        runtime.run("--log", str(short_tmp / form), "--log-format", form, "--debug", "run", "-b", str(runtime.bundle), "a")
        runtime.run("--log", str(short_tmp / form), "--log-format", form, "state", "gone", code=1)
    entries = [json.loads(line) for line in (short_tmp / "json").read_text().splitlines()]
    assert (entries[0]["level"], entries[-1]["level"], entries[-1]["msg"]) == ("debug", "error", "container does not exist")
    assert 'level=error msg="container does not exist"' in (short_tmp / "text").read_text()
    assert "invalid log-format" in runtime.run("--log-format", "xml", "list", code=1)


def test_kill_has_runcs_words_for_what_has_ended(runtime: Runtime) -> None:
    """containerd looks for them."""
    runtime.start("a", "true")
    _await_status(runtime, "a", "stopped")
    assert "container not running" in runtime.run("kill", "a", "KILL", code=1)
    runtime.run("kill", "--all", "a", "KILL")
    assert "cannot exec in a stopped container" in runtime.run("exec", "a", "true", code=255)
    assert "cannot start a container in the stopped state" in runtime.run("start", "a", code=1)


def _await_status(runtime: Runtime, name: str, status: str) -> None:
    for _ in range(200):
        if runtime.state(name)["status"] == status:
            return
    raise AssertionError(runtime.state(name))


def test_a_paused_container(runtime: Runtime) -> None:
    runtime.start("a", "sleep", "1000")
    assert "container not paused" in runtime.run("resume", "a", code=1)
    runtime.run("pause", "a")
    assert "cannot exec in a paused container" in runtime.run("exec", "a", "true", code=255)
    assert "container not running or created: paused" in runtime.run("pause", "a", code=1)
    runtime.run("delete", "--force", "a")


def test_list_names_all(runtime: Runtime) -> None:
    runtime.start("a", "sleep", "1000")
    runtime.create("b")
    assert runtime.run("list", "-q").split() == ["a", "b"]
    title, first, second = (line.split() for line in runtime.run("list").splitlines())
    assert title == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert (first[0], first[2], first[3], first[5]) == ("a", "running", str(runtime.bundle), "root")
    assert second[2] == "created"
    assert {"ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"} <= set(
        json.loads(runtime.run("list", "-f", "json"))[0]
    )


def test_ps_is_filtered_by_the_group(runtime: Runtime) -> None:
    runtime.start("a", "sh", "-c", "sleep 1000 & sleep 1001 & wait")
    command = runtime.command("exec", "--detach", "a", "sleep", "1002")
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    assert "sleep 1002" in runtime.run("ps", "a")
    title, *lines = runtime.run("ps", "a", "-eo", "pid,args").splitlines()
    assert "PID" in title and len(lines) == 4
    assert "couldn't find PID field" in runtime.run("ps", "a", "-eo", "args", code=1)


def _limits(runtime: Runtime) -> list[str]:
    pure = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    files = "memory.max pids.max" if pure else "memory/memory.limit_in_bytes pids/pids.max"
    quota = "cut -d' ' -f1 cpu.max" if pure else "cat cpu/cpu.cfs_quota_us"
    return runtime.run("exec", "a", "sh", "-c", f"cd /sys/fs/cgroup; cat {files}; {quota}").split()


def test_update_by_options_and_by_file(runtime: Runtime, short_tmp: Path) -> None:
    runtime.start("a", "sleep", "1000")
    runtime.run(
        "update", "--memory", str(32 << 20), "--memory-swap", str(64 << 20), "--pids-limit", "20", "--cpu-period", "100000",
        "--cpu-quota", "50000", "a",
    )  # fmt: skip
    assert _limits(runtime) == [str(32 << 20), "20", "50000"]
    runtime.run("update", "--resources", "-", "a", given=json.dumps({"pids": {"limit": 21}}))
    (short_tmp / "r.json").write_text(json.dumps({"cpu": {"quota": 60000, "period": 100000}}))
    runtime.run("update", "-r", str(short_tmp / "r.json"), "a")
    assert _limits(runtime) == [str(32 << 20), "21", "60000"]
    (short_tmp / "r.json").write_text("[]")
    assert "it holds no linux.resources" in runtime.run("update", "-r", str(short_tmp / "r.json"), "a", code=1)
    assert "--l3-cache-schema" in runtime.run("update", "--l3-cache-schema", "x", "a", code=1)


def test_a_sample_of_usage(runtime: Runtime) -> None:
    runtime.start("a", "sleep", "1000")
    sample = json.loads(runtime.run("events", "--stats", "a"))
    assert (sample["type"], sample["id"]) == ("stats", "a")
    assert sample["data"]["cpu"]["usage"]["total"] > 0
    assert sample["data"]["memory"]["usage"]["usage"] > 0
    assert sample["data"]["pids"]["current"] == 1


@pytest.mark.skipif(not shutil.which("runc"), reason="runc is not installed")
def test_samples_have_runcs_shape(runtime: Runtime) -> None:
    runtime.start("a", "sleep", "1000")
    name = f"srt-{runtime.root.name}"
    subprocess.run(
        ["runc", "run", "-d", "-b", str(runtime.bundle), name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    try:
        theirs = json.loads(subprocess.run(["runc", "events", "--stats", name], capture_output=True, check=True).stdout)["data"]
    finally:
        subprocess.run(["runc", "delete", "--force", name], check=True)
    ours = json.loads(runtime.run("events", "--stats", "a"))["data"]
    assert set(ours) == set(theirs)
    for section in ("cpu", "memory", "pids"):
        assert set(ours[section]) <= set(theirs[section]) | {"raw", "cache"}, section
    assert set(ours["memory"]["usage"]) == set(theirs["memory"]["usage"])


def test_want_of_memory_is_an_event(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "cat; head -c 100000000 /dev/zero | tail | wc -c; sleep 1000")
    runtime.change(lambda config: config["linux"]["resources"].update(memory={"limit": 16 << 20, "swap": 16 << 20}))
    reader, writer = os.pipe()
    subprocess.run(runtime.command("create", "-b", str(runtime.bundle), "a"), stdin=reader, stdout=subprocess.DEVNULL, check=True)
    os.close(reader)
    runtime.run("start", "a")
    with subprocess.Popen(runtime.command("events", "--interval", "100ms", "a"), stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout
        assert json.loads(events.stdout.readline())["type"] == "stats"
        os.close(writer)  # now that somebody looks
        assert any(json.loads(line)["type"] == "oom" for line in events.stdout)
        runtime.run("kill", "a", "KILL")
        events.stdout.read()
        assert events.wait(20) == 0


def test_events_want_a_duration_and_a_running_container(runtime: Runtime) -> None:
    runtime.start("a", "sleep", "1000")
    assert "it is no duration" in runtime.run("events", "--interval", "5", "a", code=1)
    assert "must be greater than 0" in runtime.run("events", "--interval", "0s", "a", code=1)
    runtime.run("kill", "a", "KILL")
    _await_status(runtime, "a", "stopped")
    assert "container with id a is not running" in runtime.run("events", "--stats", "a", code=1)


def test_a_container_belongs_to_the_nearest_subreaper(runtime: Runtime, short_tmp: Path) -> None:
    """conmon and containerd-shim wait for the pid of --pid-file, and for those of exec, themselves."""
    runtime.configure("sh", "-c", "read x; exit 3")
    script = f"""
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
command = {runtime.command()!r}
subprocess.run([*command, "create", "-b", {str(runtime.bundle)!r}, "--pid-file", "{short_tmp}/pid", "a"], check=True, **quiet)
subprocess.run([*command, "exec", "--detach", "--pid-file", "{short_tmp}/exec", "a", "sh", "-c", "exit 4"], check=True, **quiet)
pid = int(open("{short_tmp}/exec").read())
assert os.waitpid(pid, 0) == (pid, 4 << 8)
subprocess.run([*command, "start", "a"], check=True, **quiet)
pid = int(open("{short_tmp}/pid").read())
assert os.waitpid(pid, 0) == (pid, 3 << 8)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_signals_reach_the_foreground_container(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done")
    process = subprocess.Popen(runtime.command("run", "-b", str(runtime.bundle), "a"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 9
    process.stdout.close()


def test_a_long_state_directory_and_id(runtime: Runtime) -> None:
    """A path beyond the 107 bytes of a socket's name is no limit: dockerd's is that long."""
    runtime.configure("true")
    root = runtime.root / ("d" * 100)
    command = [*runtime.command()[:-2], "--root", str(root)]
    done = subprocess.run(
        [*command, "run", "-b", str(runtime.bundle), "i" * 64], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "invalid container ID format" in runtime.run("run", "-b", str(runtime.bundle), "i" * 300, code=1)


def test_what_was_taken_away_under_a_container_does_not_hold_delete_up(runtime: Runtime) -> None:
    runtime.start("a", "sleep", "1000")
    pid_fd = os.pidfd_open(runtime.state("a")["pid"])
    runtime.run("kill", "a", "KILL")
    assert _ended(pid_fd)
    shutil.move(runtime.bundle / "rootfs", runtime.root / "gone")
    for point in _mount_points():
        path = Path(point) / "stackrun-runtime/a"
        if path.exists():
            path.rmdir()
    runtime.run("delete", "a")
    shutil.move(runtime.root / "gone", runtime.bundle / "rootfs")


def _mount_points() -> tuple[str, ...]:
    from stackrun.kernel import cgroup

    return cgroup.detect().mount_points


def test_a_trace_tells_every_step_up_to_execve(runtime: Runtime) -> None:
    runtime.configure("true")
    command = runtime.command("run", "-b", str(runtime.bundle), "a")
    command.insert(command.index("--root"), "--trace")
    told = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stderr
    steps = [line.split(None, 3)[2:] for line in told.splitlines()[2:]]
    order = [
        ["command", "be executed"],
        ["command", "cgroups and limits"],
        ["init", "join the cgroups"],
        ["init", "mount proc on /proc"],
        ["init", "pivot_root"],
        ["command", "see execve happen"],
        ["command", "remove cgroups and record"],
    ]
    assert [step for step in steps if step in order] == order
