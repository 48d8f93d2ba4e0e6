"""Configs and secrets whose containers stay when the content changes: told by a restart, a signal or a command, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.engine import Behaviour
from unit.stack.stage import Play, Scene

from stackrun.api.stacks import FieldChange, Phase, Symbol
from stackrun.api.types import ImageConfig
from stackrun.errors import ComposeError, KernelError
from stackrun.stack.content import live_path, note_contents, noted_contents, present_files, told_path, write_private
from stackrun.stack.plan import NoteContents, WriteFile

TEXT = """\
name: shop
services:
  db: {{image: 'busybox:1', configs: [{{source: site, target: /etc/site}}]}}
  web:
    image: busybox:1
    configs: [site]
    depends_on: {{db: {{condition: service_started, restart: true}}}}
configs:
  site:
    content: {content}
    x-stackrun: {{on_change: {how}}}
"""
RELOAD = ("nginx", "-s", "reload")


async def changed(stage: Scene, how: str) -> list[str]:
    """The engine's calls when the content has become another."""
    stage.write(TEXT.format(content="one", how=how))
    await stage.up()
    stage.write(TEXT.format(content="two", how=how))
    stage.engine.calls.clear()
    assert (await stage.up()).phase is Phase.DONE
    calls = list(stage.engine.calls)
    assert not (await stage.plan()).actions
    return calls


async def seen_in(stage: Scene, name: str) -> str:
    (mount,) = (await stage.engine.container(name)).spec.mounts
    return Path(mount.source).read_text()


