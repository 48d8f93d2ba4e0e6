from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackrun.errors import KernelError
from stackrun.kernel import credentials, mountinfo
from stackrun.kernel.credentials import Credentials
from stackrun.kernel.mountinfo import Mount

TEXT = r"""36 35 98:0 /mnt1 /a\040b\134 rw,noatime master:1 shared:3 - ext4 /dev/root rw,errors=continue
22 1 0:5 / /dev ro,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
broken
"""


def test_lines() -> None:
    assert mountinfo.parse(TEXT) == {
        36: Mount(36, "98:0", "/mnt1", "/a b\\", frozenset({"rw", "noatime"}), ("master:1", "shared:3"), "ext4", "/dev/root",
                  frozenset({"rw", "errors=continue"})),
        22: Mount(22, "0:5", "/", "/dev", frozenset({"ro", "nosuid"}), (), "tmpfs", "tmpfs", frozenset({"rw", "size=65536k", "mode=755"})),
    }  # fmt: skip


def test_a_look_at_this_very_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    seen = mountinfo.look(os.getpid(), ["/", "/proc", str(tmp_path / "link"), str(tmp_path / "none")], content_max=10)
    root, proc, link, none = seen.values()
    assert none is None
    assert root is not None and root.mount is not None and root.mount.point == "/"
    assert proc is not None and proc.mount is not None and proc.mount.kind == "proc"
    status = (tmp_path / "file").stat()
    assert link is not None and (link.mount, link.identity, link.content) == (None, (status.st_dev, status.st_ino), b"x")


def test_content_that_is_too_much_or_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("xxx")
    assert mountinfo.content_of(str(tmp_path / "file"), (tmp_path / "file").stat(), 2) is None
    assert mountinfo.content_of(str(tmp_path), tmp_path.stat(), 10**9) is None


def test_a_process_that_is_gone() -> None:
    gone = 2**22 + 1
    for look in (lambda: mountinfo.look(gone, ["/"]), lambda: credentials.of_process(gone), lambda: credentials.namespaces(gone)):
        with pytest.raises(KernelError):
            look()


def test_credentials() -> None:
    status = (
        "Name:\tx\nUid:\t7\t0\t0\t0\nGid:\t8\t0\t0\t0\nCapPrm:\t3\nCapEff:\t1\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    )
    assert credentials.parse(status) == Credentials(7, 8, 1, 3, 0xA80425FB, True, 2)
    assert credentials.namespaces()["mnt"] == os.stat("/proc/self/ns/mnt").st_ino
