"""`develop.watch` of a stack's services: its folders followed, and every running container given what it lacks of them.

Level, not edge: what a container was given is remembered by its id, so one that is replaced, by whomever, gets the rest at the next look.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stackrun.cli.engines import chosen, connect
from stackrun.errors import StackrunError
from stackrun.stack import buildcontext, sync
from stackrun.stack.builds import builds_of
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
        self._contexts: dict[str, SourceTree] = {}
        """Build contexts of services without rules, by key."""
        self._recipes: dict[str, set[str]] = {}
        """Dockerfile or ignore file → the services that are built by it."""
        self._unbuilt: tuple[str, ...] = ()
        """Services that are built and have rules: these alone say when."""
        self._due: set[str] = set()
        """Those of which that is to be, until it has succeeded."""
        self._runner: asyncio.Runner | None = None
        self._engine: HttpEngine | None = None

    @property
    def trees(self) -> tuple[SourceTree, ...]:
        return (*self._trees.values(), *self._contexts.values())

    @property
    def folders(self) -> int:
        """How many of them are of rules."""
        return len(self._trees)

    def follow(self, stack: Project) -> None:
        self._project = stack.name
        services = tuple(self._options.services)
        self._follow_builds(stack)
        for text in (*_idle(stack, services), *_absent(stack, services)):
            if text not in self._told:
                self._told.add(text)
                self._say(text)
        rules = {one.key: one for one in sync.rules_of(stack, services, _text)}
        kept = {key for key, rule in rules.items() if self._rules.get(key) == rule}
        self._trees = {key: self._trees[key] if key in kept else SourceTree(rule) for key, rule in rules.items()}
        self._base = {key: tree for key, tree in self._base.items() if key in kept}
        self._given = {where: tree for where, tree in self._given.items() if where[1] in kept}
        self._rules = rules

    def _follow_builds(self, stack: Project) -> None:
        found = [one for one in builds_of(stack).values() if one.context.startswith("/")]
        self._unbuilt = tuple(one.service for one in found if stack.services[one.service].develop)
        self._recipes = {}
        self._due &= {one.service for one in found}
        for build in found:
            for file in buildcontext.inputs(build):
                self._recipes.setdefault(os.path.abspath(file), set()).add(build.service)
        trees = {tree.key: tree for tree in (buildcontext.source_tree(one) for one in found if one.service not in self._unbuilt)}
        old = self._contexts
        self._contexts = {key: old[key] if key in old and old[key].rule == one.rule else one for key, one in trees.items()}

    def due(self, changed: Iterable[str]) -> tuple[str, ...]:
        """What is to be built anew after these files and trees have changed; whose builds failed before are due still."""
        for one in changed:
            if one in self._contexts:
                self._due.add(self._contexts[one].rule.service)
            elif one in self._rules:
                if self._rules[one].rebuilds and self._rules[one].service in self._unbuilt:
                    self._due.add(self._rules[one].service)
            else:
                self._due |= self._recipes.get(one, set())
        return tuple(sorted(self._due))

    @property
    def unbuilt(self) -> list[str]:
        """Services whose image stays as it is: what was synced to their containers is no reason to build it."""
        return [one for one in self._unbuilt if one not in self._due]

    def built(self) -> None:
        """What is due has been built of what the folders hold now."""
        for key, rule in self._rules.items():
            if rule.service in self._due and not rule.initial:
                self._base[key] = self._trees[key].now
        self._due.clear()

    def looked(self) -> None:
        """The trees were looked at: what a rule's folder held at first is taken to be in the image, unless it wants an initial sync."""
        for key, rule in self._rules.items():
            self._base.setdefault(key, NOTHING if rule.initial else self._trees[key].now)

    def deliver(self, *, first: bool = False) -> None:
        """What fails is told, and tried again with the next change. `first`: an initial sync restarts nothing, as in Docker Compose."""
        if all(rule.rebuilds for rule in self._rules.values()):
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
        services = frozenset(rule.service for rule in self._rules.values() if not rule.rebuilds)
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


def _idle(stack: Project, services: tuple[str, ...]) -> Iterator[str]:
    """For each rule that says to build what has no build."""
    for rule in sync.rules_of(stack, services, lambda _: ""):
        if rule.rebuilds and stack.services[rule.service].build is None:
            place = stack.place("services", rule.service, "develop", "watch", rule.index, "action")
            yield f"{place}: service {rule.service} has no build, so this rule does nothing; the others are followed"


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
