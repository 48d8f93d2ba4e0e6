"""Which images there are and what they are called: `<image>/index.json`.

    {"version": 1, "images": {"sha256:<config>": {
        "manifest": "sha256:…", "tags": ["docker.io/library/x:1"], "digests": ["docker.io/library/x@sha256:…"]}}}

Everything else about an image is in its blobs.  An entry that cannot be understood, or whose blobs are
gone or damaged, costs that image alone: it is left out, and `broken` says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from stackrun.errors import StackrunError
from stackrun.image.content import ContentStore, write_atomically
from stackrun.image.manifest import Configuration, Manifest, chain_ids, document, parse_configuration, parse_manifest
from stackrun.image.record import ImageRecord
from stackrun.image.reference import is_sha256, parse

_VERSION = 1


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """`tags` and `digests` are full names (`docker.io/library/x:1`, `…@sha256:…`)."""

    manifest_digest: str
    manifest: Manifest
    configuration: Configuration
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.manifest.config.digest

    def chain_ids(self) -> tuple[str, ...]:
        return chain_ids(self.configuration.diff_ids)

    def blobs(self) -> frozenset[str]:
        """Every blob the image needs, the index that a digest name may point at included."""
        indexes = (name.partition("@")[2] for name in self.digests)
        return frozenset([self.manifest_digest, self.id, *indexes, *(layer.digest for layer in self.manifest.layers)])

    def record(self, size_bytes: int) -> ImageRecord:
        configuration = self.configuration
        return ImageRecord(
            id=self.id,
            config=configuration.config,
            repo_tags=tuple(sorted(parse(tag).familiar for tag in self.tags)),
            repo_digests=tuple(sorted(parse(name).familiar for name in self.digests)),
            created=configuration.created,
            size_bytes=size_bytes,
            architecture=configuration.architecture,
            os=configuration.os,
            variant=configuration.variant,
            author=configuration.author,
            diff_ids=configuration.diff_ids,
            chain_ids=self.chain_ids(),
            manifest_digest=self.manifest_digest,
        )


class Catalog:
    """In memory for reading; every change is on disk before it is visible. Callers serialise changes."""

    def __init__(self, directory: Path, content: ContentStore) -> None:
        self._file = directory / "index.json"
        self._content = content
        self.broken: tuple[str, ...] = ()
        self._entries: dict[str, CatalogEntry] = {}
        self._load()

    def entries(self) -> tuple[CatalogEntry, ...]:
        return tuple(self._entries.values())

    def get(self, image_id: str) -> CatalogEntry | None:
        return self._entries.get(image_id)

    def by_tag(self, name: str) -> CatalogEntry | None:
        return next((entry for entry in self.entries() if name in entry.tags), None)

    def by_digest(self, name: str) -> CatalogEntry | None:
        return next((entry for entry in self.entries() if name in entry.digests), None)

    def add(self, manifest_digest: str, *, tags: Iterable[str] = (), digests: Iterable[str] = ()) -> CatalogEntry:
        """The image of a manifest in the store, with these names; a tag is taken from whoever had it."""
        entry = self.inspect(manifest_digest)
        known = self._entries.get(entry.id)
        if known:
            entry = replace(entry, tags=known.tags, digests=known.digests)
        tags = set(tags)
        changed = {other.id: replace(other, tags=_without(other.tags, tags)) for other in self.entries()}
        changed[entry.id] = replace(entry, tags=tuple(sorted({*entry.tags, *tags})), digests=tuple(sorted({*entry.digests, *digests})))
        self._save(changed)
        return changed[entry.id]

    def rename(self, image_id: str, *, tags: Iterable[str], digests: Iterable[str]) -> None:
        """Set the names an image has from now on."""
        entry = self._entries[image_id]
        self._save(self._entries | {image_id: replace(entry, tags=tuple(tags), digests=tuple(digests))})

    def drop(self, image_id: str) -> None:
        self._save({key: entry for key, entry in self._entries.items() if key != image_id})

    def _save(self, entries: dict[str, CatalogEntry]) -> None:
        images = {
            entry.id: {"manifest": entry.manifest_digest, "tags": list(entry.tags), "digests": list(entry.digests)}
            for entry in entries.values()
        }
        write_atomically(self._file, json.dumps({"version": _VERSION, "images": images}, indent=1).encode())
        self._entries = dict(entries)

    def _load(self) -> None:
        try:
            data = self._file.read_bytes()
        except FileNotFoundError:
            return
        problems: list[str] = []
        try:
            images = document(data, str(self._file)).get("images")
        except StackrunError as error:
            # Kept aside for whoever wants to look; the blobs are still there and a pull finds them again.
            self._file.rename(self._file.with_suffix(".json.broken"))
            self.broken = (f"{error}; put aside as {self._file.name}.broken",)
            return
        for image_id, stored in images.items() if isinstance(images, dict) else ():
            try:
                self._entries[image_id] = self._restore(image_id, stored)
            except (StackrunError, LookupError, TypeError, ValueError) as error:
                problems.append(f"image {image_id} is left out: {error}")
        self.broken = tuple(problems)

    def _restore(self, image_id: str, stored: dict[str, list[str] | str]) -> CatalogEntry:
        entry = self.inspect(str(stored["manifest"]))
        if entry.id != image_id:
            raise ValueError(f"its manifest is of {entry.id}")
        tags, digests = tuple(stored["tags"]), tuple(stored["digests"])
        for name in (*tags, *digests):
            parse(name)
        return replace(entry, tags=tags, digests=digests)

    def inspect(self, manifest_digest: str) -> CatalogEntry:
        """The image of a manifest in the content store, nameless and not recorded."""
        if not is_sha256(manifest_digest):
            raise ValueError(f"{manifest_digest!r} is no digest")
        manifest = parse_manifest(self._content.read(manifest_digest), f"manifest {manifest_digest}")
        configuration = parse_configuration(self._content.read(manifest.config.digest), f"configuration {manifest.config.digest}")
        return CatalogEntry(manifest_digest, manifest, configuration)


def _without(names: tuple[str, ...], taken: set[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in taken)
