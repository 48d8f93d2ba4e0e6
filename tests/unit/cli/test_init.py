"""`init` and `schema`: what they write, and that nothing of the user's is lost."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import yaml

from stackrun.api.stacks import StackSource
from stackrun.cli import main
from stackrun.cli.shipped import schema_text
from stackrun.cli.starter import starter
from stackrun.compose.load import check, load
from stackrun.compose.schema import load_schema
from stackrun.errors import Conflict, InvalidArgument


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(directory: Path) -> list[str]:
    return sorted(one.name for one in directory.iterdir())


def test_it_writes_a_stack_file_with_the_schema_beside_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["init", "My-Shop"]) == 0
    assert names(here / "My-Shop") == ["stack.schema.json", "stack.yaml"]
    first, *_ = (here / "My-Shop/stack.yaml").read_text(encoding="utf-8").splitlines()
    reference = first.removeprefix("# yaml-language-server: $schema=")
    assert json.loads((here / "My-Shop" / reference).read_text(encoding="utf-8")) == load_schema()
    assert "cd My-Shop && stackrun validate" in capsys.readouterr().out


def test_it_passes_validate_without_a_finding(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["init", "shop"])
    assert check(StackSource(str(here / "shop"))) == ()
    capsys.readouterr()
    assert main.run(["validate", "--fail-on", "warning", "shop/stack.yaml"]) == 0
    told = capsys.readouterr()
    assert "warning" not in told.out + told.err and "1 suppressed" in told.out


def test_it_shows_how_it_is_done(here: Path) -> None:
    main.run(["init", "shop"])
    project = load(StackSource(str(here / "shop")))
    assert project.name == "shop" and not project.warnings
    for service in project.services.values():
        assert service.healthcheck and service.read_only and service.cap_drop == ("ALL",) and service.init
        assert service.deploy and service.deploy.limits.memory_bytes and service.deploy.limits.cpus and service.deploy.limits.pids
        assert all(port.host_ip == "127.0.0.1" for port in service.ports)
    assert project.services["web"].depends_on["store"].condition == "service_healthy"
    assert list(project.volumes) == ["data"] and project.networks["back"].internal


@pytest.mark.parametrize("name", ["web", "store"])
def test_the_programs_in_it_are_python(name: str) -> None:
    compile(yaml.safe_load(starter("x"))["configs"][name]["content"], name, "exec")


def test_its_name_is_the_directorys_or_the_one_asked_for(here: Path) -> None:
    (here / "a b.C").mkdir()
    main.run(["init", "a b.C"])
    main.run(["-p", "mine", "init", "other"])
    assert [load(StackSource(str(here / one))).name for one in ("a b.C", "other")] == ["abc", "mine"]


def test_a_directory_that_makes_no_name(here: Path) -> None:
    with pytest.raises(InvalidArgument) as caught:
        main.run(["init", "..."])
    assert caught.value.hint == "give it one with -p" and names(here) == []


@pytest.mark.parametrize("taken", ["stack.yaml", "stack.schema.json"])
def test_nothing_is_overwritten_and_then_nothing_is_written(here: Path, taken: str) -> None:
    (here / taken).write_text("mine", encoding="utf-8")
    with pytest.raises(Conflict) as caught:
        main.run(["init"])
    assert caught.value.message == f"{taken} is there already" and "--force" in caught.value.hint
    assert names(here) == [taken] and (here / taken).read_text(encoding="utf-8") == "mine"


def test_a_link_that_leads_nowhere_is_something_too(here: Path) -> None:
    (here / "stack.yaml").symlink_to("nowhere")
    with pytest.raises(Conflict):
        main.run(["init"])
    assert names(here) == ["stack.yaml"]


def test_the_same_schema_is_no_obstacle(here: Path) -> None:
    (here / "stack.schema.json").write_text(schema_text(), encoding="utf-8")
    before = (here / "stack.schema.json").stat().st_ino
    assert main.run(["init"]) == 0
    assert (here / "stack.schema.json").stat().st_ino == before


def test_force_overwrites(here: Path) -> None:
    for name in ("stack.yaml", "stack.schema.json"):
        (here / name).write_text("old", encoding="utf-8")
    assert main.run(["init", "--force"]) == 0
    assert names(here) == ["stack.schema.json", "stack.yaml"] and "old" not in (here / "stack.yaml").read_text(encoding="utf-8")[:3]


def test_the_files_can_be_read_as_the_umask_says(here: Path) -> None:
    before = os.umask(0o027)
    try:
        main.run(["init"])
    finally:
        os.umask(before)
    assert {stat.S_IMODE((here / name).stat().st_mode) for name in names(here)} == {0o640}


def test_a_file_that_it_hides_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "compose.yaml").write_text("services: {}\n", encoding="utf-8")
    main.run(["init"])
    assert capsys.readouterr().err == "warning: stack.yaml is found before compose.yaml; name that with -f\n"


def test_the_schema_is_printed_as_it_is_shipped(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["schema"]) == 0
    assert capsys.readouterr().out == schema_text()
    assert main.run(["schema", "-o", "copy.json"]) == 0
    assert json.loads((here / "copy.json").read_text(encoding="utf-8")) == load_schema() and capsys.readouterr().out == ""
