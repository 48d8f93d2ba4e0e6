"""What `watch` and `up --watch` share: the stack is brought up again whenever a file that it is made from changes, and the
folders of its `develop.watch` rules are kept up to date in its containers.

A file with a fault is told and the stack stays as it is. What would destroy something is shown and waits for `--yes`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from stackrun.cli import exit, project
from stackrun.cli.developing import Development
from stackrun.cli.operations import Event, Events, follow, operate, planned
from stackrun.errors import InvalidArgument, StackrunError, Unavailable

if TYPE_CHECKING:
    from stackrun.api.stacks import PlannedAction, StackPlan
    from stackrun.cli.render import Display
    from stackrun.compose.model import Project

Say = Callable[[str], None]


class Watcher:
    """`start`, then `loop` until Ctrl-C.

    `request` gives the body of `up`, `display` what shows an operation's events; `say` shows a line of ours.
    """

    def __init__(
        self, options: argparse.Namespace, request: Callable[[], dict[str, Any]], display: Callable[[], Display], say: Say
    ) -> None:
        from stackrun.stack.watch import Watch

        if "-" in (options.files or ()):
            raise InvalidArgument("what came from stdin cannot be watched", hint="name a file with -f")
        self._options, self._request, self._display = options, request, display
        self._say: Say = lambda text: say(f"[watch] {text}")
        self._chat: Say = (lambda _: None) if getattr(options, "quiet", False) else self._say
        self._files: tuple[str, ...] = ()
        self._watch = Watch()
        self._development = Development(options, self._say, self._chat)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._development.close()
        self._watch.close()

    def start(self, *, up: bool = True, end: str = "Ctrl-C ends it, the stack stays up") -> None:
        """What is wrong at the beginning ends it at once, as in `up`."""
        with _connections(self._options):
            self._follow()
            if up:
                self._apply()
            self._development.deliver(first=True)
        folders = self._development.folders
        also = f" and {folders} folder{'' if folders == 1 else 's'} of develop.watch" if folders else ""
        self._chat(f"watching {len(self._files)} files{also}; {end}")

    def loop(self) -> None:
        while changed := self._watch.changed():
            files = [_shown(one) for one in changed if one in self._files]
            due = self._development.due(changed)
            with _connections(self._options):
                if files or due:
                    self._chat(f"changed: {', '.join(files or [f'what {one} is built from' for one in due])}")
                    self._again()
                self._development.deliver()

    def _again(self) -> None:
        """A failure is told, and the next change is waited for. What an engine that went away left half done is done once more."""
        try:
            try:
                self._bring_up()
            except Unavailable as error:
                exit.report(error)
                self._say("once more, with the engine that comes next")
                self._bring_up()
        except StackrunError as error:
            exit.report(error)
            self._follow_broken()
            self._say("nothing more was done: the stack stays as it is until the next change")

    def _bring_up(self) -> None:
        self._follow()
        if self._apply(self._development.unbuilt):
            self._development.built()

    def _follow_broken(self) -> None:
        """Beside what it was made from so far, also what it names now: the file that is missing, say."""
        from stackrun.compose.load import files_of

        try:
            named = files_of(project.stack_source(self._options))
        except StackrunError:
            return  # not even that can be told: one of the files known so far must change
        self._files = tuple(dict.fromkeys((*self._files, *(os.path.abspath(file) for file in named))))
        self._watch.follow(self._files, self._development.trees)

    def _follow(self) -> None:
        stack = project.load(self._options)
        self._files = inputs(stack)
        self._development.follow(stack)
        self._watch.follow(self._files, self._development.trees)
        self._development.looked()

    def _apply(self, unbuilt: Sequence[str] | None = None) -> bool:
        """False: what would destroy something waits, and all else with it. `unbuilt` None: the first time, which --build is meant for."""
        began = time.monotonic()
        request = self._request()
        request["options"] |= {"remove_orphans": True, "by": "watch", "unbuilt": list(unbuilt or ())}
        if unbuilt is not None and request["options"].get("build") == "always":
            request["options"]["build"] = ""
        plan = planned(self._options, request)
        held = [] if self._options.yes else [one for one in plan.actions if _destructive(one)]
        if held:
            self._hold(plan, held)
            request["options"]["remove_orphans"] = self._options.remove_orphans
            if any(one.destroys for one in held):
                return False
        if len(plan.actions) > len(held):
            follow(_Moving(operate(self._options, "up", request)), self._display(), "up")
            self._chat(f"{plan.summary.removeprefix('plan: ')} ({time.monotonic() - began:.1f}s)")
        elif not held:
            self._chat("nothing to do")
        return True

    def _hold(self, plan: StackPlan, held: list[PlannedAction]) -> None:
        for one in held:
            losses = f": destroys {', '.join(one.destroys)}" if one.destroys else ""
            self._say(f"held: {one.symbol} {one.resource}{losses}")
        self._say("`stackrun up --remove-orphans` does it, or watch --yes")


@contextmanager
def _connections(options: argparse.Namespace) -> Iterator[None]:
    """What is opened meanwhile is closed at once, and not when the watch ends, which may be days later."""
    before = options.at_end
    try:
        with ExitStack() as options.at_end:
            yield
    finally:
        options.at_end = before


class _Moving:
    """Without what already runs, which would be all but one line of every change."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self.close = events.close

    def __iter__(self) -> Iterator[Event]:
        return (event for event in self._events if event["text"] != "Running")


def _destructive(action: PlannedAction) -> bool:
    from stackrun.api.stacks import SUPERSEDED

    return bool(action.destroys) or (action.symbol.value == "-" and action.cause != SUPERSEDED)


def inputs(stack: Project) -> tuple[str, ...]:
    """Every file that the stack is made from, there or not: a new override or `.env` is a change too.

    Dockerfiles and .dockerignore are among them, build contexts are trees of their own (`Development`).
    """
    from stackrun.compose.source import NAMES, STDIN
    from stackrun.stack import buildcontext
    from stackrun.stack.builds import builds_of

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
    found += [file for one in builds_of(stack).values() if one.context.startswith("/") for file in buildcontext.inputs(one)]
    return tuple(dict.fromkeys(os.path.abspath(file) for file in found))


def _shown(file: str) -> str:
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else relative
