"""The engines that the suite runs over, each opened the same way.

    fake       the in-memory engine itself
    http-fake  HttpEngine → our server → the in-memory engine
    local      our own engine
    http-local HttpEngine → our server → our own engine
    dockerd    HttpEngine → a real dockerd of the test's own
"""

from __future__ import annotations

import io
import os
import shlex
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from dockerd import Dockerd
from engines import engine_on
from fakes.engine import Behaviour, FakeEngine
from fakes.served import served

from stackrun.api.engine import Engine
from stackrun.api.types import ContainerSpec, Filters
from stackrun.client.engine import HttpEngine

IMAGE = "srt/busybox:1"
LABEL = {"srt": "conformance"}
_APPLETS = ("sh", "echo", "cat", "sleep", "true", "false", "ps", "hostname", "env")


@dataclass
class Subject:
    """An engine under test and how to make a program do something in it."""

    engine: Engine
    fake: FakeEngine | None = None
    image: str = IMAGE

    def spec(self, name: str, behaviour: Behaviour, **more: object) -> ContainerSpec:
        """A container that behaves so: scripted in a fake, as a shell program elsewhere.  No network unless asked for."""
        if self.fake:
            self.fake.behave(name, behaviour)
        wanted: dict[str, object] = {"network_mode": "none", "labels": LABEL, "stop_timeout_s": 1, **more}
        return ContainerSpec(self.image, command=program(behaviour), **wanted)  # type: ignore[arg-type]

    def exec_command(self, behaviour: Behaviour) -> tuple[str, ...]:
        command = program(behaviour)
        if self.fake:
            self.fake.behave_exec(command, behaviour)
        return command


def program(behaviour: Behaviour) -> tuple[str, ...]:
    """A shell program of that behaviour."""
    steps = [f"printf %s {shlex.quote(data.decode())}{' >&2' if stream == 2 else ''}" for stream, data in behaviour.output]
    if behaviour.echo:
        steps.append("cat")
    if behaviour.exit_code is None and not behaviour.echo:
        steps.append(f"trap 'exit {behaviour.stop_code}' TERM; : > /trapped; while :; do sleep 1 & wait $!; done")
    return ("sh", "-c", "; ".join([*steps, f"exit {behaviour.exit_code or 0}"]))


def busybox_tar() -> bytes:
    """A root file system of one static program and its names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return buffer.getvalue()


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1 << 16):
        yield data[start : start + (1 << 16)]


@asynccontextmanager
async def _fake(directory: Path) -> AsyncIterator[Subject]:
    fake = FakeEngine(images=(IMAGE,))
    yield Subject(fake, fake)


@asynccontextmanager
async def _http_fake(directory: Path) -> AsyncIterator[Subject]:
    fake = FakeEngine(images=(IMAGE,))
    async with served(fake, directory) as host, HttpEngine(host) as engine:
        yield Subject(engine, fake)


@asynccontextmanager
async def _real(engine: Engine) -> AsyncIterator[Subject]:
    """An engine that runs real programs: gets the image, and is swept afterwards."""
    await provide_image(engine)
    try:
        yield Subject(engine)
    finally:
        await sweep(engine)


@asynccontextmanager
async def _dockerd(host: str) -> AsyncIterator[Subject]:
    async with HttpEngine(host) as engine, _real(engine) as subject:
        yield subject


@asynccontextmanager
async def _local(directory: Path) -> AsyncIterator[Subject]:
    async with engine_on(directory) as engine, _real(engine) as subject:
        yield subject


@asynccontextmanager
async def _http_local(directory: Path) -> AsyncIterator[Subject]:
    async with engine_on(directory) as local, served(local, directory) as host, HttpEngine(host) as engine, _real(engine) as subject:
        yield subject


async def provide_image(engine: Engine) -> None:
    if not await engine.images(filters=Filters({"reference": (IMAGE,)})):
        lines = [one async for one in await engine.import_image(_pieces(busybox_tar()), reference=IMAGE, changes=("ENV PATH=/bin",))]
        assert lines[-1].status.startswith("sha256:"), lines


async def sweep(engine: Engine) -> None:
    ours = Filters({"label": ("srt=conformance",)})
    for container in await engine.containers(all=True, filters=ours):
        await engine.remove_container(container.id, force=True, volumes=True)
    for network in await engine.networks(filters=ours):
        await engine.remove_network(network.id)
    for volume in await engine.volumes(filters=ours):
        await engine.remove_volume(volume.name)


@pytest.fixture(scope="module")
def dockerd_host() -> Iterator[str]:
    daemon = Dockerd()
    yield daemon.host
    daemon.close()


_OPENERS = {"fake": _fake, "http-fake": _http_fake, "local": _local, "http-local": _http_local}


@pytest.fixture(params=[*_OPENERS, "dockerd"])
def opened(request: pytest.FixtureRequest, short_tmp: Path) -> AbstractAsyncContextManager[Subject]:
    """An engine to be entered in the test's own event loop."""
    if not request.param.endswith("fake") and os.geteuid() != 0:
        pytest.skip("needs root: a real engine makes namespaces, mounts and cgroups")
    if request.param == "dockerd":
        return _dockerd(request.getfixturevalue("dockerd_host"))
    return _OPENERS[request.param](short_tmp)
