"""COPY --chown by a name: nsswitch.conf, libnss and passwd of the image must not run or mislead anything outside of it."""

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


def test_only_passwd_is_asked(machine: Machine, busybox: str, tmp_path: Path) -> None:
    """The image's libnss_files would say so in a file, were it loaded."""
    mark = tmp_path / "loaded"
    library = Node(
        Path("/lib/x86_64-linux-gnu/libc.so.6").read_bytes() if Path("/lib/x86_64-linux-gnu/libc.so.6").exists() else b"x", 0o755
    )
    files = {"nsswitch.conf": "passwd: evil files\n", "libnss_evil.so.2": library, "ld.so.preload": str(mark), "f": "f"}
    dockerfile = (
        f"FROM {busybox}\nCOPY nsswitch.conf ld.so.preload /etc/\nCOPY libnss_evil.so.2 /lib/\n"
        "RUN echo 'app:x:1234:4321::/:' >> /etc/passwd\nCOPY --chown=app f /f\n"
    )
    built = sent(machine.host, dockerfile, files)
    assert machine.docker("run", "--rm", "--network=none", built.id, "stat", "-c", "%u:%g", "/f").stdout == "1234:4321\n"
    assert not mark.exists()
    maps = Path(f"/proc/{machine.daemon_pid()}/maps").read_text()
    assert "libnss_evil" not in maps


def test_a_name_of_the_host_is_none_of_the_image(machine: Machine, busybox: str) -> None:
    with pytest.raises(StackrunError, match="unable to find user www-data"):
        sent(machine.host, f"FROM {busybox}\nCOPY --chown=www-data f /f\n", {"f": "f"})


@pytest.mark.parametrize(
    "spoiled",
    [
        "rm -f /etc/passwd && mkfifo /etc/passwd", "rm -f /etc/passwd && ln -s /root/stackrun-host-secret /etc/passwd",
        "rm -f /etc/passwd && ln -s /dev/zero /etc/passwd", "dd if=/dev/zero of=/etc/passwd bs=1M count=1 seek=64",
        "rm -f /etc/passwd && ln -s /proc/self/environ /etc/passwd",
    ],
)  # fmt: skip
def test_a_passwd_that_never_ends_or_leads_out(machine: Machine, host_secret: Path, busybox: str, spoiled: str) -> None:
    with pytest.raises(StackrunError):
        sent(machine.host, f"FROM {busybox}\nRUN {spoiled}\nCOPY --chown=app f /f\n", {"f": "f"})


@pytest.mark.parametrize("owner", ["4294967295", "4294967296", "2147483648", "-1", "18446744073709551616", "0x0", "\u0661"])
def test_a_number_that_wraps_round(machine: Machine, busybox: str, owner: str) -> None:
    with pytest.raises(StackrunError):
        sent(machine.host, f"FROM {busybox}\nCOPY --chown={owner} f /f\n", {"f": "f"})
