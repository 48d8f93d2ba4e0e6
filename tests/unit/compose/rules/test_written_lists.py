"""Repeated items of a list are found where they are written, and only in the list that is asked about."""

from __future__ import annotations

import re

from stackrun.compose.origins import Origins
from stackrun.compose.rules.stack import Stack
from stackrun.compose.rules.written_lists import repeated
from stackrun.compose.tree import Map

_VARIABLE = re.compile(r"(\w+)=")


def _found(text: str, key: str = "environment") -> list[tuple[str, str, int, int]]:
    stack = Stack(Map(), Map(), "/", {}, Origins(), sources={"stack.yaml": text})
    return [(one.service, one.subject, one.first.line, one.second.line) for one in repeated(stack, key, _VARIABLE)]


def test_an_item_that_comes_twice() -> None:
    assert _found("services:\n  a:\n    environment:\n      - A=1\n      - B=1\n      - A=2\n") == [("a", "A", 4, 6)]


def test_comments_and_blank_lines_between_do_not_matter() -> None:
    assert _found("services:\n  a:\n    environment:\n    - A=1\n\n    # again\n    - 'A=2'\n") == [("a", "A", 4, 7)]


def test_a_third_one_is_told_of_the_second() -> None:
    assert _found("services:\n  a:\n    environment:\n    - A=1\n    - A=2\n    - A=3\n") == [("a", "A", 4, 5), ("a", "A", 5, 6)]


def test_the_same_item_of_another_service_is_none() -> None:
    assert _found("services:\n  a:\n    environment:\n      - A=1\n  b:\n    environment:\n      - A=2\n") == []


def test_lists_of_other_keys_and_block_texts_are_left_alone() -> None:
    assert _found("services:\n  a:\n    labels:\n      - A=1\n      - A=2\nx-environment:\n  - A=1\n  - A=2\n") == []
    assert _found("services:\n  a:\n    environment:\n      TEXT: |\n        - A=1\n        - A=2\n") == []
