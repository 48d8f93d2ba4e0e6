"""Names: what a service refers to is declared, and what is declared is used."""

from __future__ import annotations

from collections.abc import Iterator

from stackrun.compose.normalize import implied
from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Service, Stack
from stackrun.compose.tree import Place

GROUP = Group("references", "references")

GROUP.reported("undefined-service", "A service refers to one that there is not.")
GROUP.reported("undefined-network", "A service joins a network that is not declared.")
GROUP.reported("undefined-volume", "A service mounts a volume that is not declared.")
GROUP.reported("undefined-secret", "A service or build is given a secret that is not declared.")
GROUP.reported("undefined-config", "A service is given a config that is not declared.")
GROUP.reported("undefined-model", "A service uses a model that is not declared.")
GROUP.reported("disabled-service", "A service depends on one that no active profile enables.")
GROUP.reported("no-source", "A config or secret does not say where its content is.")
GROUP.reported("several-sources", "A config or secret has its content from two places.")
GROUP.reported("no-content", "A config or secret has no content on this machine.")
GROUP.reported("external-volume-options", "An external volume is given options, which nobody would apply.")
GROUP.reported("network-mode-conflict", "A service has networks and a network mode, which exclude each other.")
GROUP.reported("dockerfile-conflict", "A build has a Dockerfile in the stack file and one in its folder.")
GROUP.reported("context-not-built", "A build takes files of a service that is not built.")
GROUP.reported("platform-conflict", "An image is built for other platforms than its service runs on.")
GROUP.reported("device-count-conflict", "Devices are asked for by number and by name at once.")
GROUP.reported("mount-without-target", "A mount does not say where in the container it is.")
GROUP.reported("bind-without-source", "A bind mount does not say what is mounted.")
GROUP.reported("mount-conflict", "Two mounts have one place in the container.")
GROUP.reported("watch-without-path", "A watch rule does not say what is watched.")
GROUP.reported("watch-without-target", "A watch rule that copies files does not say where to.")


def _referred(service: Service) -> Iterator[tuple[str, str, Place]]:
    """(section, name, place) of each network, volume, config, secret and model that a service names."""
    for section in ("networks", "models"):
        named = service.map(section)
        for name in named:
            yield section, name, service.key_at(section, name)
    for mount in service.nodes("volumes"):
        if mount.text("type") == "volume" and mount.text("source"):
            yield "volumes", mount.text("source"), mount.at("source")
    for section, path in (("configs", ("configs",)), ("secrets", ("secrets",)), ("secrets", ("build", "secrets"))):
        for item in service.nodes(*path):
            yield section, item.text("source"), item.at("source")


def _used(stack: Stack) -> frozenset[tuple[str, str]]:
    return frozenset((section, name) for service in stack.services for section, name, _ in _referred(service))


def _unused(stack: Stack, section: str) -> Iterator[Found]:
    for resource in stack.resources(section):
        if (section, resource.name) not in stack.once(_used):
            kind = section[:-1]
            yield Found(resource.place, f'no service uses {kind} "{resource.name}"', "remove it, or give it to the service that needs it")


@GROUP.rule("unused-network", "warning", "A network is declared, and no service joins it.", "lint")
def unused_network(stack: Stack) -> Iterator[Found]:
    yield from _unused(stack, "networks")


@GROUP.rule("unused-volume", "warning", "A volume is declared, and no service mounts it.", "lint")
def unused_volume(stack: Stack) -> Iterator[Found]:
    yield from _unused(stack, "volumes")


@GROUP.rule("unused-secret", "warning", "A secret is declared, and nobody is given it.", "lint")
def unused_secret(stack: Stack) -> Iterator[Found]:
    yield from _unused(stack, "secrets")


@GROUP.rule("unused-config", "warning", "A config is declared, and no service is given it.", "lint")
def unused_config(stack: Stack) -> Iterator[Found]:
    yield from _unused(stack, "configs")


@GROUP.rule("undefined-when-enabled", "warning", "A service that no active profile enables refers to something that is not there.", "lint")
def undefined_when_enabled(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.enabled:
            continue
        for section, name, place in _referred(service):
            declared = stack.root.get(section)
            known = declared if isinstance(declared, dict) else {}
            if name not in known:
                hint = stack.near(name, known) or f"declare it under {section}"
                yield Found(place, f'service "{service.name}" needs {section[:-1]} "{name}", which is not declared', hint)
        places = {target: place for target, _, _, place in implied(service.node)}
        for target in service.map("depends_on"):
            if target not in stack.service:
                place = places.get(target, service.key_at("depends_on", target))
                hint = stack.near(target, stack.service)
                yield Found(place, f'service "{service.name}" depends on "{target}", which is no service', hint)


@GROUP.rule("dependency-of-other-profile", "warning", "A profile enables a service, but not one that it needs.", "lint")
def dependency_of_other_profile(stack: Stack) -> Iterator[Found]:
    for edge in stack.edges:
        source, target = stack.service.get(edge.source), stack.service.get(edge.target)
        if source is None or target is None or not edge.required or (source.enabled and not target.enabled):
            continue
        own, others = set(map(str, source.seq("profiles"))), set(map(str, target.seq("profiles")))
        if own and others and own - others:
            profile = min(own - others)
            message = f'profile {profile} enables service "{edge.source}", but not "{edge.target}", which it depends on'
            yield Found(edge.place, message, f"add {profile} to the profiles of {edge.target}, or say required: false")
