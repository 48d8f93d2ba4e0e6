"""`POST /build` over the real server with a fake engine behind it, by our own client."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.engine import FakeEngine
from fakes.served import served

from stackrun.api.builds import BuildSpec
from stackrun.api.types import Progress
from stackrun.client.async_http import AsyncTransport
from stackrun.client.engine import HttpEngine
from stackrun.errors import BuildFailed, Conflict, InvalidArgument, Unsupported


def context(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    return buffer.getvalue()


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 700):
        yield data[start : start + 700]


async def _built(engine: FakeEngine, directory: Path, spec: BuildSpec, archive: bytes) -> list[Progress]:
    async with served(engine, directory) as host, HttpEngine(host) as client:
        return [line async for line in await client.build_image(pieces(archive), spec)]


def test_a_build_arrives_whole_and_its_lines_come_back(short_tmp: Path) -> None:
    engine = FakeEngine()
    spec = BuildSpec(tags=("shop/web:1",), labels={"a": "b"}, contexts={"base": "busybox"}, secrets={"t": b"s"})
    lines = asyncio.run(_built(engine, short_tmp, spec, context({"Dockerfile": "FROM scratch\n", "a/b": "x" * 5000})))
    assert engine.builds[0].spec == spec
    assert engine.builds[0].files == {"Dockerfile": b"FROM scratch\n", "a/b": b"x" * 5000}
    image = asyncio.run(engine.image("shop/web:1"))
    assert image.config.labels == {"a": "b"}
    assert lines[-3].aux == {"ID": image.id}
    assert [line.stream for line in lines[-2:]] == [f"Successfully built {image.id[7:19]}\n", "Successfully tagged shop/web:1\n"]


def test_what_fails_before_the_first_line_is_a_status(short_tmp: Path) -> None:
    with pytest.raises(InvalidArgument, match="Cannot locate specified Dockerfile: Dockerfile"):
        asyncio.run(_built(FakeEngine(), short_tmp, BuildSpec(), context({"other": ""})))
    engine = FakeEngine()
    engine.fail("build_image", Conflict("busy"), ref="x")
    with pytest.raises(Conflict, match="busy"):
        asyncio.run(_built(engine, short_tmp, BuildSpec(tags=("x",)), context({"Dockerfile": ""})))


class Failing(FakeEngine):
    async def _build(self, spec: BuildSpec) -> AsyncIterator[Progress]:
        yield Progress(stream="Step 1/1 : RUN false\n")
        raise BuildFailed("The command '/bin/sh -c false' returned a non-zero code: 7", 7)


def test_what_fails_later_is_raised_from_the_lines(short_tmp: Path) -> None:
    with pytest.raises(BuildFailed, match="returned a non-zero code: 7") as caught:
        asyncio.run(_built(Failing(), short_tmp, BuildSpec(), context({"Dockerfile": ""})))
    assert caught.value.code == 7


async def _raw(engine: FakeEngine, directory: Path, query: dict[str, object]) -> list[object]:
    async with served(engine, directory) as host:
        transport = AsyncTransport(host)
        response = await transport.request("POST", "/build", query=query, body=pieces(context({"Dockerfile": ""})))
        lines = [line async for line in response.lines()]
        await transport.close()
        return lines


def test_the_last_object_of_a_failure_is_dockers(short_tmp: Path) -> None:
    last = asyncio.run(_raw(Failing(), short_tmp, {"version": "1"}))[-1]
    message = "The command '/bin/sh -c false' returned a non-zero code: 7"
    assert json.loads(json.dumps(last)) == {"errorDetail": {"code": 7, "message": message, "kind": "BuildFailed"}, "error": message}


def test_quiet_leaves_the_id_alone(short_tmp: Path) -> None:
    engine = FakeEngine()
    lines = asyncio.run(_raw(engine, short_tmp, {"q": True, "t": "x"}))
    assert lines == [{"stream": f"{asyncio.run(engine.image('x')).id}\n"}]


def test_secrets_never_go_to_an_engine_that_is_not_ours(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stackrun.server.app._headers", lambda: (("Api-Version", "1.41"), ("Server", "Docker/26.1 (linux)")))
    engine = FakeEngine()
    with pytest.raises(Unsupported, match="secrets is beyond Docker's classic builder"):
        asyncio.run(_built(engine, short_tmp, BuildSpec(secrets={"a": b"b"}), context({"Dockerfile": ""})))
    assert engine.builds == []
    asyncio.run(_built(engine, short_tmp, BuildSpec(), context({"Dockerfile": ""})))
    assert len(engine.builds) == 1


async def _history(engine: FakeEngine, directory: Path) -> None:
    async with served(engine, directory) as host, HttpEngine(host) as client:
        told, known = await client.image_history("a"), await engine.image_history("a")
        assert [one.id for one in told] == [known[0].id, ""]
        assert [(one.created_by, one.tags, one.size_bytes) for one in told] == [(one.created_by, one.tags, one.size_bytes) for one in known]
        assert told[0].created[:19] == known[0].created[:19]
        assert await client.prune_builds() == 0


def test_an_images_history_and_the_pruning_of_builds(short_tmp: Path) -> None:
    asyncio.run(_history(FakeEngine(images=("a",)), short_tmp))
