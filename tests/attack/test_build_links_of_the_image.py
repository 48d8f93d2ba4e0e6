"""Links of an image in the way of COPY, ADD, WORKDIR and --from: what a build writes or reads by them stays inside the image."""

from __future__ import annotations

from pathlib import Path

import pytest
from builds import Node, sent
from evil_layers import busybox_with
from machine import Machine

from stackrun.errors import StackrunError


@pytest.fixture(scope="module")
def busybox(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> str:
    machine.docker("import", str(busybox_with(tmp_path_factory.mktemp("image"), ())), "plain:1")
    return "plain:1"


WAYS_OUT = ("/root", "../../../../../../../../../root", "/proc/self/root/root", "/proc/1/root/root")


@pytest.mark.parametrize("target", WAYS_OUT)
@pytest.mark.parametrize(
    "step",
    [
        "COPY stackrun-host-secret /link/", "COPY stackrun-host-secret /link/stackrun-host-secret", "COPY d /link", "ADD d /link/",
        "COPY stackrun-host-secret /link/../root/stackrun-host-secret", "WORKDIR /link/made\nCOPY d .",
    ],
)  # fmt: skip
def test_a_target_behind_a_link(machine: Machine, host_secret: Path, busybox: str, target: str, step: str) -> None:
    files = {"stackrun-host-secret": "evil", "d": Node(mode=0o755), "d/stackrun-host-secret": "evil"}
    try:
        sent(machine.host, f"FROM {busybox}\nRUN mkdir -p /root && ln -s {target} /link\n{step}\n", files)
    except StackrunError as error:
        assert "ELOOP" in error.message or "ENOENT" in error.message or "EEXIST" in error.message  # magic links lead nowhere
    assert host_secret.read_text() == "untouched"
    assert not Path("/root/made").exists()


def test_it_is_the_images_own_folder_that_is_written_to(machine: Machine, host_secret: Path, busybox: str) -> None:
    built = sent(machine.host, f"FROM {busybox}\nRUN mkdir -p /root && ln -s ../../../root /link\nCOPY f /link/\n", {"f": "inside"})
    assert machine.docker("run", "--rm", "--network=none", built.id, "cat", "/root/f").stdout == "inside"


@pytest.mark.parametrize("target", WAYS_OUT)
def test_a_source_behind_a_link(machine: Machine, host_secret: Path, busybox: str, target: str) -> None:
    for source in ("/link/stackrun-host-secret", "/link/stack*"):
        with pytest.raises(StackrunError, match="COPY failed"):
            sent(machine.host, f"FROM {busybox} AS a\nRUN rm -rf /root; ln -s {target} /link\nFROM {busybox}\nCOPY --from=a {source} /x\n")


def test_a_link_in_the_files_place(machine: Machine, host_secret: Path, busybox: str) -> None:
    """Docker follows it, within the image."""
    link = f"FROM {busybox}\nRUN ln -s {host_secret} /link && ln -s loop /loop\n"
    built = sent(machine.host, f"{link}COPY f /link\n", {"f": "inside"})
    assert machine.docker("run", "--rm", "--network=none", built.id, "cat", str(host_secret)).stdout == "inside"
    with pytest.raises(StackrunError, match="ELOOP"):
        sent(machine.host, f"{link}COPY f /loop\n", {"f": "inside"})


def test_a_bind_mount_of_a_link(machine: Machine, host_secret: Path, busybox: str) -> None:
    for source in ("out", "out/stackrun-host-secret"):
        with pytest.raises(StackrunError):
            sent(machine.host, f"FROM {busybox}\nRUN --mount=type=bind,source={source},target=/m cat /m\n", {"out": Node(link="/root")})
