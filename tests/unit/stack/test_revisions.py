"""Revisions as files: numbered, bounded, whole or absent; a broken one costs itself alone."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from stackrun.api import labels
from stackrun.api.types import ContainerSpec
from stackrun.errors import Conflict, KernelError, NotFound
from stackrun.stack.desired import Desired, DesiredService
from stackrun.stack.plan import WriteFile
from stackrun.stack.revisions import BEFORE, KEPT_MAX, Revisions


def state(command: str = "a", *services: str) -> Desired:
    files = (WriteFile("/state/shop/abc", b"hush\xff", 0o400, 0, 0, "secret token"),)
    names = services or ("web",)
    made = {
        name: DesiredService(
            name, "busybox:1", ContainerSpec("busybox:1", command=(command,), labels={labels.VERSION: "1"}), "h", files=files
        )
        for name in names
    }
    return Desired("shop", made, state_dir="/state")


@pytest.fixture
def revisions(tmp_path: Path) -> Revisions:
    return Revisions(str(tmp_path), "shop", clock_s=lambda: 7.5)


def test_a_revision_is_read_as_it_was_recorded(revisions: Revisions) -> None:
    made = revisions.record("up", state(), {"web": "sha256:1"}, ("web",), lambda last: "+web" if last is None else "")
    assert made is not None and revisions.read(1) == made == revisions.last()
    assert (made.number, made.time_s, made.how, made.changed) == (1, 7.5, "up", "+web")
    assert made.desired == state() and made.desired.services["web"].files[0].content == b"hush\xff"


def test_the_same_state_makes_no_other_and_another_does(revisions: Revisions) -> None:
    assert revisions.record("up", state(), {"web": "1"}, ("web",))
    assert revisions.record("up", state(), {"web": "1"}, ("web",)) is None
    newer = state()
    spec = newer.services["web"].spec
    of_another_version = replace(newer.services["web"], spec=replace(spec, labels={labels.VERSION: "2"}))
    moved = replace(newer, services={"web": of_another_version}, state_dir="/elsewhere")
    assert revisions.record("up", moved, {"web": "1"}, ("web",)) is None
    assert revisions.record("up", state(), {"web": "2"}, ("web",)) is not None
    assert revisions.record("up", state("b"), {"web": "2"}, ("web",)) is not None
    assert revisions.numbers() == (1, 2, 3)


def test_only_the_newest_are_kept_and_numbers_go_on(revisions: Revisions) -> None:
    for number in range(KEPT_MAX + 3):
        revisions.record("up", state(str(number), f"s{number}"), {}, ("web",))
    assert revisions.numbers() == tuple(range(4, KEPT_MAX + 4))
    assert "s0" in revisions.ever() and f"s{KEPT_MAX + 2}" in revisions.ever()
    with pytest.raises(NotFound, match="stack shop has no revision 3"):
        revisions.read(3)


def test_files_are_their_owners_alone(revisions: Revisions, tmp_path: Path) -> None:
    revisions.begin("up", ("web",))
    revisions.record("up", state(), {}, ("web",))
    for path in tmp_path.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077


@pytest.mark.parametrize("text", ["", "{", "[]", '{"number": 2}', '{"desired": 5, "images": {}}', "[" * 100_000])
def test_a_broken_file_costs_one_revision(revisions: Revisions, tmp_path: Path, text: str) -> None:
    revisions.record("up", state("a"), {}, ("web",))
    revisions.record("up", state("b"), {}, ("web",))
    (tmp_path / ".revisions/shop/2.json").write_text(text)
    with pytest.raises(Conflict, match="revision 2 cannot be read"):
        revisions.read(2)
    assert [(one.number, bool(one.fault)) for one in revisions.entries()] == [(1, False), (2, True)]
    last = revisions.last()
    assert last is not None and last.number == 1
    made = revisions.record("up", state("b"), {}, ("web",))
    assert made is not None and made.number == 3


def test_the_one_to_go_back_to(revisions: Revisions) -> None:
    with pytest.raises(NotFound, match="stack shop has no revisions"):
        revisions.chosen(BEFORE, up=True)
    revisions.record("up", state("a"), {}, ("web",))
    with pytest.raises(NotFound, match="no revision before 1"):
        revisions.chosen(BEFORE, up=True)
    assert revisions.chosen(BEFORE, up=False).number == 1
    revisions.record("up", state("b"), {}, ("web",))
    assert revisions.chosen(BEFORE, up=True).number == 1
    assert revisions.chosen(2, up=True).number == 2
    revisions.begin("up", ("cache",))
    assert revisions.chosen(BEFORE, up=True).number == 2


def test_an_unfinished_one_is_known_until_one_succeeds(revisions: Revisions) -> None:
    revisions.begin("up", ("web", "cache"), anew=True)
    found = revisions.unfinished()
    assert found is not None and found.anew
    revisions.begin("up web", ("web", "db"))
    found = revisions.unfinished()
    assert found is not None and (found.how, sorted(found.services), found.anew) == ("up", ["cache", "db", "web"], False)
    revisions.begin("up db", ("db", "web", "cache"))
    found = revisions.unfinished()
    assert found is not None and found.how == "up db"
    assert revisions.ever() == {"web", "cache", "db"}
    revisions.record("up", state(), {}, ("web",))
    assert revisions.unfinished() is None
    assert revisions.ever() == {"web", "cache", "db"}


def test_an_unfinished_one_is_over_when_the_state_is_the_last_again(revisions: Revisions) -> None:
    revisions.record("up", state(), {}, ("web",))
    revisions.begin("up", ())
    assert revisions.record("rollback to 1", state(), {}, ("web",)) is None
    assert revisions.unfinished() is None
    revisions.begin("up", ())
    revisions.abandon()
    assert revisions.unfinished() is None


def test_what_a_killed_writer_left_goes_with_the_next(revisions: Revisions, tmp_path: Path) -> None:
    revisions.record("up", state(), {}, ("web",))
    (tmp_path / ".revisions/shop/.2.json.4711").write_text("{")
    revisions.record("up", state("b"), {}, ("web",))
    assert sorted(one.name for one in (tmp_path / ".revisions/shop").iterdir()) == ["1.json", "2.json"]


def test_a_disk_that_takes_nothing_is_an_error_with_its_place(tmp_path: Path) -> None:
    (tmp_path / ".revisions").write_text("a file")
    revisions = Revisions(str(tmp_path), "shop")
    with pytest.raises(KernelError, match=r"record the revision in .*EEXIST"):
        revisions.record("up", state(), {}, ("web",))
    with pytest.raises(KernelError, match="that up begins"):
        revisions.begin("up", ())
    assert revisions.numbers() == () and revisions.last() is None and revisions.unfinished() is None
