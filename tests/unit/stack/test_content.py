"""The content of configs and secrets: read at once, kept in private files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stackrun.api.stacks import StackSource
from stackrun.compose.load import load
from stackrun.compose.model import Project
from stackrun.errors import ComposeError, KernelError
from stackrun.stack.content import forget_private, private_path, read_contents, write_private
from stackrun.stack.plan import WriteFile


def stack(folder: Path, text: str) -> Project:
    (folder / "compose.yaml").write_text(text)
    return load(StackSource(str(folder)))


TWO = """\
services:
  web: {image: x, secrets: [token], configs: [site]}
secrets:
  token: {file: ./token}
  unused: {file: ./nowhere}
configs:
  site: {file: ./site}
"""


def test_files_in_use_are_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"hush")
    (tmp_path / "site").write_bytes(b"hello")
    assert read_contents(stack(tmp_path, TWO)) == {f"{tmp_path}/token": b"hush", f"{tmp_path}/site": b"hello"}


def test_missing_files_are_all_named_at_their_places(tmp_path: Path) -> None:
    with pytest.raises(ComposeError) as caught:
        read_contents(stack(tmp_path, TWO))
    assert [(one.line, one.code) for one in caught.value.diagnostics] == [(4, "unreadable-file"), (7, "unreadable-file")]
    assert "secret token: cannot read" in str(caught.value) and "No such file" in str(caught.value)


def test_a_folder_counts_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a").write_bytes(b"1")
    project = stack(tmp_path, TWO)
    before = read_contents(project)
    (tmp_path / "site" / "a").write_bytes(b"2")
    assert read_contents(project) != before


def private(state: Path, content: bytes = b"hush", mode: int = 0o440) -> WriteFile:
    path = private_path(str(state), "shop", content, mode, os.getuid(), os.getgid())
    return WriteFile(path, content, mode, os.getuid(), os.getgid(), "secret token")


def test_a_private_file_has_its_mode_and_a_closed_folder(tmp_path: Path) -> None:
    action = private(tmp_path / "state")
    write_private(action)
    path = Path(action.path)
    assert path.read_bytes() == b"hush"
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    assert stat.S_IMODE(path.parent.stat().st_mode) == stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_it_is_written_once_and_never_changed(tmp_path: Path) -> None:
    action = private(tmp_path)
    write_private(action)
    before = Path(action.path).stat()
    write_private(action)
    assert Path(action.path).stat().st_ino == before.st_ino


def test_other_content_owner_or_mode_is_another_file() -> None:
    given = ((b"a", 1, 0, 0), (b"b", 1, 0, 0), (b"a", 2, 0, 0), (b"a", 1, 1, 0), (b"a", 1, 0, 1))
    paths = {private_path("/s", "p", *one) for one in given}
    assert len(paths) == 5


def test_a_folder_that_cannot_be_made_says_what_was_to_be_written(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file where a folder should be")
    with pytest.raises(KernelError, match="write secret token"):
        write_private(private(tmp_path / "state"))


def test_down_forgets_them(tmp_path: Path) -> None:
    action = private(tmp_path)
    write_private(action)
    forget_private(str(tmp_path), "shop")
    forget_private(str(tmp_path), "shop")
    assert not Path(action.path).exists()


def test_a_secrets_content_is_not_printed() -> None:
    assert "hush" not in repr(private(Path("/state")))
