"""Carries a plan out: a loop that starts every node whose time has come and decides nothing.

A node that fails marks those that needed it as skipped, with the cause; the rest goes on.  A node that only follows loosely runs
whatever became of the one before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from stackrun.api.engine import Engine, HandsOver
from stackrun.api.stacks import Phase, StackEvent
from stackrun.api.types import ExecSpec, Progress
from stackrun.errors import Conflict, ExecuteFailed, Forbidden, NotFound, NotModified, RegistryError, StackrunError
from stackrun.stack import building
from stackrun.stack.conditions import Conditions
from stackrun.stack.content import note_contents, write_private
from stackrun.stack.desired import bound
from stackrun.stack.plan import (
    CONDITION_WORDS,
    Action,
    BuildImage,
    Condition,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    ExecInContainer,
    KillContainer,
    Monitor,
    Node,
    NoteContents,
    Pause,
    Plan,
    PullImage,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolume,
    RenameContainer,
    RestartContainer,
    SignalContainer,
    StartContainer,
    StopContainer,
    TakeOver,
    Tally,
    WaitFor,
    WriteFile,
)

PARALLELISM = 16
"""Engine calls at a time; waiting for a condition takes none of them."""
BUILDS_AT_ONCE = 4
"""Each may keep several processors busy by itself."""
OUTPUT_KEPT_BYTES = 4096
"""Of a command run in a container: enough for the line that says why it failed."""
_MET = {Condition.STARTED: "Started", Condition.HEALTHY: "Healthy", Condition.COMPLETED: "Exited", Condition.READY: "Healthy"}

Emit = Callable[[StackEvent], None]
Changing: TypeAlias = (
    StartContainer | StopContainer | RestartContainer | KillContainer | SignalContainer | ExecInContainer | RemoveContainer
    | RenameContainer
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """`failures` are the nodes' own errors by number; `skipped` the numbers of those that could not run because of them.

    `needless` are those that were there for a failure that did not happen.
    """

    failures: Mapping[int, StackrunError] = field(default_factory=dict)
    skipped: tuple[int, ...] = ()
    needless: tuple[int, ...] = ()
    lines: tuple[str, ...] = ()
    """Each failure in plan order with the action it befell: `start shop-db-1: port 5432/tcp is taken`."""

    def raise_if_failed(self) -> None:
        """ExecuteFailed with the lines of all; the exit code of the only one, or of the class."""
        if not self.failures:
            return
        errors = [self.failures[number] for number in sorted(self.failures)]
        hint = next((one.hint for one in errors if one.hint), "")
        failed = ExecuteFailed("\n".join(self.lines), self.lines, hint=hint)
        if len(errors) == 1:
            failed.exit_code = errors[0].exit_code or failed.exit_code
        raise failed from errors[0]


class Follower:
    """Hears what becomes of each node as it happens; this one does nothing with it."""

    def began(self, node: Node) -> None: ...
    def done(self, node: Node, kept: str) -> None:
        """`kept`: why it was left as it is, in words; empty: it was not."""

    def failed(self, node: Node, error: StackrunError) -> None: ...
    def skipped(self, node: Node, cause: str) -> None: ...
    def needless(self, node: Node) -> None: ...


def _line(action: Action, error: StackrunError) -> str:
    """What failed, unless the message says so itself."""
    subject = action.resource.partition(" ")[2]
    return str(error) if subject in first_line(error) else f"{action.verb} {subject}: {error}"


async def execute(
    plan: Plan,
    engine: Engine,
    project: str,
    emit: Emit,
    *,
    ids: Mapping[str, str] | None = None,
    parallelism: int = PARALLELISM,
    follower: Follower | None = None,
) -> Outcome:
    """`ids`: container name → id, of those that are there already. Cancelling stops what runs and starts nothing more."""
    async with Conditions(engine, project) as conditions:
        if any(isinstance(node.action, Monitor) for node in plan.nodes):
            await conditions.listen()
        performer = _Performer(engine, conditions, emit, dict(ids or {}), parallelism)
        return await _Run(plan, performer, emit, follower or Follower()).outcome()


class _Run:
    """The graph's bookkeeping: who waits for whom, what is under way, what failed."""

    def __init__(self, plan: Plan, performer: _Performer, emit: Emit, follower: Follower) -> None:
        self._plan = plan
        self._performer = performer
        self._emit = emit
        self._follower = follower
        self._missing = {node.number: len(node.waits_for) for node in plan.nodes}
        self._dependents: dict[int, list[Node]] = {node.number: [] for node in plan.nodes}
        for node in plan.nodes:
            for number in node.waits_for:
                self._dependents[number].append(node)
        self._failures: dict[int, StackrunError] = {}
        self._skipped: dict[int, str] = {}
        self._needless: set[int] = set()
        self._told_skipped: set[str] = set()

    async def outcome(self) -> Outcome:
        ready = [node for node in self._plan.nodes if not self._missing[node.number]]
        async with asyncio.TaskGroup() as group:
            for node in ready:
                group.create_task(self._run(node, group))
        actions = {node.number: node.action for node in self._plan.nodes}
        lines = tuple(_line(actions[number], self._failures[number]) for number in sorted(self._failures))
        return Outcome(self._failures, tuple(sorted(self._skipped)), tuple(sorted(self._needless)), lines)

    async def _run(self, node: Node, group: asyncio.TaskGroup) -> None:
        cause = self._cause_to_skip(node)
        if node.if_failed and not any(self._has_failed(number) for number in node.if_failed):
            self._needless.add(node.number)
            self._follower.needless(node)
        elif cause:
            self._skipped[node.number] = cause
            self._follower.skipped(node, cause)
            self._tell_skipped(node.action, cause)
        else:
            await self._perform(node)
        for dependent in self._dependents[node.number]:
            self._missing[dependent.number] -= 1
            if not self._missing[dependent.number]:
                group.create_task(self._run(dependent, group))

    def _has_failed(self, number: int) -> bool:
        return number in self._failures or number in self._skipped

    def _cause_to_skip(self, node: Node) -> str:
        for number in node.after:
            if number in self._failures:
                return first_line(self._failures[number])
            if number in self._skipped:
                return self._skipped[number]
        return ""

    def _tell_skipped(self, action: Action, cause: str) -> None:
        """Once a resource: of the steps of a recreation a person needs to hear one."""
        if not isinstance(action, (WaitFor, WriteFile, NoteContents, Tally)) and action.resource not in self._told_skipped:
            self._told_skipped.add(action.resource)
            self._emit(StackEvent(action.resource, Phase.SKIPPED, "Skipped", cause))

    async def _perform(self, node: Node) -> None:
        wait = node.action if isinstance(node.action, WaitFor) else None
        if wait:
            self._tell_who_waits(node, wait)
        self._follower.began(node)
        try:
            if isinstance(node.action, Tally):
                self._count(node.action)
                self._follower.done(node, "")
            else:
                self._follower.done(node, await self._performer.perform(node.action))
        except StackrunError as error:
            if wait and wait.optional:
                self._emit(StackEvent(wait.resource, Phase.DONE, "Warning", str(error), error.hint))
                self._follower.done(node, "")
                return
            self._failures[node.number] = error
            self._follower.failed(node, error)
            if not wait:
                self._told_skipped.add(node.action.resource)
                self._emit(StackEvent(node.action.resource, Phase.FAILED, "Error", str(error), error.hint))

    def _count(self, tally: Tally) -> None:
        failed = sum(self._has_failed(number) for number in tally.of)
        if failed > tally.allowed:
            words = f"{failed} of {tally.total} containers failed, more than the {tally.allowed} that are put up with"
            raise ExecuteFailed(f"{update_words(tally.service, tally.on_failure)}{words}")

    def _tell_who_waits(self, node: Node, wait: WaitFor) -> None:
        detail = f"{wait.service} to be {CONDITION_WORDS[wait.condition]}"
        for one in self._dependents[node.number]:
            if isinstance(one.action, StartContainer):
                self._emit(StackEvent(one.action.resource, Phase.WAITING, "Waiting", detail))


