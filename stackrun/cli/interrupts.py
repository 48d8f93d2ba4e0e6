"""Ctrl-C is heard also where Python loses its exception.

KeyboardInterrupt is raised wherever the main thread happens to be.  In a finalizer or in the callback of a weak reference nobody can
catch it: it goes to `sys.unraisablehook`, and the command would go on as if nobody had pressed anything.  So whatever is lost there is
raised again, a moment later, until it has been heard.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

AGAIN_S = 0.01
"""Enough to leave the finalizer; should it take longer, the exception is lost once more, and raised once more."""


@contextmanager
def heard() -> Iterator[None]:
    """In the main thread, meanwhile. An interrupt that is ignored, as of a job in the background, stays so."""
    before = sys.unraisablehook

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        else:
            before(lost)

    alarm = signal.signal(signal.SIGALRM, _again)
    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)


def _again(number: int, frame: FrameType | None) -> None:
    """By whoever hears SIGINT at the moment: asyncio, where a loop runs."""
    signal.raise_signal(signal.SIGINT)
