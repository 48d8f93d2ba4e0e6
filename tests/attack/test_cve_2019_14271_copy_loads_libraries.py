"""CVE-2019-14271: whoever copies files with its root in the container loads the container's libraries, with the host's rights."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine

from stackrun.client.http import Transport

MARK = "/loaded-by-somebody"
SOURCE = f"""
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void mark(void) {{ close(open("{MARK}", O_CREAT | O_WRONLY, 0644)); }}
"""


@pytest.fixture
def trap(machine: Machine, tmp_path: Path) -> Iterator[int]:
    """The pid of a container whose user database is a library of its own, which leaves a mark wherever it is loaded."""
    (tmp_path / "evil.c").write_text(SOURCE)
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-Wl,-soname,libnss_evil.so.2", "-o", tmp_path / "libnss_evil.so.2", tmp_path / "evil.c"], check=True
    )
    script = (
        "mkdir -p /opt/evil /d && cp /evil/* /opt/evil/ && ldconfig /opt/evil && echo 'passwd: evil' > /etc/nsswitch.conf && "
        "echo 'group: evil' >> /etc/nsswitch.conf && : > /etc/passwd && echo x > /d/f && echo ready && exec sleep 100000"
    )
    machine.docker("run", "-d", "--init", "--name", "trap", "-v", f"{tmp_path}:/evil:ro", "-u", "0", "host", "sh", "-c", script)
    with Transport(machine.host) as link, link.request("GET", "/containers/trap/logs", query={"stdout": True, "follow": True}) as logs:
        assert b"ready" in next(iter(logs), b"")
    yield int(machine.inspect("trap")["State"]["Pid"])
    machine.docker("rm", "-f", "trap")


def test_copying_loads_nothing_of_the_containers(machine: Machine, trap: int, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x")
    for options in ((), ("-a",)):
        machine.docker("cp", *options, "trap:/d", str(tmp_path / f"out{len(options)}"))
        machine.docker("cp", *options, str(tmp_path / "in"), "trap:/d/in")
    assert not Path(f"/proc/{trap}/root{MARK}").exists() and not Path(MARK).exists()
    assert "libnss_evil" not in Path(f"/proc/{machine.daemon_pid()}/maps").read_text()


def test_the_trap_catches_who_enters_it(trap: int) -> None:
    subprocess.run(["chroot", f"/proc/{trap}/root", "getent", "passwd", "nobody"], check=False, capture_output=True)
    assert Path(f"/proc/{trap}/root{MARK}").exists()
