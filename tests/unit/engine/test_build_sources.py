"""Names, patterns and digests of what COPY takes, in plain folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackrun.engine.build_context import dockerfile_of, leave_out
from stackrun.engine.build_files import destination
from stackrun.engine.build_sources import Tree, cleaned, digest, matches
from stackrun.errors import InvalidArgument


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    for name in ("a/b/one.txt", "a/b/two.md", "a/three.txt", "four.txt", "s[1].txt", "c/b/five.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "out").symlink_to("/etc")
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield Tree(fd, is_context=True)
    os.close(fd)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (".", ("",)), ("/", ("",)), ("./", ("",)), ("a", ("a",)), ("/a/", ("a",)), ("a//b/../three.txt", ("a/three.txt",)),
        ("*.txt", ("four.txt", "s[1].txt")), ("a/*", ("a/b", "a/three.txt")), ("*/b/*.txt", ("a/b/one.txt", "c/b/five.txt")),
        ("?our.txt", ("four.txt",)), ("[e-g]*", ("four.txt",)), ("[^a-z]*", ()), ("s[[]1].txt", ("s[1].txt",)),
        ("s\\[1].txt", ("s[1].txt",)), ("link/three.txt", ("link/three.txt",)), ("link/b/*.md", ("link/b/two.md",)), ("l*", ("link",)),
        ("l*/three.txt", ()), ("**", ("a", "c", "four.txt", "link", "out", "s[1].txt")),
    ],
)  # fmt: skip
def test_what_a_source_names(tree: Tree, source: str, found: tuple[str, ...]) -> None:
    if found:
        assert matches(tree, source, "COPY") == found
    else:
        with pytest.raises(InvalidArgument, match="COPY failed: no source files were specified"):
            matches(tree, source, "COPY")


@pytest.mark.parametrize("source", ["none", "a/none", "four.txt/x", "out/passwd", "link/../four"])
def test_what_is_not_there_is_told_in_dockers_words(tree: Tree, source: str) -> None:
    with pytest.raises(InvalidArgument, match=f"file not found in build context or excluded by .dockerignore: stat {source}"):
        matches(tree, source, "COPY")


@pytest.mark.parametrize("source", ["..", "../x", "a/../../x", "/../x/.."])
def test_what_is_above_the_context_is_refused(source: str) -> None:
    if source == "/../x/..":
        assert cleaned("/a/../x/..", "COPY") == ""
        return
    with pytest.raises(InvalidArgument, match="forbidden path outside the build context"):
        cleaned(source, "COPY")


@pytest.mark.parametrize("pattern", ["[", "a[", "a/[^", "[a"])
def test_a_bad_pattern_is_told(tree: Tree, pattern: str) -> None:
    with pytest.raises(InvalidArgument, match="syntax error in pattern"):
        matches(tree, pattern, "COPY")


def _digest(tree: Tree, path: str = "a") -> str:
    return digest(tree, path, owners=False, wanted=lambda path: True)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "a/three.txt").write_text("other"), lambda root: (root / "a/three.txt").chmod(0o600),
        lambda root: (root / "a/three.txt").rename(root / "a/four.txt"), lambda root: (root / "a/new").mkdir(),
        lambda root: (root / "a/b").chmod(0o700), lambda root: (root / "a/l").symlink_to("x"), lambda root: (root / "a/b/one.txt").unlink(),
        lambda root: os.mkfifo(root / "a/pipe"),
    ],
)  # fmt: skip
def test_everything_that_is_copied_counts(tree: Tree, tmp_path: Path, change: object) -> None:
    before = _digest(tree)
    change(tmp_path)  # type: ignore[operator]
    assert _digest(tree) != before


def test_times_and_what_is_left_out_do_not_count(tree: Tree, tmp_path: Path) -> None:
    before = digest(tree, "a", owners=True, wanted=lambda path: path != "a/b/two.md")
    os.utime(tmp_path / "a/three.txt", (1, 1))
    (tmp_path / "a/b/two.md").write_text("other")
    (tmp_path / "four.txt").write_text("other")
    assert digest(tree, "a", owners=True, wanted=lambda path: path != "a/b/two.md") == before


def test_a_link_counts_by_what_it_leads_to_and_inside_a_folder_by_its_target(tree: Tree, tmp_path: Path) -> None:
    assert _digest(tree, "link") == _digest(tree, "a")
    (tmp_path / "a/l").symlink_to("three.txt")
    before = _digest(tree)
    (tmp_path / "a/l").unlink()
    (tmp_path / "a/l").write_text("three.txt")
    assert _digest(tree) != before


@pytest.mark.parametrize(
    ("target", "working_dir", "expected"),
    [
        ("x", "/w", "/w/x"), (".", "/w", "/w/"), ("", "/w", "/w/"), ("x/", "/", "/x/"), ("/", "/w", "/"), ("/a/../b", "/w", "/b"),
        ("../../..", "/w", "/"), ("/a/.", "/", "/a/"), ("//a", "/", "/a"),
    ],
)  # fmt: skip
def test_where_the_target_is(target: str, working_dir: str, expected: str) -> None:
    assert destination(target, working_dir) == expected


def test_what_dockerignore_leaves_out_is_removed(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("a/b\n!a/b/two.md\nc\n*.txt\n.dockerignore\nout/*\n")
    leave_out(tmp_path, "Dockerfile")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["a", "a/b", "a/b/two.md", "a/three.txt", "link", "out"]


def test_the_dockerfiles_own_dockerignore_goes_first(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("a\n")
    (tmp_path / "other.dockerignore").write_text("c\n")
    leave_out(tmp_path, "other")
    assert (tmp_path / "a").exists() and not (tmp_path / "c").exists()


@pytest.mark.parametrize("name", ["../x", "a/../../x"])
def test_a_dockerfile_outside_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="must be within the build context"):
        dockerfile_of(tmp_path, name)
