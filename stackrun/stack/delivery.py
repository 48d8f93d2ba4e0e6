"""Carries a Delivery out on a container: files removed and sent, then a restart or commands.

Sent as one archive that the engine extracts in the container's root; owned by the container's user as with Docker Compose.  Removed by our
engine itself; elsewhere by `rm` of the container, as its root, since Docker's API knows no other way.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from stackrun.api import labels
from stackrun.api.engine import Engine
from stackrun.api.types import Container, ExecSpec, Filters, Status
from stackrun.errors import ExecuteFailed, KernelError, StackrunError, Unsupported
from stackrun.image.packing import Packer, gathered
from stackrun.stack.sync import Delivery, Upload

if TYPE_CHECKING:
    from stackrun.compose.model import Hook

_AT_ONCE = 200
"""Names in one `rm`: a command line has a limit."""
_OUTPUT_BYTES_MAX = 4096


async def running(engine: Engine, project: str, services: frozenset[str]) -> tuple[Container, ...]:
    """The containers that get files, by name; one-off ones are nobody's replica."""
    wanted = Filters({"label": (f"{labels.PROJECT}={project}", f"{labels.ONEOFF}=False"), "status": (Status.RUNNING.value,)})
    found = await engine.containers(filters=wanted)
    return tuple(sorted((one for one in found if one.spec.labels.get(labels.SERVICE) in services), key=lambda one: one.name))


async def deliver(engine: Engine, container: str, wanted: Delivery, timeout_s: float | None = None) -> tuple[str, ...]:
    """Gives what was wrong with commands, whose files are there all the same; raises what else failed, and what came before it is done."""
    if wanted.removals:
        await _remove(engine, container, wanted.removals)
    if wanted.uploads:
        await _send(engine, container, wanted.uploads)
    if wanted.restarts:
        await engine.restart_container(container, timeout_s=timeout_s)
    complaints = []
    for command in wanted.commands:
        try:
            await _execute(engine, container, _spec(command))
        except StackrunError as error:
            complaints.append(error.message)
    return tuple(complaints)


async def _remove(engine: Engine, container: str, paths: tuple[str, ...]) -> None:
    try:
        await engine.remove_files(container, paths)
    except Unsupported:
        for start in range(0, len(paths), _AT_ONCE):
            await _execute(engine, container, ExecSpec(("rm", "-rf", "--", *paths[start : start + _AT_ONCE]), user="0"))


async def _send(engine: Engine, container: str, uploads: tuple[Upload, ...]) -> None:
    """From the root on, so that folders on the way are made; when that is read-only, into the folder that has them all, a mount perhaps."""
    try:
        await engine.put_archive(container, "/", _stream(uploads, "/"), to_user=True)
    except StackrunError as error:
        base = posixpath.commonpath([posixpath.dirname(one.target) for one in uploads])
        if "read-only" not in error.message or base == "/":
            raise
        await engine.put_archive(container, base, _stream(uploads, base), to_user=True)


def archive(uploads: tuple[Upload, ...], base: str = "/") -> Iterator[bytes]:
    """A tar, to be extracted in `base`, of what is still there; a folder comes as itself, since what is in it is listed as well."""
    packer = Packer(owner=(0, 0), wanted=lambda name: False)

    def pieces() -> Iterator[bytes]:
        for one in uploads:
            parent, name = posixpath.split(posixpath.normpath(posixpath.join(os.path.realpath(one.root), one.path)))
            try:
                yield from _packed(packer, parent, name, posixpath.relpath(one.target, base))
            except (FileNotFoundError, NotADirectoryError):
                continue  # gone meanwhile, which the next look finds
            except OSError as error:
                raise KernelError(f"read {parent}/{name}", error.errno or errno.EIO) from error
        yield packer.end()

    return gathered(pieces())


def _packed(packer: Packer, parent: str, name: str, called: str) -> Iterator[bytes]:
    fd = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from packer.entry(fd, name, called)
    finally:
        os.close(fd)


async def _stream(uploads: tuple[Upload, ...], base: str) -> AsyncIterator[bytes]:
    for piece in archive(uploads, base):
        yield piece


def _spec(hook: Hook) -> ExecSpec:
    environment = tuple(name if value is None else f"{name}={value}" for name, value in hook.environment.items())
    return ExecSpec(
        tuple(hook.command), user=hook.user, privileged=hook.privileged, working_dir=hook.working_dir, environment=environment
    )  # fmt: skip


async def _execute(engine: Engine, container: str, spec: ExecSpec) -> None:
    exec_id = await engine.create_exec(container, spec)
    stream = await engine.start_exec(exec_id)
    output = bytearray()
    async for piece in stream:
        output += piece.data[: max(0, _OUTPUT_BYTES_MAX - len(output))]
    await stream.close()
    code = (await engine.exec(exec_id)).exit_code
    if code:
        said = output.decode(errors="replace").strip().splitlines()
        detail = f": {said[-1].strip()}" if said else ""
        raise ExecuteFailed(f"{' '.join(spec.command)[:120]} ended with {code}{detail}")
