"""A stack's operations from end to end: load, observe, decide, execute, tell.

Whatever can be refused is refused before anything is done and before the caller has an iterator.  Operations on one project come
one after another.  The work belongs to the operation, not to its listener: closing the iterator cancels it, and the next `up`
goes on from whatever is there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, TypeVar

from stackrun.api import labels
from stackrun.api.drift import DriftOptions, DriftReport, KernelTruth
from stackrun.api.engine import Engine, Foresees
from stackrun.api.stacks import (
    BuildOptions,
    Change,
    ChangeQuery,
    DownOptions,
    History,
    Keep,
    Phase,
    Reasons,
    StackEvent,
    StackPlan,
    StackSource,
    StackSummary,
    StateDifference,
    UpOptions,
)
from stackrun.api.types import Container, Filters
from stackrun.errors import ComposeError, Conflict, ExecuteFailed, InvalidArgument, KernelError, NotFound, StackrunError
from stackrun.stack import lifecycle
from stackrun.stack.account import Account
from stackrun.stack.buildrecords import BuildRecords
from stackrun.stack.builds import Build, builds_of
from stackrun.stack.changes import Changes
from stackrun.stack.clerk import Clerk
from stackrun.stack.comparison import changes
from stackrun.stack.content import Contents, encoded, forget_private, read_contents
from stackrun.stack.declared import Declared, fallen_back, merged, raised
from stackrun.stack.desired import Desired, desired
from stackrun.stack.desired import config_hashes as desired_hashes
from stackrun.stack.drift import DriftCheck, Means
from stackrun.stack.execute import PARALLELISM, Emit, Outcome, execute
from stackrun.stack.explain import Inspected, Plans, Shown, explained, notice_events, replaced_containers, warning_event
from stackrun.stack.images import BuildPolicy, decide_build, decide_images, decide_pull, require_consistent, stale_images
from stackrun.stack.journal import Journal
from stackrun.stack.keep import touched
from stackrun.stack.keeping import Keeping, Locks
from stackrun.stack.observed import (
    Observed,
    look_up_images,
    observe,
    observe_containers,
    observe_images,
    refreshed,
    with_images,
    with_private_files,
    with_stop_signals,
)
from stackrun.stack.owed import Owed, anonymous_removals
from stackrun.stack.past import Past, held_before, images_of, is_up, secrecy_of
from stackrun.stack.places import Places
from stackrun.stack.plan import CreateContainer, Plan
from stackrun.stack.reasons import reasons
from stackrun.stack.reconcile import decide
from stackrun.stack.revisions import Revision
from stackrun.stack.seal import PLAN, moved, plan_digest, sealed
from stackrun.stack.secrecy import Secrecy
from stackrun.stack.verdict import Policy, selection
from stackrun.stack.work import Work

if TYPE_CHECKING:
    from stackrun.compose.model import Project

_ENDING = frozenset({"KILL", "TERM", "INT", "QUIT", "ABRT", "9", "15", "2", "3", "6"})
"""Signals by which a person means a service to end, and to stay so."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Stack:
    """What one operation was asked for."""

    wanted: Desired
    policy: Policy
    shown: Shown
    by: str = ""
    revision: Revision | None = None
    """The one that is brought back; None: it is the file."""
    builds: Mapping[str, Build] = field(default_factory=dict)
    """By image."""

    @property
    def how(self) -> str:
        """In a history: who brought the stack to this."""
        if self.revision:
            return f"rollback to {self.revision.number}"
        return " ".join((self.by or "up", *(["--no-start"] if self.policy.no_start else []), *self.policy.services))

    def images(self) -> list[str]:
        return [service.image for service in self.wanted.services.values()]


@dataclass(frozen=True, slots=True)
class _Decided:
    observed: Observed
    plans: Plans

    def seal(self, stack: _Stack) -> dict[str, str]:
        return sealed(stack.wanted, self.observed, stack.policy, self.plans.images, self.plans.main)


