"""CVE-2022-24769, CVE-2022-29162: inheritable capabilities of init or exec, which a program with inheritable file capabilities turns
into permitted ones for a user who is to have none (capabilities(7))."""

import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import Config, Runtime, runtime_in

NET_RAW = 13


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    """/bin/raw may have CAP_NET_RAW, if whoever starts it holds it as inheritable."""
    with runtime_in(short_tmp) as made:
        raw = made.bundle / "rootfs/bin/raw"
        shutil.copy(made.bundle / "rootfs/bin/busybox", raw)
        os.setxattr(raw, "security.capability", struct.pack("<IIIII", 0x02000001, 0, 1 << NET_RAW, 0, 0))
        (made.bundle / "rootfs/bin/cat").unlink()
        (made.bundle / "rootfs/bin/cat").symlink_to("raw")
        yield made


def as_user(config: Config, inheritable: list[str]) -> None:
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    config["process"]["noNewPrivileges"] = False
    config["process"]["capabilities"] = {"bounding": ["CAP_NET_RAW"], "inheritable": inheritable}


def effective(lines: list[str]) -> int:
    return int(next(line.split()[1] for line in lines if line.startswith("CapEff")), 16)


@pytest.mark.parametrize("inheritable", [[], ["CAP_NET_RAW"]], ids=["refused", "the attempt works with an inheritable one"])
def test_a_user_gets_what_is_inheritable_and_no_more(runtime: Runtime, inheritable: list[str]) -> None:
    found = runtime.output("exec /bin/cat /proc/self/status", lambda config: as_user(config, inheritable))
    assert effective(found) == (1 << NET_RAW if inheritable else 0)


def test_an_exec_has_none_inheritable(runtime: Runtime) -> None:
    runtime.configure("sleep", "100")
    runtime.change(lambda config: as_user(config, []))
    runtime.create("c")
    runtime.run("start", "c")
    found = runtime.run("exec", "--user", "1000", "--cap", "CAP_NET_RAW", "c", "/bin/cat", "/proc/self/status").splitlines()
    assert next(line for line in found if line.startswith("CapInh")).split()[1].strip("0") == ""


def test_the_engine_gives_none(prison_status: str) -> None:
    for name in ("CapInh", "CapAmb"):
        assert f"{name}:\t{0:016x}" in prison_status


@pytest.fixture
def prison_status(machine: object) -> str:
    from machine import Machine

    assert isinstance(machine, Machine)
    done = machine.docker("run", "--rm", "--cap-add", "ALL", "host", "cat", "/proc/self/status")
    machine.docker("run", "-d", "--name", "entered", "--cap-add", "ALL", "host", "sleep", "100")
    entered = machine.docker("exec", "--privileged", "--user", "1000", "entered", "cat", "/proc/self/status")
    machine.docker("rm", "-f", "entered")
    assert "CapInh:\t0000000000000000" in entered.stdout
    return done.stdout
