"""Who is told when a limit is written, or when something goes from a folder; files of a temporary directory stand for cgroups."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackrun.kernel.container_news import ContainerNews


@pytest.fixture
def news() -> Iterator[ContainerNews]:
    made = ContainerNews()
    yield made
    made.close()


def group(folder: Path) -> Path:
    folder.mkdir()
    for name in ("memory.max", "memory.events", "memory.swap.max", "cpu.max", "cpu.weight", "pids.max"):
        (folder / name).write_text("max")
    return folder


def test_a_limit_that_is_written_is_news_of_its_own_container_once(news: ContainerNews, tmp_path: Path) -> None:
    one, other = group(tmp_path / "one"), group(tmp_path / "other")
    news.follow("web", [str(one)], [])
    news.follow("db", [str(other), str(tmp_path / "missing")], [])
    assert news.names() == frozenset()
    (one / "memory.max").write_text("1")
    assert news.names() == {"web"} and news.names() == frozenset()
    (one / "memory.max").read_text()
    assert news.names() == frozenset(), "reading is no news"


def test_a_group_whose_events_come_all_the_time_is_watched_by_its_limits_alone(news: ContainerNews, tmp_path: Path) -> None:
    folder = group(tmp_path / "one")
    news.follow("web", [str(folder)], [])
    (folder / "memory.events").write_text("oom 1")
    assert news.names() == frozenset()
    (folder / "memory.events").write_text("oom 2")
    assert news.names() == frozenset()
    for name in ("pids.max", "memory.swap.max", "cpu.weight"):
        (folder / name).write_text("7")
        assert news.names() == {"web"}, name


def test_a_volume_s_directory_that_goes_is_news_of_all_who_share_it(news: ContainerNews, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "_data").mkdir(parents=True)
    for name in ("web", "db"):
        news.follow(name, [], [str(volume)])
    (volume / "_data" / "file").write_text("x")
    assert news.names() == frozenset()
    (volume / "_data").rename(tmp_path / "elsewhere")
    assert news.names() == {"web", "db"}
    news.forget("db")
    (volume / "_data").mkdir()
    shutil.rmtree(volume)
    assert news.names() == {"web"}
    volume.mkdir()
    assert news.names() == frozenset(), "another one that must be followed anew"


def test_who_is_forgotten_has_no_news(news: ContainerNews, tmp_path: Path) -> None:
    folder = group(tmp_path / "one")
    news.follow("web", [str(folder)], [])
    (folder / "memory.max").write_text("1")
    news.forget("web")
    assert news.names() == frozenset()
    news.follow("again", [str(folder)], [])
    (folder / "memory.max").write_text("2")
    assert news.names() == {"again"}
