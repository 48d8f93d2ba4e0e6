"""What is to be undone when a step fails: contextlib.ExitStack without the modules that contextlib brings along."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Undo:
    """`with Undo() as undo:` calls what was given to `add`, the last first, unless `keep` was said; also when one of them fails."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, step: Callable[..., object], *operands: object) -> None:
        self._steps.append((step, operands))

    def keep(self) -> None:
        """What was done stays."""
        self._steps.clear()

    def close(self) -> None:
        if not self._steps:
            return
        step, operands = self._steps.pop()
        try:
            step(*operands)
        finally:
            self.close()
