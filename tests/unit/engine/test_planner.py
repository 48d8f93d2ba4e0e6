"""What a start's plan reads of the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackrun.engine import planner


def test_the_hosts_resolver_is_read_again_when_its_file_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "resolv.conf"
    monkeypatch.setattr(planner, "_RESOLV_CONF", path)
    found = planner._HostResolver()
    assert found().nameservers == (), "there is no such file"
    for address in ("10.0.0.1", "10.0.0.2"):
        path.write_text(f"nameserver {address}\n")  # so soon that the time need not tell
        assert found().nameservers == (address,)
    for address in ("10.0.0.3", "10.0.0.4"):
        path.write_text(f"nameserver {address}\n")
        os.utime(path, ns=(1, 1))
        assert found().nameservers == (address,), "whoever sets the time of its last change to what it was has changed it"
    with monkeypatch.context() as patch:
        patch.setattr(planner, "_host_text", lambda path: pytest.fail("it has not changed"))
        assert found().nameservers == ("10.0.0.4",)
    path.unlink()
    assert found().nameservers == ()
