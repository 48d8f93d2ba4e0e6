"""Images: the store's nouns in the contract's words, its threads behind asynchronous iterators."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

from stackrun.api.filters import select_images
from stackrun.api.history import HistoryEntry
from stackrun.api.types import Filters, Healthcheck, Image, ImageConfig, ImageDeletion, MountPoint, MountType, Progress, RegistryAuth
from stackrun.engine.events import Events
from stackrun.engine.feed import Feed, stopped
from stackrun.engine.pool import Pool
from stackrun.engine.registry import Registry
from stackrun.errors import StackrunError
from stackrun.image import record
from stackrun.image.record import Credentials, ImageRecord
from stackrun.image.store import ImageStore

Report = Callable[[record.Progress], None]
Work = Callable[[Report, Callable[[], bool]], None]


class Images:
    def __init__(self, store: ImageStore, registry: Registry, events: Events, pool: Pool) -> None:
        self._store = store
        self._registry = registry
        self._events = events
        self._pool = pool

    @property
    def broken(self) -> tuple[str, ...]:
        return self._store.broken

    def list(self, filters: Filters) -> tuple[Image, ...]:
        return select_images(tuple(as_image(one) for one in self._store.images()), filters)

    async def get(self, ref: str) -> Image:
        return as_image(await self.find(ref))

    async def history(self, ref: str) -> tuple[HistoryEntry, ...]:
        image = await self.find(ref)
        steps = [HistoryEntry(*one) for one in reversed(await self._pool.run(self._store.history, image))]
        return (replace(steps[0], id=image.id, tags=image.repo_tags), *steps[1:]) if steps else ()

    async def find(self, ref: str) -> ImageRecord:
        """NotFound "No such image: x:latest"."""
        return await self._pool.run(self._store.resolve, ref)

    async def layers(self, image: ImageRecord) -> tuple[str, ...]:
        """The directories of its root file system, top first; unpacked when that has not happened yet."""
        return await self._pool.run(self._store.snapshot, image)

    async def mounts(self, image: ImageRecord) -> tuple[MountPoint, ...]:
        """What the image itself binds from the host (the built-in `host` alone does)."""
        if not image.host:
            return ()
        found = await self._pool.run(self._store.extra_mounts, image)
        return tuple(
            MountPoint(MountType.BIND, one.target, one.source, mode=",".join(one.options), read_write="ro" not in one.options)
            for one in found
        )

    async def pull(self, ref: str, auth: RegistryAuth | None, platform: str) -> AsyncIterator[Progress]:
        credentials = None
        if auth is not None:
            credentials = Credentials(auth.username, auth.password, auth.identity_token, auth.server_address)

        def work(report: Report, cancelled: Callable[[], bool]) -> None:
            self._store.pull(ref, auth=credentials, platform=platform, progress=report, cancelled=cancelled)

        return await self._stream(work, lambda: self._publish("pull", ref))

    async def load(self, archive: AsyncIterator[bytes]) -> AsyncIterator[Progress]:
        async def stream() -> AsyncIterator[Progress]:
            with Feed() as source:
                feeding = asyncio.get_running_loop().create_task(source.feed(archive))
                try:
                    work: Work = lambda report, _: _discarded(self._store.load(source.file, progress=report))  # noqa: E731
                    async with aclosing(await self._stream(work, lambda: None)) as lines:
                        async for line in lines:
                            yield line
                finally:
                    await stopped(feeding)

        return stream()

    async def import_(
        self, archive: AsyncIterator[bytes], reference: str, message: str, changes: tuple[str, ...]
    ) -> AsyncIterator[Progress]:
        async def stream() -> AsyncIterator[Progress]:
            made: list[str] = []

            def work(report: Report, cancelled: Callable[[], bool]) -> None:
                got = self._store.import_(source.file, reference=reference, message=message, changes=changes, progress=report)
                made.append(got.id)

            with Feed() as source:
                feeding = asyncio.get_running_loop().create_task(source.feed(archive))
                try:
                    async with aclosing(await self._stream(work, lambda: self._publish("import", made[0]))) as lines:
                        async for line in lines:
                            yield line
                finally:
                    await stopped(feeding)

        return stream()

    async def tag(self, ref: str, reference: str) -> None:
        await self._pool.run(self._store.tag, ref, reference)
        image = await self.find(ref)
        self._events.publish("image", "tag", image.id, {"name": reference})

    async def remove(self, ref: str, *, force: bool) -> tuple[ImageDeletion, ...]:
        users = {entry.definition.image_id: entry.id for entry in self._registry}
        removals = await self._pool.run_disk(self._store.remove, ref, force=force, in_use=lambda image_id: users.get(image_id, ""))
        for one in removals:
            self._events.publish("image", "delete" if one.deleted else "untag", one.deleted or one.untagged, {"name": ref})
        return tuple(ImageDeletion(one.untagged, one.deleted) for one in removals)

    def _publish(self, action: str, ref: str) -> None:
        self._events.publish("image", action, ref, {"name": ref})

    async def _stream(self, work: Work, done: Callable[[], None]) -> ProgressStream:
        """Runs `work` in a thread. What fails before its first line is raised here; later it is the last line's `error`."""
        loop = asyncio.get_running_loop()
        lines: asyncio.Queue[Progress | None] = asyncio.Queue()
        stop = threading.Event()

        def report(one: record.Progress) -> None:
            line = Progress(one.status, one.id, one.current, one.total, one.stream, one.aux)
            loop.call_soon_threadsafe(lines.put_nowait, line)

        running = loop.create_task(self._pool.run_long(work, report, stop.is_set))
        running.add_done_callback(lambda _: lines.put_nowait(None))
        stream = ProgressStream(lines, running, stop, done)
        try:
            await stream.begin()
        except BaseException:
            stop.set()
            raise
        return stream


