"""What a builder of images does in the store: takes an image apart, adds layers, and puts an image together.

Everything here blocks.  Nothing is collected as garbage while an Assembly is in use (`ImageStore.assembling`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from stackrun.errors import InvalidArgument
from stackrun.image.archive import write_manifest_of
from stackrun.image.content import ContentStore
from stackrun.image.manifest import LAYERS_MAX, OCI_LAYER, Descriptor, chain_ids, document, parse_manifest
from stackrun.image.record import ImageRecord
from stackrun.image.snapshot import LayerStore


@dataclass(frozen=True, slots=True)
class Layer:
    """`digest` is the blob's, `diff_id` that of its plain content."""

    digest: str
    size: int
    diff_id: str
    media_type: str = OCI_LAYER

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, self.size)


Layers = tuple[Layer, ...]
"""Bottom first."""


class Assembly:
    """`add` records an image that is whole, under these tags, and gives it back."""

    def __init__(self, content: ContentStore, layers: LayerStore, add: Callable[[str, tuple[str, ...]], ImageRecord]) -> None:
        self._content = content
        self._layers = layers
        self._add = add

    def taken_apart(self, image: ImageRecord) -> tuple[dict[str, Any], Layers]:
        """The image's configuration as it is written, and its layers."""
        if image.host:
            raise InvalidArgument("the built-in image host cannot be built upon", hint="it shows this machine's own programs")
        configuration = document(self._content.read(image.id), f"configuration {image.id}")
        manifest = parse_manifest(self._content.read(image.manifest_digest), f"manifest {image.manifest_digest}")
        pairs = zip(manifest.layers, image.diff_ids, strict=True)
        return configuration, tuple(Layer(one.digest, one.size, diff_id, one.media_type) for one, diff_id in pairs)

    def has(self, layer: Layer) -> bool:
        return self._content.has(layer.digest)

    def add_layer(self, below: Layers, pieces: Iterator[bytes]) -> Layer:
        """Stores a plain layer tar and unpacks it on top of `below`."""
        if len(below) >= LAYERS_MAX:
            raise InvalidArgument(f"max depth exceeded: an image has {LAYERS_MAX} layers at most", hint="join RUN instructions by &&")
        digest, size = self._content.put_stream(cast("BinaryIO", _Reader(pieces)))
        layer = Layer(digest, size, digest)
        self._layers.unpack(self._content, layer.descriptor, layer.diff_id, self.chain_id((*below, layer)))
        return layer

    def lower(self, layers: Layers) -> tuple[str, ...]:
        """The directories for overlayfs, top first, unpacked where they are not."""
        chain = chain_ids(one.diff_id for one in layers)
        for layer, chain_id in zip(layers, chain, strict=True):
            self._layers.unpack(self._content, layer.descriptor, layer.diff_id, chain_id)
        return self._layers.lower_directories(chain)

    @staticmethod
    def chain_id(layers: Layers) -> str:
        return chain_ids(one.diff_id for one in layers)[-1]

    def commit(self, configuration: bytes, layers: Layers, tags: tuple[str, ...]) -> ImageRecord:
        """`tags` are full names, taken from whoever has them."""
        digest = self._content.put(configuration)
        manifest = write_manifest_of(self._content, (digest, len(configuration)), [one.descriptor for one in layers])
        return self._add(manifest, tags)


class _Reader:
    """Pieces as a file to read to its end: each `read` gives one, whatever its size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, _count: int) -> bytes:
        return next(self._pieces, b"")
