"""Docker's classic builder on this engine: a context and a BuildSpec become an image, told line by line.

A build is a task of its own.  Whoever closes its lines cancels it, and closing waits until all it had made is gone: its container, its
mounts, its folder.  What it had finished stays in the cache.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, ParamSpec, TypeVar

from stackrun.api.builds import BuildSpec
from stackrun.api.types import Progress, RegistryAuth
from stackrun.engine import build_context
from stackrun.engine.build_mounts import Mounts
from stackrun.engine.build_run import Runs
from stackrun.engine.build_sources import Tree
from stackrun.engine.build_stages import SHORT_ID, Building
from stackrun.engine.build_state import State
from stackrun.engine.build_workspace import Workspace, Workspaces
from stackrun.engine.events import Events
from stackrun.engine.feed import Feed, stopped
from stackrun.engine.pool import Pool
from stackrun.engine.registry import Registry
from stackrun.errors import InvalidArgument, KernelError, NotFound, StackrunError
from stackrun.image import record
from stackrun.image.assembly import Assembly
from stackrun.image.dockerfile import parse
from stackrun.image.dockerfile_lines import Lines
from stackrun.image.instructions import Dockerfile
from stackrun.image.manifest import parse_platform
from stackrun.image.record import Credentials, ImageRecord
from stackrun.image.reference import parse as parse_reference
from stackrun.image.store import ImageStore

P = ParamSpec("P")
T = TypeVar("T")
_WAITING_LINES_MAX = 512
"""A client that does not read holds the command up, not the daemon's memory."""


