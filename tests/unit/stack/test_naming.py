"""A stack's name in a path, wherever it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackrun.api.stacks import Decision
from stackrun.errors import InvalidArgument
from stackrun.stack import content, naming
from stackrun.stack.declared import Declarations
from stackrun.stack.journal import Journal
from stackrun.stack.revisions import Revisions

NO_NAMES = ("..", "../evil", "/evil", "a/b", "", ".", "-a", "A", "a.b", "a\n", "é")


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_makes_no_path(tmp_path: Path, name: str) -> None:
    state = tmp_path / "state"
    state.mkdir()
    Journal(str(state)).note(name, (Decision(1.0, "web", "Container x", "died", "exited (1)"),))
    assert Journal(str(state)).read(name) == () and Declarations(str(state)).read(name) is None
    for attempt in (
        lambda: content.forget_private(str(state), name),
        lambda: content.private_path(str(state), name, b"", 0, 0, 0),
        lambda: content.live_path(str(state), name, "config x", 0, 0, 0),
        lambda: content.told_path(str(state), name, "x"),
        lambda: Revisions(str(state), name),
        lambda: Declarations(str(state)).forget(name),
    ):
        with pytest.raises(InvalidArgument):
            attempt()
    assert [path.name for path in tmp_path.rglob("*")] == ["state"]


@pytest.mark.parametrize("name", ["a", "0", "shop-2_x"])
def test_a_name_is_one(name: str) -> None:
    assert naming.checked(name) == name
