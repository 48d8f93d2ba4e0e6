"""Further processes in a running container: `exec`, and the probes of healthchecks.

Their records live in memory alone, as dockerd's do: a process that was started by an earlier daemon goes on, but nobody can ask for it.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace

from stackrun.api.types import Exec, ExecSpec, Status
from stackrun.engine import health
from stackrun.engine.clock import stamp
from stackrun.engine.pool import Pool
from stackrun.engine.registry import Entry, Registry
from stackrun.engine.specgen import exec_process
from stackrun.engine.streams import ProcessStream, TextStream
from stackrun.errors import CommandNotExecutable, CommandNotFound, Conflict, InvalidArgument, NotFound, StackrunError
from stackrun.runtime import container as runtime

KEPT_FINISHED = 256
"""Finished execs that can still be asked for; the oldest are forgotten."""
_KILLED = 128 + signal.SIGKILL

Publish = Callable[[Entry, str, Mapping[str, str]], None]


class _Record:
    """`ended` holds the exit code once the process is over."""

    __slots__ = ("ended", "entry", "exec", "started")

    def __init__(self, exec_: Exec, entry: Entry) -> None:
        self.exec = exec_
        self.entry = entry
        self.started = False
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()


class Execs:
    def __init__(self, registry: Registry, pool: Pool, hostname: Callable[[Entry], str]) -> None:
        self._registry = registry
        self._pool = pool
        self._hostname = hostname
        self._records: dict[str, _Record] = {}
        self._probes: dict[str, asyncio.Future[int]] = {}
        self.publish: Publish = lambda entry, action, extra: None

    def create(self, entry: Entry, spec: ExecSpec) -> str:
        if not spec.command:
            raise InvalidArgument("No exec command specified")
        _running(entry)
        record = _Record(Exec(secrets.token_hex(32), entry.id, spec), entry)
        self._records[record.exec.id] = record
        entry.exec_ids.append(record.exec.id)
        self._forget_old()
        self.publish(entry, f"exec_create: {shlex.join(spec.command)}", {"execID": record.exec.id})
        return record.exec.id

    def get(self, exec_id: str) -> Exec:
        return self._find(exec_id).exec

    def _find(self, exec_id: str) -> _Record:
        record = self._records.get(exec_id)
        if record is None:
            raise NotFound(f"No such exec instance: {exec_id}")
        return record

    async def start(self, exec_id: str, *, tty: bool, rows: int, columns: int) -> ProcessStream | TextStream:
        """A command that does not exist is text in the stream, as dockerd has sent the 101 by then."""
        record = self._claimed(exec_id)
        if tty and not record.exec.spec.tty:
            record.exec = replace(record.exec, spec=replace(record.exec.spec, tty=True))
        spec = record.exec.spec
        try:
            sock = await self._run(record, (rows, columns) if rows and columns else None)
        except (CommandNotFound, CommandNotExecutable) as error:
            return TextStream(f"OCI runtime exec failed: exec failed: {error.message}: unknown\r\n", tty=spec.tty)
        if sock is None:
            return TextStream("", tty=spec.tty)
        return await ProcessStream.over(sock, tty=spec.tty, stdout=spec.attach_stdout, stderr=spec.attach_stderr, ended=record.ended)

    async def start_detached(self, exec_id: str) -> None:
        record = self._claimed(exec_id)
        spec = replace(record.exec.spec, attach_stdin=False, attach_stdout=False, attach_stderr=False)
        record.exec = replace(record.exec, spec=spec)
        sock = await self._run(record, None)
        if sock is not None:
            sock.close()

    def _claimed(self, exec_id: str) -> _Record:
        record = self._find(exec_id)
        if record.started:
            raise Conflict(f"Error: Exec command {exec_id} has already run")
        _running(record.entry)
        record.started = True
        return record

    async def _run(self, record: _Record, console_size: tuple[int, int] | None) -> socket.socket | None:
        entry, spec = record.entry, record.exec.spec
        handle = _running(entry)
        record.exec = replace(record.exec, running=True)
        try:
            pid, sock = await self._pool.run(
                handle.exec,
                exec_id=record.exec.id,
                process=exec_process(entry.definition, spec, self._hostname(entry)),
                tty=spec.tty,
                stdin=spec.attach_stdin,
                want_output=spec.attach_stdout or spec.attach_stderr,
                console_size=console_size,
            )
        except StackrunError as error:
            code = 127 if isinstance(error, CommandNotFound) else 126
            record.exec = replace(record.exec, running=False, exit_code=code)
            raise
        self.publish(entry, f"exec_start: {shlex.join(spec.command)}", {"execID": record.exec.id})
        if record.exec.exit_code is None:
            record.exec = replace(record.exec, pid=pid)
        return sock

    def ended(self, exec_id: str, code: int) -> None:
        """The shim said so."""
        probe = self._probes.pop(exec_id, None)
        if probe is not None and not probe.done():
            probe.set_result(code)
        record = self._records.get(exec_id)
        if record is not None and record.exec.exit_code is None:
            self._finished(record, code)

    def _finished(self, record: _Record, code: int) -> None:
        record.exec = replace(record.exec, running=False, exit_code=code, pid=0)
        if record.exec.id in record.entry.exec_ids:
            record.entry.exec_ids.remove(record.exec.id)
        if not record.ended.done():
            record.ended.set_result(code)
        self.publish(record.entry, "exec_die", {"execID": record.exec.id, "exitCode": str(code)})

    def container_ended(self, entry: Entry) -> None:
        """Its processes ended with it."""
        for record in self._records.values():
            if record.entry is entry and record.exec.running:
                self._finished(record, _KILLED)

    def forget(self, entry: Entry) -> None:
        """The container is removed."""
        for exec_id in [key for key, record in self._records.items() if record.entry is entry]:
            del self._records[exec_id]

    def _forget_old(self) -> None:
        finished = [key for key, record in self._records.items() if record.exec.exit_code is not None]
        for key in finished[: max(0, len(finished) - KEPT_FINISHED)]:
            del self._records[key]

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        """May come before the process has begun; then there is nothing to resize yet."""
        record = self._find(exec_id)
        if record.exec.running and record.entry.handle is not None:
            await self._pool.run(record.entry.handle.resize_exec, exec_id, rows, columns)

    # --- probes ---

    async def probe(self, entry: Entry, handle: runtime.Handle, plan: health.Schedule) -> health.ProbeResult:
        """Runs one healthcheck; it is killed when its time is over."""
        began = stamp()
        exec_id = secrets.token_hex(32)
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._probes[exec_id] = ended
        spec = ExecSpec(plan.command)
        try:
            _, sock = await self._pool.run(
                handle.exec, exec_id=exec_id, process=exec_process(entry.definition, spec, self._hostname(entry)), want_output=True
            )
        except StackrunError as error:
            self._probes.pop(exec_id, None)
            return health.ProbeResult(126, error.message, began, stamp())
        stream = await ProcessStream.over(sock, tty=False) if sock is not None else None
        output = bytearray()
        try:
            async with asyncio.timeout(plan.timeout_s):
                await _collect(stream, output)
                code = await ended
        except TimeoutError:
            await self._kill_probe(handle, exec_id)
            return health.ProbeResult(health.TIMED_OUT, f"Health check exceeded timeout ({plan.timeout_s:g}s)", began, stamp())
        finally:
            self._probes.pop(exec_id, None)
            if stream is not None:
                await stream.close()
        return health.ProbeResult(code, output.decode(errors="replace"), began, stamp())

    async def _kill_probe(self, handle: runtime.Handle, exec_id: str) -> None:
        try:
            await self._pool.run(handle.signal_exec, exec_id, signal.SIGKILL)
        except StackrunError:
            return  # it ended in this very moment, or the container did


async def _collect(stream: ProcessStream | None, output: bytearray) -> None:
    """The first 4 KiB; the rest is read and dropped, so that the probe never blocks on it."""
    if stream is None:
        return
    async for piece in stream:
        output += piece.data[: max(0, health.OUTPUT_BYTES_MAX - len(output))]


def _running(entry: Entry) -> runtime.Handle:
    if entry.status is Status.PAUSED:
        raise Conflict(f"Container {entry.name} is paused, unpause the container before exec")
    if entry.status is Status.RESTARTING:
        raise Conflict(f"Container {entry.id} is restarting, wait until the container is running")
    if entry.handle is None or entry.status is not Status.RUNNING:
        raise Conflict(f"container {entry.id} is not running")
    return entry.handle