class Builder:
    def __init__(
        self, *, store: ImageStore, registry: Registry, events: Events, pool: Pool, runs: Runs, workspaces: Workspaces
    ) -> None:
        self._store = store
        self._registry = registry
        self._events = events
        self._pool = pool
        self._runs = runs
        self._workspaces = workspaces
        self._mounts = Mounts(workspaces)
        self._running: set[BuildStream] = set()

    async def start(self, report: Callable[[str], None]) -> None:
        """Removes what the builds of an engine that was killed have left."""
        for entry in tuple(self._registry):
            if entry.definition.for_build:
                await self._runs.remove(entry.id)
        for failed in await self._pool.run_disk(self._workspaces.sweep):
            report(failed)

    async def close(self) -> None:
        for one in tuple(self._running):
            await one.aclose()

    async def prune(self) -> int:
        """What only the cache needs goes, the folders of cache mounts too; gives the bytes of layers that are free now."""
        await self._pool.run_disk(self._workspaces.forget_caches)
        return await self._pool.run_disk(self._store.forget_builds)

    async def build(self, context: AsyncIterator[bytes], spec: BuildSpec) -> BuildStream:
        """Raises what fails before the first line: a broken archive, a Dockerfile that is none."""
        tags = tuple(_tag(one) for one in spec.tags)
        parse_platform(spec.platform)
        stream = BuildStream(self._store, self._pool, self._runs, self._mounts, spec)
        self._running.add(stream)
        stream.on_end = self._running.discard
        stream.start(self._run(stream, context, spec, tags))
        await stream.begin()
        return stream

    async def _run(self, crew: BuildStream, context: AsyncIterator[bytes], spec: BuildSpec, tags: tuple[str, ...]) -> None:
        try:
            await self._built(crew, context, spec, tags)
        except OSError as error:
            hint = "the disk is full" if error.errno == errno.ENOSPC else ""
            raise KernelError(f"build the image: {error.filename or 'write'}", error.errno or errno.EIO, hint=hint) from error

    async def _built(self, crew: BuildStream, context: AsyncIterator[bytes], spec: BuildSpec, tags: tuple[str, ...]) -> None:
        async with AsyncExitStack() as held:
            assembling = self._store.assembling()
            crew.assembly = assembling.__enter__()
            held.push_async_exit(lambda kind, error, trace: self._pool.run_disk(assembling.__exit__, kind, error, trace))
            held.push_async_callback(self._pool.run_disk, self._store.cache.save)
            crew.workspace = self._workspaces.new()
            held.push_async_callback(self._pool.run_disk, crew.workspace.close)
            await crew.work(crew.workspace.open)
            await self._receive(crew, context)
            directory = crew.workspace.context
            text = await crew.work(build_context.dockerfile_of, directory, spec.dockerfile)
            await crew.work(build_context.leave_out, directory, spec.dockerfile)
            dockerfile, texts = await crew.work(_parsed, text, spec.dockerfile)
            context_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, context_fd)
            state, unused = await Building(crew, spec, dockerfile, texts, Tree(context_fd, is_context=True)).run()
            if unused:
                crew.say(Progress(stream=f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n"))
            image_id = await crew.work(self._named, crew.assembly, state, tags)
            crew.say(Progress(aux={"ID": image_id}))
            crew.say(Progress(stream=f"Successfully built {image_id.removeprefix('sha256:')[:SHORT_ID]}\n"))
            for tag in tags:
                self._events.publish("image", "tag", image_id, {"name": parse_reference(tag).familiar})
                crew.say(Progress(stream=f"Successfully tagged {parse_reference(tag).familiar}\n"))

    def _named(self, assembly: Assembly, state: State, tags: tuple[str, ...]) -> str:
        """Blocks.  A build that only names a base gives that very image."""
        if not state.is_base:
            return assembly.commit(state.written(), state.layers, tags).id
        image_id = state.base_id
        if not image_id:
            raise InvalidArgument("No image was generated. Is your Dockerfile empty?", hint="FROM scratch needs at least one more step")
        for tag in tags:
            self._store.tag(image_id, tag)
        return image_id

    async def _receive(self, crew: BuildStream, context: AsyncIterator[bytes]) -> None:
        with Feed() as source:
            feeding = asyncio.get_running_loop().create_task(source.feed(context))
            try:
                unpacking = self._pool.run_long(build_context.unpack, source.file, crew.workspace.context, crew.check)
                await crew.finished(unpacking, feeding.cancel)  # the thread may wait for bytes that never come
            finally:
                await stopped(feeding)


def _parsed(text: str, name: str) -> tuple[Dockerfile, dict[int, str]]:
    """With each instruction as it is written, by its line."""
    return parse(text, name), {one.line: one.text for one in Lines(text).statements()}


def _tag(reference: str) -> str:
    parsed = parse_reference(reference)
    if parsed.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference", hint="leave the @sha256:… out")
    return parsed.with_default_tag().canonical


class BuildStream(AsyncIterator[Progress]):
    """The lines of a build, and what the build asks of the engine meanwhile (build_stages.Crew)."""

    workspace: Workspace
    assembly: Assembly

    def __init__(self, store: ImageStore, pool: Pool, runs: Runs, mounts: Mounts, spec: BuildSpec) -> None:
        self._store = store
        self._pool = pool
        self._spec = spec
        self.cache = store.cache
        self.runs = runs
        self.mounts = mounts
        self.on_end: Callable[[BuildStream], None] = lambda stream: None
        self._loop = asyncio.get_running_loop()
        self._lines: deque[Progress] = deque()
        self._news = asyncio.Event()
        self._read = asyncio.Event()
        self._stop = threading.Event()
        self._task: asyncio.Task[None] | None = None

    # --- for the reader ---

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.on_end(self)
        self._news.set()

    async def begin(self) -> None:
        """Waits for the first line; raises what came instead."""
        assert self._task
        try:
            await self._news.wait()
        except BaseException:
            await self.aclose()
            raise
        if not self._lines and self._task.done():
            self._task.result()

    async def __anext__(self) -> Progress:
        assert self._task
        while not self._lines:
            if self._task.done():
                if not self._task.cancelled():
                    self._task.result()
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        line = self._lines.popleft()
        self._read.set()
        return line

    async def aclose(self) -> None:
        """Cancels the build, and waits until it has cleared up."""
        assert self._task
        self._stop.set()
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # nobody is left to be told

    # --- for the build ---

    def say(self, line: Progress) -> None:
        self._lines.append(line)
        self._news.set()

    async def say_output(self, text: str) -> None:
        self.say(Progress(stream=text))
        while len(self._lines) > _WAITING_LINES_MAX:
            self._read.clear()
            await self._read.wait()

    def check(self) -> None:
        if self._stop.is_set():
            raise StackrunError("the build was cancelled")

    async def work(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """In a thread; when the build is cancelled, it is told by `check` and waited for."""
        return await self.finished(self._pool.run_long(work, *args, **kwargs))

    async def finished(self, work: Coroutine[Any, Any, T], unblock: Callable[[], object] = lambda: None) -> T:
        """`unblock` is called when the build is cancelled meanwhile."""
        running = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._stop.set()
            unblock()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()
            raise

    async def image(self, ref: str, platform: str) -> ImageRecord:
        """From the store, else from its registry."""
        if not self._spec.pull:
            try:
                found = await self.work(self._store.resolve, ref)
                if not platform or parse_platform(platform).architecture == found.architecture:
                    return found
            except NotFound:
                pass
        return await self.work(self._pulled, ref, platform)

    def _pulled(self, ref: str, platform: str) -> ImageRecord:
        def progress(one: record.Progress) -> None:
            line = Progress(one.status, one.id, one.current, one.total, one.stream, one.aux)
            self._loop.call_soon_threadsafe(self.say, line)

        return self._store.pull(ref, auth=self._credentials(ref), platform=platform, progress=progress, cancelled=self._stop.is_set)

    def _credentials(self, ref: str) -> Credentials | None:
        domain = parse_reference(ref).domain
        for name, auth in self._spec.registries.items():
            if _host_of(name) == domain:
                return _as_credentials(auth)
        return None


def _host_of(name: str) -> str:
    """`https://index.docker.io/v1/` → docker.io."""
    host = name.partition("://")[2] or name
    host = host.partition("/")[0]
    return "docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host


def _as_credentials(auth: RegistryAuth) -> Credentials:
    return Credentials(auth.username, auth.password, auth.identity_token, auth.server_address)
