"""The cache of builds on disk: what it keeps, what it forgets, and that a damaged one is no obstacle."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from stackrun.image import buildcache
from stackrun.image.assembly import Layer
from stackrun.image.buildcache import BuildCache, Step


def layer(number: int, size: int = 10) -> Layer:
    return Layer(f"sha256:{number:064x}", size, f"sha256:{number:064x}")


def step(number: int, size: int = 10) -> Step:
    return Step("2026-01-01T00:00:00Z", layer(number, size), f"sha256:{number:064x}")


def test_what_was_saved_is_found_again(tmp_path: Path) -> None:
    cache = BuildCache(tmp_path)
    cache.add("a", step(1))
    cache.add("b", Step("then"))
    cache.save()
    again = BuildCache(tmp_path)
    found, plain = again.find("a"), again.find("b")
    assert found and (found.layer, found.chain_id, found.created) == (layer(1), step(1).chain_id, "2026-01-01T00:00:00Z")
    assert plain and plain.layer is None and plain.created == "then"
    assert again.find("c") is None
    assert again.blobs() == {layer(1).digest} and again.chain_ids() == {step(1).chain_id}


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    cache = BuildCache(tmp_path)
    cache.add("a", step(1))
    cache.save()
    written = (tmp_path / "builds.json").stat().st_mtime_ns
    cache.find("a")
    cache.save()
    assert (tmp_path / "builds.json").stat().st_mtime_ns == written


@pytest.mark.parametrize("text", ["", "{", "[]", '{"steps": 3}', '{"steps": {"a": 1, "b": {"created": "x"}}}', '{"version": 1}'])
def test_a_damaged_file_is_forgotten(tmp_path: Path, text: str) -> None:
    (tmp_path / "builds.json").write_text(text)
    cache = BuildCache(tmp_path)
    assert cache.find("a") is None
    cache.add("a", step(1))
    cache.save()
    assert BuildCache(tmp_path).find("a")


def test_an_entry_without_digests_costs_itself(tmp_path: Path) -> None:
    cache = BuildCache(tmp_path)
    cache.add("good", step(1))
    cache.add("bad", step(2))
    cache.save()
    text = (tmp_path / "builds.json").read_text().replace(f'"chain":"{step(2).chain_id}"', '"chain":"../../x"')
    (tmp_path / "builds.json").write_text(text)
    again = BuildCache(tmp_path)
    assert again.find("good") and again.find("bad") is None


def test_what_nobody_used_for_a_week_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = BuildCache(tmp_path)
    cache.add("old", step(1))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + buildcache.UNUSED_MAX_S - 10)
    cache.add("new", step(2))
    assert cache.forget() == ()
    monkeypatch.setattr(time, "time", lambda: now + buildcache.UNUSED_MAX_S + 10)
    assert [one.layer for one in cache.forget()] == [layer(1)]
    assert BuildCache(tmp_path).find("new") and BuildCache(tmp_path).find("old") is None


def test_what_takes_up_too_much_goes_the_longest_unused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buildcache, "SIZE_MAX_BYTES", 25)
    cache = BuildCache(tmp_path)
    now = time.time()
    for number in (1, 2, 3):
        monkeypatch.setattr(time, "time", lambda number=number: now + number)
        cache.add(str(number), step(number))
    assert [one.layer for one in cache.forget()] == [layer(1)]


def test_all_of_it_goes_when_asked(tmp_path: Path) -> None:
    cache = BuildCache(tmp_path)
    cache.add("a", step(1))
    cache.save()
    assert len(cache.forget(everything=True)) == 1
    assert json.loads((tmp_path / "builds.json").read_text())["steps"] == {}
