"""The daemon's sockets: open to whom they should be, and never in somebody else's place."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from stackrun.cli import daemon
from stackrun.errors import Conflict, PermissionDenied


def test_a_socket_is_its_owners_alone_and_goes_with_the_daemon(short_tmp: Path) -> None:
    path = short_tmp / "s"
    with daemon._listener(str(path)):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode) and mode & 0o077 == 0
    assert not path.exists()


def test_what_a_dead_daemon_left_is_replaced(short_tmp: Path) -> None:
    path = short_tmp / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with daemon._listener(str(path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_living_daemons_socket_stays(short_tmp: Path) -> None:
    path = str(short_tmp / "s")
    with daemon._listener(path):
        with pytest.raises(Conflict, match="somebody listens"), daemon._listener(path):
            raise AssertionError("unreachable")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


def test_a_file_in_the_way_stays(short_tmp: Path) -> None:
    (short_tmp / "s").write_text("precious")
    with pytest.raises(Conflict, match="no socket"), daemon._listener(str(short_tmp / "s")):
        raise AssertionError("unreachable")
    assert (short_tmp / "s").read_text() == "precious"


def test_a_failed_start_is_told_in_one_line_of_json() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        daemon.tell_failure(writing, PermissionDenied("no", hint="use sudo"))
        os.close(writing)
        assert json.loads(pipe.readline()) == {"message": "no", "hint": "use sudo", "exit_code": 4}


def test_readiness_is_told_to_systemd(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(short_tmp / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(short_tmp / "notify"))
        daemon._tell_ready(-1)
        assert systemd.recv(100) == b"READY=1"