class StackOperations:
    """`api.stacks.Stacks` over any engine.

    `state_dir`: a folder for the content of configs and secrets, made when it is needed; the engine must see it under the same path.
    `keeps`: what is declared is written down, for a `Keeper` to hold it so.  `truth`: of an engine whose kernel can be looked at.
    """

    def __init__(
        self, engine: Engine, *, state_dir: str, parallelism: int = PARALLELISM, keeps: bool = False, truth: KernelTruth | None = None
    ) -> None:
        self._engine = engine
        self._state_dir = state_dir
        self._parallelism = parallelism
        self._locks = Locks()
        self.keeping = Keeping(engine, self._locks, self._carried_out, state_dir if keeps else None)
        self._past = Past(engine, state_dir)
        self._records = BuildRecords(state_dir)
        self._owed = Owed(state_dir)
        self.journal = Journal(state_dir)
        means = Means(self.plan, self.up, self.keeping.declared, self._while_held, self.journal)
        self._drift = DriftCheck(engine, truth, means)
        self.witnessed = False
        """Whether somebody notes what the engine's containers do by themselves."""

    async def preload(self) -> None:
        """Import what loading a stack needs, off the event loop, so that the first `up` does not pay for it."""
        await asyncio.to_thread(_preload)

    async def plan(self, source: StackSource, options: UpOptions) -> StackPlan:
        stack = await self._loaded(source, options)
        decided = await self._decided(stack)
        inspected = await self._inspected(decided)
        plan = explained(stack.wanted, decided.observed, selection(stack.wanted, stack.policy), decided.plans, inspected, stack.shown)
        return replace(plan, notices=(*plan.notices, *self._foreseen(decided.plans.main)), seal=decided.seal(stack))

    def _foreseen(self, plan: Plan) -> Iterable[StackEvent]:
        """What the engine will warn of, as `up` tells it: once."""
        made = [node.action for node in plan.nodes if isinstance(node.action, CreateContainer)]
        if isinstance(self._engine, Foresees):
            told = {text: one.resource for one in reversed(made) for text in self._engine.shortfalls(one.spec)}
            yield from (StackEvent(resource, Phase.DONE, "Warning", text) for text, resource in told.items())

    async def up(self, source: StackSource, options: UpOptions) -> AsyncIterator[StackEvent]:
        if options.revert:
            return await self._reverted(source, options)
        stack = await self._loaded(source, options)
        lock = await self._acquired(stack.wanted.project)
        try:
            if options.revision:  # whoever had the stack until now may have made another
                stack = await self._loaded(source, options)
            decided = await self._decided(stack)
            if options.seal:
                _require_unmoved(options.seal, decided.seal(stack))
        except BaseException:
            lock.release()
            raise

        async def work(emit: Emit) -> None:
            for warning in stack.shown.warnings:
                emit(warning)
            now, then = decided.observed, decided.plans.main
            if decided.plans.images:
                await self._execute(decided.plans.images, now, emit, options.by or "up", stack.wanted)
                now = await refreshed(now, self._engine, stack.wanted)
                then = decide(stack.wanted, now, stack.policy)
                if options.seal and plan_digest(then) != options.seal.get(PLAN):
                    raise Conflict("an image that was pulled or built changes the plan", hint="the image is here now: plan again")
            if then.nodes:
                selected = selection(stack.wanted, stack.policy)
                await self._past.begin(stack.wanted.project, stack.how, selected, emit, anew=not is_up(decided.observed.containers))
            try:
                await self._raise(stack, options, then, now, emit)
            except StackrunError as failure:
                if not options.atomic:
                    raise
                raise await self._taken_back(stack, options, decided.observed, failure, emit) from failure

        return Work(work, lock)

    async def _raise(self, stack: _Stack, options: UpOptions, plan: Plan, observed: Observed, emit: Emit) -> None:
        """Executes what `up` has decided. What it could not change is kept as it was; what it left half changed waits for the next `up`."""
        before = await self.keeping.declared(stack.wanted.project)
        selected = selection(stack.wanted, stack.policy)
        kept = before.kept if before and stack.revision else options.keep
        after = raised(before, stack.wanted, selected, kept=kept, started=not options.no_start)
        await self.keeping.declare(replace(after, held=after.held | touched(plan.nodes, observed)))
        outcome = await self._carried_out(plan, observed, emit, options.by or "up")
        failed = touched((node for node in plan.nodes if node.number in outcome.failures or node.number in outcome.skipped), observed)
        if failed:
            after = fallen_back(before, after, failed, await observe_containers(self._engine, after.project))
        await self.keeping.declare(after)
        outcome.raise_if_failed()
        if not options.no_start:
            await self._record(stack, before, observed, emit)

    async def _record(self, stack: _Stack, declared: Declared | None, observed: Observed, emit: Emit) -> None:
        """`declared`, `observed`: before it was brought up."""
        selected = selection(stack.wanted, stack.policy)
        last = None if len(selected) == len(stack.wanted.services) else await self._past.last(stack.wanted.project)
        if stack.revision:
            wanted = stack.revision.desired
        else:
            before = held_before(last if is_up(observed.containers) else None, declared.desired if declared else None)
            wanted = merged(before, stack.wanted, selected)
        images = images_of(stack.wanted if stack.revision else wanted, selected, observed, last)
        await self._past.record(stack.how, wanted, images, selected, emit)

    async def _taken_back(self, stack: _Stack, options: UpOptions, before: Observed, failure: StackrunError, emit: Emit) -> ExecuteFailed:
        """Back to the last revision, or to nothing when nothing was up; gives the failure with what became of the stack."""
        project = stack.wanted.project
        last = await self._past.last(project)
        try:
            if not is_up(before.containers):
                await self._undone(project, frozenset(stack.wanted.services), options, emit)
                told = "nothing was up before: what was made is removed again, volumes are kept"
            elif last:
                await self._returned(project, last.number, options, emit)
                told = f"returned to revision {last.number}"
            else:
                told = "there is no revision to return to: the stack is left as it is"
        except StackrunError as error:
            told = f"the return to {f'revision {last.number}' if last else 'nothing'} failed: {error}"
        lines = (*str(failure).splitlines(), *told.splitlines())
        return ExecuteFailed("\n".join(lines), lines, hint=failure.hint)

    async def _returned(self, project: str, number: int, options: UpOptions, emit: Emit) -> None:
        emit(StackEvent(f"Project {project}", Phase.WORKING, "Returning", f"to revision {number}"))
        again = UpOptions(
            revision=number, wait=True, wait_timeout_s=options.wait_timeout_s, timeout_s=options.timeout_s, by="rollback", keep=options.keep
        )
        stack = await self._revived(project, again)
        decided = await self._decided(stack)
        for warning in stack.shown.warnings:
            emit(warning)
        await self._execute(decided.plans.images, decided.observed, emit, "rollback", stack.wanted)
        now = await refreshed(decided.observed, self._engine, stack.wanted) if decided.plans.images else decided.observed
        await self._raise(stack, again, decide(stack.wanted, now, stack.policy), now, emit)
        emit(StackEvent(f"Project {project}", Phase.DONE, "Returned", f"to revision {number}"))

    async def _undone(self, project: str, services: frozenset[str], options: UpOptions, emit: Emit) -> None:
        emit(StackEvent(f"Project {project}", Phase.WORKING, "Returning", "to nothing"))
        await self.keeping.redeclare(project, lambda declared: None)
        observed = await observe(self._engine, project)
        plan = lifecycle.decide_down(observed, known=services, timeout_s=options.timeout_s)
        await self._execute(plan, observed, emit, "rollback")
        await asyncio.to_thread(forget_private, self._state_dir, project)
        await self._past.undone(project)
        emit(StackEvent(f"Project {project}", Phase.DONE, "Returned", "to nothing"))

    async def _reverted(self, source: StackSource, options: UpOptions) -> AsyncIterator[StackEvent]:
        """What an atomic `up` would have done by itself, had it not been interrupted but failed."""
        project = await asyncio.to_thread(_project_name, source)
        lock = await self._acquired(project)

        async def work(emit: Emit) -> None:
            unfinished, last = await self._past.unfinished(project), await self._past.last(project)
            if unfinished is None:
                emit(StackEvent(f"Project {project}", Phase.DONE, "Unchanged"))
            elif unfinished.anew:
                await self._undone(project, unfinished.services, options, emit)
            elif last:
                await self._returned(project, last.number, options, emit)
            else:
                raise NotFound("there is no revision to return to: the stack is left as it is", hint="`stackrun up` goes on from there")

        return Work(work, lock)

    async def history(self, source: StackSource) -> History:
        return await self._past.history(await asyncio.to_thread(_project_name, source))

    async def diff(self, source: StackSource, before: int, after: int) -> StateDifference:
        project = await asyncio.to_thread(_project_name, source)
        name, old = await self._past.side(project, before)
        if after:
            now_name, new = await self._past.side(project, after)
            shown = Shown(secrecy=await asyncio.to_thread(secrecy_of, old.desired, new.desired))
        else:
            stack = await self._loaded(source, UpOptions())
            now_name, new, shown = "the file", await self._past.file_side(stack.wanted), stack.shown
            shown = replace(shown, secrecy=await asyncio.to_thread(secrecy_of, old.desired, new.desired))
        return StateDifference(project, name, now_name, changes(old, new, shown.secrecy, shown.places))

    async def drift(self, source: StackSource, options: DriftOptions) -> DriftReport:
        return await self._drift.report(source, options)

    async def down(self, source: StackSource, options: DownOptions) -> AsyncIterator[StackEvent]:
        project, known = await asyncio.to_thread(_identity, source)
        owed = frozenset() if options.services else await asyncio.to_thread(self._owed.volumes, project)

        def plan(observed: Observed) -> Plan:
            kept = None if options.remove_orphans else known
            return lifecycle.decide_down(
                observed, known=kept, services=options.services, volumes=options.volumes, timeout_s=options.timeout_s, owed=owed
            )

        async def forget(observed: Observed) -> None:
            if not options.services:
                await asyncio.to_thread(forget_private, self._state_dir, observed.project)
            if options.volumes:
                await asyncio.to_thread(self._owed.settle, project, owed - observed.volumes.keys())

        def leave(declared: Declared) -> Declared | None:
            return declared.without(options.services) if options.services else None

        return await self._by_labels("down", project, plan, leave, forget)

    async def start(self, source: StackSource, services: tuple[str, ...]) -> AsyncIterator[StackEvent]:
        project = await asyncio.to_thread(_project_name, source)
        decided = partial(lifecycle.decide_start, services=services)
        return await self._by_labels("start", project, decided, partial(Declared.starting, services=services))

    async def stop(self, source: StackSource, services: tuple[str, ...], timeout_s: float | None) -> AsyncIterator[StackEvent]:
        project = await asyncio.to_thread(_project_name, source)
        decided = partial(lifecycle.decide_stop, services=services, timeout_s=timeout_s)
        return await self._by_labels("stop", project, decided, partial(Declared.stopping, services=services))

    async def restart(self, source: StackSource, services: tuple[str, ...], timeout_s: float | None) -> AsyncIterator[StackEvent]:
        project = await asyncio.to_thread(_project_name, source)
        decided = partial(lifecycle.decide_restart, services=services, timeout_s=timeout_s)
        return await self._by_labels("restart", project, decided, partial(Declared.starting, services=services))

    async def kill(self, source: StackSource, services: tuple[str, ...], signal: str) -> AsyncIterator[StackEvent]:
        project = await asyncio.to_thread(_project_name, source)
        ends = (signal or "SIGKILL").upper().removeprefix("SIG") in _ENDING

        def leave(declared: Declared) -> Declared:
            return declared.stopping(services) if ends else declared

        decided = partial(lifecycle.decide_kill, services=services, signal=signal or "SIGKILL")
        return await self._by_labels("kill", project, decided, leave)

    async def pull(self, source: StackSource, services: tuple[str, ...]) -> AsyncIterator[StackEvent]:
        stack = await self._loaded(source, UpOptions())
        wanted = stack.wanted
        images = await observe_images(self._engine, stack.images())
        observed = Observed(wanted.project, images=images)
        plan = decide_pull(wanted, observed, services)
        lock = await self._acquired(wanted.project)
        return Work(lambda emit: self._execute(plan, observed, emit, "pull", wanted), lock)

    async def build(self, source: StackSource, options: BuildOptions) -> AsyncIterator[StackEvent]:
        stack = await self._loaded(source, UpOptions())
        wanted, project = stack.wanted, stack.wanted.project
        asked = BuildPolicy(options.services, options.with_dependencies, options.no_cache, options.pull, options.arguments)
        lock = await self._acquired(project)
        try:
            found = await look_up_images(self._engine, stack.images())
            observed = await asyncio.to_thread(self._records.observed, with_images(Observed(project), found), stack.builds)
            plan = decide_build(wanted, observed, asked)
        except BaseException:
            lock.release()
            raise

        async def work(emit: Emit) -> None:
            for warning in stack.shown.warnings:
                emit(warning)
            await self._execute(plan, observed, emit, "build", wanted)

        return Work(work, lock)

    async def keep(self, source: StackSource, on: bool | None) -> Keep:
        project = await asyncio.to_thread(_project_name, source)
        if on is not None:
            await self.keeping.switch(project, kept=on)
        return await self.keeping.status(project)

    async def stacks(self, *, all: bool = False) -> tuple[StackSummary, ...]:
        """Without `all`, running containers alone count, as in `docker compose ls`."""
        found = await self._engine.containers(all=all, filters=Filters({"label": (labels.PROJECT,)}))
        projects: dict[str, list[Container]] = {}
        for one in found:
            projects.setdefault(one.spec.labels[labels.PROJECT], []).append(one)
        return tuple(_summary(name, projects[name]) for name in sorted(projects))

    async def why(self, source: StackSource, service: str, limit: int = 100) -> Reasons:
        project = await asyncio.to_thread(_project_name, source)
        kept = await self.keeping.status(project) if await self.keeping.declared(project) else None
        return await reasons(self._engine, self.journal, project, service, limit, kept=kept, witnessed=self.witnessed)

    async def changes(self, source: StackSource, query: ChangeQuery) -> AsyncIterator[Change]:
        project = "" if query.all else await asyncio.to_thread(_project_name, source)
        return await Changes(self._engine, self.journal, project, query).begin()

    def busy(self, project: str) -> bool:
        """Whether an operation on it is under way."""
        return self._locks.of(project).locked() or self.keeping.is_at_work(project)

    async def _revived(self, project: str, options: UpOptions) -> _Stack:
        if options.services or options.scale or options.pull:
            raise InvalidArgument("a revision is brought back as a whole, as it was: without services, scale or pull")
        found = await self._past.revived(project, options.revision)
        return _Stack(found.desired, replace(_policy(options), remove_orphans=True), found.shown, options.by, found.revision)

    async def _loaded(self, source: StackSource, options: UpOptions) -> _Stack:
        if options.revision:
            return await self._revived(await asyncio.to_thread(_project_name, source), options)
        return await asyncio.to_thread(self._desired, source, options)

    def _desired(self, source: StackSource, options: UpOptions) -> _Stack:
        from stackrun.compose.load import load
        from stackrun.stack.graph import start_order

        project = load(source)
        order = start_order(project)
        contents = read_contents(project)
        wanted = desired(project, order, contents=contents, state_dir=self._state_dir, scale=options.scale, version=_version())
        return _Stack(wanted, _policy(options), _shown(project, contents), options.by, builds=builds_of(project))

    async def _decided(self, stack: _Stack) -> _Decided:
        """Raises what `up` would be refused for."""
        observed = await observe(self._engine, stack.wanted.project, stack.images())
        observed = await with_stop_signals(observed, self._engine, stack.wanted)
        observed = await asyncio.to_thread(with_private_files, observed, stack.wanted)
        observed = await asyncio.to_thread(self._records.observed, observed, stack.builds)
        images = decide_images(stack.wanted, observed, stack.policy)
        observed = replace(observed, stale=stale_images(images))
        return _Decided(observed, Plans(images, decide(stack.wanted, observed, stack.policy)))

    async def _inspected(self, decided: _Decided) -> Inspected:
        """The containers that are replaced, and the images of old and new; what is gone meanwhile is left out."""
        replaced = {one.id for one in replaced_containers(decided.plans.main, decided.observed).values()}
        if not replaced:
            return Inspected()
        slots = asyncio.Semaphore(self._parallelism)
        containers = await _looked_up(self._engine.container, replaced, slots)
        ids = {one.image_id for one in containers.values()} | set(decided.observed.images.values())
        images = await _looked_up(self._engine.image, ids, slots)
        return Inspected(containers, {id: image.config for id, image in images.items()})

    async def _by_labels(
        self,
        verb: str,
        project: str,
        decided: Callable[[Observed], Plan],
        declare: Callable[[Declared], Declared | None],
        finish: Callable[[Observed], Awaitable[None]] | None = None,
    ) -> AsyncIterator[StackEvent]:
        """`declare`: what holds from now on, said before anything is done, lest the keeper undo it."""
        lock = await self._acquired(project)
        try:
            observed = await observe(self._engine, project)
            plan = decided(observed)
        except BaseException:
            lock.release()
            raise

        async def work(emit: Emit) -> None:
            await self.keeping.redeclare(project, declare)
            await self._execute(plan, observed, emit, verb)
            if finish is not None:
                await finish(observed)

        return Work(work, lock)

    async def _execute(self, plan: Plan, observed: Observed, emit: Emit, by: str, wanted: Desired | None = None) -> None:
        """Raises what failed. `wanted`: whose images are pulled."""
        images: dict[str, list[str]] = {}
        for one in wanted.services.values() if wanted else ():
            images.setdefault(one.image, []).append(one.name)
        (await self._carried_out(plan, observed, emit, by, images)).raise_if_failed()

    async def _carried_out(
        self, plan: Plan, observed: Observed, emit: Emit, by: str, images: Mapping[str, Sequence[str]] | None = None
    ) -> Outcome:
        """The journal has it as it happens, whatever becomes of it. `by`: who wanted it; `images`: image → services."""
        for event in _announcements(plan):
            emit(event)
        if not plan:
            return Outcome()
        going = anonymous_removals(plan)
        if going:
            await self._note_owed(observed.project, going.values(), emit)
        project, account = observed.project, Account(plan, observed, by, images)
        async with Clerk(self.journal, project, account):
            outcome = await execute(
                plan, self._engine, project, emit, ids=observed.ids(), parallelism=self._parallelism, follower=account
            )  # fmt: skip
        if gone := [name for number, name in going.items() if number not in outcome.failures and number not in outcome.skipped]:
            await asyncio.to_thread(self._owed.settle, observed.project, gone)
        return outcome

    async def _note_owed(self, project: str, volumes: Iterable[str], emit: Emit) -> None:
        try:
            await asyncio.to_thread(self._owed.note, project, volumes)
        except KernelError as error:
            hint = "if this is interrupted, an anonymous volume may stay: `docker volume ls`"
            emit(StackEvent(f"Project {project}", Phase.DONE, "Warning", str(error), hint))

    async def _while_held(self, project: str, work: Callable[[], Awaitable[None]]) -> None:
        lock = await self._acquired(project)
        try:
            await work()
        finally:
            lock.release()

    async def _acquired(self, project: str) -> asyncio.Lock:
        lock = self._locks.of(project)
        await lock.acquire()
        try:
            await self.keeping.give_way(project)
        except BaseException:
            lock.release()
            raise
        return lock


