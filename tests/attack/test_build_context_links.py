"""Links in a build's context that lead out of it: COPY through one would put files of the host into an image."""

from __future__ import annotations

from pathlib import Path

import pytest
from builds import Node, sent
from machine import Machine

from stackrun.errors import StackrunError

WAYS_OUT = ("/root", "../../../../../../../../root", "/proc/self/root/root", "/proc/1/root/root")


@pytest.mark.parametrize("target", WAYS_OUT)
@pytest.mark.parametrize("keyword", ["COPY", "ADD"])
def test_a_folder_that_is_a_link(machine: Machine, host_secret: Path, target: str, keyword: str) -> None:
    """It leads to the context's own /root, and there is none."""
    name = host_secret.name
    for source in (f"out/{name}", "out/", f"out/{name[:-1]}*", "out/../root/*"):
        with pytest.raises(StackrunError, match=f"{keyword} failed"):
            sent(machine.host, f"FROM scratch\n{keyword} {source} /x/\n", {"out": Node(link=target)})


@pytest.mark.parametrize("target", ["/root/stackrun-host-secret", "../../../../../../../../root/stackrun-host-secret"])
def test_a_file_that_is_a_link(machine: Machine, host_secret: Path, target: str) -> None:
    with pytest.raises(StackrunError, match="COPY failed"):
        sent(machine.host, "FROM scratch\nCOPY out /x\n", {"out": Node(link=target)})


def test_the_same_link_inside_leads_to_what_the_context_has(machine: Machine, host_secret: Path) -> None:
    """So it is the place that decides, and the links are followed."""
    files = {"out": Node(link="/root"), "root": Node(mode=0o755), f"root/{host_secret.name}": "of the context", "bin/busybox": _busybox()}
    built = sent(machine.host, f"FROM scratch\nCOPY bin /bin\nCOPY out/{host_secret.name} /x\n", files)
    assert machine.docker("run", "--rm", "--network=none", built.id, "/bin/busybox", "cat", "/x").stdout == "of the context"


def test_a_link_inside_a_copied_folder_stays_one(machine: Machine, host_secret: Path) -> None:
    files = {"d": Node(mode=0o755), "d/out": Node(link=str(host_secret)), "bin/busybox": _busybox()}
    built = sent(machine.host, "FROM scratch\nCOPY bin /bin\nCOPY d /d\n", files)
    command = ["run", "--rm", "--network=none", built.id, "/bin/busybox"]
    assert machine.docker(*command, "readlink", "/d/out").stdout.strip() == str(host_secret)
    machine.docker(*command, "cat", "/d/out", code=1)


def test_dockerignore_does_not_follow_one(machine: Machine, host_secret: Path) -> None:
    """What it leaves out is removed from the context: through a link that would remove the host's files."""
    files = {"out": Node(link="/root"), ".dockerignore": "out/stackrun-host-secret\nout/*\n**/*secret*\n", "f": "f"}
    sent(machine.host, "FROM scratch\nCOPY f /f\n", files)
    assert host_secret.read_text() == "untouched"


def _busybox() -> Node:
    return Node(Path("/bin/busybox").read_bytes(), 0o755)
