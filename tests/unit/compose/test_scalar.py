"""Plain scalars are read as Docker Compose's YAML reader reads them, and written as Go writes them."""

from __future__ import annotations

import math

import pytest

from stackrun.compose.scalar import Timestamp, is_true, resolve, tagged, text_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("Null", None), ("true", True), ("False", False), ("yes", "yes"), ("off", "off"),
        ("22:22", "22:22"), ("0", 0), ("-5", -5), ("+5", 5), ("0755", 493), ("0o17", 15), ("0x1F", 31), ("-0b11", -3), ("1_000", 1000),
        ("08", 8.0), ("1.10", 1.1), (".5", 0.5), ("5.", 5.0), ("1e3", 1000.0), ("1.2.3", "1.2.3"), ("-", "-"), ("0x", "0x"), ("1kb", "1kb"),
        ("2001-12-14", Timestamp("2001-12-14")), ("2001-12-14T21:59:43Z", Timestamp("2001-12-14T21:59:43Z")), ("2001-12", "2001-12"),
        (".inf", math.inf), ("-.INF", -math.inf), ("99999999999999999999", 1e20),
    ],
)  # fmt: skip
def test_resolve(text: str, value: object) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_a_tag_decides() -> None:
    assert tagged("tag:yaml.org,2002:str", "12") == "12"
    assert tagged("tag:yaml.org,2002:int", "12") == 12
    assert tagged("tag:yaml.org,2002:float", "12") == 12.0
    assert tagged("tag:yaml.org,2002:null", "x") is None
    assert tagged("tag:yaml.org,2002:bool", "true") is True
    assert tagged("!mine", "12") == "12"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (True, "true"), (False, "false"), (5, "5"), (1.1, "1.1"), (1000.0, "1000"), (1234567.0, "1.234567e+06"),
        (123456789.5, "1.234567895e+08"), (1e-7, "1e-07"), (0.0001, "0.0001"), (-2.5e10, "-2.5e+10"), (1e100, "1e+100"), (0.0, "0"),
        (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), ("x", "x"), (Timestamp("2001-12-14"), "2001-12-14"),
    ],
)  # fmt: skip
def test_text_is_as_go_prints_it(value: object, text: str) -> None:
    assert text_of(value) == text


def test_booleans_of_strings() -> None:
    assert [is_true(word) for word in ("yes", "On", "TRUE", "y")] == [True] * 4
    assert [is_true(word) for word in ("no", "OFF", "false", "n")] == [False] * 4
    assert is_true("maybe") is None
