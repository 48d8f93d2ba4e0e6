"""Manifests, indexes and configurations: bytes → values, of the OCI and of the Docker kind alike.

Sources: image-spec manifest.md, image-index.md, config.md; Docker image manifest v2 schema 2.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stackrun.errors import InvalidArgument, NotFound, Unsupported
from stackrun.image.record import Healthcheck, ImageConfig
from stackrun.image.reference import is_sha256

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
ACCEPTED = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))
SIZE_MAX_BYTES = 4 << 20
"""A manifest or configuration beyond this is refused (distribution-spec asks registries for 4 MiB)."""

LAYERS_MAX = 500
"""As many as overlayfs stacks (OVL_MAX_STACK)."""

_MACHINES = {
    "x86_64": ("amd64", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
}


@dataclass(frozen=True, slots=True)
class Platform:
    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """`layers` are bottom first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Configuration:
    """The parts of an image configuration that are used here."""

    config: ImageConfig
    diff_ids: tuple[str, ...]
    created: str
    architecture: str
    os: str
    variant: str
    author: str


def this_platform() -> Platform:
    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def parse_platform(text: str) -> Platform:
    """`linux/arm64/v8`, `arm64` or empty for this machine."""
    own = this_platform()
    if not text:
        return own
    parts = text.lower().split("/")
    if len(parts) == 1:
        parts = ["linux", parts[0]] if parts[0] != "linux" else ["linux", own.architecture]
    if len(parts) > 3 or not all(parts):
        raise InvalidArgument(f"invalid platform {text!r}", hint="write it as linux/amd64 or linux/arm64/v8")
    if parts[0] != "linux":
        raise Unsupported(f"platform {text!r}: containers here are Linux containers")
    architecture = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386"}.get(parts[1], parts[1])
    return Platform(parts[0], architecture, parts[2] if len(parts) == 3 else "")


