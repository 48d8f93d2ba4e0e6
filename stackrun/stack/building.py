"""Carries out one BuildImage: the context goes to the engine, its lines come back, and what was built is written down.

What counts is what was sent.  If the context is no longer what it was when that began, the build is broken off and begun again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

from stackrun.api.builds import BuildSpec
from stackrun.api.engine import Engine
from stackrun.api.stacks import Phase, StackEvent
from stackrun.api.types import Progress
from stackrun.errors import BuildFailed, Conflict, InvalidArgument, StackrunError
from stackrun.stack.buildcontext import Recipe, archive, ingredients, recipe, signed
from stackrun.stack.buildrecords import write
from stackrun.stack.builds import DOCKERFILE, LABEL, Build, Ingredients, label
from stackrun.stack.plan import BuildImage

ATTEMPTS_MAX = 5
OUTPUT_LINES_KEPT = 10
_LINE_LENGTH_MAX = 400
Emit = Callable[[StackEvent], None]


async def build(engine: Engine, action: BuildImage, emit: Emit) -> None:
    """Raises what failed: BuildFailed with the step, its place in the Dockerfile and the last lines it printed."""
    for _ in range(ATTEMPTS_MAX):
        now = await asyncio.to_thread(_looked, action)
        made = await asyncio.to_thread(recipe, action.declared.build)
        context = _Context(action.declared.build, made, now)
        try:
            await _built(engine, action, made, now, context, emit)
        except StackrunError:
            if not context.moved:
                raise
            emit(StackEvent(action.resource, Phase.WORKING, action.words.working, "the build context has changed meanwhile: once more"))
            continue
        if action.record:
            await asyncio.to_thread(write, action.record, now)
        return
    raise Conflict(f"the build context {action.declared.build.context} does not stop changing", hint="leave it out by .dockerignore")


def _looked(action: BuildImage) -> Ingredients:
    """What stands in other files than the build's own is as it was decided."""
    before = action.declared.now
    now = ingredients(action.declared.build, signed(before))
    return replace(now, words={**before.words, DOCKERFILE: now.words[DOCKERFILE]})


class _Context:
    """The archive, as the engine takes it; it ends in an error when it is not what `now` says any more."""

    def __init__(self, build: Build, made: Recipe, now: Ingredients) -> None:
        self._build = build
        self._pieces = archive(build, made)
        self._now = now
        self.moved = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        held = b""
        while piece := await asyncio.to_thread(next, self._pieces, b""):
            if held:
                yield held
            held = piece
        again = await asyncio.to_thread(ingredients, self._build, signed(self._now))
        if again.files != self._now.files or again.words[DOCKERFILE] != self._now.words[DOCKERFILE]:
            self.moved = True
            raise Conflict("the build context has changed while it was sent")
        yield held


async def _built(engine: Engine, action: BuildImage, made: Recipe, now: Ingredients, context: _Context, emit: Emit) -> None:
    build = action.declared.build
    spec = await asyncio.to_thread(_spec, action, made, now.digest)
    told = _Told(action, emit)
    try:
        async with aclosing(await engine.build_image(aiter(context), spec)) as lines:  # type: ignore[type-var]
            async for line in lines:
                told.hear(line)
    except BuildFailed as error:
        raise BuildFailed(told.failure(made, error.message), error.code, hint=error.hint) from error
    except InvalidArgument as error:
        raise InvalidArgument(error.message.replace(f"{made.name}:", f"{build.shown}:"), hint=error.hint) from error
    except StackrunError as error:
        if told.step and not context.moved:
            error.args = (told.failure(made, error.message),)
            error.message = error.args[0]
        raise


def _spec(action: BuildImage, made: Recipe, digest: str) -> BuildSpec:
    build = action.declared.build
    return BuildSpec(
        tags=(action.reference, *build.tags),
        dockerfile=made.name,
        target=build.target,
        arguments={**build.arguments, **action.arguments},
        labels={**build.labels, **label(build, digest)},
        no_cache=action.no_cache,
        pull=action.pull,
        platform=build.platform,
        network=build.network,
        extra_hosts=build.extra_hosts,
        shm_size_bytes=build.shm_size_bytes,
        contexts=build.contexts,
        secrets={one.id: one.content() for one in build.secrets},
    )


class _Told:
    """The builder's lines: what is shown of them, and what is remembered for the case that the build fails."""

    def __init__(self, action: BuildImage, emit: Emit) -> None:
        self._action = action
        self._emit = emit
        self._output: deque[str] = deque(maxlen=OUTPUT_LINES_KEPT)
        self._unfinished = ""
        self.step = ""
        """`Step 3/7 : RUN make`."""

    def hear(self, line: Progress) -> None:
        """Output comes in pieces that need not end with a line."""
        if line.error:
            raise BuildFailed(line.error)
        if line.status:
            self._show(" ".join(filter(None, (line.id, line.status))))
        *whole, self._unfinished = (self._unfinished + line.stream).split("\n")
        for text in whole:
            self._line(text.rpartition("\r")[2].rstrip())

    def _line(self, text: str) -> None:
        if text.startswith("Step ") and " : " in text:
            self.step = text
            self._output.clear()
            if f"{LABEL}=" in text:
                return  # ours
        elif not text.strip() or text.startswith((" ---> ", "Removing intermediate container", "Successfully ")):
            return
        else:
            self._output.append(text[:_LINE_LENGTH_MAX])
        self._show(text)

    def _show(self, text: str) -> None:
        shown = "".join(one if one.isprintable() else " " for one in text[:_LINE_LENGTH_MAX])
        self._emit(StackEvent(self._action.resource, Phase.WORKING, self._action.words.working, shown))

    def failure(self, made: Recipe, message: str) -> str:
        """`web/Dockerfile:7: RUN make: The command … returned a non-zero code: 2`, and below it what the step printed last."""
        if self._unfinished.strip():
            self._output.append(self._unfinished.strip()[:_LINE_LENGTH_MAX])
        instruction = self.step.partition(" : ")[2]
        if not instruction:
            return message
        line = line_of(made.dockerfile.decode("utf-8", "replace"), instruction, self.step)
        place = f"{self._action.declared.build.shown}:{line}" if line else self.step.partition(" : ")[0].lower()
        return "\n".join((f"{place}: {instruction}: {message}", *(f"  {one}" for one in self._output)))


def line_of(dockerfile: str, instruction: str, step: str) -> int:
    """Where the instruction of a step is written; 0 when that cannot be told. Of several alike, the one nearest to the step's number."""
    wanted = " ".join(instruction.replace("\\", " ").split())
    lines = dockerfile.splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        begun = " ".join(line.rstrip("\\").split())
        word = begun.partition(" ")[0]
        if word and not word.startswith("#") and word.lower() == wanted.partition(" ")[0].lower() and _same(begun, wanted):
            found.append(number)
    if len(found) <= 1:
        return found[0] if found else 0
    place = step.removeprefix("Step ").partition("/")[0]
    steps = [number for number, line in enumerate(lines, 1) if line[:1].isalpha()]
    position = steps[min(int(place), len(steps)) - 1] if place.isdecimal() and steps and int(place) else 0
    return min(found, key=lambda one: abs(one - position))


def _same(begun: str, wanted: str) -> bool:
    """The first line of an instruction that goes on is the beginning of what the step says."""
    first, second = begun.partition(" ")[2], wanted.partition(" ")[2]
    return bool(first) and (second == first or second.startswith(first))
