"""`stackrun-runtime` as an ordinary user: runc's verbs on a bundle with a user namespace of his own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machine import STACKRUN, busybox_tar
from ordinary_user import OrdinaryUser, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "can")
RUNTIME = str(STACKRUN.with_name("stackrun-runtime"))


@pytest.fixture(scope="module")
def user() -> Iterator[OrdinaryUser]:
    made = OrdinaryUser(f"srr{os.getpid()}")
    yield made
    left = made.processes()
    made.close()
    assert not left


@pytest.fixture(scope="module")
def bundle(user: OrdinaryUser) -> Path:
    made = user.folder("bundle")
    (made / "rootfs").mkdir()
    subprocess.run(["tar", "-xf", busybox_tar(made), "-C", made / "rootfs"], check=True)
    user.folder("bundle")  # all of it is his now
    assert user.command(RUNTIME, "spec", "--rootless", cwd=made).returncode == 0
    return made


def configured(bundle: Path, *args: str, **linux: Any) -> None:
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": list(args)}
    config["root"]["readonly"] = False
    config["process"]["capabilities"] = {name: ["CAP_CHOWN"] for name in ("bounding", "effective", "permitted")}
    config["linux"] |= linux
    (bundle / "config.json").write_text(json.dumps(config))


def test_run_makes_the_user_root_of_his_container(user: OrdinaryUser, bundle: Path) -> None:
    configured(bundle, "sh", "-c", "id -u; cat /proc/self/uid_map; echo x > /dev/null && echo $$; exit 7")
    done = user.command(RUNTIME, "run", "one", cwd=bundle)
    assert done.returncode == 7, done.stderr
    assert done.stdout.split() == ["0", "0", str(user.uid), "1", "1"]


def test_a_container_is_created_started_entered_and_deleted(user: OrdinaryUser, bundle: Path) -> None:
    configured(bundle, "sleep", "1000")

    def run(*args: str) -> str:
        done = user.command("sh", "-c", 'exec "$@" 2>&1 < /dev/null', "sh", RUNTIME, *args, cwd=bundle)
        assert done.returncode == 0, done.stdout
        return done.stdout

    assert user.command("sh", "-c", f"{RUNTIME} create two > log 2>&1", cwd=bundle).returncode == 0
    assert json.loads(run("state", "two"))["status"] == "created"
    run("start", "two")
    assert run("exec", "two", "sh", "-c", "echo $(id -u) $(hostname)") == "0 stackrun\n"
    assert len(json.loads(run("ps", "--format", "json", "two"))) == 1
    refused = user.command(RUNTIME, "pause", "two", cwd=bundle)
    assert "no cgroup is delegated to this user" in refused.stderr
    run("kill", "two", "KILL")
    run("delete", "--force", "two")
    assert json.loads(run("list", "--format", "json")) in ([], None)


def test_subordinate_ids_are_mapped_by_newuidmap(user: OrdinaryUser, bundle: Path) -> None:
    extents = [{"containerID": 0, "hostID": user.uid, "size": 1}, {"containerID": 1, "hostID": user.first_id, "size": 1000}]
    configured(bundle, "sh", "-c", "touch /tmp/of-root && chown 5:5 /tmp/of-root", uidMappings=extents, gidMappings=extents)
    done = user.command(RUNTIME, "run", "three", cwd=bundle)
    assert done.returncode == 0, done.stderr
    assert (bundle / "rootfs/tmp/of-root").stat().st_uid == user.first_id + 4


def test_ids_of_others_are_refused_by_name(user: OrdinaryUser, bundle: Path) -> None:
    extents = [{"containerID": 0, "hostID": 0, "size": 1}, {"containerID": 1, "hostID": user.first_id, "size": 1000}]
    configured(bundle, "true", uidMappings=extents, gidMappings=extents)
    done = user.command(RUNTIME, "run", "four", cwd=bundle)
    assert done.returncode == 1 and "newuidmap" in done.stderr and "/etc/subuid" in done.stderr, done.stderr
