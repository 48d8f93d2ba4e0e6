"""RUN: a container of the engine's own on the state so far, whose upper directory becomes a layer once it has ended well.

When the command that was started is gone, so is everything else in its process namespace: what it left in the background is killed by the
kernel before its exit code is told, and nobody writes any more when the layer is made.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stackrun.api.builds import BuildSpec
from stackrun.api.types import AttachQuery, ContainerSpec, Created, ImageConfig, LogConfig, Mount, Resources, WaitCondition
from stackrun.engine.build_state import State
from stackrun.engine.containers import Containers
from stackrun.engine.layers import LayerTree
from stackrun.engine.lifecycle import Lifecycle
from stackrun.engine.registry import Registry
from stackrun.engine.store import Store
from stackrun.engine.tasks import Tasks
from stackrun.errors import BuildFailed, NotFound
from stackrun.image.imageconfig import shell_of
from stackrun.image.instructions import Run

Say = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Ground:
    """What a container of the build stands on: the state's layers, mounts, and the file to execute where that is no shell's command."""

    lower: tuple[str, ...]
    mounts: tuple[Mount, ...] = ()
    tmpfs: Mapping[str, str] | None = None
    program: str = ""


class Runs:
    """`say` takes a piece of output and waits when there is too much of it."""

    def __init__(self, containers: Containers, lifecycle: Lifecycle, registry: Registry, store: Store, tasks: Tasks) -> None:
        self._containers = containers
        self._lifecycle = lifecycle
        self._registry = registry
        self._store = store
        self._tasks = tasks

    @asynccontextmanager
    async def ran(
        self, build_id: str, spec: BuildSpec, state: State, run: Run, environment: Mapping[str, str], ground: Ground,
        started: Callable[[str], None], say: Say,
    ) -> AsyncIterator[str]:  # fmt: skip
        """The upper directory of a run that ended with 0; the container is gone at the end of the block, whatever happened.

        BuildFailed for another code.
        """
        words = command(state, run)
        asked = _container(spec, state, run, [ground.program] if ground.program else words, environment, ground)
        config = ImageConfig(environment=tuple(state.config.get("Env") or ()))
        creating = asyncio.ensure_future(self._containers.create_for_build(build_id, asked, state.id, config, ground.lower))
        try:
            created = await asyncio.shield(creating)
            started(created.id)
            code = await self._run(created.id, say)
            if code:
                raise BuildFailed(f"The command '{' '.join(words)}' returned a non-zero code: {code}", code)
            yield str(self._store.container_directory(created.id) / "upper")
        finally:
            await self._tasks.finish(self._removed(creating))

    async def _removed(self, creating: asyncio.Future[Created]) -> None:
        """It may be under way still when the build is cancelled."""
        await asyncio.wait([creating])
        if not creating.cancelled() and creating.exception() is None:
            await self.remove(creating.result().id)

    async def _run(self, container_id: str, say: Say) -> int:
        """Its exit code, once everything of it is over."""
        entry = self._registry.find(container_id)
        stream = await self._containers.attach(container_id, AttachQuery())
        try:
            exited = await self._containers.wait(container_id, WaitCondition.NEXT_EXIT)
            await self._tasks.finish(self._lifecycle.start(entry))
            texts = {number: codecs.getincrementaldecoder("utf-8")("replace") for number in (1, 2)}
            async for output in stream:
                if text := texts[output.stream].decode(output.data):
                    await say(text)
            status = await exited
            await entry.ended.wait()
            return status.code
        finally:
            await stream.close()

    async def remove(self, container_id: str) -> None:
        try:
            await self._containers.remove(container_id, force=True, volumes=True)
        except NotFound:
            return  # somebody else was quicker


def command(state: State, run: Run) -> list[str]:
    """What is executed: a shell form after the words of SHELL."""
    return [*shell_of(state.config), run.script] if run.is_shell else list(run.words)


def _container(
    spec: BuildSpec, state: State, run: Run, words: list[str], environment: Mapping[str, str], ground: Ground
) -> ContainerSpec:
    return ContainerSpec(
        image=state.id,
        command=tuple(words),
        entrypoint=(),
        environment=tuple(f"{name}={value}" for name, value in environment.items()),
        user=str(state.config.get("User") or ""),
        working_dir=state.working_dir,
        network_mode=run.network if run.network and run.network != "default" else spec.network or "default",
        extra_hosts=spec.extra_hosts,
        shm_size_bytes=spec.shm_size_bytes,
        mounts=ground.mounts,
        tmpfs=dict(ground.tmpfs or {}),
        log_config=LogConfig("none"),
        resources=Resources(),
    )


def stubs(lower: tuple[str, ...], targets: tuple[str, ...]) -> tuple[str, ...]:
    """The paths that mounting at `targets` makes in a container on these layers, deepest first: they are no part of the image."""
    tree = LayerTree(lower)
    found = dict.fromkeys(path for target in targets for path in tree.missing(target))
    return tuple(sorted(found, key=lambda path: path.count("/"), reverse=True))
