"""The commands against a real server in a thread, whose engine and stacks are fakes: what they send, show and end with."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.engine import Behaviour, FakeEngine
from fakes.stacks import FakeStacks

from stackrun.api import labels
from stackrun.api.stacks import Change, DownOptions, Phase, StackEvent, StackSummary, UpOptions
from stackrun.api.types import ContainerSpec
from stackrun.cli import logs, main, operations, render, watching
from stackrun.errors import ComposeError, Diagnostic, Unavailable
from stackrun.server.app import serve
from stackrun.stack import watch

ANYWHERE = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Ctrl-C may come between the opening of a file and the statement that would close it: whoever drops it then warns."""


class Switch:
    """The stacks that the daemon has at the moment."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def __getattr__(self, name: str) -> Any:
        return getattr(self._daemon.stacks, name)


class Daemon:
    """A server on `<root>/run/stackrun.sock`, with an event loop of its own in a thread."""

    def __init__(self, root: Path) -> None:
        self.engine = FakeEngine(images=("busybox:1",))
        self.stacks = FakeStacks(events=[StackEvent("Container shop-web-1", Phase.DONE, "Started"), StackEvent("", Phase.DONE, "Done")])
        self._loop = asyncio.new_event_loop()
        (root / "run").mkdir()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.bind(str(root / "run/stackrun.sock"))
        listener.listen()
        self._serving = self._loop.create_task(serve(self.engine, Switch(self), [listener], on_shutdown=lambda: None))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def add(self, name: str, behaviour: Behaviour | None = None, *, start: bool = True) -> None:
        """A container of stack `shop`, by its name: `shop-SERVICE-NUMBER`."""
        _, service, number = name.split("-")
        tied = {labels.PROJECT: "shop", labels.SERVICE: service, labels.CONTAINER_NUMBER: number, labels.ONEOFF: "False"}
        self.engine.behave(name, behaviour or Behaviour())
        self.do(self.engine.create_container(name, ContainerSpec(image="busybox:1", command=("sleep", "9"), labels=tied)))
        if start:
            self.do(self.engine.start_container(name))

    def close(self) -> None:
        async def end() -> None:
            self._serving.cancel()
            await asyncio.wait([self._serving])

        self.do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        for follower in threading.enumerate():
            if follower.daemon:
                follower.join(10)


@pytest.fixture
def daemon(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setenv("STACKRUN_ROOT", str(short_tmp))
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "shop")
    monkeypatch.delenv("STACKRUN_HOST", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    made = Daemon(short_tmp)
    yield made
    made.close()


@pytest.fixture
def stackrun(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process: exit code, stdout, stderr."""

    def run(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stackrun", *argv])
        code = main.main()
        told = capfd.readouterr()
        return code, told.out, told.err

    return run


def test_up_sends_where_the_file_is_and_what_is_asked(daemon: Daemon, stackrun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG", "7")
    code, _, told = stackrun("-f", "a.yaml", "up", "-d", "--scale", "web=2", "--wait-timeout", "1m", "web")
    assert (code, told) == (0, " Container shop-web-1  Started\n")
    verb, source, options = daemon.stacks.requests[0]
    assert verb == "up" and source.files == ("a.yaml",) and source.working_dir == os.getcwd() and source.environment["TAG"] == "7"
    assert options == UpOptions(services=("web",), scale={"web": 2}, wait_timeout_s=60.0)


def test_a_file_on_stdin_is_sent_along(daemon: Daemon, stackrun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("services: {}\n"))
    stackrun("-f", "-", "down", "-v")
    _, source, options = daemon.stacks.requests[0]
    assert source.stdin == "services: {}\n" and options == DownOptions(volumes=True)


@pytest.mark.parametrize(
    ("argv", "request_rest"),
    [
        (("start", "web"), (("web",),)),
        (("stop", "-t", "3"), ((), 3.0)),
        (("restart", "-t", "0", "web", "db"), (("web", "db"), 0.0)),
        (("kill", "-s", "HUP"), ((), "HUP")),
        (("pull", "-q"), ((),)),
    ],
)
def test_the_life_of_services(daemon: Daemon, stackrun: Any, argv: tuple[str, ...], request_rest: tuple[Any, ...]) -> None:
    assert stackrun(*argv)[0] == 0
    verb, _, *rest = daemon.stacks.requests[0]
    assert (verb, tuple(rest)) == (argv[0], request_rest)


def test_a_failed_operation_ends_with_its_code_and_cause(daemon: Daemon, stackrun: Any) -> None:
    failed = StackEvent("", Phase.FAILED, "Failed", detail="start shop-db-1: no such command", hint="look", exit_code=4)
    daemon.stacks.events[1] = failed
    code, _, told = stackrun("up", "-d")
    assert code == 4
    assert told.endswith("error: up failed: start shop-db-1: no such command\n  hint: look\n")


def test_faults_of_the_file_come_with_their_places(daemon: Daemon, stackrun: Any) -> None:
    daemon.stacks.error = ComposeError([Diagnostic("compose.yaml", 3, 5, "unknown key: comand", hint="did you mean command?")])
    code, _, told = stackrun("up", "-d")
    assert code == 2
    assert told.splitlines()[:2] == ["compose.yaml:3:5: unknown key: comand", "  hint: did you mean command?"]


def test_ps_lists_what_runs_and_with_a_what_does_not(daemon: Daemon, stackrun: Any) -> None:
    daemon.add("shop-web-1")
    daemon.add("shop-job-1", Behaviour(exit_code=3))
    _, shown, _ = stackrun("ps")
    assert shown.splitlines()[0].split() == ["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"]
    assert "shop-web-1" in shown and "shop-job-1" not in shown
    rows = [json.loads(line) for line in stackrun("ps", "-a", "--format", "json")[1].splitlines()]
    assert [(row["Service"], row["State"], row["ExitCode"]) for row in rows] == [("job", "exited", 3), ("web", "running", 0)]
    assert stackrun("ps", "-a", "--services")[1].split() == ["job", "web"]
    assert re.fullmatch(r"[0-9a-f]{64}\n", stackrun("ps", "-q")[1])


def test_ps_of_a_service_that_is_not_there(daemon: Daemon, stackrun: Any) -> None:
    code, _, told = stackrun("ps", "wep")
    assert code == 1 and told.startswith("error: no such service: wep\n  hint: ")


def test_ls_tells_every_stack(daemon: Daemon, stackrun: Any) -> None:
    daemon.stacks.summaries = (StackSummary("shop", "running(3)", ("/a.yaml", "/b.yaml")),)
    assert stackrun("ls")[1] == "NAME   STATUS       CONFIG FILES\nshop   running(3)   /a.yaml,/b.yaml\n"
    assert json.loads(stackrun("ls", "--format", "json")[1]) == [{"Name": "shop", "Status": "running(3)", "ConfigFiles": "/a.yaml,/b.yaml"}]
    assert stackrun("ls", "-q")[1] == "shop\n"


def test_logs_are_kept_apart_by_stream_and_name(daemon: Daemon, stackrun: Any) -> None:
    daemon.add("shop-web-1", Behaviour(output=((1, b"out\n"), (2, b"err\n"))))
    daemon.add("shop-db-1", Behaviour(output=((1, b"ready\n"),)))
    _, out, err = stackrun("logs")
    assert sorted(out.splitlines()) == ["db-1   | ready", "web-1  | out"] and err == "web-1  | err\n"
    assert stackrun("logs", "--no-log-prefix", "--tail", "1", "db")[1] == "ready\n"


def test_exec_passes_output_and_exit_code_on(daemon: Daemon, stackrun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.add("shop-web-1")
    daemon.engine.behave_exec(("ls", "-l"), Behaviour(output=((1, b"out\n"), (2, b"err\n")), exit_code=7))
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert stackrun("exec", "-T", "web", "ls", "-l") == (7, "out\n", "err\n")


def test_exec_sends_what_stands_on_stdin(daemon: Daemon, stackrun: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    daemon.add("shop-web-1")
    daemon.engine.behave_exec(("cat",), Behaviour(echo=True))
    big = "0123456789\n" * 50_000
    (tmp_path / "input").write_text(big)
    with (tmp_path / "input").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        code, out, _ = stackrun("exec", "-T", "web", "cat")
    assert code == 0 and out == big


def test_exec_in_what_does_not_run(daemon: Daemon, stackrun: Any) -> None:
    daemon.add("shop-web-1", start=False)
    code, _, told = stackrun("exec", "web", "true")
    assert code == 1 and 'service "web" is not running' in told


def test_version_tells_both_and_starts_nothing(daemon: Daemon, stackrun: Any, short_tmp: Path) -> None:
    assert stackrun("version")[1].splitlines()[1].startswith("engine 0.0-fake, API 1.47, ")
    assert json.loads(stackrun("version", "--format", "json")[1])["engine"]["Version"] == "0.0-fake"
    code, out, _ = stackrun("--root", str(short_tmp / "other"), "version")
    assert code == 0 and "not running" in out and not (short_tmp / "other").exists()


def test_a_host_that_does_not_answer(daemon: Daemon, stackrun: Any) -> None:
    code, _, told = stackrun("-H", "unix:///nowhere.sock", "ps")
    assert code == 3 and "unix:///nowhere.sock" in told


def test_an_archive_that_is_not_there(daemon: Daemon, stackrun: Any) -> None:
    assert stackrun("load", "-i", "/nowhere.tar")[::2] == (1, "error: /nowhere.tar: no such file or directory\n")


class LiveStacks(FakeStacks):
    """`up` starts the container, `stop` stops it, or does not come to an end; at its first line of log the user presses Ctrl-C."""

    def __init__(self, engine: FakeEngine, *, stubborn: bool = False) -> None:
        super().__init__()
        self._engine = engine
        self._stubborn = stubborn

    async def _stream(self) -> AsyncIterator[StackEvent]:
        verb = self.requests[-1][0]
        if verb == "up":
            await self._engine.start_container("shop-web-1")
        elif verb == "stop" and self._stubborn:
            yield StackEvent("Container shop-web-1", Phase.WORKING, "Stopping")
            press_ctrl_c()
            await asyncio.Event().wait()
        else:
            await self._engine.stop_container("shop-web-1")
        yield StackEvent("", Phase.DONE, "Done")


def press_ctrl_c() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@pytest.fixture
def stack_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: 'busybox:1'}, a-long-name: {image: 'busybox:1', scale: 10}}\n")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def interrupted(daemon: Daemon, stack_file: None, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """The first line that a service prints makes the user press Ctrl-C."""
    daemon.add("shop-web-1", Behaviour(output=((1, b"serving\n"),)), start=False)
    show = render.Display.line

    def line(self: render.Display, text: str, *, error: bool = False) -> None:
        show(self, text, error=error)
        if "serving" in text:
            press_ctrl_c()

    monkeypatch.setattr(render.Display, "line", line)
    return daemon


@ANYWHERE
def test_ctrl_c_stops_a_stack_in_the_foreground(interrupted: Daemon, stackrun: Any) -> None:
    interrupted.stacks = LiveStacks(interrupted.engine)
    code, out, told = stackrun("up", "-t", "5")
    assert code == 130
    assert out.splitlines() == ["web-1           | serving", "web-1 exited with code 143"]
    assert "Gracefully stopping... (press Ctrl+C again to force)" in told
    assert [(one[0], one[2:]) for one in interrupted.stacks.requests[1:]] == [("stop", ((), 5.0))]


class LosesTheException:
    """Ctrl-C comes while this is finalized, and what the handler raises is lost with it."""

    def __del__(self) -> None:
        press_ctrl_c()


class EndlessStacks(LiveStacks):
    async def _changed(self) -> AsyncIterator[Change]:
        await asyncio.Event().wait()
        yield Change(0, "container", "start", "1", "shop")


@ANYWHERE
@pytest.mark.parametrize(
    ("argv", "waits", "asked"),
    [
        (["up"], (logs.Follower, "wait"), ["up", "stop"]),
        (["up", "--watch"], (watch.Watch, "changed"), ["plan", "stop"]),
        (["watch"], (watch.Watch, "changed"), ["plan"]),
        (["logs", "-f"], (logs.Follower, "wait"), []),
        (["events"], (operations._Told, "__iter__"), ["changes"]),
    ],
    ids=["up", "up-watch", "watch", "logs-f", "events"],
)
def test_ctrl_c_is_heard_though_its_exception_is_lost(
    daemon: Daemon, stack_file: None, stackrun: Any, monkeypatch: pytest.MonkeyPatch,
    argv: list[str], waits: tuple[type, str], asked: list[str],
) -> None:  # fmt: skip
    daemon.add("shop-web-1", Behaviour(output=((1, b"serving\n"),)), start=argv != ["up"])
    daemon.stacks = EndlessStacks(daemon.engine)
    wait = getattr(*waits)
    lost = [LosesTheException()]

    def waited(self: object) -> object:
        lost.clear()
        return wait(self)

    monkeypatch.setattr(*waits, waited)
    assert stackrun(*argv)[0] == 130
    assert [one[0] for one in daemon.stacks.requests] == asked


@ANYWHERE
def test_ctrl_c_twice_kills_it(interrupted: Daemon, stackrun: Any) -> None:
    interrupted.stacks = LiveStacks(interrupted.engine, stubborn=True)
    assert stackrun("up")[0] == 130
    assert [one[0] for one in interrupted.stacks.requests] == ["up", "stop", "kill"]


@pytest.mark.parametrize(("lost", "plans"), [(1, 2), (2, 1)])
def test_watch_applies_once_more_what_a_lost_engine_left(
    daemon: Daemon, stack_file: None, stackrun: Any, monkeypatch: pytest.MonkeyPatch, lost: int, plans: int
) -> None:
    """The stack file changes once; the engine goes away so many times from then on."""
    news: list[tuple[str, ...]] = [(os.path.abspath("compose.yaml"),)]
    left = [Unavailable("lost the engine")] * lost

    def changed(self: watch.Watch) -> tuple[str, ...]:
        return news.pop() if news else ()

    def planned(options: Any, request: dict[str, Any]) -> Any:
        if not news and left:
            raise left.pop()
        return operations.planned(options, request)

    monkeypatch.setattr(watch.Watch, "changed", changed)
    monkeypatch.setattr(watching, "planned", planned)
    code, _, told = stackrun("watch")
    assert code == 0 and "once more, with the engine that comes next" in told
    assert [one[0] for one in daemon.stacks.requests] == ["plan"] * plans
    assert ("nothing more was done" in told) == (lost > 1)


class HalfWayStacks(FakeStacks):
    """Nothing comes to an end but a return, and that only unless it is `stubborn`."""

    def __init__(self, returning: StackEvent, *, stubborn: bool = False) -> None:
        super().__init__()
        self._returning = returning
        self._stubborn = stubborn

    async def _stream(self) -> AsyncIterator[StackEvent]:
        options = self.requests[-1][2]
        assert isinstance(options, UpOptions)
        if options.revert:
            yield self._returning
        if self._stubborn or not options.revert:
            yield StackEvent("Container shop-web-1", Phase.WORKING, "Starting")
            await asyncio.Event().wait()
        yield StackEvent("", Phase.DONE, "Done")


@pytest.fixture
def impatient(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """Whenever a container is about to start the user presses Ctrl-C."""
    show = render.Plain.event

    def event(self: render.Plain, event: dict[str, Any]) -> None:
        show(self, event)
        if event["text"] == "Starting":
            press_ctrl_c()

    monkeypatch.setattr(render.Plain, "event", event)
    return daemon


@ANYWHERE
def test_ctrl_c_in_an_atomic_up_returns_to_the_last_good_state(impatient: Daemon, stackrun: Any) -> None:
    impatient.stacks = HalfWayStacks(StackEvent("Project shop", Phase.DONE, "Returned", "to revision 3"))
    code, _, told = stackrun("up", "--atomic", "-t", "5", "--wait-timeout", "9")
    assert code == 130
    assert told.splitlines()[1:] == [
        "Interrupted: returning to the last good state... (press Ctrl+C again to leave at once)",
        " Project shop  Returned  to revision 3",
    ]
    (first, source, _), (verb, same, asked) = impatient.stacks.requests
    assert first == verb == "up" and source == same and asked == UpOptions(timeout_s=5.0, wait_timeout_s=9.0, revert=True)


@ANYWHERE
@pytest.mark.parametrize(
    ("where", "hint"),
    [("to revision 3", "`stackrun rollback` returns to revision 3"), ("to nothing", "`stackrun down` removes what was made")],
)
def test_ctrl_c_twice_in_an_atomic_up_leaves_and_says_how_to_get_back(impatient: Daemon, stackrun: Any, where: str, hint: str) -> None:
    impatient.stacks = HalfWayStacks(StackEvent("Project shop", Phase.WORKING, "Returning", where), stubborn=True)
    code, _, told = stackrun("up", "--atomic")
    assert code == 130 and told.endswith(f"left half way: {hint}\n")


@ANYWHERE
def test_ctrl_c_in_an_up_that_is_not_atomic_leaves_it_as_it_is(impatient: Daemon, stackrun: Any) -> None:
    impatient.stacks = HalfWayStacks(StackEvent("", Phase.DONE, ""))
    assert stackrun("up", "-d")[0] == 130 and len(impatient.stacks.requests) == 1


def test_up_in_the_foreground_ends_when_nothing_runs_any_more(daemon: Daemon, stack_file: None, stackrun: Any) -> None:
    daemon.add("shop-web-1", Behaviour(output=((1, b"done\n"),), exit_code=3), start=False)
    daemon.stacks = LiveStacks(daemon.engine)
    code, out, _ = stackrun("up", "--no-log-prefix")
    assert (code, out.splitlines()) == (0, ["done", "web-1 exited with code 3"])