def first_line(error: StackrunError) -> str:
    return str(error).partition("\n")[0]


def update_words(service: str, on_failure: str) -> str:
    """What becomes of an update, before the reason why: `update of web failed and is rolled back: `."""
    outcome = {"pause": " and is paused", "rollback": " and is rolled back"}.get(on_failure, "")
    return f"update of service {service} failed{outcome}: "


class _Performer:
    """One action → one engine call, and what a person is told about it."""

    def __init__(self, engine: Engine, conditions: Conditions, emit: Emit, ids: dict[str, str], parallelism: int) -> None:
        self._engine = engine
        self._conditions = conditions
        self._emit = emit
        self._ids = ids
        self._slots = asyncio.Semaphore(parallelism)
        self._builds = asyncio.Semaphore(min(BUILDS_AT_ONCE, parallelism))
        self._warned: set[str] = set()

    async def perform(self, action: Action) -> str:
        """Non-empty: it was left as it is, in these words."""
        match action:
            case WaitFor():
                await self._wait(action)
            case Monitor():
                await self._monitor(action)
            case Pause(delay_s=delay_s):
                await asyncio.sleep(delay_s)
            case TakeOver():
                await self._take_over(action)
            case BuildImage():
                async with self._builds:
                    await self._build(action)
            case _:
                async with self._slots:
                    return await self._tell_and_call(action)
        return ""

    async def _tell_and_call(self, action: Action) -> str:
        words = action.words
        if words.working:
            self._emit(StackEvent(action.resource, Phase.WORKING, words.working))
        kept = await self._call(action)
        if kept:
            self._emit(StackEvent(action.resource, Phase.SKIPPED, kept))
        elif words.done:
            self._emit(StackEvent(action.resource, Phase.DONE, words.done))
        return kept

    async def _call(self, action: Action) -> str:
        """Non-empty: it was left as it is, in these words. What is so already (started, gone) is no failure."""
        try:
            match action:
                case CreateNetwork() | CreateVolume() | PullImage() | WriteFile():
                    await self._prepare(action)
                case CreateContainer():
                    spec = bound(action.spec, self._ids)
                    created = await self._engine.create_container(action.temporary_name or action.name, spec)
                    self._ids[action.name] = created.id
                    self._warn(action, created.warnings)
                case NoteContents():
                    await asyncio.to_thread(note_contents, action)
                case RemoveNetwork(id=id):
                    await self._engine.remove_network(id)
                case RemoveVolume(name=name):
                    await self._engine.remove_volume(name)
                case WaitFor() | Monitor() | Pause() | TakeOver() | Tally() | BuildImage():
                    raise AssertionError("a wait takes no slot")
                case _:
                    await self._change(action)
        except NotModified:
            pass
        except NotFound:
            if not isinstance(action, (RemoveContainer, RemoveNetwork, RemoveVolume, StopContainer)):
                raise
        except (Forbidden, Conflict):
            if not (isinstance(action, (RemoveNetwork, RemoveVolume)) and action.keep_in_use):
                raise
            return "Resource is still in use"
        return ""

    def _warn(self, action: CreateContainer, warnings: Sequence[str]) -> None:
        """What the engine cannot give: of what it says of every container alike, once."""
        for text in warnings:
            if text not in self._warned:
                self._warned.add(text)
                self._emit(StackEvent(action.resource, Phase.DONE, "Warning", text))

    async def _prepare(self, action: CreateNetwork | CreateVolume | PullImage | WriteFile) -> None:
        match action:
            case CreateNetwork(spec=network):
                await self._engine.create_network(network)
            case CreateVolume(spec=volume):
                await self._engine.create_volume(volume)
            case PullImage(reference=reference, platform=platform):
                await self._pull(action.resource, reference, platform)
            case WriteFile():
                await asyncio.to_thread(write_private, action)

    async def _change(self, action: Changing) -> None:
        ref = action.id or self._ids[action.name]
        match action:
            case StartContainer(beside=beside) if beside and isinstance(self._engine, HandsOver):
                await self._engine.start_container_beside(ref, beside)
            case StartContainer():
                await self._engine.start_container(ref)
            case StopContainer(timeout_s=timeout_s):
                await self._engine.stop_container(ref, timeout_s=timeout_s)
            case RestartContainer(timeout_s=timeout_s):
                await self._engine.restart_container(ref, timeout_s=timeout_s)
            case KillContainer(signal=signal) | SignalContainer(signal=signal):
                await self._engine.kill_container(ref, signal)
            case ExecInContainer(command=command):
                await self._exec(ref, command)
            case RemoveContainer(volumes=volumes):
                await self._engine.remove_container(ref, force=True, volumes=volumes)
            case RenameContainer(name=name):
                await self._engine.rename_container(ref, name)
                self._ids[name] = ref
            case _:
                assert_never(action)

    async def _exec(self, ref: str, command: tuple[str, ...]) -> None:
        """ExecuteFailed with the last line that the command printed, unless it exits 0."""
        id = await self._engine.create_exec(ref, ExecSpec(command))
        stream = await self._engine.start_exec(id)
        printed = b""
        async for output in stream:
            printed = (printed + output.data)[-OUTPUT_KEPT_BYTES:]
        code = (await self._engine.exec(id)).exit_code
        if code:
            lines = [line.strip() for line in printed.decode(errors="replace").splitlines() if line.strip()]
            words = f": {lines[-1]}" if lines else ""
            raise ExecuteFailed(f"{' '.join(command)} exited ({code}){words}")

    async def _pull(self, resource: str, reference: str, platform: str) -> None:
        layers = Layers()
        async for progress in await self._engine.pull_image(reference, platform=platform):
            if progress.error:
                raise RegistryError(f"pull {reference}: {progress.error}")
            if layers.moved(progress):
                current, total = layers.sums()
                self._emit(StackEvent(resource, Phase.WORKING, "Pulling", current=current, total=total))

    async def _build(self, action: BuildImage) -> None:
        if action.pulls_first:
            self._emit(StackEvent(action.resource, Phase.WORKING, "Pulling"))
            try:
                await self._pull(action.resource, action.reference, action.declared.build.platform)
                self._emit(StackEvent(action.resource, Phase.DONE, "Pulled"))
                return
            except StackrunError as error:
                self._emit(StackEvent(action.resource, Phase.WORKING, "Building", f"it cannot be pulled: {first_line(error)}"))
        self._emit(StackEvent(action.resource, Phase.WORKING, action.words.working))
        await building.build(self._engine, action, self._emit)
        self._emit(StackEvent(action.resource, Phase.DONE, action.words.done))

    async def _wait(self, action: WaitFor) -> None:
        resources = [f"Container {name}" for name in action.names]
        for resource in resources:
            self._emit(StackEvent(resource, Phase.WAITING, "Waiting"))
        try:
            await self._conditions.wait(action)
        except StackrunError as error:
            for resource in resources:
                phase = Phase.SKIPPED if action.optional else Phase.FAILED
                self._emit(StackEvent(resource, phase, "Error", first_line(error)))
            raise
        for resource in resources:
            self._emit(StackEvent(resource, Phase.DONE, _MET[action.condition]))

    async def _monitor(self, action: Monitor) -> None:
        self._emit(StackEvent(action.resource, Phase.WAITING, "Waiting"))
        prefix = f"going back to the old {action.service}: " if action.cause else update_words(action.service, action.on_failure)
        await self._conditions.monitor(action, prefix)
        self._emit(StackEvent(action.resource, Phase.DONE, "Ready"))

    async def _take_over(self, action: TakeOver) -> None:
        """An engine that cannot has one container at a time on a port, and nothing to take over."""
        if isinstance(self._engine, HandsOver):
            await self._engine.take_over(action.id or self._ids[action.name], drain_s=action.drain_s)
            self._emit(StackEvent(action.resource, Phase.DONE, action.words.done))


class Layers:
    """The bytes of a pull, layer by layer, as one sum."""

    def __init__(self) -> None:
        self._bytes: dict[str, tuple[int, int]] = {}

    def moved(self, progress: Progress) -> bool:
        if not progress.id or not progress.total or progress.status != "Downloading":
            return False
        before, self._bytes[progress.id] = self._bytes.get(progress.id), (progress.current, progress.total)
        return before != self._bytes[progress.id]

    def sums(self) -> tuple[int, int]:
        return sum(current for current, _ in self._bytes.values()), sum(total for _, total in self._bytes.values())
