"""What is sent to a container, and in which order, on the fake engine."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fakes.engine import Behaviour, FakeEngine

from stackrun.api import labels
from stackrun.api.types import ContainerSpec
from stackrun.compose.model import Hook
from stackrun.errors import InvalidArgument, StackrunError, Unsupported
from stackrun.stack.delivery import archive, deliver, running
from stackrun.stack.sync import Delivery, Upload


def on_engine(scenario: Callable[[FakeEngine, str], Awaitable[None]]) -> FakeEngine:
    """With one running container of service web of project p."""

    async def run() -> FakeEngine:
        engine = FakeEngine(("busybox:test",))
        marks = {labels.PROJECT: "p", labels.SERVICE: "web", labels.ONEOFF: "False"}
        created = await engine.create_container("p-web-1", ContainerSpec("busybox:test", command=("sleep", "1"), labels=marks))
        await engine.start_container(created.id)
        engine.calls.clear()
        await scenario(engine, created.id)
        return engine

    return asyncio.run(run())


def names(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        return {one.name: one for one in opened}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("x")
    return tmp_path


def test_an_archive_holds_what_is_listed_and_still_there(source: Path) -> None:
    uploads = tuple(Upload(str(source), path, f"/app/{path}") for path in ("d", "gone", "gone/too"))
    found = names(b"".join(archive(uploads)))
    assert set(found) == {"app/d"} and (found["app/d"].uid, found["app/d"].isdir()) == (0, True)
    below = names(b"".join(archive((Upload(str(source), "d/f", "/app/d/f"),), "/app")))
    assert set(below) == {"d/f"}


def test_a_path_that_is_a_link_is_sent_as_what_it_leads_to(source: Path) -> None:
    (source / "link").symlink_to("d/f")
    assert names(b"".join(archive((Upload(str(source / "link"), ".", "/etc/f"),))))["etc/f"].isreg()


def test_removals_come_first_and_commands_last(source: Path) -> None:
    async def scenario(engine: FakeEngine, id: str) -> None:
        engine.behave_exec(("reload",), Behaviour(exit_code=3, output=((1, b"first\nno luck\n"),)))
        engine.files(id)["/app/old"] = engine.files(id)["/etc"]
        wanted = Delivery((Upload(str(source), "d/f", "/app/f"),), ("/app/old",), restarts=True, commands=(Hook(("reload",)),))
        assert await deliver(engine, id, wanted) == ("reload ended with 3: no luck",)
        assert engine.files(id)["/app/f"][1] == b"x" and "/app/old" not in engine.files(id)

    engine = on_engine(scenario)
    assert [one.split()[0] for one in engine.calls] == ["remove_files", "put_archive", "restart_container"]
    assert [one.action for one in engine.history if "exec_start" in one.action] == ["exec_start: reload"]


def test_another_engine_removes_by_the_containers_rm() -> None:
    async def scenario(engine: FakeEngine, id: str) -> None:
        engine.fail("remove_files", Unsupported("no"))
        engine.behave_exec(("rm", "-rf", "--", "/app/old"), Behaviour(exit_code=0))
        await deliver(engine, id, Delivery(removals=("/app/old",)))

    assert [one.action for one in on_engine(scenario).history if "exec_start" in one.action] == ["exec_start: rm -rf -- /app/old"]


def test_what_cannot_be_removed_ends_it(source: Path) -> None:
    async def scenario(engine: FakeEngine, id: str) -> None:
        engine.fail("remove_files", Unsupported("no"))
        engine.behave_exec(("rm", "-rf", "--", "/app/old"), Behaviour(exit_code=1, output=((2, b"rm: denied\n"),)))
        with pytest.raises(StackrunError, match="ended with 1: rm: denied"):
            await deliver(engine, id, Delivery((Upload(str(source), "d/f", "/app/f"),), ("/app/old",)))

    assert on_engine(scenario).calls == ["remove_files p-web-1"]


def test_a_read_only_root_gets_files_where_a_volume_is(source: Path) -> None:
    async def scenario(engine: FakeEngine, id: str) -> None:
        engine.files(id)["/data"] = engine.files(id)["/etc"]
        engine.fail("put_archive", InvalidArgument("container rootfs is marked read-only"), ref="p-web-1 /")
        await deliver(engine, id, Delivery((Upload(str(source), "d/f", "/data/f"),)))
        assert engine.files(id)["/data/f"][1] == b"x"

    on_engine(scenario)


def test_running_containers_of_the_services_alone() -> None:
    async def scenario(engine: FakeEngine, id: str) -> None:
        assert [one.id for one in await running(engine, "p", frozenset({"web"}))] == [id]
        assert await running(engine, "p", frozenset({"db"})) == () == await running(engine, "q", frozenset({"web"}))

    on_engine(scenario)
