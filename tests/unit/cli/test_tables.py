"""Tables, times and ports as Docker prints them."""

from __future__ import annotations

import pytest

from stackrun.cli import tables

MINUTE, HOUR, DAY = 60, 3600, 86400


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks() -> None:
    assert (
        tables.table(("NAME", "PORTS"), [("shop-api-1", ""), ("db", "80/tcp")]) == "NAME         PORTS\nshop-api-1\ndb           80/tcp\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (61, "About a minute"),
        (3 * MINUTE + 59, "3 minutes"),
        (59 * MINUTE, "59 minutes"),
        (HOUR + 5, "About an hour"),
        (5 * HOUR, "5 hours"),
        (47 * HOUR, "47 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (59 * DAY, "8 weeks"),
        (90 * DAY, "3 months"),
        (800 * DAY, "2 years"),
    ],
)
def test_spans_are_rounded_as_docker_rounds_them(seconds: float, text: str) -> None:
    assert tables.span(seconds) == text


def test_a_time_in_the_future_is_now() -> None:
    assert tables.ago(10.0, now_s=5.0) == "Less than a second ago"


def test_a_long_command_is_cut_to_twenty_characters() -> None:
    assert tables.command("sleep 1") == '"sleep 1"'
    assert tables.command("python3 -u /app/proxy.py") == '"python3 -u /app/pro…"'


def test_ports_name_address_and_protocol_once_each() -> None:
    published = [
        {"IP": "127.0.0.1", "PrivatePort": 8080, "PublicPort": 8088, "Type": "tcp"},
        {"PrivatePort": 53, "Type": "udp"},
        {"IP": "::", "PrivatePort": 8080, "PublicPort": 8088, "Type": "tcp"},
        {"PrivatePort": 53, "Type": "udp"},
    ]
    assert tables.ports(published) == "53/udp, 127.0.0.1:8088->8080/tcp, [::]:8088->8080/tcp"


def test_a_cell_does_not_steer_the_terminal() -> None:
    shown = tables.table(("NAME",), [["a\x1b]0;x\x07b\nc"], ["é日"]])
    assert shown == "NAME\na\\x1b]0;x\\x07b\\nc\né日\n"
