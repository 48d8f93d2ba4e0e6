"""Projects and what an engine could hold of them, in few words: for tests of the reconciler."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Any

from stackrun.api import labels
from stackrun.api.types import (
    Container,
    ContainerState,
    Endpoint,
    Health,
    HealthStatus,
    MountPoint,
    MountType,
    Network,
    Status,
    Volume,
)
from stackrun.compose import model
from stackrun.stack.desired import JOINED, Desired, container_spec, desired
from stackrun.stack.observed import Observed

IMAGE_ID = "sha256:" + "1" * 64
DEFAULT = {"default": model.NetworkAttachment()}
CHECK = model.Healthcheck(test=("CMD", "true"))

STARTED = model.Dependency()
HEALTHY = model.Dependency("service_healthy")
COMPLETED = model.Dependency("service_completed_successfully")
RESTARTED = model.Dependency(restart=True)


def service(name: str, *needs: str, **keys: Any) -> model.Service:
    """`needs` are plain `depends_on` entries; a service is on the default network unless it says otherwise."""
    keys.setdefault("image", "busybox:1")
    if not keys.get("network_mode"):
        keys.setdefault("networks", DEFAULT)
    keys["depends_on"] = {**dict.fromkeys(needs, STARTED), **keys.get("depends_on", {})}
    return model.Service(name, **keys)


def project(*services: model.Service, name: str = "shop", **keys: Any) -> model.Project:
    keys.setdefault("networks", {"default": model.Network("default", f"{name}_default")})
    for key in ("volumes", "configs", "secrets", "disabled_services"):
        keys.setdefault(key, {})
    for key in ("networks", "volumes", "configs", "secrets", "disabled_services"):
        if not isinstance(keys[key], Mapping):
            keys[key] = {getattr(one, "key", one.name): one for one in keys[key]}
    ordered = {one.name: one for one in sorted(services, key=lambda one: one.name)}
    return model.Project(name, "/srv/shop", ("/srv/shop/compose.yaml",), ordered, **keys)


def volume(key: str, **keys: Any) -> model.Volume:
    return model.Volume(key, f"shop_{key}", **keys)


def order(stack: model.Project) -> tuple[str, ...]:
    """Dependencies first, names breaking ties: what `graph.start_order` gives."""
    sorter = TopologicalSorter({one.name: [x for x in one.depends_on if x in stack.services] for one in stack.services.values()})
    sorter.prepare()
    found: list[str] = []
    ready: list[str] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()])
        found.append(ready.pop(0))
        sorter.done(found[-1])
    return tuple(found)


def wanted(
    *services: model.Service, contents: Mapping[str, bytes] | None = None, scale: Mapping[str, int] | None = None, **keys: Any
) -> Desired:
    stack = project(*services, **keys)
    return desired(stack, order(stack), contents=contents or {}, state_dir="/state", scale=scale)


def digest(seed: str) -> str:
    return hashlib.sha256(seed.encode()).hexdigest()


def state(text: str) -> ContainerState:
    """`running`, `healthy`, `unhealthy`, `starting`, `exited 1`, `created`, …"""
    word, _, code = text.partition(" ")
    if word in ("healthy", "unhealthy", "starting"):
        return ContainerState(Status.RUNNING, health=Health(HealthStatus(word)))
    return ContainerState(Status(word), exit_code=int(code or 0))


def container(
    target: Desired, name: str, number: int = 1, status: str = "running", *, called: str = "", id: str = "",
    mounts: Iterable[MountPoint] = (), image_id: str = IMAGE_ID, without_networks: bool = False, **own: str,
) -> Container:  # fmt: skip
    """As the engine shows one that was made for `target`; `own` are labels by their constant's name (CONFIG_HASH=…)."""
    wanted = target.services[name]
    spec = container_spec(wanted, number, target.project)
    joined = [digest(target.container_name(one)) for one in wanted.joins]
    changed = {getattr(labels, key): text for key, text in own.items()}
    all_labels = {**spec.labels, **({JOINED: ",".join(joined)} if joined else {}), **changed}
    called = called or wanted.name_of(number, target.project)
    endpoints = () if without_networks else tuple(Endpoint(one, digest(f"network {one}")) for one in wanted.networks)

    return Container(
        id=id or digest(called), name=called, created="2026-01-01T00:00:00Z", path="", args=(), image_id=image_id,
        spec=replace(spec, labels=all_labels), state=state(status), mounts=tuple(mounts), endpoints=endpoints,
    )  # fmt: skip


def anonymous(target: str, seed: str = "anonymous") -> MountPoint:
    return MountPoint(MountType.VOLUME, target, name=digest(seed))


def network(target: Desired, name: str, **own: str) -> Network:

    spec = target.networks[name].spec
    return Network(digest(f"network {name}"), "2026-01-01T00:00:00Z", replace(spec, labels=_changed(spec.labels, own)))


def engine_volume(target: Desired, name: str, **own: str) -> Volume:
    spec = target.volumes[name].spec
    return Volume(name, f"/volumes/{name}", "2026-01-01T00:00:00Z", labels=_changed(spec.labels, own))


def _changed(found: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """`own` by constant's name; an empty text removes the label."""
    changed = {**found, **{getattr(labels, key): text for key, text in own.items()}}
    return {key: text for key, text in changed.items() if text}


def present(
    target: Desired, *containers: Container, networks: Iterable[Network] | None = None, volumes: Iterable[Volume] | None = None,
    images: Mapping[str, str] | None = None,
) -> Observed:  # fmt: skip
    """An engine that has the target's networks, volumes and images, and these containers."""
    if networks is None:
        networks = [network(target, name) for name in target.networks]
    if volumes is None:
        volumes = [engine_volume(target, name) for name in target.volumes]
    return Observed(
        target.project,
        tuple(sorted(containers, key=lambda one: one.name)),
        {one.name: one for one in networks},
        {one.name: one for one in volumes},
        {one.image: IMAGE_ID for one in target.services.values()} if images is None else images,
    )


def empty(target: Desired) -> Observed:
    return present(target, networks=(), volumes=())


def all_running(target: Desired) -> tuple[Container, ...]:
    """Every replica of every service as it should be: healthy with a healthcheck, completed if it is a job."""
    found = []
    for one in target.services.values():
        status = "exited 0" if one.job else "healthy" if one.spec.healthcheck else "running"
        found += [container(target, one.name, number, status) for number in range(1, one.replicas + 1)]
    return tuple(found)
