"""Removing a tree that a stranger has made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackrun.errors import KernelError
from stackrun.kernel import tree


def nested(top: Path, depth: int) -> None:
    """Deeper than a path can say, so step by step."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


@pytest.mark.parametrize("depth", [0, 1, 32, 33, 1500])
def test_any_depth_goes(tmp_path: Path, depth: int) -> None:
    doomed = tmp_path / "doomed"
    doomed.mkdir()
    nested(doomed, depth)
    tree.remove(doomed)
    assert not doomed.exists()


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("here")
    doomed = tmp_path / "doomed"
    (doomed / "below").mkdir(parents=True)
    (doomed / "below" / "link").symlink_to(kept)
    tree.remove(doomed)
    assert (kept / "file").read_text() == "here" and not doomed.exists()


def test_a_missing_or_strange_top_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("absent", "link"):
        with pytest.raises(KernelError, match="remove"):
            tree.remove(tmp_path / name)


def test_what_cannot_go_is_told_and_the_rest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "doomed").mkdir()
    for name in ("one", "stuck", "two"):
        (tmp_path / "doomed" / name).touch()
    unlink = os.unlink

    def refuse(name: str, **options: int) -> None:
        if name == "stuck":
            raise PermissionError(1, "no")
        unlink(name, **options)

    monkeypatch.setattr(os, "unlink", refuse)
    told: list[str] = []
    tree.remove(tmp_path / "doomed", lambda name, _error: told.append(name))
    assert told == ["stuck", str(tmp_path / "doomed")] and os.listdir(tmp_path / "doomed") == ["stuck"]
