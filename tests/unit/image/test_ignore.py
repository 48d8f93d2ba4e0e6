"""Which paths `.dockerignore` patterns leave out."""

from __future__ import annotations

import pytest

from stackrun.errors import InvalidArgument
from stackrun.image.ignore import Ignore, parsed


@pytest.mark.parametrize(
    ("pattern", "out", "kept"),
    [
        ("*.pyc", ("a.pyc",), ("d/a.pyc", "a.py")),
        ("**/*.pyc", ("a.pyc", "d/e/a.pyc"), ("a.pyco",)),
        ("node_modules/", ("node_modules", "node_modules/x/y"), ("d/node_modules", "node_modules2")),
        ("/build", ("build", "build/x"), ("d/build",)),
        ("a/*/c", ("a/b/c", "a/b/c/d"), ("a/c", "a/b/b/c")),
        ("a/**", ("a/b", "a/b/c"), ("a", "b/a/c")),
        ("a/**/c", ("a/c", "a/b/c", "a/b/b/c"), ("a/b",)),
        ("?.txt", ("a.txt",), ("ab.txt", ".txt")),
        ("[ab].txt", ("a.txt", "b.txt"), ("c.txt",)),
        ("[^ab].txt", ("c.txt",), ("a.txt",)),
        ("a.b", ("a.b",), ("axb",)),
        (r"\*.txt", ("*.txt",), ("a.txt",)),
        ("a+(b)|c$", ("a+(b)|c$",), ("aa", "c")),
        ("./a//b/", ("a/b",), ("b",)),
    ],
)
def test_a_pattern(pattern: str, out: tuple[str, ...], kept: tuple[str, ...]) -> None:
    ignore = Ignore([pattern])
    assert [one for one in (*out, *kept) if ignore.matches(one)] == list(out)


def test_the_last_pattern_that_fits_decides() -> None:
    ignore = Ignore(["*.md", "!README*", "README-secret.md"])
    assert [one for one in ("a.md", "README.md", "README-secret.md") if ignore.matches(one)] == ["a.md", "README-secret.md"]
    assert not Ignore(["!a"]).matches("a")


def test_what_is_below_a_folder_that_is_left_out_can_be_taken_back() -> None:
    ignore = Ignore(["vendor", "!vendor/ours"])
    assert ignore.matches("vendor/theirs/x") and not ignore.matches("vendor/ours/x")
    assert not ignore.closes("vendor") and Ignore(["vendor"]).closes("vendor")


def test_a_file_of_patterns_has_comments_and_empty_lines() -> None:
    assert parsed("\ufeff# no\n\n *.log \n!keep.log\r\n") == ("*.log", "!keep.log")


def test_nothing_is_left_out_by_nothing() -> None:
    assert not Ignore([]) and not Ignore(["", "/", "!"]) and not Ignore([]).matches("a")


def test_what_is_no_pattern_is_told() -> None:
    with pytest.raises(InvalidArgument, match="invalid pattern"):
        Ignore(["[z-a]"])


def test_repetition_costs_nothing() -> None:
    assert not Ignore(["**/" * 200 + "x"]).matches("a/" * 100 + "b")
    assert Ignore(["**/" * 200 + "x"]).matches("a/" * 100 + "x") and Ignore(["****"]).matches("a/b")


def test_patterns_of_the_same_text_are_the_same() -> None:
    assert Ignore(["a"]) == Ignore(["a"]) != Ignore(["b"]) and len({Ignore(["a"]), Ignore(["a"])}) == 1
