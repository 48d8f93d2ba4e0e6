"""A stack's revisions put to use: recorded after an `up`, listed, compared, and one of them made into something to bring up again.

A revision says everything but two things: which image a name meant, of which it has the id, and what stands in files that are mounted
as they are.  Where the world has moved on in one of these it is told, in so many words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stackrun.api.engine import Engine
from stackrun.api.stacks import History, Phase, RevisionEntry, StackEvent
from stackrun.api.types import Container
from stackrun.errors import InvalidArgument, KernelError, NotFound
from stackrun.stack.comparison import NOTHING, Side, changes, summary
from stackrun.stack.content import content_digest, file_content
from stackrun.stack.desired import Desired, DesiredService
from stackrun.stack.execute import Emit
from stackrun.stack.explain import Shown
from stackrun.stack.observed import Observed, is_one_off, observe_containers, observe_images, service_of
from stackrun.stack.places import NoPlaces
from stackrun.stack.revisions import Revision, Revisions, Unfinished
from stackrun.stack.secrecy import Secrecy

_ID_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Revived:
    """`desired` is what is to be brought up for `revision` here and now."""

    revision: Revision
    desired: Desired
    shown: Shown


class Past:
    """Of every stack of one engine."""

    def __init__(self, engine: Engine, state_dir: str) -> None:
        self._engine = engine
        self._state_dir = state_dir

    def revisions(self, project: str) -> Revisions:
        """InvalidArgument for what is no name of a project: it names a folder."""
        from stackrun.compose.source import checked_name

        if not checked_name(project):
            raise InvalidArgument("a stack has a name")
        return Revisions(self._state_dir, project)

    async def last(self, project: str) -> Revision | None:
        return await asyncio.to_thread(self.revisions(project).last)

    async def history(self, project: str) -> History:
        """NotFound for a stack without any."""
        revisions = self.revisions(project)
        entries, unfinished = await asyncio.to_thread(lambda: (revisions.entries(), revisions.unfinished()))
        if not entries and not unfinished:
            raise NotFound(f"stack {project} has no revisions", hint="each `up` that succeeds and changes something makes one")
        up = not unfinished and is_up(await observe_containers(self._engine, project))
        last = entries[-1].number if entries else 0
        shown = tuple(RevisionEntry(one.number, one.time_s, one.how, one.changed, up and one.number == last, one.fault) for one in entries)
        return History(project, shown, unfinished.how if unfinished else "", unfinished.time_s if unfinished else 0.0)

    async def side(self, project: str, number: int) -> tuple[str, Side]:
        """Its name and what it declares; 0 is the last one."""
        revisions = self.revisions(project)
        numbers = await asyncio.to_thread(revisions.numbers)
        if not number and not numbers:
            raise NotFound(f"stack {project} has no revisions", hint="each `up` that succeeds and changes something makes one")
        revision = await asyncio.to_thread(revisions.read, number or numbers[-1])
        return f"revision {revision.number}", Side(revision.desired, revision.images)

    async def file_side(self, desired: Desired) -> Side:
        named = await observe_images(self._engine, {one.image for one in desired.services.values()})
        return Side(desired, {one.name: named[one.image] for one in desired.services.values() if one.image in named})

    async def revived(self, project: str, number: int) -> Revived:
        """NotFound for a revision that is not there, Conflict for one that cannot be read."""
        containers = await observe_containers(self._engine, project)
        revisions = self.revisions(project)
        up = is_up(containers)
        revision = await asyncio.to_thread(lambda: revisions.chosen(number, up=up))
        ever = await asyncio.to_thread(revisions.ever)
        services = revision.desired.services.values()
        named = await observe_images(self._engine, {*(one.image for one in services), *revision.images.values()})
        pinned = with_images_of_then(revision, named)
        strangers = {service_of(one) for one in containers if not is_one_off(one)} - ever
        shown_desired = replace(pinned, dormant=pinned.dormant | strangers)
        warnings = (*_staying(containers, strangers), *moved_images(revision, named), *await asyncio.to_thread(changed_files, revision))
        secrecy = await asyncio.to_thread(secrecy_of, revision.desired)
        return Revived(revision, shown_desired, Shown(warnings, NoPlaces(), secrecy))

    async def unfinished(self, project: str) -> Unfinished | None:
        return await asyncio.to_thread(self.revisions(project).unfinished)

    async def begin(self, project: str, how: str, services: Iterable[str], emit: Emit, *, anew: bool) -> None:
        try:
            await asyncio.to_thread(lambda: self.revisions(project).begin(how, services, anew=anew))
        except KernelError as error:
            emit(_warning(f"Project {project}", str(error), "if this is interrupted, `rollback` will not know of it"))

    async def undone(self, project: str) -> None:
        """What had begun is as if it had never been."""
        await asyncio.to_thread(self.revisions(project).abandon)

    async def record(self, how: str, desired: Desired, images: Mapping[str, str], raised: Collection[str], emit: Emit) -> None:
        """What has succeeded has succeeded: that it cannot be written down is told. `raised`: the services that it was about."""

        def changed(last: Revision | None) -> str:
            before = Side(last.desired, last.images) if last else NOTHING
            return summary(changes(before, Side(desired, images), Secrecy(), NoPlaces())) or "nothing that shows"

        try:
            await asyncio.to_thread(self.revisions(desired.project).record, how, desired, images, raised, changed)
        except KernelError as error:
            emit(_warning(f"Project {desired.project}", str(error), "the stack is up; `rollback` cannot come back to this state"))


def is_up(containers: Iterable[Container]) -> bool:
    return any(not is_one_off(one) for one in containers)


def held_before(last: Revision | None, declared: Desired | None) -> Desired | None:
    """What an `up` of some services leaves the others as: as they were last seen good, but for those taken down since."""
    if last is None or declared is None:
        return last.desired if last else declared
    left = {name: one for name, one in last.desired.services.items() if name in declared.services}
    return replace(last.desired, services=left)


def images_of(desired: Desired, selected: Collection[str], observed: Observed, last: Revision | None) -> dict[str, str]:
    """Service → image id: of those just brought up what their names mean, of the others what they were made from."""
    found: dict[str, str] = {}
    for name, service in desired.services.items():
        made_from = next((one.image_id for one in observed.of_service(name) if one.image_id), last.images.get(name, "") if last else "")
        id = observed.images.get(service.image, "") if name in selected else made_from
        if id:
            found[name] = id
    return found


def with_images_of_then(revision: Revision, named: Mapping[str, str]) -> Desired:
    """`named`: reference or id → id of what is here. A name that means another image now is replaced by the id that it meant.

    The hash of the configuration stays, so the containers are told from those of the file by their image alone: an `up` of the same
    file changes nothing where the name means the same again, and replaces them by what it means where it does not.
    """
    return replace(revision.desired, services={name: _of_then(one, revision, named) for name, one in revision.desired.services.items()})


def _of_then(service: DesiredService, revision: Revision, named: Mapping[str, str]) -> DesiredService:
    id = revision.images.get(service.name, "")
    if not id or id not in named:
        return service
    if named.get(service.image) == id:
        return replace(service, pull_policy="missing")
    return replace(service, image=id, spec=replace(service.spec, image=id), pull_policy="never")


def _staying(containers: Iterable[Container], strangers: Collection[str]) -> Iterable[StackEvent]:
    names = [one.name for one in containers if service_of(one) in strangers and not is_one_off(one)]
    if names:
        yield _warning("Containers", f"{', '.join(names)}: of services that no revision ever had: left alone")


def moved_images(revision: Revision, named: Mapping[str, str]) -> Iterable[StackEvent]:
    for name, service in revision.desired.services.items():
        then, now = revision.images.get(name, ""), named.get(service.image, "")
        if not then or then == now:
            continue
        if then in named:
            message = f"{service.image} means another image now: the one of revision {revision.number} is used, {_short(then)}"
            yield _warning(f"Service {name}", message, "`up` of the file takes what the name means")
        else:
            again = "a revision cannot build it again" if service.buildable else "it is pulled again, and may be another"
            instead = f"what the name means now is used, {_short(now)}" if now else again
            hint = "`up` of the file builds what the file says now" if service.buildable else ""
            yield _warning(f"Service {name}", f"the image of revision {revision.number}, {_short(then)}, is gone: {instead}", hint)


def changed_files(revision: Revision) -> Iterable[StackEvent]:
    """Files of configs and secrets that are mounted as they are and are not what they were. Blocks on the file system."""
    found = []
    for service in revision.desired.services.values():
        kept = {file.path for file in service.files}
        sources = {mount.target: mount.source for mount in service.spec.mounts if mount.source not in kept}
        for one in service.file_mounts:
            if one.target in sources and (why := _change(sources[one.target], one.digest)):
                found.append(_warning(f"Service {service.name}", f"{one.label}: {sources[one.target]} {why}"))
    return found


def _change(path: str, digest: str) -> str:
    try:
        return "" if content_digest(file_content(Path(path))) == digest else "has changed since: it is used as it is now"
    except OSError as error:
        return f"cannot be read any more: {(error.strerror or '').lower()}"


def secrecy_of(*states: Desired) -> Secrecy:
    """Of what their secrets held, or hold. Blocks on the file system."""
    held: list[bytes] = []
    for service in (one for desired in states for one in desired.services.values()):
        held += [file.content for file in service.files if file.label.startswith("secret ")]
        sources = {mount.target: mount.source for mount in service.spec.mounts}
        for one in service.file_mounts:
            if one.label.startswith("secret "):
                try:
                    held.append(Path(sources[one.target]).read_bytes())
                except (OSError, KeyError):
                    continue
    return Secrecy(held)


def _short(id: str) -> str:
    return id.removeprefix("sha256:")[:_ID_LENGTH]


def _warning(resource: str, message: str, hint: str = "") -> StackEvent:
    return StackEvent(resource, Phase.DONE, "Warning", message, hint)
