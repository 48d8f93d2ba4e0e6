"""The descriptors between a shim and one process: made before it is born, divided after."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackrun.runtime.streams import Streams


class Pipes:
    """`inner` are the process's 0, 1, 2 (-1: the null device; empty with a terminal); the outer ends go to `Streams` by `hand_over`."""

    __slots__ = ("_input_fd", "_made", "_outputs", "inner", "is_given")

    def __init__(self, *, terminal: bool, wants_input: bool, wants_output: bool, given: tuple[int, ...] = ()) -> None:
        self._made: list[int] = []
        self._input_fd = -1
        self._outputs: list[tuple[int, str]] = []
        self.is_given = bool(given)
        self.inner: tuple[int, ...] = given
        if not given and not terminal:
            self._make(wants_input, wants_output)

    def _make(self, wants_input: bool, wants_output: bool) -> None:
        inner = [-1, -1, -1]
        if wants_input:
            inner[0], self._input_fd = os.pipe2(os.O_CLOEXEC)
            self._made.append(inner[0])
        for number, stream in ((1, "stdout"), (2, "stderr")) if wants_output else ():
            outer, inner[number] = os.pipe2(os.O_CLOEXEC)
            self._outputs.append((outer, stream))
            self._made.append(inner[number])
        self.inner = tuple(inner)

    def close_inner(self) -> None:
        """The process has its own copies now; ours would keep its output from ever ending."""
        for fd in self._made:
            os.close(fd)
        self._made.clear()

    def close_given(self) -> None:
        """Of descriptors that came from outside, when the process has its copies; only for who owns them."""
        if self.is_given:
            for fd in self.inner:
                os.close(fd)
            self.is_given, self.inner = False, ()

    def hand_over(self, streams: Streams, console: int, *, ends_with_client: bool) -> None:
        """Give the outer ends, or both directions of the terminal's master, to `streams`."""
        if console >= 0:
            # A terminal has no end of input that could be told apart from its end.
            streams.set_input(os.dup(console), ends_with_client=False)
            streams.add_source(console, "stdout")
            return
        for fd, stream in self._outputs:
            streams.add_source(fd, stream)
        if self._input_fd >= 0:
            streams.set_input(self._input_fd, ends_with_client)
        self._outputs, self._input_fd = [], -1

    def close(self) -> None:
        """Undo, when nothing came of the process."""
        self.close_inner()
        for fd, _ in self._outputs:
            os.close(fd)
        if self._input_fd >= 0:
            os.close(self._input_fd)
        self._outputs, self._input_fd = [], -1
