"""A Dockerfile that is named outside of the context, or is a link out of it: its faults would tell what a file of the host holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from builds import Node, context, sent
from machine import Machine

from stackrun.errors import StackrunError


@pytest.mark.parametrize(
    "name",
    ["../Dockerfile", "../../../../../../../../root/stackrun-host-secret", "/root/stackrun-host-secret", "a/../../x", "/proc/self/environ"],
)
def test_its_name_leads_out(machine: Machine, host_secret: Path, name: str) -> None:
    with pytest.raises(StackrunError, match="Dockerfile") as caught:
        sent(machine.host, "", archive=context({"Dockerfile": "FROM scratch\n"}), dockerfile=name)
    assert "untouched" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    "target", ["/root/stackrun-host-secret", "../../../../../../../../root/stackrun-host-secret", "/proc/self/environ"]
)
def test_it_is_a_link(machine: Machine, host_secret: Path, target: str) -> None:
    for name in ("Dockerfile", ".dockerignore"):
        files = {"Dockerfile": "FROM scratch\nCOPY . /x/\n", name: Node(link=target)}
        try:
            sent(machine.host, "", archive=context(files))
        except StackrunError as error:
            assert "untouched" not in error.message + error.hint
            assert "Cannot locate specified Dockerfile" in error.message
        else:
            assert name == ".dockerignore"


@pytest.mark.parametrize("kind", [b"3", b"6"])
def test_it_is_no_file(machine: Machine, kind: bytes) -> None:
    """A device or a fifo, which would never end."""
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("Dockerfile")
        member.type, member.devmajor, member.devminor = kind, 1, 5
        tar.addfile(member)
    with pytest.raises(StackrunError, match="cannot read Dockerfile"):
        sent(machine.host, "", archive=buffer.getvalue())


def test_a_link_inside_is_read(machine: Machine) -> None:
    assert (
        "Step 1/2"
        in sent(machine.host, "", archive=context({"Dockerfile": Node(link="d/real"), "d/real": "FROM scratch\nLABEL a=b\n"})).text
    )
