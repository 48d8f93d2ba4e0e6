"""Files change as editors, git and Kubernetes change them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stackrun.stack.watch import Watch, folders

TIMEOUT_S = 10.0


@pytest.fixture
def watch() -> Iterator[Watch]:
    with Watch() as made:
        yield made


def told(watch: Watch, change: Callable[[], object]) -> tuple[str, ...]:
    """What a watch that already waits says after a change."""
    found: list[tuple[str, ...]] = []
    waiter = threading.Thread(target=lambda: found.append(watch.changed(TIMEOUT_S)))
    waiter.start()
    change()
    waiter.join()
    return found[0]


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_write_is_a_change(watch: Watch, tmp_path: Path) -> None:
    file = written(tmp_path / "stack.yaml", "a")
    watch.follow([str(file)])
    assert told(watch, lambda: file.write_text("b")) == (str(file),)


def test_a_rename_over_the_file_is_a_change_and_goes_on_being_watched(watch: Watch, tmp_path: Path) -> None:
    file = written(tmp_path / "stack.yaml", "a")
    watch.follow([str(file)])
    assert told(watch, lambda: written(tmp_path / ".stack.yaml.new", "b").rename(file)) == (str(file),)
    assert told(watch, lambda: written(tmp_path / ".stack.yaml.new", "c").rename(file)) == (str(file),)


def test_backups_swap_files_and_touches_are_none(watch: Watch, tmp_path: Path) -> None:
    file = written(tmp_path / "stack.yaml", "a")
    watch.follow([str(file)])
    written(tmp_path / ".stack.yaml.swp", "x")
    written(tmp_path / "stack.yaml~", "x")
    os.utime(file)
    written(file, "a")
    assert watch.changed(0.3) == ()


def test_a_file_that_comes_and_goes(watch: Watch, tmp_path: Path) -> None:
    file = tmp_path / "stack.override.yaml"
    watch.follow([str(file)])
    assert told(watch, lambda: file.write_text("b")) == (str(file),)
    assert told(watch, file.unlink) == (str(file),)


def test_a_swapped_link_as_kubernetes_does_it(watch: Watch, tmp_path: Path) -> None:
    written(tmp_path / "..1" / "key", "a")
    written(tmp_path / "..2" / "key", "b")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "key").symlink_to("..data/key")
    file = str(tmp_path / "key")
    watch.follow([file])

    def swap() -> None:
        (tmp_path / "..next").symlink_to("..2")
        (tmp_path / "..next").rename(tmp_path / "..data")

    assert told(watch, swap) == (file,)
    assert told(watch, lambda: written(tmp_path / "..2" / "key", "c")) == (file,)


def test_a_folder_that_is_removed_and_made_again_as_by_a_checkout(watch: Watch, tmp_path: Path) -> None:
    file = written(tmp_path / "conf" / "app.conf", "a")
    watch.follow([str(file)])

    def away() -> None:
        file.unlink()
        file.parent.rmdir()

    assert told(watch, away) == (str(file),)
    assert told(watch, lambda: written(file, "b")) == (str(file),)
    assert told(watch, lambda: written(file, "c")) == (str(file),)


def test_a_burst_is_one_change(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{number}.yaml", "a") for number in range(20)]
    with Watch(settle_s=0.4) as watch:
        watch.follow(map(str, files))
        found = told(watch, lambda: [file.write_text("b") for file in files])
    assert found == tuple(map(str, files))


def test_what_changed_before_it_was_waited_for_is_told(watch: Watch, tmp_path: Path) -> None:
    file = written(tmp_path / "stack.yaml", "a")
    watch.follow([str(file)])
    file.write_text("b")
    watch.follow([str(file), str(tmp_path / "other")])
    assert watch.changed(TIMEOUT_S) == (str(file),)


def test_closing_ends_a_wait(tmp_path: Path) -> None:
    watch = Watch()
    watch.follow([str(tmp_path / "stack.yaml")])
    assert told(watch, watch.close) == ()


def test_the_folders_of_a_path_without_links_is_its_own(tmp_path: Path) -> None:
    assert list(folders(str(tmp_path / "a"))) == [str(tmp_path)]
    assert list(folders(str(tmp_path / "missing" / "a"))) == [str(tmp_path)]
