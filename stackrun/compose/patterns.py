"""Key paths with wildcards → what is known of them, walked together with a tree.

A pattern is written `services.*.ports.*.target`; `*` is any key or any item of a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Pattern(Generic[T]):
    """A node of the trie: `known` is what the pattern that ends here carries."""

    __slots__ = ("any", "known", "named")

    def __init__(self) -> None:
        self.known: T | None = None
        self.named: dict[str, Pattern[T]] = {}
        self.any: Pattern[T] | None = None

    @classmethod
    def table(cls, patterns: Mapping[str, T]) -> Pattern[T]:
        root = cls()
        for text, known in patterns.items():
            node = root
            for word in text.split("."):
                node = node._next_or_new(word)
            node.known = known
        return root

    def _next_or_new(self, word: str) -> Pattern[T]:
        if word == "*":
            self.any = self.any or Pattern()
            return self.any
        return self.named.setdefault(word, Pattern())

    def at(self, key: str) -> Pattern[T] | None:
        """One step down; a named key wins over the wildcard."""
        return self.named.get(key) or self.any
