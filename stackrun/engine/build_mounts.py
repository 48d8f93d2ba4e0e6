"""`RUN --mount`: what is in place while a command runs and is no part of its layer.

bind: files of the context, a stage or an image, as a copy of their own: what is written to it is thrown away.  cache: a folder of this
machine, kept from build to build.  tmpfs: memory.  secret: a file in memory with what the client sent, never in a layer, a line or the
history.  ssh is refused: there is no agent here to ask.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from stackrun.api.builds import BuildSpec
from stackrun.api.types import Mount, MountType
from stackrun.engine.build_copy import Manner, copy
from stackrun.engine.build_sources import Tree, cleaned, digest
from stackrun.engine.build_state import State
from stackrun.engine.build_workspace import Workspace, Workspaces
from stackrun.errors import InvalidArgument, Unsupported
from stackrun.image.instructions import Run, RunMount
from stackrun.image.substitution import expand

P = ParamSpec("P")
T = TypeVar("T")
Trees = Callable[[str], Awaitable[Tree]]
_PROGRAM = "/run/stackrun-program"
"""Where a here-document is that begins with #!: a mount point, so it is no part of the layer."""


class Crew(Protocol):
    workspace: Workspace

    async def work(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...


@dataclass(slots=True)
class Made:
    """`targets`: the mount points; `environment`: secrets that are wanted as variables; `program`: what to execute instead of a shell."""

    mounts: tuple[Mount, ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    program: str = ""


@dataclass(frozen=True, slots=True)
class _Wanted:
    kind: str
    target: str
    options: Mapping[str, str]
    tree: Tree | None = None
    source: str = ""


class Mounts:
    """Those of one engine: caches are locked across its builds."""

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces
        self._locks: dict[str, asyncio.Lock] = {}

    async def plan(self, run: Run, state: State, tree_of: Trees, escape: str) -> Plan:
        variables = state.variables()
        wanted = []
        for mount in run.mounts:
            options = {name: expand(value, variables, escape) for name, value in mount.options.items()}
            wanted.append(await _wanted(mount, options, state.working_dir, tree_of))
        script = run.script.encode() if run.is_shell and run.script.startswith("#!") and run.heredocs else b""
        return Plan(self, tuple(wanted), script)

    def lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    def cache(self, name: str, owner: tuple[int, int], mode: int) -> str:
        return self._workspaces.cache(name, owner, mode)


async def _wanted(mount: RunMount, options: Mapping[str, str], working_dir: str, tree_of: Trees) -> _Wanted:
    kind = mount.type
    if kind == "ssh":
        raise Unsupported("RUN --mount=type=ssh is not supported", hint="give the key as a secret: --mount=type=secret")
    target = options.get("target") or options.get("dst") or options.get("destination") or ""
    if kind == "secret":
        name = options.get("id") or posixpath.basename(target)
        if not name:
            raise InvalidArgument("invalid RUN --mount: a secret needs an id", hint="--mount=type=secret,id=token")
        target = target or ("" if options.get("env") else f"/run/secrets/{name}")
        return _Wanted(kind, posixpath.join("/", working_dir, target) if target else "", {**options, "id": name})
    if not target:
        raise InvalidArgument(f"invalid RUN --mount: a {kind} mount needs a target", hint=f"--mount=type={kind},target=/x")
    target = posixpath.normpath(posixpath.join("/", working_dir, target))
    if kind == "bind":
        source = cleaned(options.get("source") or options.get("src") or "", "RUN --mount")
        return _Wanted(kind, target, options, await tree_of(options.get("from", "")), source)
    if kind == "cache" and options.get("from"):
        raise Unsupported("RUN --mount=type=cache,from=… is not supported", hint="let the command fill the cache")
    return _Wanted(kind, target, options)


class Plan:
    def __init__(self, mounts: Mounts, wanted: tuple[_Wanted, ...], script: bytes) -> None:
        self._mounts = mounts
        self._wanted = wanted
        self._script = script

    def key(self) -> list[object]:
        """What of the mounts the result may depend on: content of files that are bound, and never that of a secret or a cache.  Blocks."""
        found: list[object] = []
        for one in self._wanted:
            content = digest(one.tree, one.source, owners=not one.tree.is_context, wanted=lambda path: True) if one.tree else ""
            found.append([one.kind, one.target, sorted(one.options.items()), content])
        return found

    @asynccontextmanager
    async def made(self, crew: Crew, spec: BuildSpec, lower: tuple[str, ...]) -> AsyncIterator[Made]:
        async with AsyncExitStack() as held:
            mounts: list[Mount] = []
            tmpfs: dict[str, str] = {}
            environment: dict[str, str] = {}
            for one in self._wanted:
                if one.kind == "tmpfs":
                    tmpfs[one.target] = f"size={one.options['size']}" if one.options.get("size") else ""
                elif one.kind == "cache":
                    mounts.append(await self._cache(one, held))
                elif one.kind == "secret":
                    given = await _secret(one, crew, spec, environment)
                    held.callback(_forget, given)
                    mounts += given
                else:
                    mounts.append(await _bound(one, crew))
            if self._script:
                path = await crew.work(crew.workspace.program, self._script)
                mounts.append(Mount(MountType.BIND, _PROGRAM, path, read_only=True))
            targets = (*tmpfs, *(one.target for one in mounts))
            yield Made(tuple(mounts), tmpfs, targets, environment, _PROGRAM if self._script else "")

    async def _cache(self, one: _Wanted, held: AsyncExitStack) -> Mount:
        name = one.options.get("id") or one.target
        sharing = one.options.get("sharing", "shared")
        if sharing not in ("shared", "private", "locked"):
            raise InvalidArgument(f"unsupported sharing value {sharing!r}", hint="one of shared, private, locked")
        if sharing != "shared":
            await held.enter_async_context(self._mounts.lock(name))
        path = self._mounts.cache(name, _owner(one), _mode(one, "0755"))
        return Mount(MountType.BIND, one.target, path, read_only=_flag(one, "readonly") or _flag(one, "ro"))


async def _secret(one: _Wanted, crew: Crew, spec: BuildSpec, environment: dict[str, str]) -> list[Mount]:
    name = one.options["id"]
    content = spec.secrets.get(name)
    if content is None:
        if _flag(one, "required"):
            raise InvalidArgument(f"secret {name}: not found", hint=f"give it with the build: --secret id={name},src=FILE")
        return []
    if variable := one.options.get("env"):
        environment[variable] = content.decode("utf-8", "surrogateescape")
    if not one.target:
        return []
    path = await crew.work(crew.workspace.secret, content, _owner(one), _mode(one, "0400"))
    return [Mount(MountType.BIND, one.target, path, read_only=True)]


def _forget(secrets: list[Mount]) -> None:
    """As soon as the command has ended."""
    for one in secrets:
        Path(one.source).unlink(missing_ok=True)


async def _bound(one: _Wanted, crew: Crew) -> Mount:
    """A copy: a view of a stage is mounted where no container sees it, and nothing may be written to the context."""
    assert one.tree
    directory = await crew.work(crew.workspace.step)
    tree, source = one.tree, one.source

    def fill() -> str:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            copy(tree, source, fd, "/content", Manner((0, 0) if tree.is_context else None))
        finally:
            os.close(fd)
        return f"{directory}/content"

    writable = _flag(one, "rw") or _flag(one, "readwrite")
    return Mount(MountType.BIND, one.target, await crew.work(fill), read_only=not writable)


def _flag(one: _Wanted, name: str) -> bool:
    return one.options.get(name, "false").lower() in ("true", "1", "")


def _owner(one: _Wanted) -> tuple[int, int]:
    try:
        return int(one.options.get("uid") or 0), int(one.options.get("gid") or 0)
    except ValueError:
        raise InvalidArgument("invalid RUN --mount: uid and gid are numbers", hint="uid=1000") from None


def _mode(one: _Wanted, default: str) -> int:
    try:
        return int(one.options.get("mode") or default, 8)
    except ValueError:
        raise InvalidArgument(f"invalid RUN --mount: mode {one.options['mode']!r} is not octal", hint="mode=0400") from None
