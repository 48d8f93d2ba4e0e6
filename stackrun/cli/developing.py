"""`develop.watch` of a stack's services: its folders followed, and every running container given what it lacks of them.

Level, not edge: what a container was given is remembered by its id, so one that is replaced, by whomever, gets the rest at the next look.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stackrun.cli.engines import chosen, connect
from stackrun.errors import StackrunError
from stackrun.stack import sync
from stackrun.stack.sourcetree import SourceTree
from stackrun.stack.sync import NOTHING, Change, Rule, Tree

if TYPE_CHECKING:
    from stackrun.api.types import Container
    from stackrun.client.engine import HttpEngine
    from stackrun.compose.model import Project

Say = Callable[[str], None]


class Development:
    """`follow` a stack as it is now, watch its `trees`, say `looked` once they are, and `deliver` after each change."""

    def __init__(self, options: argparse.Namespace, say: Say, chat: Say) -> None:
        """`say` for what goes wrong, `chat` for what went well."""
        self._options = options
        self._say, self._chat = say, chat
        self._project = ""
        self._rules: dict[str, Rule] = {}
        self._trees: dict[str, SourceTree] = {}
        self._base: dict[str, Tree] = {}
        """What a container that was just made has already, by rule."""
        self._given: dict[tuple[str, str], Tree] = {}
        """By container id and rule."""
        self._told: set[str] = set()
        self._runner: asyncio.Runner | None = None
        self._engine: HttpEngine | None = None

    @property
    def trees(self) -> tuple[SourceTree, ...]:
        return tuple(self._trees.values())

    def follow(self, stack: Project) -> None:
        self._project = stack.name
        services = tuple(self._options.services)
        for text in (*_refused(stack, services), *_absent(stack, services)):
            if text not in self._told:
                self._told.add(text)
                self._say(text)
        rules = {one.key: one for one in sync.rules_of(stack, services, _text)}
        kept = {key for key, rule in rules.items() if self._rules.get(key) == rule}
        self._trees = {key: self._trees[key] if key in kept else SourceTree(rule) for key, rule in rules.items()}
        self._base = {key: tree for key, tree in self._base.items() if key in kept}
        self._given = {where: tree for where, tree in self._given.items() if where[1] in kept}
        self._rules = rules

    def looked(self) -> None:
        """The trees were looked at: what a rule's folder held at first is taken to be in the image, unless it wants an initial sync."""
        for key, rule in self._rules.items():
            self._base.setdefault(key, NOTHING if rule.initial else self._trees[key].now)

    def deliver(self, *, first: bool = False) -> None:
        """What fails is told, and tried again with the next change. `first`: an initial sync restarts nothing, as in Docker Compose."""
        if not self._rules:
            return
        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            self._runner.run(self._deliver_to_all(first))
        except StackrunError as error:
            self._say(f"not synced: {error}")

    def close(self) -> None:
        if self._runner is not None:
            if self._engine is not None:
                self._runner.run(self._engine.close())
            self._runner.close()

    async def _deliver_to_all(self, first: bool) -> None:
        from stackrun.client.engine import HttpEngine
        from stackrun.stack.delivery import running

        connect(self._options)  # starts our own engine, should it have ended meanwhile
        if self._engine is None:
            self._engine = HttpEngine(chosen(self._options).host)
        services = frozenset(rule.service for rule in self._rules.values())
        found = await running(self._engine, self._project, services)
        alive = {one.id for one in found}
        self._given = {where: tree for where, tree in self._given.items() if where[0] in alive}
        await asyncio.gather(*(self._deliver(self._engine, one, first) for one in found))

    async def _deliver(self, engine: HttpEngine, container: Container, first: bool) -> None:
        from stackrun.api import labels
        from stackrun.stack.delivery import deliver

        service = container.spec.labels.get(labels.SERVICE, "")
        now = {key: self._trees[key].now for key, rule in self._rules.items() if rule.service == service}
        changes = [(self._rules[key], self._change(container.id, key, tree)) for key, tree in now.items()]
        wanted = sync.delivery(changes)
        if first:
            wanted = sync.Delivery(wanted.uploads, wanted.removals)
        try:
            if wanted:
                for complaint in await deliver(engine, container.id, wanted, self._options.timeout):
                    self._say(f"{container.name}: {complaint}")
                self._chat(f"{container.name}: {wanted.summary()}")
            self._given.update({(container.id, key): tree for key, tree in now.items()})
        except StackrunError as error:
            self._say(f"{container.name}: {error}")

    def _change(self, container: str, key: str, now: Tree) -> Change:
        """A container that a rule without files meets for the first time runs with what is there now."""
        base = self._base[key] if self._rules[key].sends else now
        return sync.difference(self._given.get((container, key), base), now)


def _refused(stack: Project, services: tuple[str, ...]) -> Iterator[str]:
    """For each rule that would build an image, which alone is left out."""
    for service, index in sync.refused(stack, services):
        place = stack.place("services", service, "develop", "watch", index, "action")
        yield f"{place}: images are not built yet, so this rule does nothing; the others are followed"


def _absent(stack: Project, services: tuple[str, ...]) -> Iterator[str]:
    for rule in sync.rules_of(stack, services, lambda _: ""):
        if not os.path.lexists(rule.path):
            place = stack.place("services", rule.service, "develop", "watch", rule.index, "path")
            yield f"{place}: {rule.path} is not there; it is followed once it is"


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