class ProgressStream(AsyncIterator[Progress]):
    """The lines of an operation that runs in a thread. `aclose` tells it to stop and waits until it has."""

    def __init__(
        self, lines: asyncio.Queue[Progress | None], running: asyncio.Task[None], stop: threading.Event, done: Callable[[], None]
    ) -> None:
        self._lines = lines
        self._running = running
        self._stop = stop
        self._done = done
        self._first: Progress | None = None
        self._over = False

    async def begin(self) -> None:
        """Waits for the first line; raises what came instead."""
        self._first = await self._lines.get()
        if self._first is None:
            self._over = True
            await self._running
            self._done()

    async def __anext__(self) -> Progress:
        if self._over:
            raise StopAsyncIteration
        line, self._first = self._first or await self._lines.get(), None
        if line is not None:
            return line
        self._over = True
        try:
            await self._running
        except StackrunError as error:
            return Progress(error=error.message)
        self._done()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._over = True
        self._stop.set()
        await asyncio.wait([self._running])
        if not self._running.cancelled():
            self._running.exception()  # nobody is left to be told


def _discarded(_value: object) -> None:
    return


def as_image(one: ImageRecord) -> Image:
    return Image(
        id=one.id,
        config=as_config(one.config),
        repo_tags=one.repo_tags,
        repo_digests=one.repo_digests,
        created=one.created,
        size_bytes=one.size_bytes,
        architecture=one.architecture,
        os=one.os,
        variant=one.variant,
        author=one.author,
        diff_ids=one.diff_ids,
        parent=one.parent,
    )


def as_config(config: record.ImageConfig) -> ImageConfig:
    check = config.healthcheck
    healthcheck = None
    if check is not None:
        healthcheck = Healthcheck(
            check.test, check.interval_s, check.timeout_s, check.retries, check.start_period_s, check.start_interval_s
        )
    return ImageConfig(
        command=config.command,
        entrypoint=config.entrypoint,
        environment=config.environment,
        labels=config.labels,
        user=config.user,
        working_dir=config.working_dir,
        exposed_ports=config.exposed_ports,
        volumes=config.volumes,
        stop_signal=config.stop_signal,
        healthcheck=healthcheck,
        shell=config.shell,
    )
