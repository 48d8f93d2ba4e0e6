"""Layers unpacked once, shared by every image and container that has them.

    <image>/layers/<chain hex>/diff       one layer's files, read-only by convention
    <image>/layers/<chain hex>/size       bytes of file content
    <image>/layers/new-…                  being unpacked; renamed when complete, removed at the next start otherwise

A directory is named by its chain id and holds that layer's own files only, so layers are unpacked in any
order and side by side.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from stackrun.errors import KernelError, NotFound
from stackrun.image.content import ContentStore, DigestMismatch
from stackrun.image.layer import is_opaque, unpack_layer
from stackrun.image.locks import KeyedLocks
from stackrun.image.manifest import Descriptor
from stackrun.kernel import tree as trees

_UNFINISHED_PREFIX = "new-"


class LayerStore:
    def __init__(self, directory: Path) -> None:
        self.directory = directory / "layers"
        self.directory.mkdir(parents=True, exist_ok=True)
        self._unpacking = KeyedLocks()
        for leftover in self.directory.glob(f"{_UNFINISHED_PREFIX}*"):
            trees.remove(leftover, lambda _name, _error: None)  # tried again at the next start

    def _path(self, chain_id: str) -> Path:
        return self.directory / chain_id.removeprefix("sha256:")

    def has(self, chain_id: str) -> bool:
        return self._path(chain_id).is_dir()

    def size_bytes(self, chain_id: str) -> int:
        try:
            return int((self._path(chain_id) / "size").read_text())
        except (OSError, ValueError):
            return 0

    def unpack(
        self, content: ContentStore, layer: Descriptor, diff_id: str, chain_id: str, on_read: Callable[[int], None] = lambda done: None
    ) -> None:
        """Make the layer's directory from its blob unless it is there; DigestMismatch when its content is not `diff_id`."""
        with self._unpacking.hold(chain_id):
            if self.has(chain_id):
                return
            unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED_PREFIX, dir=self.directory))
            try:
                self._fill(unfinished, content, layer, diff_id, on_read)
                os.rename(unfinished, self._path(chain_id))
            except BaseException:
                trees.remove(unfinished)
                raise

    def _fill(self, unfinished: Path, content: ContentStore, layer: Descriptor, diff_id: str, on_read: Callable[[int], None]) -> None:
        unfinished.chmod(0o755)
        diff = unfinished / "diff"
        diff.mkdir(mode=0o755)
        diff.chmod(0o755)
        with content.open(layer.digest) as blob:
            found, size = unpack_layer(blob, diff, on_read)
        if found != diff_id:
            raise DigestMismatch(f"layer {layer.digest} unpacks to {found}, but the image says {diff_id}", hint="do not trust this image")
        (unfinished / "size").write_text(str(size))
        _sync_file_system(unfinished)

    def lower_directories(self, chain_ids: Iterable[str]) -> tuple[str, ...]:
        """For overlayfs, top first; what an opaque root hides is left out, since overlayfs does not look at a root's xattr."""
        found: list[str] = []
        for chain_id in reversed(tuple(chain_ids)):
            directory = str(self._path(chain_id) / "diff")
            if not self.has(chain_id):
                raise NotFound(f"layer {chain_id} is not unpacked", hint="pull the image again")
            found.append(directory)
            if is_opaque(directory):
                break
        return tuple(found)

    def chain_ids(self, idle_s: float = 0.0) -> frozenset[str]:
        """Layers that were unpacked `idle_s` ago or earlier."""
        limit = time.time() - idle_s
        whole = (entry for entry in self.directory.iterdir() if not entry.name.startswith(_UNFINISHED_PREFIX))
        return frozenset(f"sha256:{entry.name}" for entry in whole if entry.stat().st_mtime <= limit)

    def delete(self, chain_id: str) -> None:
        """Moved aside first, so that a crash in the middle leaves no layer that looks whole."""
        with self._unpacking.hold(chain_id):
            if not self.has(chain_id):
                return
            doomed = Path(tempfile.mkdtemp(prefix=_UNFINISHED_PREFIX, dir=self.directory))
            os.rename(self._path(chain_id), doomed / "layer")
            trees.remove(doomed)


def _sync_file_system(directory: Path) -> None:
    """syncfs(2): one call for thousands of files; a layer that survives a power cut only in part would look whole."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) < 0:
            raise KernelError(f"syncfs {directory}", ctypes.get_errno())
    finally:
        os.close(fd)
