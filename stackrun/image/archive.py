"""Images from tar archives: `docker save` (docker-archive), OCI layouts, and bare root file systems.

The archive is a stream and its table of contents may come last, so every file in it goes into the
content store under its digest as it passes by; what turns out not to belong to an image is collected
as garbage afterwards.

Sources: image-spec image-layout.md; Docker image spec v1.2 "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import json
import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast

from stackrun.errors import InvalidArgument
from stackrun.image.changes import apply_changes
from stackrun.image.compression import decompressed
from stackrun.image.content import ContentStore
from stackrun.image.layer import StrictArchive
from stackrun.image.manifest import (
    INDEX_TYPES,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Platform,
    document,
    media_type_of,
    parse_index,
    select,
)
from stackrun.image.reference import Reference, parse

_REF_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A manifest in the content store and the full names it is to have."""

    manifest_digest: str
    tags: tuple[str, ...] = ()


@dataclass(slots=True)
class _Files:
    """Member path → (digest, size), and links between members."""

    blobs: dict[str, tuple[str, int]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def find(self, path: str) -> tuple[str, int]:
        path = posixpath.normpath(path)
        for _ in range(len(self.links) + 1):
            if path in self.blobs:
                return self.blobs[path]
            if path not in self.links:
                break
            path = self.links[path]
        raise InvalidArgument(f"the archive names {path!r} but does not hold it", hint="it may be cut short")


def load(stream: BinaryIO, content: ContentStore, platform: Platform) -> tuple[Loaded, ...]:
    """Put every image of the archive into `content`; InvalidArgument when it is none of the known kinds."""
    files = _store_members(stream, content)
    if "manifest.json" in files.blobs:
        return _docker_archive(files, content)
    if "index.json" in files.blobs:
        return _oci_layout(files, content, platform)
    raise InvalidArgument(
        "the archive is no image: it has neither manifest.json nor index.json",
        hint="`docker save` and `skopeo copy … oci-archive:` write such archives; a bare root file system is for import",
    )


def _store_members(stream: BinaryIO, content: ContentStore) -> _Files:
    files = _Files()
    with _opened(stream) as archive:
        while (member := archive.next()) is not None:
            path = posixpath.normpath(member.name)
            if member.isreg():
                data = archive.extractfile(member)
                files.blobs[path] = content.put_stream(cast("BinaryIO", data))
            elif member.issym():
                files.links[path] = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.linkname))
            elif member.islnk():
                files.links[path] = posixpath.normpath(member.linkname)
            archive.forget()
    return files


@contextmanager
def _opened(stream: BinaryIO) -> Iterator[StrictArchive]:
    with decompressed(stream) as plain:
        try:
            with StrictArchive.open(fileobj=cast("BinaryIO", plain), mode="r|", bufsize=1 << 18) as archive:
                yield archive
        except (tarfile.TarError, EOFError) as error:
            raise InvalidArgument(f"this is no sound tar archive: {error}") from error


def _json(files: _Files, content: ContentStore, path: str) -> Any:
    try:
        return json.loads(content.read(files.find(path)[0]))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} of the archive is not JSON: {error}") from None


def _docker_archive(files: _Files, content: ContentStore) -> tuple[Loaded, ...]:
    found = []
    images = _json(files, content, "manifest.json")
    try:
        if not isinstance(images, list):
            raise TypeError("no list of images")
        for image in images:
            config = files.find(image["Config"])
            layers = [files.find(path) for path in image.get("Layers") or ()]
            tags = tuple(parse(name).with_default_tag().canonical for name in image.get("RepoTags") or ())
            found.append(Loaded(write_manifest(content, config, layers), tags))
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidArgument(f"manifest.json of the archive is not of the kind `docker save` writes: {error!r}") from error
    return tuple(found)


def write_manifest(content: ContentStore, config: tuple[str, int], layers: list[tuple[str, int]]) -> str:
    """An OCI manifest for blobs that came without one; gives its digest."""
    return write_manifest_of(content, config, [Descriptor(OCI_LAYER, digest, size) for digest, size in layers])


def write_manifest_of(content: ContentStore, config: tuple[str, int], layers: list[Descriptor]) -> str:
    """The same for layers whose kind is known."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": config[0], "size": config[1]},
        "layers": [{"mediaType": one.media_type, "digest": one.digest, "size": one.size} for one in layers],
    }
    return content.put(json.dumps(document, separators=(",", ":")).encode())


def _oci_layout(files: _Files, content: ContentStore, platform: Platform) -> tuple[Loaded, ...]:
    index = content.read(files.find("index.json")[0])
    found = []
    for entry in parse_index(index, "index.json of the archive"):
        # One of several platforms may be all that the index is about; a nested index certainly is.
        digest = _manifest_of(entry, content, platform)
        name = _name(entry)
        found.append(Loaded(digest, (name.canonical,) if name else ()))
    return tuple(found)


def _manifest_of(entry: Descriptor, content: ContentStore, platform: Platform) -> str:
    data = content.read(entry.digest)
    if entry.media_type not in INDEX_TYPES and media_type_of(document(data, f"manifest {entry.digest}")) not in INDEX_TYPES:
        return entry.digest
    return select(parse_index(data, f"index {entry.digest}"), platform, entry.digest).digest


def _name(entry: Descriptor) -> Reference | None:
    """containerd writes the full name, skopeo what it was told, many only a tag, which names nothing by itself."""
    annotations = entry.annotations or {}
    text = annotations.get(_CONTAINERD_NAME) or annotations.get(_REF_NAME) or ""
    if not text or not set(":/") & set(text):
        return None
    try:
        return parse(text).with_default_tag()
    except InvalidArgument:
        return None  # the annotation may hold anything; the image then has no name, as with `docker load`


# --- a bare root file system ---------------------------------------------------------------------


def import_root(stream: BinaryIO, content: ContentStore, platform: Platform, message: str, changes: tuple[str, ...]) -> str:
    """One layer and a configuration made from `changes`; gives the manifest's digest."""
    config: dict[str, Any] = {}
    apply_changes(config, changes)  # before anything is read, as a mistake here should not cost the upload
    layer = content.put_stream(stream)
    with content.open(layer[0]) as blob, decompressed(blob) as plain:
        diff_id = plain.finish()
    created = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    configuration = {
        "created": created,
        "architecture": platform.architecture,
        "os": platform.os,
        **({"variant": platform.variant} if platform.variant else {}),
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "comment": message}],
    }
    data = json.dumps(configuration, separators=(",", ":")).encode()
    return write_manifest(content, (content.put(data), len(data)), [layer])
