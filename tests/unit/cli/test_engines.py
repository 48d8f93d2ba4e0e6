"""Which engine is meant, and how our own is started when it does not answer."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackrun.cli import engines
from stackrun.errors import InvalidArgument, PermissionDenied, StackrunError, Unavailable, Unsupported

FAKE_DAEMON = """#!{python}
import os, socket, sys
root, ready = sys.argv[sys.argv.index("--root") + 1], int(sys.argv[-1])
open(root + "/facts", "w").write(f"{{os.getcwd()}} {{os.getsid(0) == os.getpid()}} {{sorted(map(int, os.listdir('/proc/self/fd')))[:3]}}")
open(root + "/started", "a").write("once\\n")
{behaviour}
"""
LISTEN = """
listener = socket.socket(socket.AF_UNIX)
listener.bind(root + "/run/stackrun.sock")
listener.listen()
os.write(ready, b"ready\\n")
os.close(ready)
listener.accept()
"""
REFUSE = """os.write(ready, b'{"message": "the state root is taken", "hint": "by pid 7", "exit_code": 1}\\n')"""


@pytest.fixture
def engine(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[engines.Engine]:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    made = engines.Engine(root=str(short_tmp / "root"))
    yield made
    if Path(made.socket_path).exists():
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(made.socket_path)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break


def play(engine: engines.Engine, monkeypatch: pytest.MonkeyPatch, behaviour: str) -> None:
    """The next daemon is a program with this behaviour."""
    program = Path(engine.root).with_name("daemon")
    program.write_text(FAKE_DAEMON.format(python=sys.executable, behaviour=behaviour))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def test_a_daemon_is_started_in_a_session_of_its_own_and_waited_for(engine: engines.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    play(engine, monkeypatch, LISTEN)
    assert not Path(engine.socket_path).exists()
    engines.start_daemon(engine)
    assert Path(engine.socket_path).exists()
    assert Path(engine.root, "facts").read_text() == "/ True [0, 1, 2]"


def test_whoever_comes_second_finds_it_listening(engine: engines.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    play(engine, monkeypatch, LISTEN.replace("listener.accept()", "listener.accept(); listener.accept()"))
    engines.start_daemon(engine)
    engines.start_daemon(engine)
    assert Path(engine.root, "started").read_text() == "once\n"


def test_what_keeps_a_daemon_from_starting_is_told(engine: engines.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    play(engine, monkeypatch, REFUSE)
    with pytest.raises(StackrunError) as raised:
        engines.start_daemon(engine)
    assert (raised.value.message, raised.value.hint, raised.value.exit_code) == ("the state root is taken", "by pid 7", 1)


def test_a_daemon_that_dies_points_to_its_log(engine: engines.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    play(engine, monkeypatch, "sys.exit('no libseccomp here')")
    with pytest.raises(Unavailable) as raised:
        engines.start_daemon(engine)
    assert raised.value.hint == f"see {engine.root}/daemon.log"
    assert "no libseccomp here" in Path(engine.root, "daemon.log").read_text()


def test_an_ordinary_user_has_an_engine_of_his_own(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_tmp))
    assert engines.own_root() == "/home/somebody/.local/share/stackrun"
    assert engines.Engine(root=engines.own_root()).socket_path == f"{short_tmp}/stackrun/stackrun.sock"


def test_without_a_login_his_sockets_are_in_a_directory_of_his_in_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    assert engines.own_run_dir() == "/tmp/stackrun-54321"


def test_nobody_talks_to_a_socket_that_somebody_else_has_put_there(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    theirs = Path("/tmp/stackrun-54321")
    theirs.mkdir()
    try:
        with pytest.raises(PermissionDenied, match="only this user can write to"):
            engines.Engine(root=engines.own_root())
    finally:
        theirs.rmdir()


def test_a_directory_that_somebody_else_has_made_is_refused(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (short_tmp / "run").mkdir(0o700)  # root's
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(PermissionDenied, match="only this user can write to"):
        engines.make_directories(engines.Engine(root=str(short_tmp)))


def test_an_ordinary_users_daemon_goes_by_way_of_his_namespaces(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = engines.Engine(root=str(short_tmp))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "stackrun.cli.daemon" in engines.daemon_program(place)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert "stackrun.cli.rootless" in engines.daemon_program(place)


def test_a_root_too_long_for_a_socket_is_said_so() -> None:
    with pytest.raises(InvalidArgument, match="longer than a unix socket's address"):
        engines.Engine(root="/" + "x" * 100).listening()


def test_a_daemon_listens_on_unix_sockets_alone() -> None:
    with pytest.raises(Unsupported, match=r"tcp://0\.0\.0\.0:2375"):
        engines.socket_path("tcp://0.0.0.0:2375")


@pytest.mark.parametrize(
    ("hosts", "root", "environment", "host"),
    [
        (None, None, {}, "unix:///run/stackrun/stackrun.sock"),
        (None, "/r", {}, "unix:///r/run/stackrun.sock"),
        (None, None, {"STACKRUN_ROOT": "/e"}, "unix:///e/run/stackrun.sock"),
        (None, "/r", {"STACKRUN_ROOT": "/e"}, "unix:///r/run/stackrun.sock"),
        (None, None, {"STACKRUN_HOST": "tcp://h:1"}, "tcp://h:1"),
        (["unix:///x"], "/r", {"STACKRUN_HOST": "tcp://h:1"}, "unix:///x"),
    ],
)
def test_the_nearest_word_names_the_engine(
    monkeypatch: pytest.MonkeyPatch, hosts: list[str] | None, root: str | None, environment: dict[str, str], host: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("STACKRUN_HOST", "STACKRUN_ROOT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    chosen = engines.chosen(argparse.Namespace(hosts=hosts, root=root))
    assert chosen.host == host
    assert chosen.own == (hosts is None and "STACKRUN_HOST" not in environment)
