"""What `plan` tells of a stack, that it does nothing, and that `up` can be held to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.engine import FakeEngine
from unit.stack.stage import SHOP, Play, Scene

from stackrun.api.stacks import SUPERSEDED, FieldChange, Phase, PlannedAction, StackPlan, StackSource, Symbol, UpOptions
from stackrun.api.types import ContainerSpec, ImageConfig
from stackrun.cli.watching import _destructive
from stackrun.errors import ComposeError, Conflict, NotFound

WEB = """\
name: shop
services:
  web:
    image: busybox:1
    command: [serve, "{}"]
    environment:
      LOG: {}
      TOKEN: {}
    volumes: [/cache]
"""


def of(plan: StackPlan, resource: str) -> PlannedAction:
    (found,) = (one for one in plan.actions if one.resource == resource)
    return found


def outline(plan: StackPlan) -> list[str]:
    return [f"{one.symbol} {one.resource} ({one.cause})" for one in plan.actions]


def test_a_fresh_stack(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        plan = await stage.plan()
        assert outline(plan) == [
            "+ Network shop_default (missing)", "+ Volume shop_data (missing)", "+ Secret token (missing)",
            "+ Container shop-db-1 (missing)", "+ Container shop-migrate-1 (missing)", "+ Container shop-web-1 (missing)",
        ]  # fmt: skip
        assert plan.summary == "plan: 6 to create, 0 to replace, 0 to remove; 0 unchanged"
        assert of(plan, "Container shop-web-1") == PlannedAction(
            Symbol.CREATE, "Container shop-web-1", "missing", ("create", "start"),
            (FieldChange("image", None, "busybox:1", "compose.yaml:12:12"),), ("Network shop_default", "migrate completed"),
        )  # fmt: skip

    play(scene)


def everything(stage: Scene) -> tuple[object, ...]:
    engine: FakeEngine = stage.engine
    files = sorted(str(one) for one in stage.folder.rglob("*"))
    return dict(engine.boxes), dict(engine.networks_by_id), dict(engine.volumes_by_name), dict(engine.images_by_id), files


def test_a_plan_does_nothing(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        for text in (SHOP, SHOP.replace("busybox:1", "redis:7"), SHOP.replace("name: shop", "name: shop\nx-a: 1")):
            stage.write(text)
            stage.engine.pullable["redis:7"] = ImageConfig(command=("redis",))
            before, called = everything(stage), list(stage.engine.calls)
            await stage.plan(force_recreate=True, wait=True)
            assert everything(stage) == before and stage.engine.calls == called
            await stage.up()

    play(scene)


def test_an_unchanged_stack_has_nothing_to_do(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        plan = await stage.plan()
        assert plan.actions == () and plan.summary == "plan: 0 to create, 0 to replace, 0 to remove; 5 unchanged"
        assert plan.unchanged == (
            "Network shop_default", "Volume shop_data", "Container shop-db-1", "Container shop-migrate-1", "Container shop-web-1"
        )  # fmt: skip

    play(scene)


def test_differing_fields_have_their_place_and_hide_secrets(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(WEB.format(1, "info", "old-hush"))
        await stage.up()
        stage.write(WEB.format(2, "debug", "new-hush"))
        plan = await stage.plan()
        (action,) = plan.actions
        assert (action.symbol, action.cause) == (Symbol.REPLACE, "configuration changed")
        assert action.changes == (
            FieldChange("command", "serve 1", "serve 2", "compose.yaml:5:14"),
            FieldChange("environment.LOG", "info", "debug", "compose.yaml:7:12"),
            FieldChange("environment.TOKEN", "(hidden)", "(hidden)", "compose.yaml:8:14"),
        )
        assert "hush" not in repr(plan)
        assert action.notes == ("the anonymous volume at /cache goes over to the new container",) and not action.destroys

    play(scene)


@pytest.mark.parametrize("call", ["remove_container", "rename_container"])
def test_a_replacement_that_was_cut_short_is_still_one(play: Play, call: str) -> None:
    """Nothing of it is a removal that `watch` would have to ask for."""

    async def scene(stage: Scene) -> None:
        stage.write(WEB.format(1, "info", "hush"))
        await stage.up()
        stage.write(WEB.format(2, "info", "hush"))
        gate = stage.engine.hold(call)
        operation = await stage.operations.up(stage.source, UpOptions())
        await gate.reached.wait()
        await operation.aclose()  # type: ignore[attr-defined]
        gate.release()
        (action,) = (await stage.plan()).actions
        expected = (Symbol.REPLACE, SUPERSEDED) if call == "remove_container" else (Symbol.CHANGE, action.cause)
        assert (action.symbol, action.cause) == expected and not action.destroys
        await stage.up()
        assert await stage.states() == {"shop-web-1": "running"}

    play(scene)


def test_a_superseded_container_is_removed_by_a_watch_unasked() -> None:
    assert not _destructive(PlannedAction(Symbol.REMOVE, "Container 0123_shop-web-1", SUPERSEDED))
    assert _destructive(PlannedAction(Symbol.REMOVE, "Container shop-web-1", "orphan"))
    assert _destructive(PlannedAction(Symbol.REMOVE, "Container shop-web-1", SUPERSEDED, destroys=("its data",)))


def test_the_content_of_an_env_file_counts_and_has_the_place_that_names_it(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write("name: shop\nservices:\n  web:\n    image: busybox:1\n    env_file:\n      - first.env\n      - second.env\n")
        (stage.folder / "first.env").write_text("A=1\nB=1\n")
        (stage.folder / "second.env").write_text("B=2\n")
        await stage.up()
        (stage.folder / "second.env").write_text("B=3\n")
        (action,) = (await stage.plan()).actions
        assert action.changes == (FieldChange("environment.B", "2", "3", "compose.yaml:7:9"),)

    play(scene)


def test_places_are_those_of_lists_of_other_files_and_of_what_is_gone(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write("name: shop\nservices:\n  web:\n    image: busybox:1\n    user: root\n    ports: ['80', '8081:81']\n")
        await stage.up()
        stage.write(
            "name: shop\nservices:\n  web:\n    image: busybox:1\n    ports: ['80', '8082:81']\n    volumes: [data:/a]\nvolumes: {data: }\n"
        )
        (stage.folder / "compose.override.yaml").write_text("services:\n  web:\n    labels:\n      team: shop\n")
        action = of(await stage.plan(), "Container shop-web-1")
        assert {one.field: one.place for one in action.changes} == {
            "labels.team": "compose.override.yaml:4:13",
            "ports.81/tcp": "compose.yaml:5:19",
            "user": "compose.override.yaml:3:5",
            "volumes./a": "compose.yaml:6:15",
        }

    play(scene)


def test_what_is_lost_is_told(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(WEB.format(1, 1, 1))
        await stage.up()
        plan = await stage.plan(force_recreate=True, renew_anonymous_volumes=True)
        assert plan.actions[0].destroys == ("the anonymous volume at /cache with its data",)
        stage.write("name: shop\nservices: {other: {image: 'busybox:1'}}\n")
        plan = await stage.plan(remove_orphans=True)
        orphan = of(plan, "Container shop-web-1")
        assert (orphan.symbol, orphan.cause, orphan.steps) == (Symbol.REMOVE, "orphan", ("stop", "remove"))
        assert orphan.notes[0].startswith("the anonymous volume at /cache is left behind as ")

    play(scene)


def test_a_changed_network_is_replaced_with_all_on_it(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        text = "name: shop\nservices: {a: {image: 'busybox:1'}}\n"
        stage.write(text)
        await stage.up()
        stage.write(text + "networks:\n  default:\n    internal: true\n")
        plan = await stage.plan()
        assert outline(plan) == [
            "-/+ Container shop-a-1 (network shop_default replaced)", "-/+ Network shop_default (configuration changed)"
        ]  # fmt: skip
        network = of(plan, "Network shop_default")
        assert network.changes == (FieldChange("internal", None, "true", "compose.yaml:5:15"),)
        assert network.destroys and network.waits_for == ("Container shop-a-1 stopped",)

    play(scene)


def test_a_hash_that_nothing_explains_is_never_no_change(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(WEB.format(1, 1, 1))
        await stage.up()
        (box,) = stage.engine.boxes.values()
        box.spec = replace(box.spec, labels={**box.spec.labels, "com.docker.compose.config-hash": "of another tool"})
        (action,) = (await stage.plan()).actions
        assert (action.symbol, action.cause, action.changes) == (Symbol.REPLACE, "configuration changed (hash)", ())

    play(scene)


def test_pulls_are_part_of_it_and_say_what_may_follow(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(WEB.format(1, 1, 1))
        stage.engine.pullable["busybox:1"] = ImageConfig(command=("sh",))
        await stage.up()
        (pull,) = (await stage.plan(pull="always")).actions
        assert (pull.symbol, pull.resource, pull.cause) == (Symbol.CREATE, "Image busybox:1", "pull policy always")
        assert pull.notes == ("if that is another image, containers of web are replaced as well",)
        assert (await stage.plan(pull="always")).summary == "plan: 1 to pull, 0 to create, 0 to replace, 0 to remove; 2 unchanged"

    play(scene)


def test_another_image_under_the_same_name(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(WEB.format(1, 1, 1))
        await stage.up()
        await _other_image(stage)
        (action,) = (await stage.plan()).actions
        assert (action.symbol, action.cause) == (Symbol.REPLACE, "image changed")
        (change,) = action.changes
        assert change.field == "image" and str(change.after) == "busybox:1 (eeeeeeeeeeee)" and change.place == "compose.yaml:4:12"

    play(scene)


def test_what_up_is_refused_for_a_plan_is_refused_for_too(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write("name: shop\nservices: {web: {build: .}}\n")
        with pytest.raises(NotFound, match="service web: Dockerfile: no such file"):
            await stage.plan()
        (stage.folder / "Dockerfile").write_text("FROM scratch\n")
        with pytest.raises(NotFound, match="No such image: shop-web"):
            await stage.plan(build="never")
        stage.write("services: [")
        with pytest.raises(ComposeError):
            await stage.plan()

    play(scene)


def test_warnings_and_last_waits(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write("name: shop\nservices: {web: {image: 'busybox:1', mem_swappiness: 3}}\n")
        plan = await stage.plan(wait=True)
        assert [(one.resource, one.detail) for one in plan.notices] == [("compose.yaml:2:38", "mem_swappiness has no effect")]
        assert plan.waits == ("web ready",)

    play(scene)


# --- a plan that up is held to


def test_a_sealed_up_does_what_was_planned(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        plan = await stage.plan()
        assert (await stage.up(seal=plan.seal)).phase is Phase.DONE
        with pytest.raises(Conflict, match=r"container shop-db-1 was missing and is [0-9a-f]{12}, running"):
            await stage.up(seal=plan.seal)

    play(scene)


async def _other_file(stage: Scene) -> None:
    stage.write((stage.folder / "compose.yaml").read_text().replace('[CMD, "true"]', '[CMD, "false"]'))


async def _stopped(stage: Scene) -> None:
    await stage.engine.stop_container("shop-web-1")


async def _removed(stage: Scene) -> None:
    await stage.engine.remove_container("shop-web-1", force=True)


async def _other_image(stage: Scene) -> None:
    stage.engine.images_by_id.clear()
    image = stage.engine.add_image("busybox:1", ImageConfig(command=("other",)))
    stage.engine.images_by_id = {"sha256:" + "e" * 64: replace(image, id="sha256:" + "e" * 64)}


async def _other_volume(stage: Scene) -> None:
    del stage.engine.volumes_by_name["shop_data"]


async def _stray(stage: Scene) -> None:
    spec = ContainerSpec("busybox:1", labels={"com.docker.compose.project": "shop", "com.docker.compose.service": "old"})
    await stage.engine.create_container("shop-old-1", spec)


async def _other_secret(stage: Scene) -> None:
    """Nothing in the file: the environment."""


@pytest.mark.parametrize(
    ("move", "reason"),
    [
        (_other_file, "the definition of service db has changed"),
        (_stopped, r"container shop-web-1 was \w+, running and is \w+, exited \(143\)"),
        (_removed, r"container shop-web-1 was \w+, running and is missing"),
        (_other_image, r"image busybox:1 was \w+ and is eeeeeeeeeeee"),
        (_other_volume, "volume shop_data was made .* and is missing"),
        (_stray, "container shop-old-1 was missing and is"),
        (_other_secret, "the definition of service db has changed"),
    ],
)
def test_a_sealed_up_is_refused_with_what_has_moved(play: Play, move: Any, reason: str) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        stage.write(SHOP.replace("depends_on: {migrate", "command: [x]\n    depends_on: {migrate"))
        plan = await stage.plan()
        await move(stage)
        source = stage.source._replace(environment={"TOKEN": "other"}) if move is _other_secret else stage.source
        called = list(stage.engine.calls)
        with pytest.raises(Conflict, match=reason):
            await stage.up(source, seal=plan.seal)
        assert stage.engine.calls == called

    play(scene)


def test_a_pull_that_changes_the_plan_ends_it_there(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(WEB.format(1, 1, 1))
        await stage.up()
        plan = await stage.plan(pull="always")

        async def pulled(*_: object, **__: object) -> Any:
            await _other_image(stage)
            return _nothing()

        stage.engine.pull_image = pulled  # type: ignore[assignment]
        last = await stage.up(pull="always", seal=plan.seal)
        assert (last.phase, last.detail) == (Phase.FAILED, "an image that was pulled or built changes the plan")
        assert not any(call.startswith("create_container") for call in stage.engine.calls[6:])

    play(scene)


async def _nothing() -> Any:
    return
    yield


def test_a_missing_image_is_pulled_as_planned(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write("name: shop\nservices: {web: {image: 'redis:7'}}\n")
        stage.engine.pullable["redis:7"] = ImageConfig(command=("redis",))
        plan = await stage.plan()
        assert plan.summary.startswith("plan: 1 to pull, 2 to create")
        assert (await stage.up(seal=plan.seal)).phase is Phase.DONE

    play(scene)


def test_a_seal_holds_no_secret(play: Play, tmp_path: Path) -> None:
    async def scene(stage: Scene) -> None:
        plan = await stage.plan(StackSource(str(tmp_path), environment={"TOKEN": "very-secret-thing"}))
        assert "very-secret" not in repr(plan)

    play(scene)


def test_an_environment_that_is_no_utf_8(play: Play, tmp_path: Path) -> None:
    async def scene(stage: Scene) -> None:
        source = StackSource(str(tmp_path), environment={"TOKEN": "a\udcffb"})
        plan = await stage.plan(source)
        assert (await stage.up(source, seal=plan.seal)).phase is Phase.DONE
        (mount,) = [one for one in (await stage.engine.container("shop-db-1")).spec.mounts if one.target == "/run/secrets/token"]
        assert Path(mount.source).read_bytes() == b"a\xffb"

    play(scene)


def test_what_the_engine_will_not_have_is_said_once_and_before_anything_is_done(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.engine.shortfalls = lambda spec: ("limits left out (memory)",)  # type: ignore[attr-defined]
        plan = await stage.plan()
        assert [(one.resource, one.text, one.detail) for one in plan.notices] == [
            ("Container shop-db-1", "Warning", "limits left out (memory)")
        ]
        await stage.up()
        assert not (await stage.plan()).notices, "nothing is made"

    play(scene)