def document(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object; InvalidArgument naming `what` for anything else."""
    try:
        parsed = json.loads(data)
    except ValueError as error:
        raise InvalidArgument(f"{what} is not JSON: {error}") from None
    except RecursionError:
        raise InvalidArgument(f"{what} is nested too deep") from None
    if not isinstance(parsed, dict):
        raise InvalidArgument(f"{what} is not a JSON object")
    return parsed


def media_type_of(manifest: Mapping[str, Any], declared: str = "") -> str:
    """From the document itself, else as the registry declared it, else by its shape (both fields are optional in OCI)."""
    inside = manifest.get("mediaType")
    if isinstance(inside, str) and inside:
        return inside
    declared = declared.partition(";")[0].strip()
    if declared in INDEX_TYPES | MANIFEST_TYPES:
        return declared
    return OCI_INDEX if "manifests" in manifest else OCI_MANIFEST


def parse_manifest(data: bytes, what: str, declared: str = "") -> Manifest:
    parsed = document(data, what)
    media_type = media_type_of(parsed, declared)
    if parsed.get("schemaVersion") == 1 or media_type.endswith("manifest.v1+prettyjws"):
        raise Unsupported(f"{what} is a Docker schema 1 manifest", hint="push the image again with a tool newer than 2017")
    if media_type not in MANIFEST_TYPES:
        raise Unsupported(f"{what} has the media type {media_type!r}, which is no image manifest")
    layers = parsed.get("layers")
    if not isinstance(layers, list):
        raise InvalidArgument(f"{what} has no layers")
    if len(layers) > LAYERS_MAX:
        raise InvalidArgument(f"{what} has {len(layers)} layers; {LAYERS_MAX} can be stacked")
    return Manifest(media_type, _descriptor(parsed.get("config"), what), tuple(_descriptor(one, what) for one in layers))


def parse_index(data: bytes, what: str) -> tuple[Descriptor, ...]:
    entries = document(data, what).get("manifests")
    if not isinstance(entries, list):
        raise InvalidArgument(f"{what} has no manifests")
    return tuple(_descriptor(one, what) for one in entries)


def _descriptor(value: object, what: str) -> Descriptor:
    if (
        not isinstance(value, dict)
        or not is_sha256(str(value.get("digest")))
        or not isinstance(value.get("size"), int)
        or value["size"] < 0
    ):
        raise InvalidArgument(f"{what} holds a descriptor without a sha256 digest and a size")
    platform = value.get("platform")
    parsed = None
    if isinstance(platform, dict):
        parsed = Platform(*(str(platform.get(name) or "") for name in ("os", "architecture", "variant")))
    return Descriptor(str(value.get("mediaType") or ""), value["digest"], value["size"], parsed, value.get("annotations"))


def select(entries: Iterable[Descriptor], wanted: Platform, what: str) -> Descriptor:
    """The entry for a platform: the wanted variant if there is one, else the closest lower one, else one without."""
    candidates = []
    for entry in entries:
        if entry.platform and (entry.platform.os, entry.platform.architecture) == (wanted.os, wanted.architecture):
            candidates.append(entry)
    best = max(candidates, key=lambda entry: _variant_rank(entry, wanted), default=None)
    if best is None or _variant_rank(best, wanted) < 0:
        raise NotFound(
            f"no matching manifest for {wanted} in the manifest list entries: {what}",
            hint="the image was not built for this platform; ask for another with platform:",
        )
    return best


def _variant_rank(entry: Descriptor, wanted: Platform) -> int:
    variant = entry.platform.variant if entry.platform else ""
    if variant == wanted.variant:
        return 100
    if not variant or (wanted.architecture == "arm64" and {variant, wanted.variant} <= {"", "v8"}):
        return 1
    level, limit = variant.removeprefix("v"), wanted.variant.removeprefix("v")
    if not wanted.variant:
        return 0  # nothing asked: any of them, a plain one first
    return 1 + int(level) if level.isdecimal() and limit.isdecimal() and len(level) < 4 and int(level) < int(limit) else -1


# --- configuration -------------------------------------------------------------------------------


def parse_configuration(data: bytes, what: str) -> Configuration:
    parsed = document(data, what)
    rootfs = _object(parsed, "rootfs", what)
    diff_ids = rootfs.get("diff_ids") or ()
    if not isinstance(diff_ids, (list, tuple)) or not all(isinstance(one, str) and is_sha256(one) for one in diff_ids):
        raise InvalidArgument(f"{what} has a diff id that is not sha256")
    return Configuration(
        config=_image_config(_object(parsed, "config", what), what),
        diff_ids=tuple(diff_ids),
        created=str(parsed.get("created") or ""),
        architecture=str(parsed.get("architecture") or ""),
        os=str(parsed.get("os") or "linux"),
        variant=str(parsed.get("variant") or ""),
        author=str(parsed.get("author") or ""),
    )


def _object(parent: Mapping[str, Any], name: str, what: str) -> Mapping[str, Any]:
    value = parent.get(name) or {}
    if not isinstance(value, dict):
        raise InvalidArgument(f"{what} has a {name} that is no object")
    return value


def _image_config(config: Mapping[str, Any], what: str) -> ImageConfig:
    return ImageConfig(
        command=_words(config.get("Cmd")),
        entrypoint=_words(config.get("Entrypoint")),
        environment=_words(config.get("Env")),
        labels={str(key): str(value) for key, value in _object(config, "Labels", what).items()},
        user=str(config.get("User") or ""),
        working_dir=str(config.get("WorkingDir") or ""),
        exposed_ports=tuple(sorted(_object(config, "ExposedPorts", what))),
        volumes=tuple(sorted(_object(config, "Volumes", what))),
        stop_signal=str(config.get("StopSignal") or ""),
        healthcheck=_healthcheck(config.get("Healthcheck"), what),
        shell=_words(config.get("Shell")),
    )


def _words(value: object) -> tuple[str, ...]:
    """Old images have a plain string where a list belongs."""
    if isinstance(value, str):
        return (value,)
    return tuple(str(word) for word in value) if isinstance(value, list) else ()


def _healthcheck(value: object, what: str) -> Healthcheck | None:
    """Times are nanoseconds, as Go writes durations."""
    if not isinstance(value, dict) or not value.get("Test"):
        return None
    times = [value.get(name) or 0 for name in ("Interval", "Timeout", "StartPeriod", "StartInterval")]
    retries = value.get("Retries") or 0
    if not all(isinstance(one, int) and abs(one) < 1 << 63 for one in (*times, retries)):
        raise InvalidArgument(f"{what} has a health check with times that are no numbers")
    seconds = [one / 1e9 for one in times]
    return Healthcheck(_words(value["Test"]), seconds[0], seconds[1], retries, seconds[2], seconds[3])


def chain_ids(diff_ids: Iterable[str]) -> tuple[str, ...]:
    """What each layer is on top of those below it (image-spec config.md): equal chains share one unpacked directory."""
    found: list[str] = []
    for diff_id in diff_ids:
        found.append(f"sha256:{hashlib.sha256(f'{found[-1]} {diff_id}'.encode()).hexdigest()}" if found else diff_id)
    return tuple(found)
