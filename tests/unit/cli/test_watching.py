"""Which files a watched stack is made from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackrun.api.stack_source import StackSource
from stackrun.cli.watching import inputs
from stackrun.compose.load import files_of, load

FILES = {
    "compose.yaml": """
include:
  - {path: [inc/a.yaml, inc/b.yaml], env_file: inc/own.env}
  - inc2/compose.yaml
services:
  web:
    extends: {file: base/base.yaml, service: web}
    env_file: [one.env, {path: optional.env, required: false}]
    label_file: [labels.txt]
    build: ./context
    image: x
    develop: {watch: [{path: ./context, action: sync, target: /app}]}
    configs: [c]
    secrets: [s]
configs: {c: {file: c.conf}}
secrets: {s: {file: s.txt}}
""",
    "compose.override.yaml": "services: {web: {environment: {A: b}}}\n",
    "inc/a.yaml": "services: {ia: {image: x, env_file: ia.env}}\n",
    "inc/b.yaml": "services: {ia: {command: [x]}}\n",
    "inc/own.env": "X=1\n", "inc/ia.env": "", "inc2/compose.yaml": "services: {ib: {image: x}}\n",
    "base/base.yaml": "services: {web: {image: x, extends: {file: deeper.yaml, service: w}}}\n",
    "base/deeper.yaml": "services: {w: {image: q, env_file: deep.env}}\n", "base/deep.env": "", "one.env": "", "labels.txt": "",
    "c.conf": "", "s.txt": "", "cli.env": "",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_everything_that_a_stack_is_made_from_counts_there_or_not(folder: Path) -> None:
    found = {os.path.relpath(file, folder) for file in inputs(load(StackSource(str(folder), env_files=("cli.env",))))}
    assert found >= set(FILES), "every file that was read"
    ignores = {"context/Dockerfile", "context/.dockerignore", "context/Dockerfile.dockerignore"}
    assert found - set(FILES) == {"optional.env", "inc2/.env", ".env", "compose.override.yml", *ignores}


def test_a_broken_stack_waits_for_what_it_lacks(folder: Path) -> None:
    for name in ("inc/b.yaml", "base/deeper.yaml", "one.env"):
        (folder / name).unlink()
    found = {os.path.relpath(file, folder) for file in files_of(StackSource(str(folder)))}
    assert found >= {"inc/b.yaml", "base/deeper.yaml", "one.env", "compose.yaml"}
