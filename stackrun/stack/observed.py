"""What is there: one snapshot of a stack in the engine, so that deciding needs no further question.

Lists only, a constant number of calls; what `docker ps` lists must be enough (labels, state, image id, networks, mounts).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from stackrun.api import labels
from stackrun.api.engine import Engine, HandsOver
from stackrun.api.types import Container, Filters, HealthStatus, Image, Network, Status, Volume
from stackrun.errors import NotFound
from stackrun.stack.builds import Build, Declared, Ingredients, declared, digest_of
from stackrun.stack.content import noted_contents, present_files, told_path
from stackrun.stack.desired import Desired


@dataclass(frozen=True, slots=True)
class Observed:
    project: str
    containers: tuple[Container, ...] = ()
    """The project's, one-offs too, oldest name first (sorted by service, number, name)."""
    networks: Mapping[str, Network] = field(default_factory=dict)
    """Every network of the engine by name: the project's and those it may share or collide with."""
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    """Image reference, as the services write it → image id; a missing image is not a key."""
    image_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of the same references, the images' own labels."""
    stop_signals: Mapping[str, str] = field(default_factory=dict)
    """Image reference → its stop signal, of those that `with_stop_signals` asked for."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Private file of a config or secret → digest of what it holds; a missing one is not a key."""
    hands_over: bool = False
    """Whether the engine can have one container take over another's published ports and names while both run."""
    told: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Container id → where a live config or secret is mounted → the digest it was last told of, when that is later than its label."""
    builds: Mapping[str, Declared] = field(default_factory=dict)
    """Image → how it is built and of what, and what the one that is here was built of; what others need first."""
    build_records: Mapping[str, str] = field(default_factory=dict)
    """Image → the file where what it was built of is written down."""
    stale: frozenset[str] = frozenset()
    """Images that will be others once they are built, which is decided already."""
    leaving: frozenset[str] = frozenset()
    """Services of which a container is being removed at this moment; it is none of `containers`."""

    def of_service(self, service: str) -> tuple[Container, ...]:
        return tuple(one for one in self.containers if service_of(one) == service and not is_one_off(one))

    def ids(self) -> dict[str, str]:
        return {one.name: one.id for one in self.containers}

    def own_networks(self) -> tuple[Network, ...]:
        return tuple(one for name, one in sorted(self.networks.items()) if one.spec.labels.get(labels.PROJECT) == self.project)

    def own_volumes(self) -> tuple[Volume, ...]:
        return tuple(one for name, one in sorted(self.volumes.items()) if one.labels.get(labels.PROJECT) == self.project)


def service_of(container: Container) -> str:
    return container.spec.labels.get(labels.SERVICE, "")


def number_of(container: Container) -> int:
    """0 when the label is missing or no number, or none that a container of ours has: an image may bring any."""
    text = container.spec.labels.get(labels.CONTAINER_NUMBER, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else 0


def is_one_off(container: Container) -> bool:
    return container.spec.labels.get(labels.ONEOFF, "").lower() == "true"


def is_on(container: Container, network: str) -> bool:
    return any(endpoint.network_name == network for endpoint in container.endpoints)


def needs_of(container: Container) -> tuple[tuple[str, str, bool], ...]:
    """The dependencies it was created with: service, condition, restart (`db:service_healthy:true,…`)."""
    found = []
    for entry in container.spec.labels.get(labels.DEPENDS_ON, "").split(","):
        service, condition, restart = (*entry.split(":"), "", "")[:3]
        if service:
            found.append((service, condition or "service_started", restart == "true"))
    return tuple(found)


def healthy(container: Container) -> bool:
    return container.state.health is not None and container.state.health.status is HealthStatus.HEALTHY


def unhealthy(container: Container) -> bool:
    return container.state.health is not None and container.state.health.status is HealthStatus.UNHEALTHY


def has_healthcheck(container: Container) -> bool:
    return container.state.health is not None and container.state.health.status is not HealthStatus.NONE


def of_project(project: str) -> Filters:
    return Filters({"label": (f"{labels.PROJECT}={project}",)})


async def observe(engine: Engine, project: str, images: Iterable[str] = ()) -> Observed:
    """`images`: the references that the services name."""
    containers, networks, volumes, found = await asyncio.gather(
        engine.containers(all=True, filters=of_project(project)), engine.networks(), engine.volumes(), look_up_images(engine, images)
    )
    observed = Observed(
        project=project,
        containers=_present(containers),
        leaving=frozenset(service_of(one) for one in containers if one.state.status is Status.REMOVING),
        networks={one.name: one for one in networks},
        volumes={one.name: one for one in volumes},
        hands_over=isinstance(engine, HandsOver),
    )
    return with_images(observed, found)


def with_images(observed: Observed, found: Mapping[str, Image]) -> Observed:
    ids = {reference: image.id for reference, image in found.items()}
    return replace(observed, images=ids, image_labels={reference: image.config.labels for reference, image in found.items()})


async def observe_containers(engine: Engine, project: str) -> tuple[Container, ...]:
    return _present(await engine.containers(all=True, filters=of_project(project)))


def _present(containers: Iterable[Container]) -> tuple[Container, ...]:
    present = (one for one in containers if one.state.status is not Status.REMOVING)
    return tuple(sorted(present, key=lambda one: (service_of(one), number_of(one), one.name)))


async def observe_images(engine: Engine, references: Iterable[str]) -> dict[str, str]:
    return {reference: image.id for reference, image in (await look_up_images(engine, references)).items()}


async def look_up_images(engine: Engine, references: Iterable[str]) -> dict[str, Image]:
    """One list; only what it does not name (a digest, an id, an image made on demand, a missing one) is asked for by itself."""
    wanted = sorted(set(references))
    if not wanted:
        return {}
    listed = _by_tag(await engine.images())
    found = {reference: listed[tagged(reference)] for reference in wanted if tagged(reference) in listed}
    rest = [reference for reference in wanted if reference not in found]
    for reference, image in zip(rest, await asyncio.gather(*(_image(engine, one) for one in rest)), strict=True):
        if image is not None:
            found[reference] = image
    return found


def with_private_files(observed: Observed, desired: Desired) -> Observed:
    """And what is kept of configs and secrets on this machine. Blocks on the file system; nothing is asked where nothing is declared."""
    files = {file.path: file for service in desired.services.values() for file in service.files}
    live = {name for name, service in desired.services.items() if any(one.live for one in service.file_mounts)}
    told: dict[str, Mapping[str, str]] = {}
    for one in observed.containers:
        if service_of(one) in live:
            id, contents = noted_contents(told_path(desired.state_dir, desired.project, one.name))
            told |= {one.id: contents} if id == one.id else {}
    return replace(observed, files=present_files(files.values()), told=told)


def with_builds(
    observed: Observed, builds: Mapping[str, Build], look: Callable[[Build], Ingredients], known: Callable[[str, str], Ingredients | None]
) -> Observed:
    """And what images would be built of now. Blocks on the file system.

    `known`: of an image that was built of this digest, what that was.
    """
    found = {}
    for image, one in declared(builds, look).items():
        built = digest_of(image, observed.image_labels.get(image, {}))
        found[image] = replace(one, built=built, then=known(image, built) if built and built != one.digest else None)
    return replace(observed, builds=found)


async def with_stop_signals(observed: Observed, engine: Engine, desired: Desired) -> Observed:
    """And how the images end of services that are told things by signals."""
    wanted = {one.image for one in desired.services.values() if one.signalled and not one.spec.stop_signal}
    found = {reference: (await engine.image(id)).config.stop_signal for reference in wanted if (id := observed.images.get(reference))}
    return replace(observed, stop_signals=found) if found else observed


async def refreshed(observed: Observed, engine: Engine, desired: Desired) -> Observed:
    """After images were pulled and built: tags point elsewhere, nothing else has changed."""
    images = await observe_images(engine, [service.image for service in desired.services.values()])
    return await with_stop_signals(replace(observed, images=images, stale=frozenset()), engine, desired)


async def _image(engine: Engine, reference: str) -> Image | None:
    try:
        return await engine.image(reference)
    except NotFound:
        return None


def _by_tag(images: Iterable[Image]) -> dict[str, Image]:
    return {tagged(tag): image for image in images for tag in (*image.repo_tags, *image.repo_digests)}


def tagged(reference: str) -> str:
    """A reference as lists write it: familiar (`docker.io/library/nginx` → `nginx`), with a tag unless it has a digest."""
    name = reference.removeprefix("docker.io/").removeprefix("index.docker.io/")
    name = name.removeprefix("library/")
    last = name.rpartition("/")[2]
    return name if "@" in name or ":" in last else f"{name}:latest"
