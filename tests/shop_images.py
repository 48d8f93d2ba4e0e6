"""The images of the shop's real form, built once for every version of what they are made of.

    ~/.cache/stackrun-shop/lock         held while one run looks, builds and copies
    ~/.cache/stackrun-shop/<hash>/      a registry's storage with all four images; comes to be by a rename, whole or not at all
    ~/.cache/stackrun-shop/new-<…>/     a build under way, or one that was killed: the next build removes it
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from registry import Registry
from shop import FOLDER

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stackrun-shop"
BUILD_TIMEOUT_S = 900
"""Four images of Debian packages, from a mirror that may be slow."""


def store_into(folder: Path) -> None:
    """A registry's storage with the images, in `folder`, as it would be after `images/build`."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with _locked(CACHE / "lock"):
        stored = CACHE / _hash_of_sources()
        if not stored.is_dir():
            _build(stored)
        shutil.copytree(stored, folder)


def _hash_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for part in ("images", "app", "real") for path in (FOLDER / part).glob("*") if path.is_file()):
        digest.update(f"{path.relative_to(FOLDER)} {path.stat().st_mode:o} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def _build(stored: Path) -> None:
    """Into a folder of its own, then renamed; what other versions and broken builds left goes."""
    for other in CACHE.iterdir():
        if other.is_dir():
            shutil.rmtree(other)
    new = Path(tempfile.mkdtemp(prefix="new-", dir=CACHE))
    registry = Registry(new)
    try:
        # timeout(1) ends the whole process group, chroots and all; what a killed build leaves is in the folder, with TMPDIR.
        build = ["timeout", "--kill-after=30", str(BUILD_TIMEOUT_S), FOLDER / "images" / "build", registry.address]
        done = subprocess.run(build, env={**os.environ, "TMPDIR": str(new)}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"images/build: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    finally:
        registry.close()
    (new / "storage").rename(stored)
    shutil.rmtree(new)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
