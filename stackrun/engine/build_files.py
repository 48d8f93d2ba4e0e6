"""Steps that change files without running anything: COPY, ADD and WORKDIR, on the state so far mounted for the purpose.

Everything here blocks.  Names of users are looked up in the state's own /etc/passwd, read as text (runtime.passwd).
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stackrun.engine.build_copy import Manner, copy, make_directories
from stackrun.engine.build_sources import Tree, Wanted, digest, matches
from stackrun.errors import InvalidArgument, Unsupported
from stackrun.image.compression import decompressed
from stackrun.image.extracting import Rules, extract
from stackrun.image.ignore import Ignore
from stackrun.image.instructions import Copy
from stackrun.image.substitution import expand, expand_document
from stackrun.kernel.paths import open_in_root
from stackrun.runtime.passwd import resolve_user

_REMOTE = ("http://", "https://", "git://", "git@", "ssh://")


@dataclass(frozen=True, slots=True)
class Transfer:
    """COPY or ADD with its variables put in and its sources found.

    `paths`: (path in the tree, folder below the target where --parents wants it).  `target` is absolute; a slash at its end means a
    folder; `written` is how it was written.
    `content` are here-documents: name → text.  `wanted` gives for a source what of it is taken.  `digests`: kind and digest of each source,
    `file:…` or `dir:…`.
    """

    keyword: str
    tree: Tree
    paths: tuple[tuple[str, str], ...]
    content: Mapping[str, bytes]
    target: str
    written: str
    chown: str
    mode: int | None
    unpacks: bool
    keeps_owners: bool
    wanted: Callable[[str], Wanted]
    digests: tuple[str, ...]

    @property
    def shown(self) -> str:
        """What the history says of the sources."""
        return self.digests[0] if len(self.digests) == 1 else f"multi:{digest_of(*self.digests)}"


def digest_of(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def found(instruction: Copy, tree: Tree, variables: Mapping[str, str], escape: str, working_dir: str) -> Transfer:
    """InvalidArgument for sources that are not there, Unsupported for those from elsewhere."""

    def put_in(text: str) -> str:
        return expand(text, variables, escape)

    keyword = instruction.keyword
    sources = tuple(put_in(one) for one in instruction.sources)
    _refuse(instruction, sources)
    excludes = Ignore(put_in(one) for one in instruction.excludes)
    content = {
        one.name: (expand_document(one.content, variables) if one.expands else one.content).encode() for one in instruction.heredocs
    }
    owners = bool(instruction.from_) and not instruction.chown
    paths: list[tuple[str, str]] = []
    for source in sources:
        for path in matches(tree, source, keyword):
            if not excludes.matches(path):
                paths.append((path, _parents(source, path, _kind(tree, path)) if instruction.parents else ""))
    if not paths and not content:
        raise InvalidArgument(f"{keyword} failed: no source files were specified")
    written = put_in(instruction.target)
    target = destination(written, working_dir)
    if len(paths) + len(content) > 1 and not target.endswith("/"):
        raise InvalidArgument(
            f"When using {keyword} with more than one source file, the destination must be a directory and end with a /"
        )

    def wanted(source: str) -> Wanted:
        """--exclude counts from the source, and from the root of the tree."""
        prefix = f"{source}/" if source else ""
        return lambda path: not excludes.matches(path) and not excludes.matches(path.removeprefix(prefix))

    digests = [f"{_kind(tree, path)}:{digest(tree, path, owners=owners, wanted=wanted(path))}" for path, _ in paths]
    digests += [f"file:{digest_of(name, text.decode())}" for name, text in content.items()]
    return Transfer(
        keyword, tree, tuple(paths), content, target, written, put_in(instruction.chown), _mode(put_in(instruction.chmod)),
        instruction.unpack if instruction.unpack is not None else keyword == "ADD", owners, wanted, tuple(digests),
    )  # fmt: skip


def _kind(tree: Tree, path: str) -> str:
    fd = open_in_root(tree.root_fd, path)
    try:
        return "dir" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
    finally:
        os.close(fd)


def _refuse(instruction: Copy, sources: tuple[str, ...]) -> None:
    if instruction.keyword != "ADD":
        return
    for source in sources:
        if source.startswith(_REMOTE) or source.endswith(".git"):
            raise Unsupported(f"ADD {source} is not supported: it is not in the build context", hint="download it first, or RUN wget")


def _parents(source: str, path: str, kind: str) -> str:
    """--parents keeps the folders that a source names, those behind a `/./` alone if it has one."""
    before, pivot, _ = source.partition("/./")
    folder = path if kind == "dir" else posixpath.dirname(path)
    depth = len([part for part in posixpath.normpath(before).split("/") if part not in ("", ".")]) if pivot else 0
    return "/".join(folder.split("/")[depth:])


def destination(target: str, working_dir: str) -> str:
    """Absolute; with a slash at the end where the instruction had one, or `.`."""
    whole = posixpath.normpath(posixpath.join("/", working_dir, target)).replace("//", "/")
    is_folder = target.endswith(("/", "/.")) or target in (".", "")
    return f"{whole.rstrip('/')}/" if is_folder else whole


def _mode(text: str) -> int | None:
    if not text:
        return None
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise InvalidArgument(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777", hint="--chmod=755")
    return mode


# --- carrying out ---------------------------------------------------------------------------------


def owner_of(root_fd: int, text: str) -> tuple[int, int]:
    """`user[:group]` by names of this image or numbers; a number alone is the group's, too."""
    name, _, group = text.partition(":")
    if not group and name.isascii() and name.isdecimal():
        group = name
    try:
        user = resolve_user(root_fd, f"{name}:{group}" if group else name)
    except InvalidArgument as error:
        message = f"unable to convert uid/gid chown string to host mapping: {error.message}"
        raise InvalidArgument(message, hint="RUN adduser first") from error
    return user.uid, user.gid


