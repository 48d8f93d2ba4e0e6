"""Sizes, durations and cpus as Docker reads and writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackrun.errors import InvalidArgument
from stackrun.units import format_bytes, format_duration, parse_bytes, parse_duration, parse_nano_cpus


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0), ("5", 5), ("5b", 5), ("5B", 5), ("5k", 5120), ("5kb", 5120), ("5KiB", 5120), ("64m", 64 << 20), ("1.5g", 3 << 29),
        ("1.5 GB", 3 << 29), ("2t", 2 << 40), ("1p", 1 << 50), (".5g", 1 << 29), ("5.", 5), ("1e3", 1000), ("1e3k", 1024000),
        ("+5m", 5 << 20),
    ],
)  # fmt: skip
def test_sizes(text: str, count: int) -> None:
    assert parse_bytes(text) == count


def test_a_number_is_bytes_already() -> None:
    assert parse_bytes(-1) == -1


@pytest.mark.parametrize("text", ["", "lots", "5e", "-5m", "1,5g", "1kk", "5kbb", "10mb ", " 10m", "0x10", "1  k", "k"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid size") as caught:
        parse_bytes(text)
    assert caught.value.hint


@pytest.mark.parametrize(("count", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (1_240_000_000, "1.24GB"), (10**15, "1e+03TB")])
def test_sizes_are_shown_in_decimal_units(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("5s", 5), ("1m30s", 90), ("1h1h", 7200), ("1.5h", 5400), (".5s", 0.5), ("500ms", 0.5), ("1us", 1e-6), ("1µs", 1e-6),
        ("1d12h", 129600), ("1w", 604800), ("-5s", -5), ("+5s", 5), ("1ms500us", 0.0015),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "1h30", "5S", "1y", "1m 30s", "s", "1.2.3s", "five"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1e-9, "1ns"),
        (1.5e-6, "1.5µs"),
        (0.25, "250ms"),
        (1.5, "1.5s"),
        (90, "1m30s"),
        (3600, "1h0m0s"),
        (129600, "36h0m0s"),
        (-5, "-5s"),
    ],
)
def test_durations_are_shown_as_go_does(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 10**9))
def test_a_duration_comes_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@given(st.integers(0, 1 << 60), st.sampled_from(["", "b", "k", "KB", "MiB", "g"]))
def test_any_whole_size_is_read(count: int, unit: str) -> None:
    factor = {"": 1, "b": 1, "k": 1 << 10, "KB": 1 << 10, "MiB": 1 << 20, "g": 1 << 30}[unit]
    assert parse_bytes(f"{count}{unit}") == pytest.approx(count * factor)


def test_cpus() -> None:
    assert parse_nano_cpus("0.5") == 500_000_000
    assert parse_nano_cpus(2) == 2_000_000_000
    for text in ("lots", "-1"):
        with pytest.raises(InvalidArgument, match="invalid number of cpus"):
            parse_nano_cpus(text)
