"""One pull: manifest, configuration, layers, each verified; the layers side by side.

A layer is downloaded, checked and unpacked by one worker from end to end, so a small layer is ready
while a large one is still on its way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass

from stackrun.errors import InvalidArgument, RegistryError
from stackrun.image.content import BlobWriter, ContentStore, digest_of
from stackrun.image.manifest import (
    INDEX_TYPES,
    SIZE_MAX_BYTES,
    Configuration,
    Descriptor,
    Manifest,
    Platform,
    chain_ids,
    document,
    media_type_of,
    parse_configuration,
    parse_index,
    parse_manifest,
    select,
)
from stackrun.image.record import Progress
from stackrun.image.reference import Reference
from stackrun.image.registry import Interrupted, RegistryClient
from stackrun.image.snapshot import LayerStore

_WORKERS = 4
_ATTEMPTS_WITHOUT_PROGRESS = 4
_BACK_OFF_S = (0.2, 1.0, 3.0)
_PROGRESS_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True)
class Pulled:
    """`digest` is what the registry calls the reference: the index's if it has one, else the manifest's."""

    digest: str
    manifest_digest: str
    manifest: Manifest
    configuration: Configuration


class Pull:
    def __init__(
        self,
        client: RegistryClient,
        content: ContentStore,
        layers: LayerStore,
        progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
    ) -> None:
        self._client = client
        self._content = content
        self._layers = layers
        self._progress = progress
        self._is_cancelled = cancelled
        self._stop = threading.Event()

    def run(self, platform: Platform) -> Pulled:
        """Everything is in the stores when this returns. Raises what RegistryClient does, DigestMismatch, InvalidArgument."""
        reference = self._client.reference
        digest, manifest_digest, manifest = self._resolve(reference, platform)
        self._progress(Progress(status=f"Pulling from {reference.path}", id=reference.tag or digest))
        configuration = self._configuration(manifest, reference)
        self._pull_layers(manifest, configuration)
        return Pulled(digest, manifest_digest, manifest, configuration)

    def _resolve(self, reference: Reference, platform: Platform) -> tuple[str, str, Manifest]:
        top, media_type = self._manifest_blob(reference.digest or reference.tag, reference)
        data = self._content.read(top)
        if media_type_of(document(data, f"manifest of {reference.familiar}"), media_type) not in INDEX_TYPES:
            return top, top, parse_manifest(data, f"manifest of {reference.familiar}", media_type)
        entry = select(parse_index(data, f"index of {reference.familiar}"), platform, reference.familiar)
        digest, media_type = self._manifest_blob(entry.digest, reference)
        return top, digest, parse_manifest(self._content.read(digest), f"manifest {digest}", entry.media_type or media_type)

    def _manifest_blob(self, tag_or_digest: str, reference: Reference) -> tuple[str, str]:
        """Fetch into the store: (digest, declared media type)."""
        if tag_or_digest.startswith("sha256:") and self._content.has(tag_or_digest):
            return tag_or_digest, ""
        fetched = self._client.manifest(tag_or_digest)
        digest = digest_of(fetched.data)
        if ":" in tag_or_digest and digest != tag_or_digest:
            raise RegistryError(f"manifest of {reference.familiar} has the digest {digest}, not the one asked for")
        return self._content.put(fetched.data), fetched.media_type

    def _configuration(self, manifest: Manifest, reference: Reference) -> Configuration:
        if manifest.config.size > SIZE_MAX_BYTES:
            raise InvalidArgument(f"the configuration of {reference.familiar} is larger than {SIZE_MAX_BYTES} bytes")
        self._download(manifest.config, lambda done: None)
        configuration = parse_configuration(self._content.read(manifest.config.digest), f"configuration of {reference.familiar}")
        if len(configuration.diff_ids) != len(manifest.layers):
            raise InvalidArgument(
                f"{reference.familiar} has {len(manifest.layers)} layers but {len(configuration.diff_ids)} diff ids",
                hint="it may be an artifact of another kind than an image",
            )
        return configuration

    # --- layers ---

    def _pull_layers(self, manifest: Manifest, configuration: Configuration) -> None:
        chains = chain_ids(configuration.diff_ids)
        work = list(zip(manifest.layers, configuration.diff_ids, chains, strict=True))
        for layer, _, _ in work:
            self._progress(Progress(status="Pulling fs layer", id=_short(layer.digest)))
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="pull") as pool:
            futures = [pool.submit(self._pull_layer, *one) for one in work]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            if any(future.exception() for future in done):
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
        for future in futures:
            # The first failure is the cause; the others only noticed `_stop`.
            if not future.cancelled() and (error := future.exception()) and not isinstance(error, _Stopped):
                raise error
        if self._is_cancelled():
            raise self._cancelled()

    def _pull_layer(self, layer: Descriptor, diff_id: str, chain_id: str) -> None:
        short = _short(layer.digest)
        if self._content.has(layer.digest) and self._layers.has(chain_id):
            self._progress(Progress(status="Already exists", id=short))
            return
        meter = _Meter(self._progress, "Downloading", short, layer.size)
        self._download(layer, meter)
        self._progress(Progress(status="Download complete", id=short))
        meter = _Meter(self._progress, "Extracting", short, layer.size)
        self._layers.unpack(self._content, layer, diff_id, chain_id, self._checked(meter))
        self._progress(Progress(status="Pull complete", id=short))

    def _download(self, blob: Descriptor, meter: Callable[[int], None]) -> None:
        """Into the content store, going on after interruptions for as long as each try brings something."""
        with self._content.write(blob.digest, blob.size) as writer:
            failures = 0
            while not writer.complete and writer.offset < blob.size:
                before = writer.offset
                try:
                    self._receive(blob, writer, meter)
                except Interrupted:
                    failures = failures + 1 if writer.offset <= before else 0
                    if failures >= _ATTEMPTS_WITHOUT_PROGRESS:
                        raise
                    self._stop.wait(_BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)])
                    self._raise_if_stopped()

    def _receive(self, blob: Descriptor, writer: BlobWriter, meter: Callable[[int], None]) -> None:
        with self._client.blob(blob.digest, writer.offset) as stream:
            if stream.offset != writer.offset:
                writer.restart()
            for chunk in stream:
                self._raise_if_stopped()
                writer.append(chunk)
                meter(writer.offset)
        if writer.offset < blob.size:
            raise Interrupted(f"registry {self._client.host}: blob {blob.digest} ended after {writer.offset} of {blob.size} bytes")

    def _checked(self, meter: Callable[[int], None]) -> Callable[[int], None]:
        def report(done: int) -> None:
            self._raise_if_stopped()
            meter(done)

        return report

    def _cancelled(self) -> _Stopped:
        return _Stopped(f"pull of {self._client.reference.familiar} was cancelled")

    def _raise_if_stopped(self) -> None:
        if self._stop.is_set() or self._is_cancelled():
            raise self._cancelled()


class _Stopped(RegistryError):
    """Another layer failed or the caller has gone."""


class _Meter:
    """At most one progress line in `_PROGRESS_INTERVAL_S`, and one at the end."""

    def __init__(self, progress: Callable[[Progress], None], status: str, part: str, total: int) -> None:
        self._progress = progress
        self._status = status
        self._part = part
        self._total = total
        self._next = 0.0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now >= self._next or done >= self._total:
            self._next = now + _PROGRESS_INTERVAL_S
            self._progress(Progress(self._status, self._part, done, self._total))


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