def transfer(asked: Transfer, root_fd: int, check: Callable[[], None]) -> None:
    """Puts it below `root_fd`, the state's root that can be written to."""
    owner = owner_of(root_fd, asked.chown) if asked.chown else None if asked.keeps_owners else (0, 0)
    for path, below in asked.paths:
        manner = Manner(owner, asked.mode, asked.wanted(path), check)
        target = f"{asked.target.rstrip('/')}/{below}/" if below else asked.target
        if not (asked.unpacks and _unpacked(asked, path, root_fd, target, check)):
            copy(asked.tree, path, root_fd, target, manner)
    for name, content in asked.content.items():
        _write(root_fd, asked.target, name, content, owner or (0, 0), asked.mode if asked.mode is not None else 0o644)


def _unpacked(asked: Transfer, path: str, root_fd: int, target: str, check: Callable[[], None]) -> bool:
    """ADD unpacks an archive; False for anything else."""
    if not is_archive(asked.tree, path):
        return False
    owner = owner_of(root_fd, asked.chown) if asked.chown else None
    make_directories(root_fd, target, owner or (0, 0))
    with os.fdopen(open_in_root(asked.tree.root_fd, path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        extract(file, root_fd, target, Rules(owner=owner, check=check), any_kind=True)
    return True


def is_archive(tree: Tree, path: str) -> bool:
    """By its content, never by its name: a tar, plain or compressed."""
    fd = open_in_root(tree.root_fd, path)
    try:
        if not os.path.isfile(f"/proc/self/fd/{fd}"):
            return False
    finally:
        os.close(fd)
    with os.fdopen(open_in_root(tree.root_fd, path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        try:
            with decompressed(file, any_kind=True) as plain:
                head = b""
                while len(head) < tarfile.BLOCKSIZE and (piece := plain.read(tarfile.BLOCKSIZE - len(head))):
                    head += piece
            tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, InvalidArgument):
            return False
    return True


def _write(root_fd: int, target: str, name: str, content: bytes, owner: tuple[int, int], mode: int) -> None:
    path = f"{target}{name}" if target.endswith("/") else target
    parent, base = posixpath.split(path)
    make_directories(root_fd, parent, owner)
    parent_fd = open_in_root(root_fd, parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            os.unlink(base, dir_fd=parent_fd)
        except FileNotFoundError:
            pass
        fd = os.open(base, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent_fd)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            os.fchown(fd, *owner)
            os.fchmod(fd, mode)
    finally:
        os.close(parent_fd)


def work_directory(root_fd: int, path: str) -> None:
    """WORKDIR makes what is missing of it; it belongs to root whoever USER is."""
    make_directories(root_fd, path, (0, 0))
