"""Every form of variable, in one string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackrun.compose.template import MissingVariable, TemplateError, substitute

SET = {"SET": "value", "EMPTY": "", "OTHER": "other"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$SET", "value"), ("${SET}", "value"), ("a${SET}b$OTHER.", "avaluebother."), ("$UNSET", ""), ("${UNSET}", ""),
        ("${SET:-d}", "value"), ("${EMPTY:-d}", "d"), ("${UNSET:-d}", "d"), ("${UNSET:-}", ""),
        ("${SET-d}", "value"), ("${EMPTY-d}", ""), ("${UNSET-d}", "d"),
        ("${SET:?m}", "value"), ("${SET?m}", "value"), ("${EMPTY?m}", ""),
        ("${SET:+r}", "r"), ("${EMPTY:+r}", ""), ("${UNSET:+r}", ""), ("${SET+r}", "r"), ("${EMPTY+r}", "r"), ("${UNSET+r}", ""),
        ("${UNSET:-${OTHER}}", "other"), ("${UNSET:-${ALSO:-${SET}}}!", "value!"), ("${SET:+<${OTHER}>}", "<other>"),
        ("$$", "$"), ("$$SET", "$SET"), ("$${SET}", "${SET}"), ("$$$SET", "$value"),
        ("$", "$"), ("a$", "a$"), ("$1", "$1"), ("$(x)", "$(x)"), ("^/ping$", "^/ping$"), ("$-", "$-"), ("$é", "$é"),
        ("a}${SET}}", "a}value}"), ("{$SET}", "{value}"), ("${UNSET:-a:-b?c}", "a:-b?c"), ("${UNSET:-a\nb}", "a\nb"), ("", ""),
        ("plain", "plain"),
    ],
)  # fmt: skip
def test_forms(text: str, result: str) -> None:
    assert substitute(text, SET.get) == result


@pytest.mark.parametrize(
    "text", ["${", "${}", "${1}", "${SET", "${SET:}", "${SET:=d}", "${SET/a/b}", "${ SET}", "${SET }", "${#SET}", "${A:-${B}"]
)
def test_what_is_no_variable_is_an_error(text: str) -> None:
    with pytest.raises(TemplateError, match="invalid variable"):
        substitute(text, SET.get)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${UNSET:?set me}", "required variable UNSET is not set: set me"),
        ("${EMPTY:?set me}", "required variable EMPTY is empty: set me"),
        ("${UNSET?}", "required variable UNSET is not set"),
        ("${UNSET?see ${OTHER}}", "required variable UNSET is not set: see other"),
        ("${SET:-${UNSET:?needed}}", "required variable UNSET is not set: needed"),
    ],
)
def test_a_required_variable(text: str, message: str) -> None:
    with pytest.raises(MissingVariable) as caught:
        substitute(text, SET.get)
    assert caught.value.message == message


def test_the_position_of_the_fault_is_told() -> None:
    with pytest.raises(TemplateError) as caught:
        substitute("ab ${X:1}", SET.get)
    assert caught.value.position == 3
    assert caught.value.hint == "write ${X:-1} for a default"


def test_unset_names_are_told_only_where_they_count() -> None:
    told: list[str] = []
    substitute("$A ${B} ${C:-$D} ${SET:-$E} ${F:+$G}", SET.get, unset=told.append)
    assert told == ["A", "B", "D"]


def test_nesting_has_a_bound() -> None:
    with pytest.raises(TemplateError, match="nested too deeply"):
        substitute("${A:-" * 60 + "}" * 60, SET.get)


@given(st.text())
def test_doubled_dollars_come_back_single(text: str) -> None:
    assert substitute(text.replace("$", "$$"), SET.get) == text


@given(st.text(alphabet="${}:-?+AB ", max_size=40))
def test_nothing_but_a_template_error_ever_escapes(text: str) -> None:
    try:
        substitute(text, {"A": "1"}.get)
    except TemplateError:
        pass
