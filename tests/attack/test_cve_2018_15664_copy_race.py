"""CVE-2018-15664: a container swaps a directory for a link to the host's while files are copied into it and out of it."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine

from stackrun.client.http import Transport
from stackrun.errors import StackrunError

ATTEMPTS = 100
SWAP = """
import ctypes, os
os.makedirs("/w/stash", exist_ok=True)
open("/w/stash/stackrun-host-secret", "w").write("inside")
os.symlink("/root", "/w/link")
libc = ctypes.CDLL(None)
print("ready", flush=True)
while True:
    libc.renameat2(-100, b"/w/stash", -100, b"/w/link", 2)
"""
LURK = """
import os
os.makedirs("/w", exist_ok=True)
print("ready", flush=True)
while True:
    try:
        os.stat("/w/node")
        os.symlink("/root/stackrun-host-secret", "/w/bait")
        os.rename("/w/bait", "/w/node")
    except OSError:
        pass
"""


@pytest.fixture
def attacker(machine: Machine, request: pytest.FixtureRequest) -> Iterator[int]:
    """The pid of a container that runs the script of the test."""
    machine.docker("run", "-d", "--name", "attacker", "host", "python3", "-c", request.param)
    with Transport(machine.host) as link, link.request("GET", "/containers/attacker/logs", query={"stdout": True, "follow": True}) as logs:
        assert b"ready" in next(iter(logs))
    yield int(machine.inspect("attacker")["State"]["Pid"])
    machine.docker("rm", "-f", "attacker")


def tar_of(name: str, kind: bytes, content: bytes = b"") -> bytes:
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.size = kind, 0o4777, 4711, len(content)
            archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()


@pytest.mark.parametrize("attacker", [SWAP], indirect=True)
def test_a_directory_that_becomes_a_link_leads_nowhere(machine: Machine, host_secret: Path, attacker: int) -> None:
    archive = tar_of("stackrun-host-secret", tarfile.REGTYPE, b"broken")
    outcomes = set()
    with Transport(machine.host) as link:
        for _ in range(ATTEMPTS):
            query: dict[str, object] = {"path": "/w/stash"}
            try:
                link.request("PUT", "/containers/attacker/archive", query=query, body=archive).read()
                outcomes.add("written")
                query = {"path": "/w/stash/stackrun-host-secret"}
                assert b"untouched" not in link.request("GET", "/containers/attacker/archive", query=query).read()
            except StackrunError as error:
                outcomes.add(type(error).__name__)
    assert host_secret.read_text() == "untouched"
    assert "written" in outcomes, "the directory was met, too"


@pytest.mark.parametrize("attacker", [LURK], indirect=True)
def test_a_node_that_becomes_a_link_is_not_finished_through_it(machine: Machine, host_secret: Path, attacker: int) -> None:
    before = host_secret.stat()
    with Transport(machine.host) as link:
        for _ in range(ATTEMPTS):
            try:
                link.request("PUT", "/containers/attacker/archive", query={"path": "/w"}, body=tar_of("node", tarfile.FIFOTYPE)).read()
            except StackrunError:
                pass
    after = host_secret.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)
    assert stat.S_ISREG(after.st_mode)


@pytest.mark.parametrize("attacker", [SWAP], indirect=True)
def test_the_attempt_works_on_who_follows_links_by_himself(host_secret: Path, attacker: int) -> None:
    """/proc/PID/root begins inside, but an absolute link there is looked up from the caller's own root."""
    for _ in range(100_000):
        try:
            if Path(f"/proc/{attacker}/root/w/stash/stackrun-host-secret").read_text() == "untouched":
                return
        except OSError:
            continue
    pytest.fail(f"not one of the attempts of {os.getpid()} got out")
