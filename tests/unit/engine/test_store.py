"""Records on disk: found again, swept, reported; one writer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackrun.api.types import ContainerSpec, Network, NetworkSpec, Volume
from stackrun.engine.record import Definition, Situation
from stackrun.engine.store import Store, discard, write_atomically
from stackrun.errors import Conflict, KernelError


def definition(identity: str) -> Definition:
    return Definition(identity, f"name-{identity}", "now", "true", (), "sha256:1", ContainerSpec("x"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "root"))
    made.open()
    return made


def test_a_second_writer_is_refused_by_the_firsts_pid(store: Store) -> None:
    with pytest.raises(Conflict, match=f"is in use by process {os.getpid()}"):
        Store(str(store.root)).open()
    store.close()
    again = Store(str(store.root))
    again.open()
    again.close()


def test_containers_are_found_again(store: Store) -> None:
    store.make_container(definition("a"))
    store.make_container(definition("b"))
    store.write_situation("a", Situation(restart_count=7))
    assert list(store.load_containers()) == [(definition("a"), Situation(restart_count=7)), (definition("b"), None)]
    store.close()


def test_a_foreseen_record_is_not_said_before_it_comes_true(store: Store) -> None:
    store.make_container(definition("a"))
    store.write_situation("a", Situation(restart_count=1))
    store.foresee_situation("a", Situation(restart_count=2))
    assert [situation for _, situation in store.load_containers()] == [Situation(restart_count=1)], "whoever foresaw it may be killed"
    store.foresee_situation("a", Situation(restart_count=3)).come_true()
    assert [situation for _, situation in store.load_containers()] == [Situation(restart_count=3)]
    withdrawn = store.foresee_situation("a", Situation(restart_count=4))
    withdrawn.withdraw()
    withdrawn.withdraw()
    assert not [one for one in os.listdir(store.container_directory("a")) if one.endswith(".tmp")]
    with pytest.raises(KernelError, match=r"write .*state\.json"):
        withdrawn.come_true()
    store.close()


def test_a_broken_record_costs_that_container_alone(store: Store) -> None:
    store.make_container(definition("a"))
    store.make_container(definition("b"))
    (store.container_directory("a") / "container.json").write_text("{")
    assert [found.id for found, _ in store.load_containers()] == ["b"]
    (broken,) = store.broken
    assert broken.path.endswith("a/container.json") and "broken record" in broken.reason
    assert store.container_directory("a").exists()
    store.close()


def test_a_situation_lost_with_the_machine_leaves_the_container(store: Store) -> None:
    store.make_container(definition("a"))
    (store.container_directory("a") / "state.json").write_text("")
    assert list(store.load_containers()) == [(definition("a"), None)]
    store.close()


def test_what_was_half_made_or_half_removed_is_swept(store: Store) -> None:
    (store.containers / "half-made" / "upper").mkdir(parents=True)
    store.make_container(definition("b"))
    store.make_volume(Volume("v", "m", "c"))
    store.retire_container("b")
    store.retire_volume("v")
    store.close()
    again = Store(str(store.root))
    again.open()
    assert list(again.load_containers()) == [] and list(again.load_volumes()) == []
    assert os.listdir(again.containers) == [] and os.listdir(again.volumes) == []
    again.close()


def test_a_volume_without_its_record_keeps_its_data(store: Store) -> None:
    for name in ("empty", "full"):
        store.make_volume(Volume(name, "m", "c"))
        (store.volume_directory(name) / "volume.json").unlink()
    (store.volume_directory("full") / "_data" / "precious").write_text("data")
    assert list(store.load_volumes()) == []
    assert [one.reason for one in store.broken] == ["the record is missing; the data are untouched"]
    assert not store.volume_directory("empty").exists() and (store.volume_directory("full") / "_data" / "precious").exists()
    store.close()


def test_networks_are_found_again_until_removed(store: Store) -> None:
    network = Network("id", "now", NetworkSpec("n"))
    store.write_network(network)
    assert list(store.load_networks()) == [network]
    store.remove_network("id")
    store.remove_network("id")
    assert list(store.load_networks()) == []
    store.close()


def test_the_maker_of_an_anonymous_volume_is_remembered_until_kept(store: Store) -> None:
    store.make_volume(Volume("v", "m", "c"), made_for="container")
    assert store.volume_owner("v") == "container"
    store.keep_volume("v")
    store.keep_volume("v")
    assert store.volume_owner("v") == ""
    store.close()


def test_a_write_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text in (b"long long text", b"short"):
        write_atomically(path, text, durable=True)
        assert path.read_bytes() == text
    assert os.listdir(tmp_path) == ["x.json"]


def test_what_cannot_be_discarded_is_reported(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "file").touch()
    discard(tmp_path / "file", on_error=said.append)
    assert len(said) == 1 and "file" in said[0]
    discard(tmp_path / "missing", on_error=said.append)
    assert len(said) == 1, "what is gone is discarded"
