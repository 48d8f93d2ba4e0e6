"""The daemon: our engine, the reconciler and the HTTP server in one process, which the command line starts on demand.

Ends on SIGTERM or SIGINT; containers keep running and the next daemon adopts them.  SIGHUP means nothing to it, so that it
outlives the terminal it was started from.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import grp
import json
import logging
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from stackrun.api.labels import PROJECT
from stackrun.cli import exit
from stackrun.cli.engines import DEFAULT_ROOT, Engine, socket_path
from stackrun.engine.local import LocalEngine
from stackrun.errors import EXIT_BUG, Conflict, StackrunError
from stackrun.kernel import privileges
from stackrun.rootless.outside import Outside
from stackrun.runtime import trace
from stackrun.server.app import serve
from stackrun.stack.keeper import Keeper
from stackrun.stack.operations import StackOperations
from stackrun.stack.witness import Witness

GROUP = "stackrun"
"""Its members may use the engine, which makes them root on this machine; without such a group root alone may."""
BACKLOG = 4096
LISTEN_FDS_START = 3
"""sd_listen_fds(3): the first descriptor that systemd passes."""

_log = logging.getLogger("stackrun")


def main() -> int:
    """`python -m stackrun.cli.daemon`: what `stackrun daemon` and the start on demand run."""
    parser = argparse.ArgumentParser("stackrun daemon", allow_abbrev=False)
    parser.add_argument("--root", default=DEFAULT_ROOT)
    parser.add_argument("--run-dir", default="")
    parser.add_argument("--host", action="append", default=[])
    parser.add_argument("--ready-fd", type=int, default=-1)
    parser.add_argument("--gate-fd", type=int, default=-1)
    parser.add_argument("--trace", default="")
    options = parser.parse_args()
    place = Engine(root=options.root, run_dir=options.run_dir)
    return run(place, tuple(options.host), options.ready_fd, gate_fd=options.gate_fd, trace_file=options.trace)


def run(place: Engine, hosts: tuple[str, ...], ready_fd: int = -1, *, gate_fd: int = -1, trace_file: str = "") -> int:
    """Serves until a signal ends it; `hosts` are more unix:// addresses. Tells its start on `ready_fd`.

    `gate_fd`: the way to the host's ports, for an engine that lives in an ordinary user's namespaces.
    """
    if trace_file:
        trace.to_file("engine", os.path.abspath(trace_file))
    if ready_fd >= 0:
        os.set_inheritable(ready_fd, False)  # or whoever we start keeps the pipe, and our starter waiting
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_serve(place, hosts, ready_fd, gate_fd))
    except (Exception, KeyboardInterrupt) as error:
        tell_failure(ready_fd, error)
        return exit.report(error)
    return 0


async def _serve(place: Engine, hosts: tuple[str, ...], ready_fd: int, gate_fd: int) -> None:
    paths = tuple(socket_path(host) for host in (place.host, *hosts))
    os.makedirs(place.run_dir, 0o711, exist_ok=True)
    opened_s = time.time()
    engine = LocalEngine.open(place.root, place.run_dir, Outside(gate_fd, place.run_dir) if gate_fd >= 0 else None)
    try:
        stacks = StackOperations(engine, state_dir=f"{place.root}/stacks", keeps=True, truth=engine)
        engine.truth.is_held, stacks.keeping.on_switched = stacks.keeping.is_left_alone, engine.truth.look_again
        kept = await stacks.keeping.projects()
        await engine.start(kept=lambda labels: labels.get(PROJECT) in kept)
        stacks.witnessed = True
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(_listener(path)) for path in paths]
            stack.enter_context(_pid_file(f"{place.run_dir}/stackrun.pid"))
            ended = asyncio.Event()
            _on_signals(ended.set)
            serving = asyncio.create_task(serve(engine, stacks, [*sockets, *_passed_sockets()], on_shutdown=ended.set))
            _tell_ready(ready_fd)
            _log.info("listening on %s", place.socket_path)
            preloading = asyncio.create_task(_loaded(stacks))
            witness = Witness(engine, stacks.journal, stacks.busy)
            keeper = Keeper(engine, stacks.keeping, stacks.journal)
            async with _at_work(witness.watch(opened_s), "the witness"), _at_work(keeper.run(), "the keeper"):
                await _first_of(serving, asyncio.create_task(ended.wait()))
            await preloading
        await asyncio.to_thread(stacks.journal.settle)
    finally:
        await engine.close()
        _log.info("ended; containers keep running")


async def _loaded(stacks: StackOperations) -> None:
    """All that an engine needs is loaded then and stays: the garbage collector would look it through every hundred starts, for 50 ms
    in which nothing else goes on.
    """
    await stacks.preload()
    gc.freeze()


@contextlib.asynccontextmanager
async def _at_work(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Something that goes on beside the server and ends with it; that it broke is told, and stops nobody."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell_if_broken)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _tell_if_broken(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("%s has ended", task.get_name(), exc_info=error)


def _on_signals(end: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def _first_of(serving: asyncio.Task[None], ended: asyncio.Task[bool]) -> None:
    """Serves until told to end; a server that fails by itself raises."""
    await asyncio.wait({serving, ended}, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if serving.done():
        serving.result()
    serving.cancel()
    await asyncio.wait({serving})


@contextlib.contextmanager
def _listener(path: str) -> Iterator[socket.socket]:
    """A listening socket at `path`, which goes when the daemon ends."""
    _make_free(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    os.fchmod(listener.fileno(), 0o600)  # before bind(2), which takes the file's mode from it: never open to others, not for a moment
    listener.bind(path)
    if not privileges.current().rootless:  # whose engine is one user's
        _open_to_group(path)
    listener.listen(BACKLOG)
    try:
        yield listener
    finally:
        listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _make_free(path: str) -> None:
    """Removes the socket that a dead daemon left; whatever else is there stays. Conflict."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"{path} is there already, and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(ConnectionRefusedError):
        probe.connect(path)
        raise Conflict(f"somebody listens on {path} already")
    os.unlink(path)


def _open_to_group(path: str) -> None:
    try:
        group = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return
    os.chown(path, -1, group)
    os.chmod(path, 0o660)


def _passed_sockets() -> list[socket.socket]:
    """Sockets that systemd opened for us (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=fd) for fd in range(LISTEN_FDS_START, LISTEN_FDS_START + count)]


@contextlib.contextmanager
def _pid_file(path: str) -> Iterator[None]:
    Path(path).write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _tell_ready(ready_fd: int) -> None:
    """To whoever started us: the pipe of the command line, and systemd (sd_notify(3))."""
    if ready_fd >= 0:
        os.write(ready_fd, b"ready\n")
        os.close(ready_fd)
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.send(b"READY=1")


def tell_failure(ready_fd: int, error: BaseException) -> None:
    """Before readiness the starter waits on the pipe; afterwards it is closed and nobody does."""
    known = isinstance(error, StackrunError)
    told = {
        "message": str(error) if known else f"the engine failed to start: {type(error).__name__}: {error}",
        "hint": error.hint if isinstance(error, StackrunError) else "",
        "exit_code": error.exit_code if isinstance(error, StackrunError) else EXIT_BUG,
    }
    with contextlib.suppress(OSError):
        os.write(ready_fd, json.dumps(told).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
