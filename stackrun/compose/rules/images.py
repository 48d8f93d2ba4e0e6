"""Images: what is named, and whether tomorrow it is still the same."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from stackrun.compose.origins import Note
from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Service, Stack
from stackrun.compose.tree import plain
from stackrun.errors import InvalidArgument
from stackrun.image.reference import DEFAULT_DOMAIN, Reference, parse

GROUP = Group("images")

GROUP.reported("no-image", "A service has neither an image nor a build.", stage="references")

_SCHEME = re.compile(r"[a-z]+://", re.IGNORECASE)
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")
_OFFICIAL = frozenset((
    "alpine", "busybox", "caddy", "cassandra", "couchdb", "debian", "elasticsearch", "fedora", "ghost", "golang", "grafana", "haproxy",
    "httpd", "influxdb", "kibana", "logstash", "mariadb", "maven", "memcached", "mongo", "mysql", "nats", "neo4j", "nextcloud", "nginx",
    "node", "openjdk", "php", "postgres", "python", "rabbitmq", "redis", "registry", "ruby", "rust", "solr", "sonarqube", "tomcat",
    "traefik", "ubuntu", "vault", "wordpress", "zookeeper",
))  # fmt: skip
_LAST_UNSUPPORTED: dict[str, tuple[tuple[int, ...], str]] = {
    "alpine": ((3, 18), "May 2025"),
    "debian": ((10,), "June 2024"),
    "mariadb": ((10, 5), "June 2025"),
    "mongo": ((5,), "October 2024"),
    "mysql": ((5,), "October 2023"),
    "node": ((18,), "April 2025"),
    "php": ((8, 1), "December 2025"),
    "postgres": ((13,), "November 2025"),
    "python": ((3, 9), "October 2025"),
    "traefik": ((1,), "December 2021"),
    "ubuntu": ((18,), "May 2023"),
}
"""Image → the last version without fixes, and since when there are none (each project's own calendar)."""
_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)(?![\d.])")


def reference(service: Service) -> Reference | None:
    """The service's image; None when it has none or its name is wrong."""
    return _parsed(service.text("image"))


@functools.lru_cache(maxsize=1_000)
def _parsed(text: str) -> Reference | None:
    try:
        return parse(text) if text else None
    except InvalidArgument:
        return None


def official_name(found: Reference) -> str:
    """`postgres` of Docker Hub's own images; empty for all others."""
    owner, _, name = found.path.partition("/")
    return name if found.domain == DEFAULT_DOMAIN and owner == "library" else ""


def major_version(tag: str) -> int | None:
    found = _VERSION.match(tag)
    return int(found[1].split(".")[0]) if found else None


