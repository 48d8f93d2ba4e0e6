"""How much one load may ask for.

A few hundred bytes can ask for gigabytes: files that include each other, services that extend each other, env files
that everyone reads.  Each limit is far above what people write (a stack of 2,000 services has about 100,000 values) and
low enough that what is refused is refused within seconds and a few hundred megabytes.
"""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """`most` of it, how that is called, and what to do about it."""

    most: int
    called: str
    hint: str


LIMITS = {
    "values": Limit(500_000, "values laid over one another", "fewer documents, includes or services that extend large ones"),
    "includes": Limit(500, "includes", "include a file once"),
    "dependencies": Limit(50_000, "dependencies between services", "fewer of them: what a dependency needs is started before it, too"),
    "variables": Limit(200_000, "variables from env files", "smaller env files, or fewer services that name them"),
    "characters": Limit(40_000_000, "characters from variables and env files", "smaller env files, or fewer long variables"),
}


class Budget:
    """What is left of each limit."""

    def __init__(self) -> None:
        self._left = {kind: limit.most for kind, limit in LIMITS.items()}

    def spend(self, kind: str, amount: int = 1) -> Limit | None:
        """Takes `amount`; the limit when that was more than there is."""
        self._left[kind] -= amount
        return LIMITS[kind] if self._left[kind] < 0 else None
