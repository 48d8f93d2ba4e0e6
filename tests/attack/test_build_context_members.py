"""Members of a build's context with `..`, absolute names and links that lead out: unpacking it would write to the host or read from it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from builds import Node, context, sent
from machine import Machine

from stackrun.errors import StackrunError

DOCKERFILE = "FROM scratch\nCOPY . /x/\n"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "../../../../../../../../root/stackrun-host-secret", "..", "a/../.."])
def test_a_name_that_leads_up_is_refused(machine: Machine, host_secret: Path, name: str) -> None:
    with pytest.raises(StackrunError, match="is outside of"):
        sent(machine.host, DOCKERFILE, {name: "evil"})
    assert not list(machine.root.rglob("evil"))


def test_an_absolute_name_lands_inside(machine: Machine, host_secret: Path) -> None:
    sent(machine.host, f"FROM scratch\nCOPY {str(host_secret)[1:]} /x\n", {str(host_secret): "evil"})


@pytest.mark.parametrize("target", ["/root", "../../../../../../../../root", "/proc/self/root/root"])
def test_a_member_below_a_link_lands_inside(machine: Machine, host_secret: Path, target: str) -> None:
    """The link is there first, and the file is to be written through it."""
    try:
        sent(machine.host, DOCKERFILE, {"out": Node(link=target), f"out/{host_secret.name}": "evil"})
    except StackrunError:
        pass  # refused is as good
    assert host_secret.read_text() == "untouched"


@pytest.mark.parametrize(
    "target", ["/root/stackrun-host-secret", "../../../../../../../../root/stackrun-host-secret", "out/stackrun-host-secret"]
)
def test_a_hard_link_to_a_file_of_the_host(machine: Machine, host_secret: Path, target: str) -> None:
    """By it the image would hold the file, and a member of the same name would write to it."""
    files = {"out": Node(link="/root"), "f": Node(hard=target), "g": "g"}
    with pytest.raises(StackrunError):
        sent(machine.host, DOCKERFILE, files)
    with pytest.raises(StackrunError):
        sent(machine.host, DOCKERFILE, archive=context({"Dockerfile": DOCKERFILE, **files}) + context({"f": "evil"}))
    assert host_secret.stat().st_nlink == 1


def test_an_archive_in_the_context_is_no_better(machine: Machine, host_secret: Path) -> None:
    """ADD unpacks it into the image."""
    for files in ({"../../../../root/evil": "x"}, {"out": Node(link="/root"), f"out/{host_secret.name}": "evil"}):
        try:
            sent(machine.host, "FROM scratch\nADD a.tar /x/\n", {"a.tar": context(files)})
        except StackrunError:
            pass  # the first is refused, the second lands in the image's own /root
    assert not Path("/root/evil").exists()


def test_a_header_without_end_is_refused(machine: Machine) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("f")
        member.pax_headers = {"comment": "x" * (2 << 20)}
        tar.addfile(member)
    with pytest.raises(StackrunError, match="no sound tar archive"):
        sent(machine.host, "", archive=buffer.getvalue())
