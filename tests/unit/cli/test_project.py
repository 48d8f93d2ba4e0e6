"""A stack's name at a glance is what the loader says, or none at all."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from stackrun.cli import project
from stackrun.cli.project import written_name

OPTIONS = {"project_name": None, "project_directory": None, "files": None, "env_files": None, "profiles": None}
SERVICES = "services: {a: {image: x}}\n"
PLAIN = [
    SERVICES,
    f"name: shop\n{SERVICES}",
    f"{SERVICES}name:   shop   # the name\n",
    f'name: "shop"\n{SERVICES}',
    f"name: 'shop'\n{SERVICES}",
    f"x-name: other\n{SERVICES}",
    "services:\n  a:\n    image: x\n    labels:\n      name: other\n",
    f"# name: other\n{SERVICES}",
]
INTRICATE = [
    "{name: shop, services: {a: {image: x}}}\n",
    "  name: shop\n  services: {a: {image: x}}\n",
    f'"name": shop\n{SERVICES}',
    f"name: ${{TEAM:-red}}-shop\n{SERVICES}",
    f"name: >-\n  shop\n{SERVICES}",
    f"name:\n  shop\n{SERVICES}",
    f"x-common: &common\n  name: shop\n<<: *common\n{SERVICES}",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "My.Shop"
    made.mkdir()
    monkeypatch.chdir(made)
    for name in ("COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_ENV_FILES"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.mark.parametrize("text", PLAIN)
def test_a_plain_name_is_seen_as_the_loader_sees_it(folder: Path, text: str) -> None:
    (folder / "compose.yaml").write_text(text)
    options = argparse.Namespace(**OPTIONS)
    assert written_name(text, "otherwise") in ("shop", "otherwise")
    assert project.name(options) == project.load(options).name in ("shop", "myshop")


@pytest.mark.parametrize("text", INTRICATE)
def test_an_intricate_name_is_left_to_the_loader(folder: Path, text: str) -> None:
    (folder / "compose.yaml").write_text(text)
    options = argparse.Namespace(**OPTIONS)
    assert written_name(text, "otherwise") is None
    assert project.name(options) == project.load(options).name


@pytest.mark.parametrize("word", ["yes", "null", "12", "a b", "Shop", "-", "1e3", ""])
def test_a_word_that_yaml_may_read_otherwise_is_not_taken(word: str) -> None:
    assert written_name(f"name: {word}\n{SERVICES}", "otherwise") is None


def test_the_last_file_and_the_environment_have_their_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "compose.yaml").write_text(f"name: first\n{SERVICES}")
    (folder / "compose.override.yaml").write_text(f"name: second\n{SERVICES}")
    options = argparse.Namespace(**OPTIONS)
    assert project.name(options) == project.load(options).name == "second"
    (folder / ".env").write_text("COMPOSE_PROJECT_NAME=third\n")
    assert project.name(options) == project.load(options).name == "third"
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "fourth")
    assert project.name(options) == project.load(options).name == "fourth"
    assert project.name(argparse.Namespace(**{**OPTIONS, "project_name": "fifth"})) == "fifth"


def test_ps_works_though_the_file_is_broken(folder: Path) -> None:
    (folder / "compose.yaml").write_text("name: shop\nservices:\n  a: {imag: x}\n")
    assert project.name(argparse.Namespace(**OPTIONS)) == "shop"