async def _looked_up(look: Callable[[str], Awaitable[T]], ids: Iterable[str], slots: asyncio.Semaphore) -> dict[str, T]:
    async def one(id: str) -> tuple[str, T] | None:
        async with slots:
            try:
                return id, await look(id)
            except NotFound:
                return None

    return dict(found for found in await asyncio.gather(*map(one, sorted(ids))) if found)


def _require_unmoved(seal: Mapping[str, str], now: Mapping[str, str]) -> None:
    reasons = moved(seal, now)
    if reasons:
        raise Conflict(f"the world has moved since this was planned: {'; '.join(reasons)}", hint="plan again")


def config_hashes(project: Project) -> Mapping[str, str]:
    """Each enabled service's configuration hash, as its containers carry it. Reads the files of configs and secrets."""
    return desired_hashes(project, read_contents(project))


def _preload() -> None:
    import networkx  # noqa: F401

    from stackrun.compose.load import load  # noqa: F401


@cache
def _version() -> str:
    try:
        return version("stackrun")
    except PackageNotFoundError:
        return ""


def _identity(source: StackSource) -> tuple[str, frozenset[str] | None]:
    """The project's name and the services its file knows; None when the name alone was given, or must do because the file is broken."""
    from stackrun.compose.load import load

    try:
        project = load(source, for_up=False)
    except (ComposeError, NotFound):
        if not source.project_name:
            raise
        return source.project_name, None
    return project.name, frozenset({*project.services, *project.disabled_services})


