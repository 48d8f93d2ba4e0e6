"""A command that stays in the foreground, and what it has said so far."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from machine import Machine


class Following:
    """`stackrun WORDS…` in `folder`, its output in the file `log`; `said` waits `timeout_s` at most unless told otherwise."""

    def __init__(self, machine: Machine, folder: Path, log: Path, *words: str, timeout_s: float = 20) -> None:
        self.machine, self.folder, self.log = machine, folder, log
        self._timeout_s = timeout_s
        with log.open("w") as output:
            self.process = machine.start_to(output, *words, cwd=folder)

    def position(self) -> int:
        return len(self.log.read_text())

    def said(self, words: str, after: int = 0, timeout_s: float = 0) -> int:
        """Waits until `words` stand in the log after a position; gives the position behind them."""
        deadline = time.monotonic() + (timeout_s or self._timeout_s)
        while (at := (text := self.log.read_text()).find(words, after)) < 0:
            assert time.monotonic() < deadline and self.process.poll() is None, f"{words!r} was not said:\n{text[after:]}"
            time.sleep(0.02)
        return at + len(words)

    def end(self) -> None:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20) == 130
