"""Up as a transaction: revisions that an `up` makes, going back to one, and returning by itself."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable
from pathlib import Path

import pytest
from fakes.engine import Behaviour
from unit.stack.stage import Play, Scene

from stackrun.api.stacks import Phase, StackSource, UpOptions
from stackrun.api.types import Filters
from stackrun.errors import ComposeError, Conflict, InvalidArgument, KernelError, NotFound
from stackrun.stack import revisions as files
from stackrun.stack.operations import StackOperations

ONE = "name: shop\nservices:\n  web: {image: 'busybox:1', environment: {V: '1', TOKEN: hush-hush}}\n"
TWO = "name: shop\nservices:\n  web: {image: 'busybox:1', environment: {V: '2'}}\n  cache: {image: 'busybox:1'}\n"
CHECKED = "healthcheck: {test: [CMD, probe]}"


async def history(stage: Scene) -> list[tuple[int, str, str]]:
    return [(one.number, one.how, one.changed) for one in (await stage.operations.history(by_name(stage))).revisions]


async def current(stage: Scene) -> list[int]:
    return [one.number for one in (await stage.operations.history(by_name(stage))).revisions if one.current]


def by_name(stage: Scene) -> StackSource:
    """As the command line sends it: the file may be anything."""
    return StackSource(str(stage.folder), project_name="shop", environment={"TOKEN": "hush"})


async def rollback(stage: Scene, number: int = -1, **options: object) -> str:
    last = await stage.up(by_name(stage), revision=number, by="rollback", **options)
    return last.detail if last.phase is Phase.FAILED else "done"


async def environment(stage: Scene, name: str = "shop-web-1") -> tuple[str, ...]:
    return (await stage.engine.container(name)).spec.environment


async def both(stage: Scene) -> None:
    for text in (ONE, TWO):
        stage.write(text)
        assert (await stage.up()).phase is Phase.DONE


def test_each_up_that_changes_something_makes_one(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await both(stage)
        await stage.up()
        assert await history(stage) == [(1, "up", "+web"), (2, "up", "+cache, web environment.TOKEN and environment.V")]
        assert await current(stage) == [2]
        await stage.down()
        assert await current(stage) == [] and len(await history(stage)) == 2
        await stage.up()
        assert len(await history(stage)) == 2 and await current(stage) == [2]

    play(scene)


def test_an_up_of_one_service_keeps_what_the_others_were(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await both(stage)
        stage.write(TWO.replace("V: '2'", "V: '3'").replace("cache: {", "cache: {hostname: h, "))
        await stage.up(services=("web",))
        assert (await history(stage))[-1] == (3, "up web", "web environment.V")
        await stage.down()
        stage.write(TWO)
        await stage.up(services=("cache",))
        assert (await history(stage))[-1] == (4, "up cache", "-web")

    play(scene)


def test_a_failed_one_makes_none_and_the_next_rollback_goes_to_the_last(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await both(stage)
        stage.write(TWO + "  extra: {image: 'busybox:1'}\n")
        stage.engine.fail("start_container", Conflict("no"), ref="shop-extra-1")
        assert (await stage.up()).phase is Phase.FAILED
        found = await stage.operations.history(by_name(stage))
        assert [one.number for one in found.revisions] == [1, 2] and found.unfinished == "up" and await current(stage) == []
        assert await rollback(stage) == "done"
        assert set(await stage.states()) == {"shop-web-1", "shop-cache-1"}
        assert await current(stage) == [2] and not (await stage.operations.history(by_name(stage))).unfinished

    play(scene)


def test_an_up_of_another_service_finishes_nothing(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.operations = StackOperations(stage.engine, state_dir=str(stage.state), keeps=True)
        await both(stage)
        stage.write(TWO.replace("V: '2'", "V: '3'").replace("cache: {", "cache: {hostname: h, "))
        stage.engine.fail("start_container", Conflict("no"), ref="shop-web-1")
        assert (await stage.up(services=("web",))).phase is Phase.FAILED
        await stage.up(services=("cache",))
        assert (await history(stage))[-1] == (3, "up cache", "cache hostname")
        assert (await stage.operations.history(by_name(stage))).unfinished == "up web"
        assert await rollback(stage) == "done"
        assert await environment(stage) == ("V=2",) and await current(stage) == [3]
        assert (await stage.engine.container("shop-cache-1")).spec.hostname == "h"

    play(scene)


def test_what_was_only_made_is_no_revision(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up()
        stage.write(TWO)
        await stage.up(no_start=True)
        found = await stage.operations.history(by_name(stage))
        assert len(found.revisions) == 1 and found.unfinished == "up --no-start"
        await stage.up()
        assert await current(stage) == [2]

    play(scene)


def test_the_same_stack_from_another_folder_is_no_other_state(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up()
        (stage.folder / "elsewhere").mkdir()
        (stage.folder / "compose.yaml").rename(stage.folder / "elsewhere/compose.yaml")
        await stage.up(StackSource(str(stage.folder / "elsewhere")))
        assert len(await history(stage)) == 1

    play(scene)


def test_a_stack_that_is_not_kept_is_not_kept_after_going_back(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.operations = StackOperations(stage.engine, state_dir=str(stage.state), keeps=True)
        stage.write(ONE)
        await stage.up()
        stage.write(TWO)
        await stage.up(keep=False)
        await rollback(stage)
        declared = await stage.operations.keeping.declared("shop")
        assert declared is not None and not declared.kept and set(declared.desired.services) == {"web"}

    play(scene)


def test_a_service_that_was_taken_down_is_not_recorded_as_up(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.operations = StackOperations(stage.engine, state_dir=str(stage.state), keeps=True)
        await both(stage)
        await stage.down(services=("cache",))
        stage.write(TWO.replace("V: '2'", "V: '3'"))
        await stage.up(services=("web",))
        assert (await history(stage))[-1] == (3, "up web", "-cache, web environment.V")

    play(scene)


def test_rollback_is_the_revision_before_and_back_again(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await both(stage)
        plan = await stage.plan(by_name(stage), revision=-1)
        assert {one.resource: str(one.symbol) for one in plan.actions} == {"Container shop-cache-1": "-", "Container shop-web-1": "-/+"}
        (change,) = [one for action in plan.actions for one in action.changes if one.field == "environment.TOKEN"]
        assert change.after == "(hidden)" and change.place == ""
        assert await rollback(stage) == "done"
        assert set(await environment(stage)) == {"TOKEN=hush-hush", "V=1"} and set(await stage.states()) == {"shop-web-1"}
        assert (await history(stage))[-1] == (3, "rollback to 1", "-cache, web environment.TOKEN and environment.V")
        assert await rollback(stage) == "done"
        assert set(await stage.states()) == {"shop-web-1", "shop-cache-1"} and (await history(stage))[-1][1] == "rollback to 2"

    play(scene)


def test_what_was_rolled_back_to_is_what_its_file_says(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await both(stage)
        await rollback(stage)
        stage.write(ONE)
        stage.engine.calls.clear()
        await stage.up()
        assert stage.engine.calls == [] and len(await history(stage)) == 3

    play(scene)


def test_a_file_that_is_broken_or_gone_stops_nothing(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await both(stage)
        stage.write("services: [")
        with pytest.raises(ComposeError):
            await stage.operations.diff(by_name(stage), 1, 0)
        assert (await stage.operations.diff(by_name(stage), 1, 2)).after == "revision 2"
        assert await rollback(stage) == "done"
        (stage.folder / "compose.yaml").unlink()
        assert await rollback(stage, 2) == "done"
        await stage.down(by_name(stage))
        assert await rollback(stage) == "done"
        assert set(await stage.states()) == {"shop-web-1", "shop-cache-1"}

    play(scene)


def test_containers_that_no_revision_ever_had_stay(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await both(stage)
        (guest,) = [one for one in await stage.engine.containers() if one.name == "shop-cache-1"]
        labels = {**guest.spec.labels, "com.docker.compose.service": "guest"}
        await stage.engine.create_container("guest", type(guest.spec)("busybox:1", labels=labels))
        assert await rollback(stage) == "done"
        assert set(await stage.states()) == {"shop-web-1", "guest"}
        assert stage.warnings() == [("Containers", "guest: of services that no revision ever had: left alone")]

    play(scene)


def test_what_there_is_no_revision_of(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        for asked in (stage.operations.history(by_name(stage)), stage.operations.diff(by_name(stage), 0, 0)):
            with pytest.raises(NotFound, match="stack shop has no revisions"):
                await asked
        for number in (-1, 3):
            with pytest.raises(NotFound, match="has no revision"):
                await rollback(stage, number)
        stage.write(ONE)
        await stage.up()
        with pytest.raises(NotFound, match="no revision before 1"):
            await rollback(stage)
        assert await rollback(stage, 1) == "done"

    play(scene)


def test_a_revision_is_brought_back_as_a_whole(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await both(stage)
        for options in ({"services": ("web",)}, {"scale": {"web": 2}}, {"pull": "always"}):
            with pytest.raises(InvalidArgument, match="as a whole"):
                await rollback(stage, **options)

    play(scene)


@pytest.mark.parametrize("name", ["../shop", "/etc", ".revisions", "Shop"])
def test_a_name_that_is_none_leads_nowhere(play: Play, name: str) -> None:
    async def scene(stage: Scene) -> None:
        source = StackSource(str(stage.folder), project_name=name)
        for asked in (stage.operations.history(source), stage.operations.diff(source, 1, 2), stage.up(source, revision=1)):
            with pytest.raises(InvalidArgument, match="invalid project name"):
                await asked

    play(scene)


# --- what has moved meanwhile


def test_the_image_of_then_is_used_though_its_name_means_another(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up()
        old = (await stage.engine.container("shop-web-1")).image_id
        new = stage.engine.add_image("busybox:2").id
        await stage.engine.tag_image("busybox:2", "busybox:1")
        await stage.up()
        assert (await history(stage))[-1][2].startswith("web image 1 (")
        assert await rollback(stage) == "done"
        assert (await stage.engine.container("shop-web-1")).image_id == old
        ((resource, told),) = stage.warnings()
        assert resource == "Service web" and told.startswith("busybox:1 means another image now: the one of revision 1 is used, ")
        assert await rollback(stage, 1) == "done" and not [one for one in stage.events if one.text == "Created"]
        await stage.up()
        assert (await stage.engine.container("shop-web-1")).image_id == new

    play(scene)


def test_up_of_the_file_does_nothing_once_the_name_means_the_same_again(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up()
        old = (await stage.engine.container("shop-web-1")).image_id
        stage.engine.add_image("busybox:2")
        await stage.engine.tag_image("busybox:2", "busybox:1")
        await stage.up()
        await rollback(stage)
        await stage.engine.tag_image(old, "busybox:1")
        stage.engine.calls.clear()
        await stage.up()
        assert stage.engine.calls == []

    play(scene)


def test_an_image_that_is_gone_is_told(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up()
        old = (await stage.engine.container("shop-web-1")).image_id
        stage.engine.add_image("busybox:2")
        await stage.engine.tag_image("busybox:2", "busybox:1")
        stage.write(TWO)
        await stage.up()
        del stage.engine.images_by_id[old]
        assert await rollback(stage) == "done"
        assert "is gone: what the name means now is used, " in stage.warnings()[0][1]

    play(scene)


def test_files_that_are_mounted_as_they_are_and_have_changed_are_named(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        site = stage.folder / "site.conf"
        site.write_text("one")
        stage.write("name: shop\nservices:\n  web: {image: 'busybox:1', configs: [site]}\nconfigs: {site: {file: ./site.conf}}\n")
        await stage.up()
        site.write_text("two")
        await stage.up()
        assert (await history(stage))[-1][2] == "web configs.site"
        await rollback(stage)
        assert stage.warnings() == [("Service web", f"config site: {site} has changed since: it is used as it is now")]
        site.unlink()
        assert "cannot be read any more" in (await stage.plan(by_name(stage), revision=1)).notices[0].detail

    play(scene)


def test_secrets_come_back_as_they_were(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.up()
        await stage.up(StackSource(str(stage.folder), environment={"TOKEN": "another-one"}))
        await stage.down()
        assert await rollback(stage, 1) == "done"
        (mount,) = [one for one in (await stage.engine.container("shop-db-1")).spec.mounts if one.target == "/run/secrets/token"]
        assert Path(mount.source).read_text() == "hush"
        found = await stage.operations.diff(by_name(stage), 1, 2)
        assert [one.field for resource in found.resources for one in resource.changes] == ["secrets.token"]
        assert "hush" not in str(found) and "another-one" not in str(found)

    play(scene)


def test_live_contents_come_back_into_their_file(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        text = "name: shop\nservices:\n  web: {image: 'busybox:1', configs: [site]}\n"
        text += "configs: {site: {content: one, x-stackrun: {on_change: restart}}}\n"
        stage.write(text)
        await stage.up()
        stage.write(text.replace("one", "two"))
        await stage.up()
        stage.engine.calls.clear()
        assert await rollback(stage) == "done"
        assert {call.split()[0] for call in stage.engine.calls} == {"stop_container", "start_container"}
        (mount,) = (await stage.engine.container("shop-web-1")).spec.mounts
        assert Path(mount.source).read_text() == "one"

    play(scene)


def test_after_going_back_an_up_of_another_service_keeps_the_names_of_images(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.operations = StackOperations(stage.engine, state_dir=str(stage.state), keeps=True)
        stage.write(TWO)
        await stage.up()
        stage.engine.add_image("busybox:2")
        await stage.engine.tag_image("busybox:2", "busybox:1")
        await stage.up()
        await rollback(stage)
        stage.write(TWO.replace("cache: {", "cache: {hostname: h, "))
        await stage.up(services=("cache",))
        _, how, changed = (await history(stage))[-1]
        assert how == "up cache" and changed.startswith("cache image 1 (") and changed.endswith(") and hostname")
        found = await stage.operations.diff(by_name(stage), 3, 4)
        assert [one.resource for one in found.resources] == ["Service cache"]

    play(scene)


# --- a diff


def test_a_diff_with_the_file_has_its_places(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up()
        stage.write(TWO)
        found = await stage.operations.diff(stage.source, 0, 0)
        assert (found.before, found.after) == ("revision 1", "the file")
        shown = {
            f"{one.symbol} {one.resource} {each.field}": (each.before, each.after, each.place)
            for one in found.resources
            for each in one.changes
        }
        assert shown == {
            "+ Service cache image": (None, "busybox:1", "compose.yaml:4:18"),
            "~ Service web environment.TOKEN": ("(hidden)", None, "compose.yaml:3:42"),
            "~ Service web environment.V": ("1", "2", "compose.yaml:3:46"),
        }
        await stage.up()
        assert (await stage.operations.diff(stage.source, 0, 0)).resources == ()

    play(scene)


# --- up --atomic


def test_an_atomic_up_that_fails_returns_to_the_last_revision(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE.replace("}}", "}, " + CHECKED + "}"))
        assert (await stage.up(atomic=True)).phase is Phase.DONE
        stage.engine.add_image("busybox:2")
        stage.engine.behave("busybox:2", Behaviour(health=("unhealthy",), output=tuple((1, b"line %d\n" % n) for n in range(12))))
        stage.write(TWO.replace("busybox:1", "busybox:2", 1).replace("V: '2'}", "V: '2'}, " + CHECKED))
        last = await stage.up(atomic=True)
        assert (last.phase, last.exit_code) == (Phase.FAILED, 1)
        told = last.detail.splitlines()
        assert told[0] == "container shop-web-1 is unhealthy" and told[-1] == "returned to revision 1"
        assert [line.strip() for line in told if "line" in line] == [f"line {n}" for n in range(2, 12)]
        assert "V=1" in await environment(stage) and set(await stage.states()) == {"shop-web-1"}
        assert await current(stage) == [1] and len(await history(stage)) == 1

    play(scene)


def test_the_first_one_that_fails_leaves_nothing_but_volumes(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.engine.fail("start_container", Conflict("no"), ref="shop-web-1")
        last = await stage.up(atomic=True)
        assert last.detail.splitlines() == [
            "start shop-web-1: no",
            "nothing was up before: what was made is removed again, volumes are kept",
        ]
        assert await stage.states() == {} and [one.name for one in await stage.engine.volumes()] == ["shop_data"]
        assert not stage.state.joinpath("shop").exists()
        with pytest.raises(NotFound):
            await history(stage)

    play(scene)


def test_nothing_returns_where_nothing_was_changed(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up()
        stage.write("name: shop\nservices:\n  web: {image: 'nope:7'}\n")
        stage.engine.calls.clear()
        last = await stage.up(atomic=True)
        assert "nope:7" in last.detail and "revision" not in last.detail
        assert stage.engine.calls == ["pull_image nope:7"] and await current(stage) == [1]

    play(scene)


def test_a_return_that_fails_is_told_as_well(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up()
        stage.write(TWO)
        stage.engine.fail("start_container", Conflict("no"), times=9)
        last = await stage.up(atomic=True)
        assert any(line.startswith("the return to revision 1 failed: ") for line in last.detail.splitlines())
        assert (await stage.operations.history(by_name(stage))).unfinished

    play(scene)


def test_a_stack_without_revisions_is_left_as_it_is(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up()
        for path in (stage.state / ".revisions/shop").iterdir():
            path.unlink()
        stage.write(TWO)
        stage.engine.fail("start_container", Conflict("no"), ref="shop-cache-1")
        assert (await stage.up(atomic=True)).detail.splitlines()[-1] == "there is no revision to return to: the stack is left as it is"
        assert set(await stage.states()) == {"shop-web-1", "shop-cache-1"}

    play(scene)


async def interrupted(stage: Scene, **options: object) -> None:
    """The client goes away as soon as the first container is about to start."""
    gate = stage.engine.hold("start_container")
    operation = await stage.operations.up(stage.source, UpOptions(atomic=True, **options))  # type: ignore[arg-type]
    await gate.reached.wait()
    await operation.aclose()  # type: ignore[attr-defined]
    gate.release()


def test_one_that_was_interrupted_is_taken_back_to_the_last_revision(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up()
        stage.write(TWO)
        await interrupted(stage)
        assert "V=1" not in await environment(stage) or "shop-cache-1" in await stage.states()
        assert (await stage.up(by_name(stage), revert=True)).phase is Phase.DONE
        assert [(one.text, one.detail) for one in stage.events if one.resource == "Project shop"] == [
            ("Returning", "to revision 1"), ("Returned", "to revision 1")
        ]  # fmt: skip
        assert "V=1" in await environment(stage) and set(await stage.states()) == {"shop-web-1"}
        assert await current(stage) == [1] and len(await history(stage)) == 1

    play(scene)


def test_the_first_one_that_was_interrupted_is_taken_back_to_nothing(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await interrupted(stage)
        assert await stage.states()
        assert (await stage.up(revert=True)).phase is Phase.DONE
        assert await stage.states() == {} and [one.name for one in await stage.engine.volumes()] == ["shop_data"]
        assert await stage.engine.networks(filters=Filters({"label": ("com.docker.compose.project=shop",)})) == ()
        with pytest.raises(NotFound):
            await history(stage)

    play(scene)


def test_what_has_changed_nothing_or_is_finished_is_not_taken_back(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up(atomic=True)
        stage.engine.calls.clear()
        assert (await stage.up(by_name(stage), revert=True)).phase is Phase.DONE
        assert [(one.resource, one.text) for one in stage.events] == [("Project shop", "Unchanged"), ("", "Done")]
        assert stage.engine.calls == [] and await current(stage) == [1]

    play(scene)


def test_a_return_that_was_interrupted_itself_goes_on_with_the_next(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up()
        stage.write(TWO)
        await interrupted(stage)
        gate = stage.engine.hold("start_container")
        operation = await stage.operations.up(by_name(stage), UpOptions(revert=True))
        await gate.reached.wait()
        await operation.aclose()  # type: ignore[attr-defined]
        gate.release()
        assert await rollback(stage) == "done"
        assert "V=1" in await environment(stage) and await current(stage) == [1]

    play(scene)


def test_without_a_revision_it_cannot_be_taken_back(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up()
        for path in (stage.state / ".revisions/shop").iterdir():
            path.unlink()
        stage.write(TWO)
        await interrupted(stage)
        assert (await stage.up(revert=True)).detail == "there is no revision to return to: the stack is left as it is"

    play(scene)


# --- what cannot be written


def test_an_up_whose_record_cannot_be_written_has_succeeded_all_the_same(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    async def scene(stage: Scene) -> None:
        monkeypatch.setattr(files, "write_whole", full)
        stage.write(ONE)
        assert (await stage.up()).phase is Phase.DONE
        ((resource, told),) = stage.warnings()
        assert resource == "Project shop" and told.endswith("ENOSPC (No space left on device)")

    play(scene)


def test_so_has_one_that_could_not_note_that_it_begins(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, how: str, services: Iterable[str], *, anew: bool) -> None:
        raise KernelError("note that it begins", errno.EROFS)

    async def scene(stage: Scene) -> None:
        monkeypatch.setattr(files.Revisions, "begin", full)
        stage.write(ONE)
        assert (await stage.up()).phase is Phase.DONE
        assert len(stage.warnings()) == 1 and await current(stage) == [1]

    play(scene)


# --- cut off anywhere


@pytest.mark.parametrize("back", [{"revision": -1, "by": "rollback"}, {"revert": True}], ids=["rollback", "revert"])
def test_an_up_cut_off_at_any_call_is_taken_back_whole(play: Play, back: dict[str, object]) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(ONE)
        await stage.up()
        for cut in range(100):
            stage.write(
                TWO.replace("cache:", f"cache{cut}:") + f"  other{cut}: {{image: 'busybox:1', networks: [n]}}\nnetworks: {{n: {{}}}}\n"
            )
            if not await _cut_off(stage, cut):
                break
            assert (await stage.operations.history(by_name(stage))).unfinished == "up"
            assert (await stage.up(by_name(stage), **back)).phase is Phase.DONE
            assert await stage.states() == {"shop-web-1": "running"} and "V=1" in await environment(stage)
            assert await current(stage) == [1]
        assert cut > 5

    play(scene)


async def _cut_off(stage: Scene, cut: int) -> bool:
    """Whether it had so many calls to make."""
    enter, reached, calls = stage.engine.enter, asyncio.Event(), 0

    async def stopping(method: str, ref: str) -> None:
        nonlocal calls
        calls += 1
        if calls > cut:
            reached.set()
            await asyncio.Event().wait()
        await enter(method, ref)

    stage.engine.enter = stopping  # type: ignore[method-assign]
    events = await stage.operations.up(stage.source, UpOptions())
    over = asyncio.ensure_future(stage.drain(events))
    waiting = asyncio.ensure_future(reached.wait())
    await asyncio.wait([over, waiting], return_when=asyncio.FIRST_COMPLETED)
    await events.aclose()  # type: ignore[attr-defined]
    waiting.cancel()
    over.cancel()
    await asyncio.wait([over, waiting])
    stage.engine.enter = enter  # type: ignore[method-assign]
    return reached.is_set()
