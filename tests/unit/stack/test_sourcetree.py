"""A rule's folder on the disk, as the tree that counts; and waiting for it to change."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stackrun.image.ignore import Ignore
from stackrun.stack.sourcetree import SourceTree
from stackrun.stack.sync import Kind, Rule
from stackrun.stack.watch import Watch

TIMEOUT_S = 10.0


@pytest.fixture
def rule(tmp_path: Path) -> Rule:
    (tmp_path / "src" / "d").mkdir(parents=True)
    (tmp_path / "src" / "a.py").write_text("a")
    (tmp_path / "src" / "d" / "b.txt").write_text("b")
    return Rule("web", 0, str(tmp_path / "src"), "sync", "/app")


def looked(rule: Rule) -> dict[str, Kind]:
    tree = SourceTree(rule)
    tree.look(lambda folder: None)
    return {path: item.kind for path, item in tree.now.items()}


def test_files_folders_and_links(rule: Rule) -> None:
    Path(rule.path, "l").symlink_to("d")
    assert looked(rule) == {".": Kind.FOLDER, "a.py": Kind.FILE, "d": Kind.FOLDER, "d/b.txt": Kind.FILE, "l": Kind.LINK}


def test_what_is_ignored_is_not_even_looked_into(rule: Rule) -> None:
    folders: list[str] = []
    Path(rule.path, "node_modules", "x").mkdir(parents=True)
    Path(rule.path, ".a.py.swp").write_text("")
    SourceTree(replace(rule, ignore=Ignore(["node_modules"]))).look(folders.append)
    assert folders == [rule.path, f"{rule.path}/d"]
    assert "node_modules" not in looked(replace(rule, ignore=Ignore(["node_modules/"])))


def test_what_is_taken_back_from_a_folder_that_is_left_out(rule: Rule) -> None:
    found = looked(replace(rule, ignore=Ignore(["d", "!d/b.txt"])))
    assert set(found) == {".", "a.py", "d/b.txt"}


def test_included_files_alone(rule: Rule) -> None:
    assert looked(replace(rule, include=Ignore(["**/*.txt"]))) == {"d/b.txt": Kind.FILE}


def test_a_single_file_and_none(rule: Rule) -> None:
    assert looked(replace(rule, path=f"{rule.path}/a.py")) == {".": Kind.FILE}
    assert looked(replace(rule, path=f"{rule.path}/nope")) == {}


def test_a_path_that_is_a_link_is_what_it_leads_to(rule: Rule, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("src")
    assert set(looked(replace(rule, path=str(tmp_path / "link")))) == {".", "a.py", "d", "d/b.txt"}


def test_the_digest_is_of_content_and_mode_alone(rule: Rule) -> None:
    tree = SourceTree(rule)
    first = tree.look(lambda folder: None)
    os.utime(Path(rule.path, "a.py"), ns=(1, 1))
    assert tree.look(lambda folder: None) == first
    Path(rule.path, "a.py").write_text("b")
    second = tree.look(lambda folder: None)
    Path(rule.path, "a.py").chmod(0o755)
    assert len({first, second, tree.look(lambda folder: None)}) == 3


@pytest.fixture
def watch() -> Iterator[Watch]:
    with Watch() as made:
        yield made


def told(watch: Watch, change: Callable[[], object]) -> tuple[str, ...]:
    found: list[tuple[str, ...]] = []
    waiter = threading.Thread(target=lambda: found.append(watch.changed(TIMEOUT_S)))
    waiter.start()
    change()
    waiter.join()
    return found[0]


def test_changes_at_any_depth_and_in_new_folders(watch: Watch, rule: Rule) -> None:
    tree = SourceTree(rule)
    watch.follow([], [tree])
    source = Path(rule.path)
    changes: list[Callable[[], object]] = [
        lambda: (source / "d" / "b.txt").write_text("c"),
        lambda: (source / "new" / "deep").mkdir(parents=True),
        lambda: (source / "new" / "deep" / "f").write_text("x"),
        lambda: (source / "new").rename(source / "other"),
        lambda: (source / "other" / "deep" / "f").write_text("y"),
        lambda: (source / "d" / "b.txt").unlink(),
        lambda: (source / "a.py").chmod(0o600),
    ]
    for change in changes:
        assert told(watch, change) == (tree.key,)
    assert set(tree.now) == {".", "a.py", "d", "other", "other/deep", "other/deep/f"}


def test_a_folder_that_comes_later_and_a_swapped_link(watch: Watch, rule: Rule, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "z").write_text("z")
    (tmp_path / "link").symlink_to("src")
    trees = [SourceTree(replace(rule, path=str(tmp_path / "later"))), SourceTree(replace(rule, index=1, path=str(tmp_path / "link")))]
    watch.follow([], trees)
    assert told(watch, (tmp_path / "later").mkdir) == (trees[0].key,)
    assert told(watch, (tmp_path / "later" / "f").touch) == (trees[0].key,)

    def swap() -> None:
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(tmp_path / "link")

    assert told(watch, swap) == (trees[1].key,)
    assert set(trees[1].now) == {".", "z"}


def test_swap_files_and_ignored_folders_do_not_stir(watch: Watch, rule: Rule) -> None:
    watch.follow([], [SourceTree(replace(rule, ignore=Ignore(["out"])))])
    Path(rule.path, "out").mkdir()
    Path(rule.path, "out", "f").write_text("x")
    Path(rule.path, ".a.py.swp").write_text("x")
    Path(rule.path, "a.py~").write_text("x")
    os.utime(Path(rule.path, "a.py"))
    assert watch.changed(0.3) == ()