@GROUP.rule("invalid-image", "error", "The name of an image is not one.", "references")
def invalid_image(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        text = service.text("image")
        if not text or "\ufffd" in text or reference(service) is not None:  # what is no text has a finding already
            continue
        try:
            parse(text)
        except InvalidArgument as error:
            hint = "leave the scheme out: registry/name:tag" if _SCHEME.match(text) else error.hint or "write it as name:tag, in lower case"
            why = error.message if len(error.message) < 300 else "invalid reference format"
            yield Found(service.at("image"), f'service "{service.name}" has no valid image: {why}', hint)


def _pulled(stack: Stack) -> list[tuple[Service, Reference]]:
    """Services whose image somebody else built."""
    return stack.once(_find_pulled)


def _find_pulled(stack: Stack) -> list[tuple[Service, Reference]]:
    found = [(service, None if service.get("build") else reference(service)) for service in stack.services]
    return [(service, image) for service, image in found if image is not None]


@GROUP.rule("untagged-image", "note", "An image has no tag, so the newest one is taken.")
def untagged_image(stack: Stack) -> Iterator[Found]:
    for service, image in _pulled(stack):
        if not image.tag and not image.digest:
            yield Found(service.at("image"), f'service "{service.name}" takes whatever {image.familiar} is today', "add the version as tag")


@GROUP.rule("latest-image", "note", "An image has the tag latest, which moves.")
def latest_image(stack: Stack) -> Iterator[Found]:
    for service, image in _pulled(stack):
        if image.tag == "latest" and not image.digest:
            yield Found(service.at("image"), f'service "{service.name}" takes whatever is latest', "name the version that was tested")


@GROUP.rule("image-without-digest", "note", "An image is named by a tag, which can be moved, and not by its digest.")
def image_without_digest(stack: Stack) -> Iterator[Found]:
    for service, image in _pulled(stack):
        if image.tag not in ("", "latest") and not image.digest:
            hint = "`stackrun config --lock-image-digests` prints the digests"
            yield Found(service.at("image"), f'service "{service.name}" trusts the tag {image.tag} to stay what it is', hint)


@GROUP.rule("unsupported-image", "note", "An image's version gets no fixes any more.")
def unsupported_image(stack: Stack) -> Iterator[Found]:
    for service, image in _pulled(stack):
        version = _VERSION.match(image.tag)
        if version is None or official_name(image) not in _LAST_UNSUPPORTED:
            continue
        last, since = _LAST_UNSUPPORTED[official_name(image)]
        numbers = tuple(int(part) for part in version[1].split("."))[: len(last)]
        if numbers <= last and numbers != last[: len(last) - 1]:  # 8 is the newest 8.x
            message = f'service "{service.name}" runs {official_name(image)} {version[1]}, which gets no fixes since {since} or before'
            yield Found(service.at("image"), message, "move to a version that is looked after")


@GROUP.rule("build-takes-public-name", "warning", "What is built here gets the name of a public image.")
def build_takes_public_name(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        image = reference(service) if service.get("build") else None
        public = image is not None and (image.tag in ("", "latest") or image.tag[:1].isdigit())
        if image is not None and public and official_name(image) in _OFFICIAL:
            message = f'what service "{service.name}" builds replaces the public image {image.familiar} on this machine'
            yield Found(service.at("image"), message, "give what is built a name of its own, or remove image")


@GROUP.rule("image-built-twice", "warning", "Two services build different things under one image name.")
def image_built_twice(stack: Stack) -> Iterator[Found]:
    first: dict[str, Service] = {}
    for service in stack.services:
        image = reference(service) if service.get("build") else None
        if image is None:
            continue
        other = first.setdefault(image.with_default_tag().canonical, service)
        if other is not service and plain(other.get("build")) != plain(service.get("build")):
            message = f'services "{other.name}" and "{service.name}" build different images named {image.familiar}'
            yield Found(service.at("image"), message, "the one that is built last wins: name them apart", _note(other, "the other one"))


@GROUP.rule("mixed-image-tags", "note", "One image is used with different tags.")
def mixed_image_tags(stack: Stack) -> Iterator[Found]:
    first: dict[str, tuple[Service, Reference]] = {}
    for service, image in _pulled(stack):
        other, named = first.setdefault(image.name, (service, image))
        if (named.tag, named.digest) != (image.tag, image.digest):
            message = f'service "{service.name}" uses another {image.familiar_name} than service "{other.name}"'
            hint = "if that is not meant, keep the version in one variable or anchor"
            yield Found(service.at("image"), message, hint, _note(other, f"here it is {named.familiar}"))


def _note(service: Service, message: str) -> tuple[Note, ...]:
    return (Note(service.at("image"), message),)


@GROUP.rule("local-registry", "note", "An image comes from a registry that only this machine can reach.")
def local_registry(stack: Stack) -> Iterator[Found]:
    for service, image in _pulled(stack):
        if _LOOPBACK.fullmatch(image.domain):
            message = f'service "{service.name}" needs a registry at {image.domain}, wherever the stack is started'
            yield Found(service.at("image"), message, "name a registry that every machine reaches")


@GROUP.rule("nothing-to-build", "warning", "pull_policy says build, and there is no build.")
def nothing_to_build(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.text("pull_policy") == "build" and not service.get("build"):
            message = f'service "{service.name}" shall be built, but has no build'
            yield Found(service.at("pull_policy"), message, "add build, or use missing or always")


@GROUP.rule("pull-of-fixed-image", "note", "An image with a digest is asked for at every start.")
def pull_of_fixed_image(stack: Stack) -> Iterator[Found]:
    for service, image in _pulled(stack):
        if image.digest and service.text("pull_policy") == "always":
            message = f'service "{service.name}" pulls an image at every start that can never change'
            yield Found(service.at("pull_policy"), message, "remove pull_policy: a digest is always the same image")