def test_by_default_containers_are_replaced(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        assert sum(call.startswith("create_container") for call in await changed(stage, "recreate")) == 2

    play(scene)


def test_a_signal(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        assert sorted(await changed(stage, "{signal: WINCH}")) == ["kill_container shop-db-1", "kill_container shop-web-1"]
        assert await seen_in(stage, "shop-web-1") == await seen_in(stage, "shop-db-1") == "two"

    play(scene)


def test_a_command(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        assert await changed(stage, "{exec: [nginx, -s, reload]}") == []
        ran = [one.spec.command for one in stage.engine.executions.values()]
        assert ran == [RELOAD, RELOAD]

    play(scene)


def test_a_command_that_fails_is_run_again_by_the_next_up(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.engine.behave_exec(RELOAD, Behaviour(exit_code=3, output=((1, b"bad\nline 7: no\n"),)))
        stage.write(TEXT.format(content="one", how="{exec: [nginx, -s, reload]}"))
        await stage.up()
        stage.write(TEXT.format(content="two", how="{exec: [nginx, -s, reload]}"))
        last = await stage.up()
        assert last.detail.splitlines()[0] == "exec shop-db-1: nginx -s reload exited (3): line 7: no"
        assert len((await stage.plan()).actions) == 2
        stage.engine.behave_exec(RELOAD, Behaviour(exit_code=0))
        assert (await stage.up()).phase is Phase.DONE
        assert not (await stage.plan()).actions

    play(scene)


def test_a_restart_stops_dependents_first(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        assert await changed(stage, "restart") == [
            "stop_container shop-web-1", "stop_container shop-db-1", "start_container shop-db-1", "start_container shop-web-1"
        ]  # fmt: skip

    play(scene)


def test_none_writes_the_file_and_tells_nobody(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        assert await changed(stage, "none") == []
        assert await seen_in(stage, "shop-web-1") == "two"

    play(scene)


def test_the_plan_shows_it(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(TEXT.format(content="one", how="{signal: HUP}"))
        await stage.up()
        stage.write(TEXT.format(content="two", how="{signal: HUP}"))
        config, db, web = (await stage.plan()).actions
        assert (config.symbol, config.resource, config.steps) == (Symbol.CHANGE, "Config site", ("write",))
        (change,) = config.changes
        assert change == FieldChange("configs.site", "content 7692c3ad3540", "content 3fc4ccfe7458", "compose.yaml:10:14")
        assert (db.symbol, db.steps, db.cause, db.waits_for) == (
            Symbol.CHANGE, ("signal by SIGHUP",), "config site changed", ("Config site",)
        )  # fmt: skip
        assert web.resource == "Container shop-web-1"

    play(scene)


def test_one_that_does_not_run_is_told_by_its_start(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(TEXT.format(content="one", how="{signal: HUP}"))
        await stage.up()
        await stage.engine.stop_container("shop-web-1")
        stage.write(TEXT.format(content="two", how="{signal: HUP}"))
        stage.engine.calls.clear()
        await stage.up()
        assert sorted(stage.engine.calls) == ["kill_container shop-db-1", "start_container shop-web-1"]

    play(scene)


def test_what_was_written_before_a_power_cut_is_still_told(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(TEXT.format(content="one", how="{signal: WINCH}"))
        await stage.up()
        stage.write(TEXT.format(content="two", how="{signal: WINCH}"))
        stage.engine.fail("kill_container", KernelError("power", 5), times=2)
        await stage.up()
        assert await seen_in(stage, "shop-web-1") == "two"
        stage.engine.calls.clear()
        await stage.up()
        assert sorted(stage.engine.calls) == ["kill_container shop-db-1", "kill_container shop-web-1"]

    play(scene)


def test_another_way_of_telling_alone_changes_no_container(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(TEXT.format(content="one", how="none"))
        await stage.up()
        stage.write(TEXT.format(content="one", how="restart"))
        assert not (await stage.plan()).actions

    play(scene)


@pytest.mark.parametrize(("how", "image", "stops_by"), [
    ("{signal: HUP}", "", "SIGTERM"), ("{signal: HUP}", "SIGQUIT", "SIGQUIT"), ("restart", "", ""), ("restart", "SIGQUIT", "SIGQUIT"),
])  # fmt: skip
def test_who_is_told_by_signals_has_a_stop_signal(play: Play, how: str, image: str, stops_by: str) -> None:
    """Without one an engine takes any signal for an order to stop, and no restart policy holds after it."""

    async def scene(stage: Scene) -> None:
        stage.engine.images_by_id.clear()
        stage.engine.add_image("busybox:1", ImageConfig(command=("sh",), stop_signal=image))
        stage.write(TEXT.format(content="one", how=how))
        await stage.up()
        assert (await stage.engine.container("shop-web-1")).spec.stop_signal == stops_by
        assert not (await stage.plan()).actions

    play(scene)


def test_the_images_stop_signal_breaks_no_seal(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.engine.images_by_id.clear()
        stage.engine.pullable["busybox:1"] = ImageConfig(command=("sh",), stop_signal="SIGQUIT")
        stage.write(TEXT.format(content="one", how="{signal: HUP}"))
        assert (await stage.up(seal=(await stage.plan()).seal)).phase is Phase.DONE

    play(scene)


def test_down_forgets_everything(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        await changed(stage, "{signal: WINCH}")
        assert list(stage.state.rglob("*"))
        await stage.down()
        assert not (stage.state / "shop").exists()

    play(scene)


def test_a_folder_cannot_be_live(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        (stage.folder / "site").mkdir()
        stage.write(TEXT.format(content="x", how="restart").replace("content: x", "file: ./site"))
        with pytest.raises(ComposeError, match=r"config site: cannot read .*/site: Is a directory"):
            await stage.up()

    play(scene)


# --- the files


def live(folder: Path, content: bytes) -> WriteFile:
    path = live_path(str(folder / "state"), "shop", "config site", 0o444, 0, 0)
    stat = folder.stat()
    return WriteFile(path, content, 0o444, stat.st_uid, stat.st_gid, "config site", live=True)


def test_a_live_file_keeps_its_inode_and_its_access(tmp_path: Path) -> None:
    action = live(tmp_path, b"a longer text")
    write_private(action)
    before = Path(action.path).stat()
    write_private(live(tmp_path, b"short"))
    after = Path(action.path).stat()
    assert Path(action.path).read_bytes() == b"short"
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


def test_what_is_there_is_told_by_digest(tmp_path: Path) -> None:
    one, other = live(tmp_path, b"one"), live(tmp_path, b"two")
    assert present_files([one]) == {}
    write_private(one)
    assert present_files([other]) == {one.path: "7692c3ad3540"}


def test_notes_survive_and_a_broken_one_is_none(tmp_path: Path) -> None:
    path = told_path(str(tmp_path), "shop", "shop-web-1")
    assert noted_contents(path) == ("", {})
    note_contents(NoteContents("shop-web-1", "abc", path, (("/site", "7692"),)))
    assert noted_contents(path) == ("abc", {"/site": "7692"})
    for broken in ("{", "[]", json.dumps({"id": "abc"}), json.dumps({"id": "a", "contents": 3})):
        Path(path).write_text(broken)
        assert noted_contents(path) == ("", {})
