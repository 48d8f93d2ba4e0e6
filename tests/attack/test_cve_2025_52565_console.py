"""CVE-2025-52565: the terminal is bound on /dev/console; were that a link, it would be bound over what it names, masked or not."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import Config, Runtime, runtime_in


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    """A bundle whose /dev is a directory that others have too."""
    with runtime_in(short_tmp) as made:
        (made.root / "dev/pts").mkdir(parents=True)
        os.mknod(made.root / "dev/null", 0o20666, os.makedev(1, 3))
        yield made


def shared_dev(config: Config, path: Path) -> None:
    kept = [one for one in config["mounts"] if one["destination"] == "/dev/pts" or not one["destination"].startswith("/dev")]
    config["mounts"] = [{"destination": "/dev", "type": "bind", "source": str(path), "options": ["rbind"]}, *kept]
    config["process"]["terminal"] = True


def create(runtime: Runtime, code: int) -> str:
    """With a terminal, whose master is taken."""
    runtime.configure("sh", "-c", "sleep 100")
    runtime.change(lambda config: shared_dev(config, runtime.root / "dev"))
    path = runtime.root / "console"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, contextlib.ExitStack() as masters:
        listener.bind(str(path))
        listener.listen()
        told = runtime.run("create", "--bundle", str(runtime.bundle), "--console-socket", str(path), "c", code=code)
        if code == 0:
            with listener.accept()[0] as connection:
                for fd in socket.recv_fds(connection, 4096, 1)[1]:
                    masters.callback(os.close, fd)
    return told


@pytest.mark.parametrize("target", ["/proc/sys/kernel/core_pattern", "/proc/uptime", "/etc/passwd", "/proc/self/fd/0"])
def test_a_link_is_refused(runtime: Runtime, target: str) -> None:
    (runtime.root / "dev/console").symlink_to(target)
    assert "/dev/console" in create(runtime, 1)


def test_a_directory_is_refused(runtime: Runtime) -> None:
    (runtime.root / "dev/console").mkdir()
    assert "/dev/console" in create(runtime, 1)


def test_the_terminal_comes_where_it_belongs(runtime: Runtime) -> None:
    create(runtime, 0)
    pid = runtime.state("c")["pid"]
    assert any(" /dev/console " in line and "devpts" in line for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
