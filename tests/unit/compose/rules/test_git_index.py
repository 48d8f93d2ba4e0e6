"""Which files git keeps, against git itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stackrun.api.stacks import StackSource
from stackrun.compose.rules.git_index import tracked
from stackrun.compose.validation import validate

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("key.txt", "deep/key.txt", "deep/er/kept.txt", "deep/left.txt"):
        (tmp_path / name).write_text("open sesame\n")
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "add", "deep/key.txt", "deep/er/kept.txt")
    return tmp_path


def _git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


def test_what_was_added_is_tracked(repository: Path) -> None:
    assert tracked(str(repository / "deep/key.txt"))
    assert tracked(str(repository / "deep/er/kept.txt"))


def test_what_only_ends_like_it_is_not(repository: Path) -> None:
    assert not tracked(str(repository / "key.txt"))
    assert not tracked(str(repository / "deep/left.txt"))


def test_a_path_to_be_added_counts(repository: Path) -> None:
    _git(repository, "add", "--intent-to-add", "deep/left.txt")
    assert tracked(str(repository / "deep/left.txt"))


def test_outside_of_a_repository_nothing_is(tmp_path: Path) -> None:
    assert not tracked(str(tmp_path / "key.txt"))


@pytest.mark.parametrize("content", [b"", b"DIRC", b"DIRC\0\0\0\4key.txt\0", b"key.txt\0" * 9])
def test_a_broken_index_tells_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index").write_bytes(content)
    assert not tracked(str(tmp_path / "key.txt"))


def test_the_rule_tells_of_the_secret_at_its_file(repository: Path) -> None:
    (repository / "stack.yaml").write_text(
        "services:\n  app:\n    image: app:1\n    secrets: [a, b]\nsecrets:\n  a:\n    file: ./deep/key.txt\n  b:\n    file: ./key.txt\n"
    )
    found = validate(StackSource(files=("stack.yaml",), working_dir=str(repository), environment={}), select=("tracked-secret",)).findings
    assert [(one.code, one.place.line, one.place.column) for one in found] == [("tracked-secret", 7, 11)]
