"""The image store: one object that pulls, loads, names, unpacks and removes images.

    <root>/image/blobs/sha256/   content    <root>/image/index.json  names
    <root>/image/layers/         unpacked   <root>/image/host/       the built-in image `host`
    <root>/image/builds.json     what steps of builds have led to

All methods block and may be called from any thread.  Blobs and layers that no image needs are collected when
the last of the operations that may still need them has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stackrun.errors import Conflict, Forbidden, InvalidArgument, NotFound
from stackrun.image import archive
from stackrun.image.assembly import Assembly
from stackrun.image.auth import stored_credentials
from stackrun.image.buildcache import BuildCache
from stackrun.image.catalog import Catalog, CatalogEntry
from stackrun.image.content import ContentStore
from stackrun.image.host import NAME as HOST
from stackrun.image.host import HostImage
from stackrun.image.manifest import document, parse_platform
from stackrun.image.pull import Pull
from stackrun.image.record import BindMount, Credentials, ImageRecord, Progress, Removal
from stackrun.image.reference import Reference, id_prefix, parse
from stackrun.image.registry import RegistryClient
from stackrun.image.snapshot import LayerStore

_ABANDONED_AFTER_S = 7 * 86400.0
_HOST_NAMES = (HOST, f"{HOST}:latest")


def ignore(progress: Progress) -> None:
    pass


def never() -> bool:
    return False


def unused(image_id: str) -> str:
    return ""


class ImageStore:
    """`root` is the state root.  `broken` has a line for each record that could not be read."""

    def __init__(self, root: str, *, insecure_registries: tuple[str, ...] = ()) -> None:
        directory = Path(root) / "image"
        self._content = ContentStore(directory)
        self._layers = LayerStore(directory)
        self._catalog = Catalog(directory, self._content)
        self._host = HostImage(directory)
        self.cache = BuildCache(directory)
        self._insecure_registries = insecure_registries
        self._lock = threading.RLock()
        self._operations = 0
        self._garbage = False
        self._content.drop_partials(_ABANDONED_AFTER_S)
        self.cache.forget()
        self._collect(_ABANDONED_AFTER_S)

    @property
    def broken(self) -> tuple[str, ...]:
        return self._catalog.broken

    # --- looking ---

    def images(self) -> tuple[ImageRecord, ...]:
        """Newest first; the built-in `host` is not among them."""
        records = [self._record(entry) for entry in self._catalog.entries()]
        return tuple(sorted(records, key=lambda record: record.created, reverse=True))

    def resolve(self, ref: str) -> ImageRecord:
        """By name, name@digest, id or unique beginning of an id; `host` always. NotFound "No such image: x:latest"."""
        if ref in _HOST_NAMES:
            return self._host.record()
        prefix = id_prefix(ref)
        if entry := self._find(ref):
            return self._record(entry)
        if prefix and (record := self._host.by_id(prefix)):
            return record
        raise _no_such_image(ref)

    def history(self, image: ImageRecord) -> list[tuple[str, str, str, int]]:
        """(created, created by, comment, bytes of its layer) of each step, the first one first."""
        if image.host:
            return [(image.created, "", "this machine's own programs", 0)]
        sizes = iter([self._layers.size_bytes(chain_id) for chain_id in image.chain_ids])
        found = []
        for one in document(self._content.read(image.id), f"configuration {image.id}").get("history") or ():
            step = one if isinstance(one, dict) else {}
            size = 0 if step.get("empty_layer") else next(sizes, 0)
            found.append((str(step.get("created") or ""), str(step.get("created_by") or ""), str(step.get("comment") or ""), size))
        return found

    def _find(self, ref: str) -> CatalogEntry | None:
        if ref.startswith("sha256:") and (entry := self._catalog.get(ref)):
            return entry
        try:
            reference = parse(ref).with_default_tag()
        except InvalidArgument:
            if not id_prefix(ref):
                raise
        else:
            if entry := self._by_name(reference):
                return entry
        return self._by_id_prefix(id_prefix(ref))

    def _by_name(self, reference: Reference) -> CatalogEntry | None:
        if reference.digest:
            return self._catalog.by_digest(f"{reference.name}@{reference.digest}")
        return self._catalog.by_tag(reference.canonical)

    def _by_id_prefix(self, prefix: str) -> CatalogEntry | None:
        found = [entry for entry in self._catalog.entries() if prefix and entry.id.removeprefix("sha256:").startswith(prefix)]
        return found[0] if len(found) == 1 else None

    def _record(self, entry: CatalogEntry) -> ImageRecord:
        return entry.record(sum(self._layers.size_bytes(chain_id) for chain_id in entry.chain_ids()))

    # --- getting ---

    def pull(
        self,
        ref: str,
        *,
        auth: Credentials | None = None,
        platform: str = "",
        progress: Callable[[Progress], None] = ignore,
        cancelled: Callable[[], bool] = never,
    ) -> ImageRecord:
        """From its registry: all layers verified, unpacked and named when this returns.

        NotFound "manifest for x not found…" or "pull access denied…", Unauthorized, RegistryError with a hint.
        What was received before a failure or `cancelled` stays, and the next pull goes on from there.
        """
        if ref in _HOST_NAMES:
            return self._host.record()
        reference = parse(ref).with_default_tag()
        client = RegistryClient(reference, auth or stored_credentials(reference.domain), self._insecure_registries)
        with self._operation():
            pulled = Pull(client, self._content, self._layers, progress, cancelled).run(parse_platform(platform))
            digest_name = f"{reference.name}@{pulled.digest}"
            with self._lock:
                before = self._by_name(reference)
                tags = [f"{reference.name}:{reference.tag}"] if reference.tag else []
                entry = self._catalog.add(pulled.manifest_digest, tags=tags, digests=[digest_name])
        is_new = before is None or before.id != entry.id
        verdict = "Downloaded newer image for" if is_new else "Image is up to date for"
        progress(Progress(status=f"Digest: {pulled.digest}"))
        progress(Progress(status=f"Status: {verdict} {reference.familiar}"))
        return self._record(entry)

    def load(self, stream: BinaryIO, *, progress: Callable[[Progress], None] = ignore) -> tuple[ImageRecord, ...]:
        """Every image of a docker-archive or OCI layout (a tar, plain, gzip or zstd; a pipe will do)."""
        records = []
        with self._operation(collect=True):
            for loaded in archive.load(stream, self._content, parse_platform("")):
                entry = self._add(loaded.manifest_digest, loaded.tags)
                record = self._record(entry)
                records.append(record)
                for name in loaded.tags:
                    progress(Progress(stream=f"Loaded image: {parse(name).familiar}\n"))
                if not loaded.tags:
                    progress(Progress(stream=f"Loaded image ID: {entry.id}\n"))
        return tuple(records)

    def import_(
        self,
        stream: BinaryIO,
        *,
        reference: str = "",
        message: str = "",
        changes: tuple[str, ...] = (),
        platform: str = "",
        progress: Callable[[Progress], None] = ignore,
    ) -> ImageRecord:
        """A tar of a root file system as an image of one layer. The last progress line's status is its id."""
        tags = (_named(reference),) if reference else ()
        with self._operation(collect=True):
            manifest_digest = archive.import_root(stream, self._content, parse_platform(platform), message, changes)
            entry = self._add(manifest_digest, tags)
        progress(Progress(status=entry.id))
        return self._record(entry)

    def _add(self, manifest_digest: str, tags: tuple[str, ...]) -> CatalogEntry:
        """Unpack first, then name: an image with a name can be started."""
        entry = self._catalog.inspect(manifest_digest)
        self._unpack(entry)
        with self._lock:
            return self._catalog.add(manifest_digest, tags=tags)

    # --- building ---

    @contextmanager
    def assembling(self) -> Iterator[Assembly]:
        """For a builder, as long as it works; what one that failed has left and nobody needs is collected then."""
        is_whole = False
        try:
            with self._operation():
                yield Assembly(self._content, self._layers, self._assembled)
                is_whole = True
        finally:
            if not is_whole:
                with self._operation(collect=True):
                    pass

    def _assembled(self, manifest_digest: str, tags: tuple[str, ...]) -> ImageRecord:
        return self._record(self._add(manifest_digest, tags))

    def forget_builds(self) -> int:
        """The whole cache of builds, and the layers that only it needs; gives the bytes of their blobs."""
        with self._operation(collect=True):
            gone = {step.layer for step in self.cache.forget(everything=True) if step.layer}
            needed = {blob for entry in self._catalog.entries() for blob in entry.blobs()}
            return sum(layer.size for layer in gone if layer.digest not in needed)

    # --- naming and removing ---

    def tag(self, ref: str, reference: str) -> None:
        """Another name for an image; the name is taken from the image that had it."""
        name = _named(reference)
        if ref in _HOST_NAMES or name == _named(HOST):
            raise Forbidden(f"the name {HOST} belongs to the built-in image", hint="choose another name")
        with self._lock:
            entry = self._find(ref)
            if entry is None:
                raise _no_such_image(ref)
            self._catalog.add(entry.manifest_digest, tags=[name])

    def remove(self, ref: str, *, force: bool = False, in_use: Callable[[str], str] = unused) -> tuple[Removal, ...]:
        """Take the name off, and with the last one the image itself.

        `in_use(image id)` gives the id of a container that uses it, or "".  Such an image is a Conflict; with `force` it
        loses its names and stays without, since its layers are needed.
        """
        if ref in _HOST_NAMES:
            raise Forbidden(f"the image {HOST} is built in", hint="it takes no space worth mentioning")
        with self._operation(collect=True), self._lock:
            entry = self._find(ref)
            if entry is None:
                raise _no_such_image(ref)
            return self._removed(entry, ref, force, in_use(entry.id))

    def _removed(self, entry: CatalogEntry, ref: str, force: bool, container_id: str) -> tuple[Removal, ...]:
        by_id = entry.id.removeprefix("sha256:").startswith(id_prefix(ref) or "-")
        going = (*entry.tags, *entry.digests) if by_id else self._names_going(entry, parse(ref).with_default_tag())
        short = entry.id.removeprefix("sha256:")[:12]
        if by_id and len(entry.tags) > 1 and not force:
            raise Conflict(f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories")
        left_tags = tuple(tag for tag in entry.tags if tag not in going)
        if container_id and not left_tags and not force:
            raise _used(ref, short, container_id[:12], by_id)
        removals = [Removal(untagged=parse(name).familiar) for name in going]
        if left_tags or container_id:
            self._catalog.rename(entry.id, tags=left_tags, digests=tuple(name for name in entry.digests if name not in going))
            return tuple(removals)
        self._catalog.drop(entry.id)
        kept = {chain_id for other in self._catalog.entries() for chain_id in other.chain_ids()}
        removals.append(Removal(deleted=entry.id))
        removals += [Removal(deleted=chain_id) for chain_id in reversed(entry.chain_ids()) if chain_id not in kept]
        return tuple(removals)

    def _names_going(self, entry: CatalogEntry, reference: Reference) -> tuple[str, ...]:
        """A tag takes the digest names of its repository along unless another tag of it stays."""
        if reference.digest:
            return (f"{reference.name}@{reference.digest}",)
        others = [tag for tag in entry.tags if tag != reference.canonical and parse(tag).name == reference.name]
        digests = [name for name in entry.digests if not others and parse(name).name == reference.name]
        return (reference.canonical, *digests)

    # --- using ---

    def snapshot(self, image: ImageRecord) -> tuple[str, ...]:
        """The image's directories for overlayfs, top first, unpacked if they are not yet."""
        if image.host:
            return (self._host.lower_directory(image),)
        with self._operation():
            entry = self._catalog.get(image.id)
            if entry is None:
                raise _no_such_image(image.id)
            self._unpack(entry)
            return self._layers.lower_directories(entry.chain_ids())

    def extra_mounts(self, image: ImageRecord) -> tuple[BindMount, ...]:
        """What the image shows of the host; nothing but for `host`."""
        return self._host.mounts() if image.host else ()

    def _unpack(self, entry: CatalogEntry) -> None:
        layers, diff_ids = entry.manifest.layers, entry.configuration.diff_ids
        if len(layers) != len(diff_ids):
            raise InvalidArgument(f"image {entry.id} has {len(layers)} layers but {len(diff_ids)} diff ids")
        for layer, diff_id, chain_id in zip(layers, diff_ids, entry.chain_ids(), strict=True):
            self._layers.unpack(self._content, layer, diff_id, chain_id)

    # --- garbage ---

    @contextmanager
    def _operation(self, *, collect: bool = False) -> Iterator[None]:
        """What goes on in here may hold blobs and layers that no name leads to yet: nothing is collected meanwhile."""
        with self._lock:
            self._operations += 1
        try:
            yield
        finally:
            with self._lock:
                self._operations -= 1
                self._garbage = self._garbage or collect
                if self._garbage and self._operations == 0:
                    self._garbage = False
                    self._collect()

    def _collect(self, idle_s: float = 0.0) -> None:
        """At the start, what an interrupted pull has brought stays a while: it is likely to be tried again."""
        entries = self._catalog.entries()
        chains = self.cache.chain_ids().union(*(entry.chain_ids() for entry in entries))
        blobs = self.cache.blobs().union(*(entry.blobs() for entry in entries))
        for chain_id in self._layers.chain_ids(idle_s) - chains:
            self._layers.delete(chain_id)
        for digest in self._content.digests(idle_s) - blobs:
            self._content.delete(digest)


def _named(reference: str) -> str:
    parsed = parse(reference)
    if parsed.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference", hint="leave the @sha256:… out")
    return parsed.with_default_tag().canonical


def _no_such_image(ref: str) -> NotFound:
    try:
        shown = parse(ref).with_default_tag().familiar
    except InvalidArgument:
        shown = ref
    return NotFound(f"No such image: {shown}", hint="pull it first")


def _used(ref: str, short_id: str, container: str, by_id: bool) -> Conflict:
    if by_id:
        return Conflict(f"conflict: unable to delete {short_id} (must force) - image is being used by container {container}")
    return Conflict(
        f'conflict: unable to remove repository reference "{ref}" (must force) - '
        f"container {container} is using its referenced image {short_id}"
    )
