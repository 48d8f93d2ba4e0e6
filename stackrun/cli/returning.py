"""An `up --atomic` that a person interrupts: back to the last good state, and at a second Ctrl-C away at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stackrun.cli.operations import Event, Events, follow, operate
from stackrun.cli.render import display

if TYPE_CHECKING:
    import argparse

_BACK = {
    "to nothing": "`stackrun down` removes what was made",
    "": "`stackrun history` tells whether anything was changed, and `stackrun rollback` returns",
}
"""Where the return was to go → how a person gets there; to a revision otherwise."""


def take_back(options: argparse.Namespace, request: dict[str, Any]) -> None:
    """`request` is that of the `up`, whose connection is closed."""
    where = ""
    try:
        _say("Interrupted: returning to the last good state... (press Ctrl+C again to leave at once)")
        asked = {key: request["options"][key] for key in ("timeout_s", "wait_timeout_s", "keep")}
        events = _Returning(operate(options, "up", {"source": request["source"], "options": {**asked, "revert": True}}))
        try:
            follow(events, display(options, "rollback"), "return")
        finally:
            where = events.where
    except KeyboardInterrupt:
        _say(f"left half way: {_BACK.get(where) or f'`stackrun rollback` returns {where}'}")


class _Returning:
    """Notes where it goes: `to revision 3`, `to nothing`; empty until that is told."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self.close = events.close
        self.where = ""

    def __iter__(self) -> Iterator[Event]:
        for event in self._events:
            if event["text"] == "Returning":
                self.where = event["detail"]
            yield event


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
