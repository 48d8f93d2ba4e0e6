"""Env files as Docker Compose reads them."""

from __future__ import annotations

import pytest

from stackrun.compose.dotenv import parse_env, parse_raw
from stackrun.compose.faults import Faults


def parsed(text: str, **environment: str) -> dict[str, str]:
    faults = Faults()
    found = parse_env(text, ".env", faults, lookup=environment.get)
    assert not faults, faults.all
    return found


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1\nB=2\n", {"A": "1", "B": "2"}), ("A=1", {"A": "1"}), ("\n# c\n  # d\n\nA=1\n", {"A": "1"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\ufeffA=1\n", {"A": "1"}), ("A=\n", {"A": ""}), ("A =  x  \n", {"A": "x"}), ("A: yaml\n", {"A": "yaml"}),
        ("export A=1\n", {"A": "1"}),
        ("A=x # c\n", {"A": "x"}), ("A=x#c\n", {"A": "x#c"}), ("A= # c\n", {"A": "# c"}), ("A=a b\n", {"A": "a b"}),
        ('A="x # y" # c\n', {"A": "x # y"}), ("A='x $B'\n", {"A": "x $B"}), ("A='it\\'s'\n", {"A": "it's"}),
        ('A="a\\nb\\t\\"c\\"\\\\"\n', {"A": 'a\nb\t"c"\\'}),
        ('A="one\ntwo"\nB=3\n', {"A": "one\ntwo", "B": "3"}), ("A=`x y`\n", {"A": "`x y`"}), ("A.B=1\nC_D=2\n", {"A.B": "1", "C_D": "2"}),
        ("A=1\nB=${A}2\nC=$A$B\n", {"A": "1", "B": "12", "C": "112"}), ("A=${X:-d}\n", {"A": "d"}), ("A=$$X\n", {"A": "$X"}),
        ('A="\\$X"\n', {"A": "$X"}),
        ("A=$(id -u)\n", {"A": "$(id -u)"}),
    ],
)  # fmt: skip
def test_syntax(text: str, values: dict[str, str]) -> None:
    assert parsed(text) == values


def test_the_callers_environment_wins_in_variables_and_fills_bare_names() -> None:
    assert parsed("X=file\nA=${X}\nX2\nNOPE\n", X="caller", X2="two") == {"X": "file", "A": "caller", "X2": "two"}


def test_earlier_files_are_known() -> None:
    assert parse_env("B=${A}\n", ".env", Faults(), known={"A": "before"}) == {"B": "before"}


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("A=1\nB C=2\n", (2, 2), "unexpected ' ' in a variable's name"),
        ('A=1\n  x"y=2\n', (2, 4), "unexpected '\"' in a variable's name"),
        ("A=1\nB='open\nC=2\n", (2, 3), "the quote ' is not closed"),
        ("A=${\n", (1, 3), "invalid variable in '${'"),
    ],
)
def test_a_fault_has_its_place_and_the_rest_is_read(text: str, place: tuple[int, int], message: str) -> None:
    faults = Faults()
    parse_env(text, ".env", faults)
    (fault,) = faults.errors
    assert (fault.line, fault.column, fault.message) == (*place, message)


def test_raw_takes_values_as_they_are() -> None:
    faults = Faults()
    text = 'A="x" # y\n# c\nB=$HOME\n  C= 5 \nHOME\nNOPE\n'
    assert parse_raw(text, "e", faults, {"HOME": "/h"}.get) == {"A": '"x" # y', "B": "$HOME", "C": " 5 ", "HOME": "/h"}
    assert not faults


def test_raw_names_have_no_spaces() -> None:
    faults = Faults()
    parse_raw("A B=1\n", "e", faults, {}.get)
    assert [str(one) for one in faults.all] == ["e:1:1: a space in the variable's name 'A B'"]


def test_what_is_odd_and_what_docker_compose_makes_of_it() -> None:
    """An apostrophe needs no backslash in double quotes; a carriage return counts within quotes alone."""
    faults = Faults()
    assert parse_env('A="\\\'"\r\nB="a\r\nb"\r\nC=c\r\n', "e", faults) == {"A": "\\'", "B": "a\r\nb", "C": "c"}
    assert parse_raw("\ufeffA=1\n", "e", faults, {}.get) == {"A": "1"} and not faults
    parse_raw("=1", "e", faults, {}.get)
    assert [one.message for one in faults.errors] == ["a line without a variable's name"]
