"""`watch`: bring the stack up, and again whenever a file that it is made from changes.

A file with a fault is told and the stack stays as it is. What would destroy something is shown and waits for `--yes`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stackrun.cli import exit, project
from stackrun.cli.commands.up import stack_arguments, stack_request
from stackrun.cli.operations import Event, Events, follow, operate, planned
from stackrun.cli.render import display
from stackrun.errors import EXIT_INTERRUPTED, InvalidArgument, StackrunError

if TYPE_CHECKING:
    from stackrun.api.stacks import PlannedAction, StackPlan
    from stackrun.compose.model import Project
    from stackrun.stack.watch import Watch


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    stack_arguments(parser)
    parser.add_argument("--no-up", action="store_true", help="change nothing until a file changes")
    parser.add_argument("-y", "--yes", action="store_true", help="also do what removes containers or loses data")


def run(options: argparse.Namespace) -> int:
    from stackrun.stack.watch import Watch

    if "-" in (options.files or ()):
        raise InvalidArgument("what came from stdin cannot be watched", hint="name a file with -f")
    with Watch() as watch:
        return _Watcher(options, watch).run()


class _Watcher:
    def __init__(self, options: argparse.Namespace, watch: Watch) -> None:
        self._options, self._watch = options, watch
        self._files: tuple[str, ...] = ()

    def run(self) -> int:
        """Until Ctrl-C. What is wrong at the beginning ends it at once, as in `up`."""
        stack = self._follow()
        if not self._options.no_up:
            self._apply(stack)
        self._say(f"watching {len(self._files)} files; Ctrl-C ends it, the stack stays up")
        try:
            while True:
                changed = self._watch.changed()
                self._say(f"changed: {', '.join(map(_shown, changed))}")
                self._again()
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED

    def _again(self) -> None:
        """A failure is told, and the next change is waited for."""
        try:
            self._apply(self._follow())
        except StackrunError as error:
            exit.report(error)
            self._say("nothing more was done: the stack stays as it is until the next change")

    def _follow(self) -> Project:
        stack = project.load(self._options)
        self._files = inputs(stack)
        self._watch.follow(self._files)
        return stack

    def _apply(self, stack: Project) -> None:
        began = time.monotonic()
        request = stack_request(self._options)
        request["options"]["remove_orphans"] = True
        plan = planned(self._options, request)
        held = [] if self._options.yes else [one for one in plan.actions if _destructive(one)]
        if held:
            self._hold(plan, held)
            request["options"]["remove_orphans"] = self._options.remove_orphans
            if any(one.destroys for one in held):
                return
        if len(plan.actions) > len(held):
            follow(_Moving(operate(self._options, "up", request)), display(self._options, "up"), "up")
            self._say(f"{plan.summary.removeprefix('plan: ')} ({time.monotonic() - began:.1f}s)")
        elif not held:
            self._say("nothing to do")

    def _hold(self, plan: StackPlan, held: list[PlannedAction]) -> None:
        for one in held:
            losses = f": destroys {', '.join(one.destroys)}" if one.destroys else ""
            self._say(f"held: {one.symbol} {one.resource}{losses}")
        self._say("`stackrun up --remove-orphans` does it, or watch --yes")

    def _say(self, text: str) -> None:
        print(f"[watch] {text}", file=sys.stderr, flush=True)


class _Moving:
    """Without what already runs, which would be all but one line of every change."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self.close = events.close

    def __iter__(self) -> Iterator[Event]:
        return (event for event in self._events if event["text"] != "Running")


def _destructive(action: PlannedAction) -> bool:
    return bool(action.destroys) or action.symbol.value == "-"


def inputs(stack: Project) -> tuple[str, ...]:
    """Every file that the stack is made from, there or not: a new override or `.env` is a change too."""
    from stackrun.compose.source import NAMES, STDIN

    found: list[str] = [file for file in stack.inputs if file != STDIN]
    for file in stack.files:
        base, suffix = os.path.splitext(file)
        if os.path.basename(file) in NAMES:
            found += [f"{base}.override{ending}" for ending in dict.fromkeys((suffix, ".yml", ".yaml"))]
    found += [os.path.join(stack.working_dir, ".env")]
    contents: list[Any] = [*stack.configs.values(), *stack.secrets.values()]
    found += [one.file for one in contents if one.file]
    for service in stack.services.values():
        found += [one.path for one in service.env_files]
    return tuple(dict.fromkeys(os.path.abspath(file) for file in found))


def _shown(file: str) -> str:
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else relative
