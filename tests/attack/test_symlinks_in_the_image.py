"""CVE-2021-30465, CVE-2025-31133: a mount target that is a symlink to somewhere else must stay inside the container's root."""

import tarfile
from pathlib import Path

import pytest
from machine import Machine


@pytest.fixture
def evil(machine: Machine, busybox_tar_path: Path, tmp_path: Path) -> str:
    """An image whose usual mount targets are links that point out of the root."""
    made = tmp_path / "evil.tar"
    made.write_bytes(busybox_tar_path.read_bytes())
    with tarfile.open(made, "a") as archive:
        links = {"data": "/../../../../root", "etc/hosts": "/../../../../root/stackrun-host-secret", "up": "../../../../../root"}
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    machine.run("import", str(made), "evil:1")
    return "evil:1"


@pytest.fixture
def busybox_tar_path(tmp_path: Path) -> Path:
    from machine import busybox_tar

    return busybox_tar(tmp_path)


def test_a_volume_on_a_link_stays_inside(machine: Machine, evil: str, host_secret: Path) -> None:
    volume = machine.docker("volume", "create").stdout.strip()
    for target in ("/data", "/up/deep", "/data/../up/x"):
        write = f"echo broken > {target}/stackrun-host-secret"
        machine.docker("run", "--rm", "-v", f"{volume}:{target}", evil, "sh", "-c", write, code=None)
    assert host_secret.read_text() == "untouched"
    assert not Path("/root/deep").exists()
    machine.docker("volume", "rm", volume)


def test_the_runtimes_own_files_on_a_link_stay_inside(machine: Machine, evil: str, host_secret: Path) -> None:
    machine.docker("run", "--rm", evil, "sh", "-c", "echo broken >> /etc/hosts", code=None)
    assert host_secret.read_text() == "untouched"
