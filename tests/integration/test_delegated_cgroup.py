"""An ordinary user's limits in a subtree of cgroup v2 that is his, as systemd delegates user@UID.service (`make vm` has it)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from machine import STACKRUN, UnixConnection, busybox_tar
from ordinary_user import OrdinaryUser, why_not

from stackrun.kernel import cgroup

V2 = cgroup.detect().v2
DELEGATED = ("cpu", "memory", "pids")  # systemd's default of Delegate= for user@.service
RUNTIME = str(STACKRUN.with_name("stackrun-runtime"))
GROW = "x=0123456789abcdef; while :; do x=$x$x; done"
FORKS = "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18; do sleep 1000 & done"

pytestmark = [
    pytest.mark.skipif(bool(why_not(way_out=False)), reason=why_not(way_out=False) or "can"),
    pytest.mark.skipif(
        not set(DELEGATED) <= cgroup.detect().v2_controllers,
        reason=f"of cpu, memory and pids cgroup v2 has only {sorted(cgroup.detect().v2_controllers)} here",
    ),
]


class Delegation:
    """<name>/user@.service, which is `owner`'s, with `controllers`; his commands run in a scope below it, where it holds no process."""

    def __init__(self, name: str, owner: OrdinaryUser, controllers: tuple[str, ...]) -> None:
        self._above = Path(V2, name)
        self.service = self._above / "user@.service"
        self.scope = self.service / "app.slice" / "shell.scope"
        self.session = self._above / "session.scope"
        """Root's, as those of logins are."""
        for one in (self.scope, self.session):
            one.mkdir(parents=True)
        self._hand_down(Path(V2), controllers)
        self._hand_down(self._above, controllers)
        for one in (self.service, self.scope.parent, self.scope):
            for file in (".", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
                os.chown(one / file, owner.uid, owner.uid)

    @staticmethod
    def _hand_down(directory: Path, controllers: tuple[str, ...]) -> None:
        (directory / "cgroup.subtree_control").write_text(" ".join(f"+{one}" for one in controllers))

    def group(self) -> Path:
        """Of the one container that there is."""
        (found,) = (one.parent for one in self.service.glob("stackrun*/*/cgroup.procs"))
        return found

    def close(self) -> None:
        assert not [*self.service.glob("stackrun*/*/")]
        for one in (*self.service.glob("stackrun*"), self.scope, self.scope.parent, self.service, self.session, self._above):
            one.rmdir()


@pytest.fixture(scope="module")
def owner() -> Iterator[OrdinaryUser]:
    made = OrdinaryUser(f"srd{os.getpid()}")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def delegation(owner: OrdinaryUser) -> Iterator[Delegation]:
    made = Delegation(owner.name, owner, DELEGATED)
    yield made
    made.close()


@pytest.fixture
def user(owner: OrdinaryUser, delegation: Delegation) -> OrdinaryUser:
    """In his scope."""
    owner.cgroup = delegation.scope
    return owner


@pytest.fixture(scope="module")
def image(owner: OrdinaryUser) -> Path:
    return busybox_tar(owner.folder("image"))


def told(user: OrdinaryUser, name: str) -> Any:
    with closing(UnixConnection(str(user.run_dir / "stackrun.sock"))) as connection:
        connection.request("GET", f"/containers/{name}/json")
        return json.loads(connection.getresponse().read())


def test_containers_of_the_users_engine_are_held(user: OrdinaryUser, delegation: Delegation, image: Path) -> None:
    limits = "mem_limit: 32m, memswap_limit: 32m, pids_limit: 16, cpus: 0.5"
    text = f"services: {{one: {{image: 'busybox:test', command: [sleep, '9999'], stop_grace_period: 0s, {limits}}}}}"
    folder = user.folder("held", compose_yaml=text)
    user.run("import", str(image), "busybox:test")
    said = user.run("up", "-d", cwd=folder).stderr
    assert "left out" not in said, said
    group = delegation.group()
    values = {name: (group / name).read_text().strip() for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max")}
    assert values == {"memory.max": str(32 << 20), "memory.swap.max": "0", "pids.max": "16", "cpu.max": "50000 100000"}

    hog = user.run("exec", "-T", "one", "sh", "-c", GROW, cwd=folder, code=None)
    assert hog.returncode == 137, hog
    state = told(user, "held-one-1")["State"]
    assert state["OOMKilled"] and state["Running"], state
    (group / "memory.max").write_text(str(64 << 20))
    differs = json.loads(user.run("drift", "--repair", "--format", "json", cwd=folder, code=None).stdout)
    assert (group / "memory.max").read_text().strip() == str(32 << 20) and not differs["left"], differs
    forks = user.run("exec", "-T", "one", "sh", "-c", FORKS, cwd=folder, code=None)
    assert forks.returncode and "can't fork" in forks.stderr, forks
    user.run("down", cwd=folder)
    ended(user)


def ended(user: OrdinaryUser) -> None:
    """Its daemon, and with it all that serves it."""
    user.run("daemon", "stop")
    assert user.gone_within(20), user.processes()


def test_a_limit_whose_controller_is_not_delegated_is_left_out_by_name(owner: OrdinaryUser, delegation: Delegation, image: Path) -> None:
    less = Delegation(f"{owner.name}less", owner, ("memory",))
    try:
        owner.cgroup = less.scope
        limits = "mem_limit: 32m, pids_limit: 9, cpus: 0.5"
        text = f"services: {{one: {{image: 'busybox:test', command: [sleep, '9999'], stop_grace_period: 0s, {limits}}}}}"
        folder = owner.folder("less", compose_yaml=text)
        owner.run("import", str(image), "busybox:test")
        said = owner.run("up", "-d", cwd=folder).stderr
        assert said.count("limits left out (cpu, pids)") == 1 and "without the cgroup controllers cpu, cpuset, io, pids" in said, said
        assert (less.group() / "memory.max").read_text().strip() == str(32 << 20)
        assert not (less.group() / "cpu.max").exists()
        found = checks(owner)
        assert found["cgroup memory"]["ok"] and not found["cgroup pids"]["ok"] and "Delegate=" in found["cgroup pids"]["remedy"]
        owner.run("down", cwd=folder)
        ended(owner)
    finally:
        less.close()


def checks(user: OrdinaryUser) -> dict[str, Any]:
    listed = json.loads(user.run("check", "--format", "json", code=None).stdout)
    return {one["name"]: one for one in listed["checks"]}


def test_check_tells_what_is_delegated(user: OrdinaryUser, delegation: Delegation) -> None:
    found = checks(user)
    assert found["cgroup"]["ok"] and found["cgroup"]["detail"] == f"v2, delegated: {delegation.service}"
    held = {name.removeprefix("cgroup ") for name, one in found.items() if name.startswith("cgroup ") and one["ok"]}
    assert held >= {*DELEGATED, "freezer", "devices"} and not held & {"cpuset", "io", "hugetlb"}
    assert found["cgroup cpuset"]["detail"] == "not delegated to this user"
    assert found["cgroup.kill"]["ok"]


def test_check_tells_that_a_login_session_is_not_delegated(user: OrdinaryUser, delegation: Delegation) -> None:
    user.cgroup = delegation.session
    one = checks(user)["cgroup"]
    assert not one["ok"] and not one["required"] and "systemd-run --user" in one["remedy"]


@pytest.fixture(scope="module")
def bundle(owner: OrdinaryUser, image: Path) -> Path:
    made = owner.folder("bundle")
    (made / "rootfs").mkdir()
    owner.folder("bundle")  # all of it is his now
    assert owner.command("tar", "-xf", str(image), "-C", str(made / "rootfs")).returncode == 0
    assert owner.command(RUNTIME, "spec", "--rootless", cwd=made).returncode == 0
    return made


def configured(bundle: Path, script: str, resources: dict[str, Any]) -> None:
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sh", "-c", script]}
    config["linux"]["resources"] = resources
    (bundle / "config.json").write_text(json.dumps(config))


LIMITS = {"memory": {"limit": 32 << 20, "swap": 32 << 20}, "pids": {"limit": 16}, "cpu": {"quota": 50000, "period": 100000}}


def test_the_runtime_alone_holds_limits(user: OrdinaryUser, delegation: Delegation, bundle: Path) -> None:
    configured(bundle, "exec sleep 9999", LIMITS)

    def run(*args: str, code: int = 0) -> str:
        done = user.command("sh", "-c", 'exec "$@" > log 2>&1', "sh", RUNTIME, *args, cwd=bundle)
        said = (bundle / "log").read_text()
        assert done.returncode == code, said
        return said

    run("run", "--detach", "one")
    group = delegation.group()
    assert {name: (group / name).read_text().strip() for name in ("memory.max", "pids.max", "cpu.max")} == {
        "memory.max": str(32 << 20), "pids.max": "16", "cpu.max": "50000 100000",
    }  # fmt: skip
    run("exec", "one", "sh", "-c", GROW, code=137)
    assert "oom_kill 1" in (group / "memory.events").read_text().splitlines()
    run("update", "--memory", str(64 << 20), "--memory-swap", str(64 << 20), "one")
    assert (group / "memory.max").read_text().strip() == str(64 << 20)
    assert "can't fork" in run("exec", "one", "sh", "-c", FORKS, code=2)
    run("delete", "--force", "one")
    assert not group.exists()


def test_the_runtime_alone_refuses_a_limit_that_nothing_would_hold(user: OrdinaryUser, delegation: Delegation, bundle: Path) -> None:
    configured(bundle, "true", {"cpu": {"cpus": "0"}})
    refused = user.command(RUNTIME, "run", "two", cwd=bundle)
    assert refused.returncode and "linux.resources.cpu.cpus: no cpuset cgroup controller is delegated to this user" in refused.stderr
    user.cgroup = delegation.session
    configured(bundle, "true", LIMITS)
    refused = user.command(RUNTIME, "run", "two", cwd=bundle)
    assert refused.returncode and "no cgroup is delegated to this user" in refused.stderr


def test_in_the_runtimes_container_groups_of_its_own_are_entered(user: OrdinaryUser, delegation: Delegation, bundle: Path) -> None:
    """A group whose children have controllers takes no process any more, so an exec goes where init went."""
    configured(bundle, "exec sleep 9999", LIMITS)
    done = user.command("sh", "-c", f"{RUNTIME} run --detach three > log 2>&1", cwd=bundle)
    assert done.returncode == 0, (bundle / "log").read_text()
    group = delegation.group()
    script = "mkdir inner && cat cgroup.procs > inner/cgroup.procs && echo +pids > cgroup.subtree_control"
    assert user.command("sh", "-c", script, cwd=group).returncode == 0
    done = user.command("sh", "-c", f"{RUNTIME} exec three cat /proc/self/cgroup > log 2>&1", cwd=bundle)
    assert (done.returncode, (bundle / "log").read_text()) == (0, "0::/inner\n")
    assert user.command(RUNTIME, "delete", "--force", "three", cwd=bundle).returncode == 0
    assert not group.exists()
