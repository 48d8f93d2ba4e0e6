"""Files in and out of containers: with the real docker client, with Docker Compose, and with `stackrun cp`."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dockerd import COMPOSE
from machine import Machine

from stackrun.client.http import Transport
from stackrun.errors import Conflict

STACK = """
name: copied
services:
  one:
    image: busybox:test
    init: true
    command: [sleep, "100000"]
    scale: 2
    volumes: ["data:/data", "./shared:/shared:ro"]
    tmpfs: [/scratch]
volumes: {data: {}}
"""
STATES = ("runs", "stopped")


@pytest.fixture(scope="module")
def containers(machine: Machine, busybox: str) -> Iterator[None]:
    """`runs` and `stopped`, with a volume, a bind that is read-only, and a few files in /d; `fixed` has a read-only root."""
    shared = machine.root / "shared"
    shared.mkdir()
    (shared / "f").write_text("of the host")
    script = "mkdir -p /d/e; echo hi > /d/f; ln /d/f /d/hard; chmod 4755 /d/f; ln -s e /d/link; mkfifo /d/fifo; chown 12:34 /d/e"
    mounts = ("-v", f"{shared}:/shared:ro", "-v", "kept:/data")
    machine.docker("run", "-d", "--init", "--name", "runs", "--tmpfs", "/scratch", *mounts, busybox, "sh", "-c", f"{script}; sleep 100000")
    machine.docker("run", "--name", "stopped", *mounts, "-u", "nobody", "--user", "0", busybox, "sh", "-c", script)
    machine.docker("create", "--name", "fixed", "--read-only", *mounts, busybox, "true")
    machine.docker("create", "--name", "nobodys", "-u", "nobody", *mounts, busybox, "true")
    yield
    machine.docker("rm", "-f", "runs", "stopped", "fixed", "nobodys")
    machine.docker("volume", "rm", "kept")


def copied_out(machine: Machine, place: str) -> dict[str, tarfile.TarInfo]:
    done = subprocess.run(["docker", "-H", machine.host, "cp", place, "-"], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        return {one.name: one for one in archive}


@pytest.mark.usefixtures("containers")
@pytest.mark.parametrize("state", STATES)
class TestDockersClient:
    def test_a_directory_comes_out_with_everything_as_it_is(self, machine: Machine, state: str) -> None:
        found = copied_out(machine, f"{state}:/d")
        assert set(found) == {"d", "d/e", "d/f", "d/fifo", "d/hard", "d/link"}
        assert (found["d/f"].mode, found["d/f"].size) == (0o4755, 3)
        assert (found["d/hard"].islnk(), found["d/hard"].linkname) == (True, "d/f")
        assert (found["d/link"].issym(), found["d/link"].linkname) == (True, "e")
        assert (found["d/e"].uid, found["d/e"].gid, found["d/fifo"].isfifo()) == (12, 34, True)

    def test_files_go_in_and_come_out(self, machine: Machine, state: str, tmp_path: Path) -> None:
        (tmp_path / "in" / "deep").mkdir(parents=True)
        (tmp_path / "in" / "deep" / "f").write_text("content")
        (tmp_path / "in" / "deep" / "f").chmod(0o640)
        machine.docker("cp", str(tmp_path / "in"), f"{state}:/d/e")
        machine.docker("cp", f"{state}:/d/e/in", str(tmp_path / "out"))
        made = tmp_path / "out" / "deep" / "f"
        assert (made.read_text(), stat.S_IMODE(made.stat().st_mode)) == ("content", 0o640)

    def test_a_volume_and_a_bind_are_seen(self, machine: Machine, state: str, tmp_path: Path) -> None:
        (tmp_path / "v").write_text(state)
        machine.docker("cp", str(tmp_path / "v"), f"{state}:/data/{state}")
        assert machine.docker("run", "--rm", "-v", "kept:/v", "busybox:test", "cat", f"/v/{state}").stdout == state
        machine.docker("cp", f"{state}:/shared/f", str(tmp_path / "f"))
        assert (tmp_path / "f").read_text() == "of the host"

    def test_a_read_only_bind_is_refused_in_dockers_words(self, machine: Machine, state: str, tmp_path: Path) -> None:
        (tmp_path / "v").write_text("x")
        assert "mounted volume is marked read-only" in machine.docker("cp", str(tmp_path / "v"), f"{state}:/shared/v", code=1).stderr

    def test_a_link_is_followed_when_asked(self, machine: Machine, state: str, tmp_path: Path) -> None:
        assert copied_out(machine, f"{state}:/d/link")["link"].issym()
        assert copied_out(machine, f"{state}:/d/link/.")["."].isdir()
        machine.docker("cp", "-L", f"{state}:/d/link", str(tmp_path / "l"))
        assert (tmp_path / "l").is_dir()

    def test_a_directory_does_not_give_way_to_a_file(self, machine: Machine, state: str, tmp_path: Path) -> None:
        (tmp_path / "e").write_text("x")
        assert "cannot overwrite directory" in machine.docker("cp", str(tmp_path / "e"), f"{state}:/d", code=1).stderr
        assert "Could not find the file /nope" in machine.docker("cp", f"{state}:/nope", "-", code=1).stderr

    def test_what_is_mounted_is_not_replaced(self, machine: Machine, state: str, tmp_path: Path) -> None:
        """An unlink from another mount namespace would lift the mount."""
        for name in ("hosts", "data"):
            (tmp_path / name).write_text("replaced")
        assert "EBUSY" in machine.docker("cp", str(tmp_path / "hosts"), f"{state}:/etc/hosts", code=1).stderr
        with tarfile.open(tmp_path / "t.tar", "w") as archive:
            archive.add(tmp_path / "data", "data")
        put = ["curl", "-s", "-X", "PUT", "--unix-socket", str(machine.socket), "-T", str(tmp_path / "t.tar")]
        told = subprocess.run([*put, f"http://x/containers/{state}/archive?path=/"], capture_output=True, text=True, check=True).stdout
        assert "EBUSY" in told
        assert "127.0.0.1" in subprocess.run(
            ["docker", "-H", machine.host, "cp", f"{state}:/etc/hosts", "-"], capture_output=True, text=True, check=True
        ).stdout  # fmt: skip
        (tmp_path / "v").write_text("still there")
        machine.docker("cp", str(tmp_path / "v"), f"{state}:/data/still")
        assert machine.docker("run", "--rm", "-v", "kept:/v", "busybox:test", "cat", "/v/still").stdout == "still there"

    def test_a_tar_goes_through_stdin_and_stdout(self, machine: Machine, state: str) -> None:
        read = subprocess.run(["docker", "-H", machine.host, "cp", f"{state}:/d/f", "-"], capture_output=True, check=True)
        subprocess.run(["docker", "-H", machine.host, "cp", "-", f"{state}:/data"], input=read.stdout, check=True)
        assert copied_out(machine, f"{state}:/data/f")["f"].mode == 0o4755


@pytest.mark.usefixtures("containers")
def test_a_read_only_root_is_refused_and_a_volume_in_it_is_not(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "v").write_text("x")
    assert "container rootfs is marked read-only" in machine.docker("cp", str(tmp_path / "v"), "fixed:/v", code=1).stderr
    machine.docker("cp", str(tmp_path / "v"), "fixed:/data/v")


@pytest.mark.usefixtures("containers")
def test_archive_mode_gives_the_copy_to_the_containers_user(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "v").write_text("x")
    machine.docker("cp", "-a", str(tmp_path / "v"), "nobodys:/a")
    machine.docker("cp", str(tmp_path / "v"), "nobodys:/b")
    assert copied_out(machine, "nobodys:/a")["a"].uid == 65534 and copied_out(machine, "nobodys:/b")["b"].uid == os.getuid()


@pytest.mark.usefixtures("containers")
def test_a_tmpfs_of_a_running_container_is_seen(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "v").write_text("x")
    machine.docker("cp", str(tmp_path / "v"), "runs:/scratch/v")
    assert machine.docker("exec", "runs", "cat", "/scratch/v").stdout == "x"


@pytest.mark.usefixtures("containers")
def test_a_stopped_containers_mounts_are_gone_afterwards(machine: Machine) -> None:
    copied_out(machine, "stopped:/d")
    daemon = Path(f"/proc/{machine.daemon_pid()}")
    assert "merged" not in (daemon / "mountinfo").read_text()
    assert machine.docker("start", "stopped").returncode == 0, "nothing holds its layers any more"
    machine.docker("wait", "stopped")


def test_a_copy_into_a_container_that_ends_is_ended(machine: Machine, busybox: str, tmp_path: Path) -> None:
    """What comes afterwards would be put where nothing is mounted any more."""
    machine.docker("run", "-d", "--init", "--name", "ending", "-v", "ends:/data", busybox, "sleep", "100000")

    def pieces() -> Iterator[bytes]:
        with io.BytesIO() as buffer, tarfile.open(fileobj=buffer, mode="w|", bufsize=512) as archive:
            for name in ("first", "second"):
                member = tarfile.TarInfo(name)
                member.size = 1 << 21  # more than any pipe on the way holds
                archive.addfile(member, io.BytesIO(bytes(member.size)))
                yield buffer.getvalue()
                buffer.seek(0)
                buffer.truncate()
                if name == "first":
                    machine.docker("stop", "-t", "0", "ending")
            archive.close()
            yield buffer.getvalue()

    with Transport(machine.host) as link, pytest.raises(Conflict, match="the container ended while files were copied"):
        link.request("PUT", "/containers/ending/archive", query={"path": "/data"}, body=pieces()).read()
    assert set(copied_out(machine, "ending:/data")) == {"data", "data/first"}
    machine.docker("rm", "-v", "ending")
    machine.docker("volume", "rm", "ends")


@pytest.fixture(scope="module")
def stack(machine: Machine, busybox: str) -> Iterator[Path]:
    folder = machine.project("copied", STACK, {"shared/f": "of the host", "in/deep/f": "content"})
    machine.run("up", "-d", cwd=folder)
    yield folder
    machine.run("down", "-v", "-t", "0", cwd=folder)


def test_stackrun_copies_into_every_container_of_a_service_and_out_of_one(machine: Machine, stack: Path) -> None:
    machine.run("cp", "in", "one:/tmp", cwd=stack)
    for index in ("1", "2"):
        machine.run("cp", "--index", index, "one:/tmp/in", f"out{index}", cwd=stack)
        assert (stack / f"out{index}" / "deep" / "f").read_text() == "content"
    machine.run("cp", "in/deep/f", "one:/tmp/renamed", cwd=stack)
    machine.run("cp", "one:/tmp/renamed", ".", cwd=stack)
    assert (stack / "renamed").read_text() == "content"
    machine.run("cp", "in/.", "one:/tmp/fresh", cwd=stack)
    assert machine.run("exec", "one", "ls", "/tmp/fresh", cwd=stack).stdout == "deep\n"


def test_what_stackrun_copies_out_has_no_set_id_bits_and_no_devices(machine: Machine, stack: Path) -> None:
    machine.run("exec", "one", "sh", "-c", "mkdir /x; cp /bin/busybox /x/b; chmod 6755 /x/b; mknod /x/n c 1 3", cwd=stack)
    machine.run("cp", "one:/x", "plain", cwd=stack)
    assert [one.name for one in (stack / "plain").iterdir()] == ["b"]
    assert stat.S_IMODE((stack / "plain" / "b").stat().st_mode) == 0o755
    machine.run("cp", "-a", "one:/x", "asis", cwd=stack)
    assert stat.S_IMODE((stack / "asis" / "b").stat().st_mode) == 0o6755


def test_stackruns_refusals(machine: Machine, stack: Path) -> None:
    assert "between services" in machine.run("cp", "one:/a", "one:/b", cwd=stack, code=2).stderr
    assert "no such service: two" in machine.run("cp", "two:/a", ".", cwd=stack, code=1).stderr
    assert "Could not find the file /nope" in machine.run("cp", "one:/nope", ".", cwd=stack, code=1).stderr
    assert "nope" in machine.run("cp", "nope", "one:/", cwd=stack, code=1).stderr


def test_docker_compose_copies_here(machine: Machine, stack: Path) -> None:
    def compose(*args: str) -> None:
        environment = {**os.environ, "DOCKER_HOST": machine.host}
        subprocess.run([COMPOSE, *args], cwd=stack, env=environment, capture_output=True, check=True, timeout=60)

    compose("cp", "in/deep/f", "one:/tmp/by-compose")
    compose("cp", "one:/tmp/by-compose", "back")
    assert (stack / "back").read_text() == "content"
