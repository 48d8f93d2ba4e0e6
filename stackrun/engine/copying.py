"""Files in and out of containers, running or not: what `docker cp` asks for.

A path is resolved inside the container's root with every mount in it (engine.view); what is mounted read-only there, or a read-only
root, is not written to, as the kernel itself sees it.  For a stopped container its lock is held meanwhile, so that it does not start
under the hands of the copy, as dockerd does; a running one may end at any time, by which copying into it ends, too.
"""

from __future__ import annotations

import asyncio
import errno
import os
import posixpath
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from stackrun.api.archives import PathStat
from stackrun.engine import view as views
from stackrun.engine.clock import stamp
from stackrun.engine.feed import Feed, stopped
from stackrun.engine.lifecycle import Lifecycle
from stackrun.engine.pool import Pool
from stackrun.engine.registry import Entry, Registry
from stackrun.engine.store import Store
from stackrun.engine.view import View
from stackrun.errors import InvalidArgument, KernelError, NotFound
from stackrun.image.extracting import Rules, extract, remove
from stackrun.image.packing import Packer, gathered
from stackrun.kernel import paths, syscalls
from stackrun.runtime.passwd import resolve_user


class Copies:
    def __init__(self, *, store: Store, registry: Registry, pool: Pool, lifecycle: Lifecycle) -> None:
        self._store = store
        self._registry = registry
        self._pool = pool
        self._lifecycle = lifecycle

    async def stat(self, ref: str, path: str) -> PathStat:
        entry = self._registry.find(ref)
        with _worded(ref, path):
            async with self._view(entry) as view:
                return await self._pool.run_disk(path_stat, view.root_fd, path)

    async def get(self, ref: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        """What is at `path` and a tar of it; close the iterator."""
        entry = self._registry.find(ref)
        async with AsyncExitStack() as held:
            held.enter_context(_worded(ref, path))
            view = await held.enter_async_context(self._view(entry))
            found = await self._pool.run_disk(path_stat, view.root_fd, path)
            pieces = await self._pool.run_disk(archived, view.root_fd, path)
            self._lifecycle.publish(entry, "archive-path")
            return found, _Pieces(pieces, self._pool, held.pop_all())

    async def put(self, ref: str, path: str, archive: AsyncIterator[bytes], *, same_kind: bool, to_user: bool) -> None:
        entry = self._registry.find(ref)
        with _worded(ref, path):
            async with self._view(entry) as view:
                await self._pool.run_disk(require_writable_directory, view.root_fd, path)
                user = entry.definition.spec.user if to_user else ""
                rules = await self._pool.run_disk(_rules, view, same_kind, user)
                with Feed() as source:
                    feeding = asyncio.get_running_loop().create_task(source.feed(archive))
                    try:
                        await self._pool.run_long(extract, source.file, view.root_fd, path, rules)
                    finally:
                        await stopped(feeding)
        self._lifecycle.publish(entry, "extract-to-dir")

    async def remove(self, ref: str, paths: tuple[str, ...]) -> None:
        entry = self._registry.find(ref)
        async with self._view(entry) as view:
            for path in paths:
                view.require_current()
                await self._pool.run_disk(remove, view.root_fd, path)

    @asynccontextmanager
    async def _view(self, entry: Entry) -> AsyncIterator[View]:
        async with AsyncExitStack() as held:
            if not entry.alive:
                await held.enter_async_context(entry.lock)
            if entry.alive:  # it was started meanwhile
                await held.aclose()
            if self._registry.get(entry.id) is not entry:
                raise NotFound(f"No such container: {entry.id}")
            handle = entry.handle
            if entry.alive and handle is not None:
                view = await self._pool.run(views.of_running, handle.pid)
            else:
                view = await self._pool.run(views.of_stopped, entry.definition, self._store.container_directory(entry.id))
            held.callback(view.close)
            yield view


@contextmanager
def _worded(ref: str, path: str) -> Iterator[None]:
    """What the file system says, as Docker words it for the path that was asked for."""
    if not path:
        raise InvalidArgument("bad parameter: path cannot be empty")
    if "\0" in path:
        raise InvalidArgument("bad parameter: path holds a NUL byte")
    try:
        yield
    except OSError as error:
        raise KernelError(f"look at {path}", error.errno or errno.EIO) from error
    except KernelError as error:
        if error.errno == errno.ENOENT and error.call.startswith("openat2 "):
            raise NotFound(f"Could not find the file {path} in container {ref}") from error
        raise


class _Pieces(AsyncIterator[bytes]):
    """Reads on in a thread only when the next piece is asked for: a client that stalls holds none."""

    def __init__(self, pieces: Iterator[bytes], pool: Pool, held: AsyncExitStack) -> None:
        self._pieces = pieces
        self._pool = pool
        self._held = held

    async def __anext__(self) -> bytes:
        piece = await self._pool.run_long(next, self._pieces, b"")
        if not piece:
            await self.aclose()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        close: Callable[[], None] = getattr(self._pieces, "close", lambda: None)
        await self._pool.run_long(close)
        await self._held.aclose()


def path_stat(root_fd: int, path: str) -> PathStat:
    """Of the last component itself if it is a link, unless the path ends in / or /. (then of what that leads to)."""
    fd = paths.open_in_root(root_fd, path, follow=_into(path))
    try:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    if _into(path) and not stat.S_ISDIR(status.st_mode):
        raise KernelError(f"lstat {path}", errno.ENOTDIR)
    target = paths.real_path(root_fd, path) if stat.S_ISLNK(status.st_mode) else ""
    return PathStat(_base_name(path), status.st_size, status.st_mode, stamp(status.st_mtime_ns), target)


def archived(root_fd: int, path: str) -> Iterator[bytes]:
    """A tar of `path` called by its last component; opened when this returns, read as the iterator goes on."""
    follow = _into(path)
    fd = paths.open_in_root(root_fd, path, follow=follow)
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            opened = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            return _archive_of(opened, "", _base_name(path))
        parent, name = posixpath.split(path)
        return _archive_of(paths.open_in_root(root_fd, parent, os.O_PATH | os.O_DIRECTORY), name, name)
    finally:
        os.close(fd)


def _archive_of(fd: int, name: str, called: str) -> Iterator[bytes]:
    """Takes over the directory `fd`: all of it, or `name` in it."""
    packer = Packer()

    def pieces() -> Iterator[bytes]:
        try:
            yield from packer.entry(fd, name, called) if name else packer.directory(fd, called)
            yield packer.end()
        finally:
            os.close(fd)

    return gathered(pieces())


def require_writable_directory(root_fd: int, path: str) -> None:
    """The mount it is on decides, as the kernel knows it."""
    fd = paths.open_in_root(root_fd, path)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise InvalidArgument("extraction point is not a directory")
        if os.statvfs(f"/proc/self/fd/{fd}").f_flag & os.ST_RDONLY:
            in_root = syscalls.mount_id(fd) == syscalls.mount_id(root_fd)
            raise InvalidArgument("container rootfs is marked read-only" if in_root else "mounted volume is marked read-only")
    finally:
        os.close(fd)


def _rules(view: View, same_kind: bool, user: str) -> Rules:
    owner = None
    if user:
        found = resolve_user(view.root_fd, user)
        owner = (found.uid, found.gid)
    return Rules(owner=owner, same_kind=same_kind, check=view.require_current)


def _into(path: str) -> bool:
    return path.endswith(("/", "/.")) or path in (".", "..")


def _base_name(path: str) -> str:
    """As Go's filepath.Base, and `.` for what ends in it: that is how the archive's members are called."""
    if (path.endswith("/.") and path.strip("/.")) or path == ".":
        return "."
    return posixpath.basename(posixpath.normpath(f"/{path}")) or "/"
