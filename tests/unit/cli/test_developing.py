"""When a watched stack's images are built: what a change is about, and what it is no reason for."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from stackrun.api.stack_source import StackSource
from stackrun.cli.developing import Development
from stackrun.compose.load import load

STACK = """
name: shop
services:
  plain: {build: ./plain}
  ruled:
    build: ./ruled
    develop:
      watch:
        - {path: ./ruled, action: sync, target: /app, ignore: [needs.txt]}
        - {path: ./ruled/needs.txt, action: rebuild}
  bought:
    image: x
    develop: {watch: [{path: ./plain, action: rebuild}]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("plain", "ruled"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "compose.yaml").write_text(STACK)
    return tmp_path


def followed(folder: Path, said: list[str]) -> Development:
    made = Development(argparse.Namespace(services=[]), said.append, said.append)
    made.follow(load(StackSource(str(folder))))
    for tree in made.trees:
        tree.look(lambda _: None)
    made.looked()
    return made


def test_a_context_is_watched_where_no_rule_says_when_to_build(folder: Path) -> None:
    said: list[str] = []
    made = followed(folder, said)
    assert [tree.key for tree in made.trees][-1] == "plain.build" and made.folders == 3
    assert len(said) == 2 and "compose.yaml:13:47: service bought has no build" in said[0] and "needs.txt is not there" in said[1]


@pytest.mark.parametrize(
    ("changed", "due"),
    [
        ("plain.build", ("plain",)), ("ruled.develop.watch[1]", ("ruled",)), ("ruled.develop.watch[0]", ()),
        ("bought.develop.watch[0]", ()), ("ruled/Dockerfile", ("ruled",)), ("plain/.dockerignore", ("plain",)), ("compose.yaml", ()),
    ],
)  # fmt: skip
def test_what_a_change_is_about(folder: Path, changed: str, due: tuple[str, ...]) -> None:
    made = followed(folder, [])
    assert made.due([str(folder / changed) if "." not in changed.partition("/")[0] or changed.endswith("yaml") else changed]) == due
    assert made.unbuilt == ([] if "ruled" in due else ["ruled"]), "what is synced is no reason"


def test_what_could_not_be_built_is_due_still(folder: Path) -> None:
    made = followed(folder, [])
    assert made.due(["ruled.develop.watch[1]"]) == ("ruled",)
    assert made.due([]) == ("ruled",)
    made.built()
    assert (made.due([]), made.unbuilt) == ((), ["ruled"])