def _project_name(source: StackSource) -> str:
    return source.project_name or _identity(source)[0]


def _shown(project: Project, contents: Contents) -> Shown:
    secrets = project.secrets.values()
    held = [contents.get(one.file, b"") for one in secrets if one.file]
    secrecy = Secrecy((*held, *(encoded(one.content) for one in secrets if one.content)))
    return Shown(tuple(map(warning_event, project.warnings)), Places(project), secrecy)


def _policy(options: UpOptions) -> Policy:
    require_consistent(options.build)
    return Policy(
        services=options.services,
        no_deps=options.no_deps,
        force_recreate=options.force_recreate,
        no_recreate=options.no_recreate,
        no_start=options.no_start,
        remove_orphans=options.remove_orphans,
        renew_anonymous_volumes=options.renew_anonymous_volumes,
        pull=options.pull,
        build=options.build,
        unbuilt=options.unbuilt,
        timeout_s=options.timeout_s,
        wait=options.wait or options.atomic,
        wait_timeout_s=options.wait_timeout_s,
    )


def _announcements(plan: Plan) -> Iterable[StackEvent]:
    yield from notice_events(plan)
    for settled in plan.settled:
        yield StackEvent(f"Container {settled.name}", Phase.DONE, settled.text)


def _summary(name: str, containers: list[Container]) -> StackSummary:
    states = Counter(one.state.status.value for one in containers)
    files = containers[0].spec.labels.get(labels.CONFIG_FILES, "")
    return StackSummary(
        name=name,
        status=", ".join(f"{state}({states[state]})" for state in sorted(states)),
        config_files=tuple(one for one in files.split(",") if one),
    )
