"""A stack's operations from the file to the engine, on an engine in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from fakes.engine import Behaviour, FakeEngine, Gate
from unit.stack.stage import SHOP, Play, Scene

from stackrun.api.stacks import DownOptions, Phase, StackEvent, Stacks, StackSource, StackSummary, UpOptions
from stackrun.api.types import ContainerSpec, ImageConfig
from stackrun.compose.load import load
from stackrun.errors import ComposeError, Conflict, InvalidArgument, NotFound, RegistryError, StackrunError
from stackrun.stack.operations import StackOperations, config_hashes

UP = {"shop-db-1": "running", "shop-migrate-1": "exited", "shop-web-1": "running"}
DONE = StackEvent("", Phase.DONE, "Done")


def test_it_keeps_the_protocol(tmp_path: Path) -> None:
    operations: Stacks = StackOperations(FakeEngine(), state_dir=str(tmp_path))
    assert operations is not None


def test_up_and_up_again_and_down(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        assert await stage.up() == DONE
        assert await stage.states() == UP
        stage.engine.calls.clear()
        assert await stage.up() == DONE
        assert stage.engine.calls == []
        assert {one.text for one in stage.events[:-1]} == {"Running", "Exited"}
        assert await stage.down(volumes=True) == DONE
        assert await stage.states() == {}
        assert not await stage.engine.volumes()
        assert not stage.state.joinpath("shop").exists()

    play(scene)


def test_down_v_takes_an_anonymous_volume_that_was_handed_over(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(SHOP.replace("[data:/data]", "[data:/data, /index]"))
        await stage.up()
        before = {one.name for one in await stage.engine.volumes()}
        await stage.up(force_recreate=True)
        assert {one.name for one in await stage.engine.volumes()} == before and len(before) == 2
        assert await stage.down(volumes=True) == DONE
        assert not await stage.engine.volumes()

    play(scene)


async def _with_handed_over(stage: Scene, more: str = "") -> str:
    """`web` has a successor now; gives the name of the anonymous volume that went over to it."""
    stage.write(f"name: shop\nservices:\n  web: {{image: 'busybox:1', volumes: [/index]{more}}}\n")
    await stage.up()
    await stage.up(force_recreate=True)
    (volume,) = await stage.engine.volumes()
    return volume.name


async def _cut_off(stage: Scene, gate: Gate, operation: AsyncIterator[StackEvent]) -> None:
    """As whoever carries it out is killed at the gate; another one has the same state from then on."""
    await gate.reached.wait()
    await operation.aclose()  # type: ignore[attr-defined]
    gate.release()
    stage.operations = StackOperations(stage.engine, state_dir=str(stage.state))


def test_down_v_takes_what_another_one_cut_short_has_left(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        name = await _with_handed_over(stage)
        gate = stage.engine.hold("remove_volume")
        await _cut_off(stage, gate, await stage.operations.down(stage.source, DownOptions(volumes=True)))
        assert await stage.states() == {} and [one.name for one in await stage.engine.volumes()] == [name]
        assert await stage.down() == DONE
        assert [one.name for one in await stage.engine.volumes()] == [name], "nobody said -v"
        assert await stage.down(volumes=True) == DONE
        assert not await stage.engine.volumes() and not list(stage.state.glob(".owed/*"))

    play(scene)


def test_what_is_owed_and_gone_meanwhile_is_forgotten(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        name = await _with_handed_over(stage)
        gate = stage.engine.hold("remove_volume")
        await _cut_off(stage, gate, await stage.operations.down(stage.source, DownOptions(volumes=True)))
        await stage.engine.remove_volume(name)
        assert await stage.down(volumes=True) == DONE
        assert not list(stage.state.glob(".owed/*"))

    play(scene)


def test_down_v_of_a_service_takes_its_anonymous_volumes(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await _with_handed_over(stage)
        assert await stage.down(volumes=True, services=("web",)) == DONE
        assert not await stage.engine.volumes()

    play(scene)


@pytest.mark.parametrize("more", ["", ", deploy: {update_config: {order: stop-first}}"])
def test_renewing_anonymous_volumes_takes_those_that_were_handed_over(play: Play, more: str) -> None:
    async def scene(stage: Scene) -> None:
        before = await _with_handed_over(stage, more)
        await stage.up(force_recreate=True, renew_anonymous_volumes=True)
        (volume,) = await stage.engine.volumes()
        assert volume.name != before

    play(scene)


def test_a_second_up_says_warm_in_four_questions(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        asked: list[str] = []
        for method in ("containers", "container", "images", "image", "networks", "network", "volumes", "volume", "events"):
            stage.engine.__dict__[method] = _asked(method, getattr(stage.engine, method), asked)
        await stage.up()
        assert sorted(asked) == ["containers", "images", "networks", "volumes"]

    play(scene)


def _asked(name: str, original: Callable[..., Awaitable[object]], asked: list[str]) -> Callable[..., Awaitable[object]]:
    def ask(*args: object, **keys: object) -> Awaitable[object]:
        asked.append(name)
        return original(*args, **keys)

    return ask


def test_secrets_reach_their_container_through_a_private_file(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        (mount,) = [one for one in (await stage.engine.container("shop-db-1")).spec.mounts if one.target == "/run/secrets/token"]
        assert Path(mount.source).read_text() == "hush" and mount.read_only

    play(scene)


def test_faults_of_the_file_are_raised_before_anything(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write("services:\n  web: {image: x, imagee: y}\n")
        with pytest.raises(ComposeError):
            await stage.up()
        stage.write("services:\n  web: {image: busybox:1, networks: [lan]}\nnetworks: {lan: {external: true}}\n")
        with pytest.raises(NotFound, match="network lan"):
            await stage.up()
        with pytest.raises(InvalidArgument, match="no such service: nope"):
            await stage.up(services=("nope",))
        assert stage.engine.calls == []

    play(scene)


def test_a_refusal_leaves_the_project_free(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        with pytest.raises(InvalidArgument):
            await stage.up(services=("nope",))
        assert await stage.up() == DONE

    play(scene)


def test_missing_images_are_pulled_before_anything_is_made(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write("name: shop\nservices:\n  web: {image: 'redis:7'}\n  db: {image: 'busybox:1'}\n")
        stage.engine.pullable["redis:7"] = ImageConfig(command=("redis",))
        assert await stage.up() == DONE
        assert stage.engine.calls[0] == "pull_image redis:7"
        stage.engine.calls.clear()
        await stage.up()
        assert stage.engine.calls == []

    play(scene)


def test_when_a_pull_fails_nothing_has_been_made(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write("name: shop\nservices:\n  web: {image: 'nope:7'}\n  db: {image: 'busybox:1'}\n")
        last = await stage.up()
        assert last.phase is Phase.FAILED and "nope:7" in last.detail and last.exit_code == 1
        assert stage.engine.calls == ["pull_image nope:7"]

    play(scene)


def test_pull_never_refuses(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write("name: shop\nservices:\n  web: {image: 'nope:7'}\n")
        with pytest.raises(NotFound, match="No such image: nope:7"):
            await stage.up(pull="never")

    play(scene)


def test_pull_pulls_what_is_there_too(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.engine.pullable["busybox:1"] = ImageConfig(command=("sh",))
        assert await stage.drain(await stage.operations.pull(stage.source, ("web",))) == DONE
        assert stage.engine.calls == ["pull_image busybox:1"]

    play(scene)


def test_the_failure_of_a_node_ends_the_operation_with_its_words_and_code(play: Play) -> None:
    class Taken(StackrunError):
        exit_code = 4

    async def scene(stage: Scene) -> None:
        stage.engine.fail("start_container", Taken("port 80/tcp is taken by nginx (pid 1)", hint="stop it"), ref="shop-web-1")
        last = await stage.up()
        assert last == StackEvent(
            "", Phase.FAILED, "Failed", "start shop-web-1: port 80/tcp is taken by nginx (pid 1)", "stop it", exit_code=4
        )
        assert await stage.up() == DONE

    play(scene)


def test_several_failures_are_a_line_each(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.engine.fail("create_container", Conflict("one"), ref="shop-db-1")
        stage.engine.fail("create_container", Conflict("two"), ref="shop-web-1")
        assert (await stage.up()).detail == "create shop-db-1: one\ncreate shop-web-1: two"

    play(scene)


def test_warnings_of_the_file_and_orphans_are_told(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        stage.write("name: shop\nservices:\n  db: {image: 'busybox:1', mem_swappiness: 3}\n")
        await stage.up()
        (place, orphans) = stage.warnings()
        assert place == ("compose.yaml:3:28", "mem_swappiness has no effect")
        assert orphans == ("Project shop", "found orphan containers: shop-migrate-1, shop-web-1")
        await stage.up(remove_orphans=True)
        assert set(await stage.states()) == {"shop-db-1"}

    play(scene)


def test_an_optional_dependency_that_fails_is_a_warning(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(
            "name: shop\nservices:\n  cache: {image: 'busybox:1', healthcheck: {test: [CMD, 'true']}}\n"
            "  web: {image: 'busybox:1', depends_on: {cache: {condition: service_healthy, required: false}}}\n"
        )
        stage.engine.behave("cache", Behaviour(health=("unhealthy",)))
        assert await stage.up() == DONE
        assert stage.warnings()[0][1].startswith("dependency failed to start: container shop-cache-1 is unhealthy")
        assert (await stage.states())["shop-web-1"] == "running"

    play(scene)


def test_an_operation_on_a_project_waits_for_the_one_before(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        gate = stage.engine.hold("start_container", ref="shop-db-1")
        first = await stage.operations.up(stage.source, UpOptions())
        await gate.reached.wait()
        second = asyncio.create_task(stage.down())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not any(call.startswith(("stop", "remove")) for call in stage.engine.calls)
        gate.release()
        assert await stage.drain(first) == DONE
        assert await second == DONE
        assert await stage.states() == {}

    play(scene)


def test_closing_the_iterator_ends_the_work_and_frees_the_project(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        gate = stage.engine.hold("start_container", ref="shop-db-1")
        events = await stage.operations.up(stage.source, UpOptions())
        await gate.reached.wait()
        await events.aclose()  # type: ignore[attr-defined]
        assert "running" not in (await stage.states()).values()
        gate.release()
        assert await stage.up() == DONE
        assert await stage.states() == UP

    play(scene)


def test_closing_before_anything_was_read(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        events = await stage.operations.up(stage.source, UpOptions())
        await events.aclose()  # type: ignore[attr-defined]
        assert await stage.up() == DONE

    play(scene)


def test_a_bug_is_no_event_but_raised(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        async def broken(*_: object) -> None:
            raise ZeroDivisionError

        stage.engine.create_network = broken  # type: ignore[method-assign, assignment]
        with pytest.raises(ExceptionGroup):
            await stage.up()

    play(scene)


def test_stop_start_restart_kill(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        assert await stage.drain(await stage.operations.stop(stage.source, (), None)) == DONE
        assert set((await stage.states()).values()) == {"exited"}
        assert await stage.drain(await stage.operations.start(stage.source, ())) == DONE
        assert await stage.states() == UP
        assert await stage.drain(await stage.operations.restart(stage.source, ("web",), 1.0)) == DONE
        assert await stage.drain(await stage.operations.kill(stage.source, ("web",), "SIGKILL")) == DONE
        assert (await stage.states())["shop-web-1"] == "exited"

    play(scene)


def test_a_name_alone_is_enough_when_there_is_no_file_or_a_broken_one(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        by_name = StackSource(str(stage.folder / "nowhere"), project_name="shop")
        stage.folder.joinpath("nowhere").mkdir()
        await stage.up()
        (stage.folder / "compose.yaml").unlink()
        assert await stage.drain(await stage.operations.stop(by_name, (), None)) == DONE
        assert await stage.down(by_name) == DONE
        assert await stage.states() == {}
        stage.write(SHOP)
        await stage.up()
        stage.write("services: [")
        assert await stage.down(StackSource(str(stage.folder), project_name="shop")) == DONE
        assert await stage.states() == {}
        with pytest.raises(ComposeError):
            await stage.down()

    play(scene)


def test_down_leaves_a_network_in_use_and_says_so(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        created = await stage.engine.create_container("guest", ContainerSpec("busybox:1", network_mode="shop_default"))
        await stage.engine.start_container(created.id)
        assert await stage.down() == DONE
        assert ("Network shop_default", "Resource is still in use") in [(one.resource, one.text) for one in stage.events]

    play(scene)


def test_stacks_are_listed_as_compose_lists_them(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        files = (f"{stage.folder}/compose.yaml",)
        assert await stage.operations.stacks() == (StackSummary("shop", "running(2)", files),)
        assert await stage.operations.stacks(all=True) == (StackSummary("shop", "exited(1), running(2)", files),)
        await stage.drain(await stage.operations.stop(stage.source, (), None))
        assert await stage.operations.stacks() == ()

    play(scene)


def test_a_changed_secret_replaces_its_container_alone(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        stage.engine.calls.clear()
        await stage.up(StackSource(str(stage.folder), environment={"TOKEN": "other"}))
        assert {call.split("-")[-2].split("_")[-1] for call in stage.engine.calls} == {"db"}

    play(scene)


def test_wait_gives_the_jobs_and_the_healthy(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        assert await stage.up(wait=True, wait_timeout_s=5.0) == DONE
        stage.engine.behave("web", Behaviour(exit_code=1, output=((2, b"no port\n"),)))
        await stage.down()
        last = await stage.up(wait=True)
        assert last.detail.splitlines() == ["container shop-web-1 exited (1)", "  no port"]

    play(scene)


def test_hashes_are_those_in_the_labels(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        found = {one.name: one.spec.labels["com.docker.compose.config-hash"] for one in await stage.engine.containers(all=True)}
        assert config_hashes(load(stage.source)) == {name: found[f"shop-{name}-1"] for name in ("db", "migrate", "web")}

    play(scene)


def test_an_error_line_of_a_pull_fails_it(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.engine.fail("pull_image", RegistryError("manifest unknown"))
        last = await stage.drain(await stage.operations.pull(stage.source, ()))
        assert (last.phase, last.detail) == (Phase.FAILED, "pull busybox:1: manifest unknown")

    play(scene)


def test_preload_costs_later_operations_nothing(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.operations.preload()
        assert await stage.up() == DONE

    play(scene)
