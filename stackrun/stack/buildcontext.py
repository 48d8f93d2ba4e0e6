"""The folder that an image is built from: what of it counts, and the archive of it that a builder is sent.

What the context's ignore file leaves out is neither counted nor sent.  A Dockerfile that is not in the context (or is left out, or stands
in the stack file) is sent along under a name of our own, which the archive's .dockerignore leaves out of what is copied.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stackrun.errors import InvalidArgument, KernelError, NotFound
from stackrun.image.ignore import Ignore, parsed
from stackrun.image.packing import DEPTH_MAX, Packer, gathered
from stackrun.stack.builds import DOCKERFILE, Build, Ingredients
from stackrun.stack.sourcetree import Signed, SourceTree
from stackrun.stack.sync import Rule, ignore_text

IGNORE_FILE = ".dockerignore"
Looked = dict[tuple[str, Ignore], SourceTree]
"""By folder and what is left out: several images are often built from one folder."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A build's own files besides the context: the Dockerfile's content and what the ignore file says."""

    dockerfile: bytes
    ignore: Ignore
    inside: str
    """The Dockerfile's path below the context, where it is sent as part of that; else empty."""

    @property
    def name(self) -> str:
        """What the builder is told that the Dockerfile is called."""
        return self.inside or f".dockerfile.{hashlib.sha256(self.dockerfile).hexdigest()[:12]}"


def recipe(build: Build) -> Recipe:
    """NotFound when the context is no folder or the Dockerfile not there."""
    if not os.path.isdir(build.context):
        message = f"{build.place}: service {build.service} is built from {build.context}, which is no folder"
        raise NotFound(message, hint="correct build.context")
    ignore = Ignore(parsed(ignore_text(build.context, build.dockerfile, _text)))
    if build.inline is not None:
        return Recipe(build.inline.encode("utf-8", "surrogateescape"), ignore, "")
    try:
        content = Path(build.dockerfile).read_bytes()
    except OSError as error:
        hint = "build.dockerfile is the path from the context on"
        raise NotFound(f"{build.place}: service {build.service}: {build.shown}: {(error.strerror or '').lower()}", hint=hint) from None
    below = _below(build.dockerfile, build.context)
    return Recipe(content, ignore, "" if not below or ignore.matches(below) or os.path.islink(build.dockerfile) else below)


def source_tree(build: Build, known: Signed | None = None) -> SourceTree:
    """The context as something to look at and to watch. `known`: digests of files that need not be read again while they look the same."""
    ignore = Ignore(parsed(ignore_text(build.context, build.dockerfile, _text)))
    return SourceTree(Rule(build.service, -1, build.context, "build", ignore=ignore), known)


def ingredients(build: Build, known: Signed | None = None, looked: Looked | None = None) -> Ingredients:
    """What the image would be made of now, but for other images. `looked`: contexts that were looked at already; this one joins them."""
    made = recipe(build)
    tree = looked.get((build.context, made.ignore)) if looked is not None else None
    if tree is None:
        tree = source_tree(build, known)
        tree.look(lambda folder: None)
        if looked is not None:
            looked[build.context, made.ignore] = tree
    files = {path: f"{one.kind} {one.mode:o} {one.content}" for path, one in tree.now.items() if path not in (".", made.inside)}
    words = {**build.words(), DOCKERFILE: f"sha256:{hashlib.sha256(made.dockerfile).hexdigest()}"}
    return Ingredients(words, files, {path: signature for path, (signature, _) in tree.signed.items()})


def signed(of: Ingredients) -> Signed:
    """What is known of its files without reading them."""
    return {path: (signature, of.files[path].rpartition(" ")[2]) for path, signature in of.signatures.items() if path in of.files}


def archive(build: Build, made: Recipe) -> Iterator[bytes]:
    """A tar of the context, everything owned by root. InvalidArgument for folders nested too deeply."""
    packer = Packer(owner=(0, 0), wanted=lambda name: False)

    def pieces() -> Iterator[bytes]:
        root = os.path.realpath(build.context)
        for path in entries(root, made.ignore):
            if not made.inside and path == IGNORE_FILE:
                continue
            try:
                yield from _packed(packer, root, path)
            except (FileNotFoundError, NotADirectoryError):
                continue  # gone meanwhile
            except OSError as error:
                raise KernelError(f"read {root}/{path}", error.errno or 0) from error
        if not made.inside:
            yield _member(made.name, made.dockerfile)
            yield _member(IGNORE_FILE, _ignore_file(root, made))
        yield packer.end()

    return gathered(pieces())


def _ignore_file(root: str, made: Recipe) -> bytes:
    """As it is, and the Dockerfile that is no part of the context."""
    text = _text(f"{root}/{IGNORE_FILE}")
    there = bool(text) and not made.ignore.matches(IGNORE_FILE)
    lines = [*([text.rstrip("\n")] if text else []), made.name, *([] if there else [IGNORE_FILE])]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def entries(root: str, ignore: Ignore) -> Iterator[str]:
    """Everything that the ignore file does not leave out, a folder before what is in it."""

    def enter(folder: str, path: str) -> Iterator[str]:
        if path.count("/") >= DEPTH_MAX:
            raise InvalidArgument(f"the build context {root} is nested deeper than {DEPTH_MAX} folders")
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            if error.errno in (2, 20):
                return
            raise KernelError(f"read {folder}", error.errno or 0, hint=f"leave it out with {IGNORE_FILE}") from None
        for name in names:
            below = f"{path}/{name}" if path else name
            left_out = ignore.matches(below)
            if not left_out:
                yield below
            if _is_folder(f"{folder}/{name}") and not (left_out and ignore.closes(below)):
                yield from enter(f"{folder}/{name}", below)

    return enter(root, "")


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _packed(packer: Packer, root: str, path: str) -> Iterator[bytes]:
    parent, name = posixpath.split(posixpath.join(root, path))
    fd = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from packer.entry(fd, name, path)
    finally:
        os.close(fd)


def _member(name: str, content: bytes) -> bytes:
    head = tarfile.TarInfo(name)
    head.size, head.mode = len(content), 0o644
    whole = io.BytesIO()
    whole.write(head.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
    whole.write(content + bytes(-len(content) % tarfile.BLOCKSIZE))
    return whole.getvalue()


def _below(path: str, folder: str) -> str:
    prefix = folder.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else ""


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def inputs(build: Build) -> Mapping[str, str]:
    """The files outside the context's tree that count: the Dockerfile and the ignore files, there or not."""
    own = {build.dockerfile, f"{build.dockerfile}{IGNORE_FILE}"} if build.dockerfile else set()
    return dict.fromkeys(sorted({*own, f"{build.context}/{IGNORE_FILE}"}), build.service)
