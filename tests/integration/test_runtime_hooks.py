"""The six hooks: when they run, where, with what on their input, and what follows when one fails."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles import Config, Runtime, has_busybox, runtime_in

pytestmark = pytest.mark.skipif(not has_busybox, reason="busybox-static is not installed")
NAMES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    with runtime_in(short_tmp) as made:
        yield made


@pytest.fixture
def diary(runtime: Runtime) -> Path:
    """A directory on the host that is in the container as well, at the same place."""
    path = runtime.root / "diary"
    path.mkdir(0o777)
    path.chmod(0o777)
    (runtime.bundle / "rootfs" / str(path).lstrip("/")).mkdir(parents=True)
    return path


def hook(diary: Path, name: str, more: str = "") -> dict[str, Any]:
    """Writes its input, its namespaces and its environment down.  `sh` is there outside and inside."""
    spaces = f"(readlink /proc/self/ns/mnt; readlink /proc/self/ns/uts) > {diary}/{name}.ns"
    script = f"cat > {diary}/{name}.json; {spaces}; echo $0 $A >> {diary}/order; {more}"
    return {"path": "/bin/sh", "args": ["sh", "-c", script, name], "env": ["PATH=/bin:/usr/bin", "A=b"]}


def configure(runtime: Runtime, diary: Path, hooks: dict[str, Any], *arguments: str) -> None:
    runtime.configure(*arguments)

    def change(config: Config) -> None:
        config["hooks"] = hooks
        config["annotations"] = {"a": "b"}
        config["mounts"].append({"destination": str(diary), "type": "bind", "source": str(diary), "options": ["bind"]})

    runtime.change(change)


def test_each_hook_in_its_time_and_place(runtime: Runtime, diary: Path) -> None:
    configure(runtime, diary, {name: [hook(diary, name)] for name in NAMES}, "sleep", "1000")
    order = diary / "order"
    runtime.create("a")
    assert order.read_text().split("\n")[:-1] == ["prestart b", "createRuntime b", "createContainer b"]
    pid = runtime.state("a")["pid"]
    inside = [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("mnt", "uts")]
    outside = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "uts")]
    runtime.run("start", "a")
    assert order.read_text().split("\n")[3:-1] == ["startContainer b", "poststart b"]
    runtime.run("delete", "--force", "a")
    assert order.read_text().split("\n")[5:-1] == ["poststop b"]
    states = {name: json.loads((diary / f"{name}.json").read_text()) for name in NAMES}
    assert [states[name]["status"] for name in NAMES] == ["creating", "creating", "creating", "created", "running", "stopped"]
    assert {states[name]["id"] for name in NAMES} == {"a"}
    assert {states[name]["bundle"] for name in NAMES} == {str(runtime.bundle)}
    assert all(states[name]["annotations"] == {"a": "b"} for name in NAMES)
    assert [states[name]["pid"] for name in ("prestart", "createRuntime", "poststart")] == [pid] * 3
    places = {name: (diary / f"{name}.ns").read_text().split() for name in NAMES}
    assert all(places[name] == outside for name in ("prestart", "createRuntime", "poststart", "poststop"))
    assert all(places[name] == inside for name in ("createContainer", "startContainer"))


def test_what_outside_hooks_put_into_the_root_is_there(runtime: Runtime, diary: Path) -> None:
    """Also when the root is read-only in the end: drivers are put there so."""
    target = runtime.bundle / "rootfs/put"
    configure(runtime, diary, {"createRuntime": [hook(diary, "put", f"echo here > {target}")]}, "cat", "/put")
    assert runtime.run("run", "-b", str(runtime.bundle), "a") == "here\n"


@pytest.mark.parametrize("name", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_undoes_create(runtime: Runtime, diary: Path, name: str) -> None:
    failing = {"path": "/bin/sh", "args": ["sh", "-c", "echo for a reason >&2; exit 3"]}
    configure(runtime, diary, {name: [failing, hook(diary, name)], "poststop": [hook(diary, "poststop")]}, "true")
    error = runtime.run("create", "-b", str(runtime.bundle), "a", code=1)
    assert f"hooks.{name}[0]: /bin/sh: exit status 3: for a reason" in error
    assert (diary / "order").read_text() == "poststop b\n"
    assert runtime.run("list", "-q") == ""


def test_a_start_container_hook_that_fails_stops_the_container(runtime: Runtime, diary: Path) -> None:
    configure(runtime, diary, {"startContainer": [{"path": "/bin/false"}]}, "sh", "-c", f"echo ran > {diary}/ran")
    runtime.create("a")
    assert "hooks.startContainer[0]: /bin/false: exit status 1" in runtime.run("start", "a", code=1)
    assert runtime.state("a")["status"] == "stopped" and not (diary / "ran").exists()


def test_a_poststart_hook_that_fails_stops_the_container(runtime: Runtime, diary: Path) -> None:
    configure(runtime, diary, {"poststart": [{"path": "/bin/false"}]}, "sleep", "1000")
    runtime.create("a")
    pid_fd = os.pidfd_open(runtime.state("a")["pid"])
    assert "hooks.poststart[0]" in runtime.run("start", "a", code=1)
    import select

    assert select.select([pid_fd], [], [], 10)[0]
    os.close(pid_fd)


def test_a_poststop_hook_that_fails_is_only_told(runtime: Runtime, diary: Path) -> None:
    configure(runtime, diary, {"poststop": [{"path": "/bin/false"}, hook(diary, "poststop")]}, "true")
    done = subprocess.run(
        runtime.command("run", "-b", str(runtime.bundle), "a"), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "hooks.poststop[0]: /bin/false: exit status 1" in done.stderr
    assert (diary / "order").read_text() == "poststop b\n"


def test_a_hook_has_its_time_and_no_more(runtime: Runtime, diary: Path) -> None:
    configure(runtime, diary, {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]}, "true")
    began = time.monotonic()
    assert "hooks.createRuntime[0]: /bin/sleep took longer than 1 s" in runtime.run("create", "-b", str(runtime.bundle), "a", code=1)
    assert time.monotonic() - began < 10


def test_a_hook_that_is_not_there(runtime: Runtime, diary: Path) -> None:
    configure(runtime, diary, {"createRuntime": [{"path": "/no/such/hook"}]}, "true")
    assert "hooks.createRuntime[0]: execute /no/such/hook: ENOENT" in runtime.run("create", "-b", str(runtime.bundle), "a", code=1)


def test_a_hook_that_leaves_a_daemon_behind_holds_nobody_up(runtime: Runtime, diary: Path) -> None:
    script = f"cat > /dev/null; (echo $$ > {diary}/pid; exec sleep 5) & sleep 0.1"
    configure(runtime, diary, {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}]}, "true")
    began = time.monotonic()
    runtime.run("run", "-b", str(runtime.bundle), "a")
    assert time.monotonic() - began < 4
