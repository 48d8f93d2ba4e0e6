"""A declared stack comes back from its file as the very same value."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.projects import CHECK, HEALTHY, order, project, service, volume

from stackrun.api.stored import from_json, to_json
from stackrun.compose import model
from stackrun.errors import KernelError
from stackrun.stack.declared import Declarations, Declared, merged
from stackrun.stack.desired import Desired, desired


def stack(*services: model.Service, **keys: Any) -> Desired:
    made = project(*services, **keys)
    return desired(made, order(made), contents={}, state_dir="/state")


def shop() -> Desired:
    token = model.Secret("token", "shop_token", content="hush\udc80")
    web = service(
        "web", depends_on={"db": HEALTHY}, secrets=(model.FileReference("token", mode=0o400),), ports=(model.Port(80, "8080"),),
        ulimits=(model.Ulimit("nofile", 10, 20),), environment={"A": "ä"},
    )  # fmt: skip
    return stack(web, service("db", healthcheck=CHECK), volumes=[volume("data")], secrets=[token])


def test_a_stack_comes_back_as_the_same_value() -> None:
    wanted = shop()
    again = from_json(Desired, to_json(wanted))
    assert again == wanted
    assert list(again.services) == ["db", "web"]


def test_written_and_read(tmp_path: Path) -> None:
    declarations = Declarations(str(tmp_path / "state"))
    assert declarations.projects() == ()
    assert declarations.read("shop") is None
    declared = Declared(shop(), kept=False, stopped=frozenset({"web"}), held=frozenset({"db"}))
    declarations.write(declared)
    assert declarations.projects() == ("shop",)
    assert declarations.read("shop") == declared
    file = tmp_path / "state/.declared/shop.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    declarations.forget("shop")
    declarations.forget("shop")
    assert declarations.projects() == ()


@pytest.mark.parametrize("text", [
    "", "{", "[]", "{}", '{"desired": 5}', '{"desired": {"project": 5, "services": {}}}',
    '{"desired": {"project": "shop", "services": {}}, "kept": 1}', '{"desired": {"project": "shop", "services": {"a": []}}}',
    '{"desired": {"project": "shop", "services": {}}, "held": "web"}',
])  # fmt: skip
def test_a_file_that_is_no_declaration_is_none(text: str, tmp_path: Path) -> None:
    file = tmp_path / ".declared/shop.json"
    file.parent.mkdir()
    file.write_text(text)
    assert Declarations(str(tmp_path)).read("shop") is None


@pytest.mark.parametrize("end", ["written", "forgotten"])
def test_what_a_writer_that_was_killed_has_left_goes(end: str, tmp_path: Path) -> None:
    """It holds secrets. What somebody who lives is writing stays."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    folder = tmp_path / ".declared"
    folder.mkdir()
    names = {f".shop.json.{ended.pid}", f".shop.json.{os.getpid()}", ".shop.json.1", f".other.json.{ended.pid}"}
    for name in names:
        (folder / name).write_text("half of")
    declarations = Declarations(str(tmp_path))
    if end == "written":
        declarations.write(Declared(shop()))
        assert {one.name for one in folder.iterdir()} == {"shop.json", ".shop.json.1", f".other.json.{ended.pid}"}
    else:
        declarations.forget("shop")
        assert {one.name for one in folder.iterdir()} == {".shop.json.1", f".other.json.{ended.pid}"}


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / ".declared/shop.json").mkdir(parents=True)
    with pytest.raises(KernelError, match=r"write .*shop.json: EISDIR"):
        Declarations(str(tmp_path)).write(Declared(shop()))
    assert [one.name for one in (tmp_path / ".declared").iterdir()] == ["shop.json"]


def test_an_up_of_some_services_leaves_the_others_as_they_were_declared() -> None:
    before = stack(service("db", image="db:1"), service("web", "db", image="web:1"), service("old", "db"))
    now = stack(service("db", image="db:2"), service("web", "db", "cache", image="web:2"), service("cache"))
    both = merged(before, now, ("cache", "web"))
    assert {name: one.image for name, one in both.services.items()} == {
        "db": "db:1", "old": "busybox:1", "cache": "busybox:1", "web": "web:2",
    }  # fmt: skip
    assert list(both.services).index("cache") < list(both.services).index("web")
    assert merged(before, now, now.services) == now
    assert list(merged(None, now, ("db",)).services) == ["db"]


def test_declarations_that_contradict_each_other_have_an_order_all_the_same() -> None:
    before = stack(service("a", "b"), service("b"))
    now = stack(service("a"), service("b", "a"))
    assert sorted(merged(before, now, ("b",)).services) == ["a", "b"]


def test_what_an_older_or_newer_version_wrote_is_read() -> None:
    told = to_json(replace(Declared(shop()), kept=False)).replace(b'"kept"', b'"colour":"red","kept"')
    assert from_json(Declared, told) == Declared(shop(), kept=False)
    with pytest.raises(TypeError):
        to_json(1j)
