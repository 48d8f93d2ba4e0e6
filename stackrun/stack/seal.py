"""Everything that a plan depends on, by name, so that a plan can be held on to: carried out later, or refused with the reason.

Deciding is pure.  What was decided is decided again from the same definition and the same world, so a plan is not kept by its steps
(which would hold the secrets that they write) but by what they follow from, and by a digest of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from stackrun.api import labels
from stackrun.api.types import Container, ContainerSpec
from stackrun.stack.desired import Desired, DesiredService, config_hash
from stackrun.stack.observed import Observed, service_of
from stackrun.stack.plan import BuildImage, CreateContainer, CreateNetwork, CreateVolume, Node, Plan
from stackrun.stack.verdict import Policy, is_orphan, selection

PLAN = "the plan"
_DEFINITION = "the definition of "
_BUILD = "what is built as "


def sealed(desired: Desired, observed: Observed, policy: Policy, pulls: Plan, plan: Plan) -> dict[str, str]:
    """Name → what it is, in words that two seals can be compared by; `the plan` and `the pulls` are digests."""
    selected = selection(desired, policy)
    services = [desired.services[name] for name in selected]
    return {
        **_definitions(desired, services),
        **_world(desired, observed, services),
        "the pulls": plan_digest(pulls),
        PLAN: plan_digest(plan),
    }


def _definitions(desired: Desired, services: Iterable[DesiredService]) -> dict[str, str]:
    found = {f"{_DEFINITION}service {one.name}": _digest(_service_words(one)) for one in services}
    for kind, resources in (("network", desired.networks), ("volume", desired.volumes)):
        for name, resource in resources.items():
            found[f"{_DEFINITION}{kind} {name}"] = _digest([resource.spec.labels[labels.CONFIG_HASH], str(resource.external)])
    return found


def _service_words(service: DesiredService) -> list[str]:
    """What a plan may depend on beside the container itself."""
    return [
        service.config_hash,
        service.image,
        str(service.replicas),
        service.container_name,
        service.pull_policy,
        service.platform,
        str(service.job),
        *(f"{one.label()}:{one.required}" for one in service.dependencies),
        *(f"{one.target} {one.label} {one.digest} {one.on_change}" for one in service.file_mounts),
    ]


def _world(desired: Desired, observed: Observed, services: Iterable[DesiredService]) -> dict[str, str]:
    chosen = list(services)
    names = {one.name for one in chosen}
    found = {f"container {one.name}": _state(one) for one in observed.containers if service_of(one) in names or is_orphan(one, desired)}
    for name in sorted({name for one in chosen for name in one.networks}):
        found[f"network {name}"] = observed.networks[name].id[:12] if name in observed.networks else "missing"
    for name in sorted({name for one in chosen for name in one.volumes}):
        found[f"volume {name}"] = f"made {observed.volumes[name].created}" if name in observed.volumes else "missing"
    for image in sorted({one.image for one in chosen}):
        if image in observed.builds:
            found[f"{_BUILD}{image}"] = observed.builds[image].digest
        found[f"image {image}"] = observed.images.get(image, "missing").removeprefix("sha256:")[:12]
    return found


def _state(container: Container) -> str:
    """Neither its health nor how often it was restarted: they change by themselves. Where a plan depends on one, its digest tells."""
    state = container.state
    words = "running" if state.running else f"exited ({state.exit_code})" if state.status == "exited" else str(state.status)
    return f"{container.id[:12]}, {words}"


def plan_digest(plan: Plan) -> str:
    """Of every node with all that it would do, but for what is the image's: what a tag names is known after the pull."""
    return _digest([word for node in plan.nodes for word in _node_words(node)])


def _node_words(node: Node) -> Iterable[str]:
    yield str(node)
    match node.action:
        case CreateContainer(spec=spec):
            yield config_hash(_without_images_own(spec))
        case BuildImage(declared=declared, arguments=arguments):
            yield f"{declared.digest} {sorted(arguments.items())}"
        case CreateNetwork(spec=network):
            yield config_hash(network)
        case CreateVolume(spec=volume):
            yield config_hash(volume)
        case _:
            pass


def _without_images_own(spec: ContainerSpec) -> ContainerSpec:
    """Its id, and its stop signal (which the definition's digest counts when the file says it)."""
    return replace(spec, labels={name: text for name, text in spec.labels.items() if name != labels.IMAGE}, stop_signal="")


def _digest(words: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps(list(words)).encode()).hexdigest()[:16]


def moved(seal: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Why a plan under `seal` is no longer the plan; empty: it is."""
    reasons = [_reason(name, seal.get(name), now.get(name)) for name in sorted(seal.keys() | now.keys()) if name != PLAN]
    found = tuple(one for one in reasons if one)
    if not found and seal.get(PLAN) != now.get(PLAN):
        return ("what there is to do has changed",)
    return found


def _reason(name: str, before: str | None, after: str | None) -> str:
    if before == after:
        return ""
    if name.startswith((_DEFINITION, _BUILD)) or name == "the pulls":
        return f"{name} {'is new' if before is None else 'is gone' if after is None else 'has changed'}"
    return f"{name} was {before or 'missing'} and is {after or 'missing'}"
