"""JSON without module json's Python half."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackrun.runtime import jsontext

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_it_says_what_json_says(value: object) -> None:
    assert jsontext.dumps(value) == json.dumps(value, separators=(",", ":"))
    assert jsontext.pretty(value) == json.dumps(value, indent=2)
    assert jsontext.loads(json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", ["", "{", "[1,]", "1 2", '{"a" 1}', "nul", b"\xff", '"\n"'])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        jsontext.loads(text)


def test_a_value_json_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError, match="a set is not JSON"):
        jsontext.dumps({1})
