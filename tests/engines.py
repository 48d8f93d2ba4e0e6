"""A LocalEngine of a test's own: a state root with busybox in it, and nothing left of it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from machine import busybox_tar

from stackrun.api.engine import Stream
from stackrun.api.types import ContainerSpec, ExecSpec, LogQuery, WaitCondition
from stackrun.engine.local import LocalEngine

BUSYBOX = "busybox:test"


async def file_chunks(path: Path) -> AsyncIterator[bytes]:
    yield path.read_bytes()


@asynccontextmanager
async def engine_on(root: Path) -> AsyncIterator[LocalEngine]:
    """The engine of `root`; what it has stays when it closes."""
    engine = LocalEngine.open(str(root / "state"), str(root / "run"))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def fresh_engine(root: Path) -> AsyncIterator[LocalEngine]:
    """With busybox; at the end every container and network is removed."""
    async with engine_on(root) as engine:
        await add_busybox(engine, root)
        try:
            yield engine
        finally:
            await remove_everything(engine)


async def add_busybox(engine: LocalEngine, root: Path) -> None:
    async for line in await engine.import_image(file_chunks(busybox_tar(root)), reference=BUSYBOX):
        assert not line.error, line.error


async def remove_everything(engine: LocalEngine) -> None:
    for container in await engine.containers(all=True):
        await engine.remove_container(container.id, force=True, volumes=True)
    for network in await engine.networks():
        if network.name not in ("bridge", "host", "none"):
            await engine.remove_network(network.id)


async def run(engine: LocalEngine, name: str, *command: str, **options: Any) -> str:
    """Creates and starts a container; its id. `image` may be among the options."""
    options.setdefault("image", BUSYBOX)
    created = await engine.create_container(name, ContainerSpec(command=command or ("sleep", "1000"), **options))
    await engine.start_container(created.id)
    return created.id


async def finished(engine: LocalEngine, name: str, *command: str, **options: Any) -> tuple[int, str]:
    """Runs a container to its end: (exit code, everything it wrote)."""
    options.setdefault("image", BUSYBOX)
    created = await engine.create_container(name, ContainerSpec(command=command, **options))
    wait = await engine.wait_container(created.id, WaitCondition.NEXT_EXIT)
    await engine.start_container(created.id)
    status = await asyncio.wait_for(wait, 30)
    return status.code, await output_of(engine, created.id)


async def output_of(engine: LocalEngine, name: str) -> str:
    lines = await engine.container_logs(name, LogQuery())
    return b"".join([line.data async for line in lines]).decode()


async def execute(engine: LocalEngine, name: str, *command: str, **options: Any) -> tuple[int, str]:
    """Runs a command in a container: (exit code, everything it wrote)."""
    exec_id = await engine.create_exec(name, ExecSpec(command=command, **options))
    stream: Stream = await engine.start_exec(exec_id)
    text = b"".join([piece.data async for piece in stream]).decode()
    await stream.close()
    code = (await engine.exec(exec_id)).exit_code
    assert code is not None, "the output has ended, so the exit code is known"
    return code, text


async def until(look: Callable[[], Awaitable[Any]], timeout_s: float = 20.0) -> Any:
    """What `look` gives once it is not None, looked at every 20 ms: for what the contract has no event for."""
    async with asyncio.timeout(timeout_s):
        while (found := await look()) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found
