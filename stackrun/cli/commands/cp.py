"""`cp`: files between a service's containers and here, as `docker compose cp` has it.

`SERVICE:PATH HERE` takes from the first container, `HERE SERVICE:PATH` puts into every one (or into `--index N`); `-` is a tar on stdin or
stdout.  What comes out of a container is foreign: it is put inside the destination alone whatever its links say, belongs to the caller,
and has no set-id bits and no device nodes unless `-a` asks for everything as it is.
"""

from __future__ import annotations

import argparse
import os
import posixpath
import stat
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from stackrun.cli import project
from stackrun.cli.engines import connect
from stackrun.errors import InvalidArgument, KernelError, NotFound

if TYPE_CHECKING:
    from stackrun.api.archives import PathStat
    from stackrun.client.http import Response, Transport

_TAR = (("Content-Type", "application/x-tar"),)
_READ_BYTES = 1 << 18
STDIO = "-"


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("-a", "--archive", action="store_true", help="with owners and set-id bits as they are")
    parser.add_argument("-L", "--follow-link", action="store_true", help="what a link leads to instead of the link")
    parser.add_argument("--index", type=int, default=0, metavar="N", help="the service's Nth container")
    parser.add_argument("origin", metavar="SERVICE:PATH|PATH|-", help="from here")
    parser.add_argument("target", metavar="SERVICE:PATH|PATH|-", help="to there; one of the two names a service")


def run(options: argparse.Namespace) -> int:
    origin, target = _place(options.origin), _place(options.target)
    if bool(origin[0]) == bool(target[0]):
        kind = "between services" if origin[0] else "without a service"
        raise InvalidArgument(f"copying {kind} is not supported", hint="stackrun cp SERVICE:PATH PATH, or PATH SERVICE:PATH")
    link = connect(options)
    found = _containers(link, options, origin[0] or target[0])
    if origin[0]:
        _take(link, found[0]["Id"], origin[1], target[1], options)
        return 0
    if origin[1] == STDIO and len(found) > 1:
        raise InvalidArgument(f"stdin can be copied into one container: {target[0]} has {len(found)}", hint="say which with --index N")
    for one in found:
        _put(link, one["Id"], origin[1], target[1], options)
    return 0


def _place(text: str) -> tuple[str, str]:
    """`service:path` → (service, path); a local path, which begins with / or . or has no colon → ("", path)."""
    service, colon, path = text.partition(":")
    return (service, path) if colon and not text.startswith(("/", ".")) else ("", text)


def _containers(link: Transport, options: argparse.Namespace, service: str) -> list[project.Summary]:
    found = project.containers(link, project.name(options), services=(service,))
    wanted = [one for one in found if options.index in (0, project.number_of(one))]
    if not wanted:
        raise NotFound(f'service "{service}" has no container #{options.index}', hint="see `stackrun ps -a`")
    return wanted


# --- out of a container --------------------------------------------------------------------------


def _take(link: Transport, container: str, path: str, target: str, options: argparse.Namespace) -> None:
    followed = _followed(link, container, path) if options.follow_link else path
    with link.request("GET", f"/containers/{container}/archive", query={"path": followed}) as response:
        if target == STDIO:
            for piece in response:
                sys.stdout.buffer.write(piece)
            return
        _extract(response, path, followed, target, options.archive)


def _followed(link: Transport, container: str, path: str) -> str:
    found = _stat(link, container, path)
    return found.link_target if found and found.link_target else path


def _stat(link: Transport, container: str, path: str) -> PathStat | None:
    """None when nothing is there."""
    from stackrun.api.wire import archives

    try:
        with link.request("HEAD", f"/containers/{container}/archive", query={"path": path}) as response:
            return archives.from_header(response.headers.get(archives.HEADER.lower(), ""))
    except NotFound:
        return None


def _extract(response: Response, path: str, followed: str, target: str, as_it_is: bool) -> None:
    from stackrun.api.wire import archives
    from stackrun.image.extracting import Rules, extract

    found = archives.from_header(response.headers.get(archives.HEADER.lower(), ""))
    directory, name = _destination(_name_of(path), stat.S_ISDIR(found.mode), target)
    rules = Rules(owned=as_it_is and os.geteuid() == 0, same_kind=True, renamed=(_name_of(followed), name))
    root_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        extract(cast("BinaryIO", _Body(iter(response))), root_fd, "", rules)
    finally:
        os.close(root_fd)


def _destination(name: str, is_directory: bool, target: str) -> tuple[str, str]:
    """The folder that exists, and how the copy is called in it; `.` for the content of a directory."""
    if os.path.isdir(target):
        return target, name
    parent, called = os.path.split(target.rstrip("/"))
    if not os.path.isdir(parent or "."):
        raise InvalidArgument(f"{parent} is not a directory")
    if not is_directory and target.endswith("/"):
        raise InvalidArgument(f"{target} must be a directory that exists", hint="leave the slash at its end out to name the file so")
    if is_directory and os.path.lexists(target):
        raise InvalidArgument(f"{target} is no directory: a directory cannot be copied onto it")
    if name == ".":
        os.mkdir(target)
        return target, name
    return parent or ".", called


def _name_of(path: str) -> str:
    """What the archive of a path calls it."""
    if path.endswith("/.") or path == ".":
        return "."
    return posixpath.basename(posixpath.normpath(f"/{path}")) or "."


class _Body:
    """An answer's pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, count: int) -> bytes:
        self._rest = self._rest or next(self._pieces, b"")
        data, self._rest = self._rest[:count], self._rest[count:]
        return data


# --- into a container ----------------------------------------------------------------------------


def _put(link: Transport, container: str, source: str, path: str, options: argparse.Namespace) -> None:
    found = _stat(link, container, path)
    if found and found.link_target:
        path = found.link_target
        found = _stat(link, container, path)
    if source == STDIO:
        _upload(link, container, path, iter(lambda: sys.stdin.buffer.read(_READ_BYTES), b""), options)
        return
    source_is_directory = _is_directory(source, options.follow_link)
    directory, name = path, _name_of(source)
    if found is None or not stat.S_ISDIR(found.mode):
        if found is not None and source_is_directory:
            raise InvalidArgument(f"{path} in the container is no directory: a directory cannot be copied onto it")
        if found is None and path.endswith("/") and not source_is_directory:
            raise NotFound(f"{path} in the container must be a directory that exists")
        directory, name = posixpath.split(path.rstrip("/"))
    _upload(link, container, directory or "/", _packed(source, name, options.follow_link), options)


def _is_directory(source: str, follow: bool) -> bool:
    try:
        status = os.stat(source) if follow else os.lstat(source)
    except OSError as error:
        raise KernelError(f"look at {source}", error.errno or 0) from None
    return stat.S_ISDIR(status.st_mode)


def _packed(source: str, name: str, follow: bool) -> Iterator[bytes]:
    from stackrun.image.packing import Packer, gathered

    real = os.path.realpath(source) if follow or source.endswith(("/", "/.")) or source in (".", "..") else os.path.abspath(source)
    packer = Packer()

    def pieces() -> Iterator[bytes]:
        parent, own = os.path.split(real)
        fd = os.open(real if name == "." else parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield from packer.directory(fd, ".") if name == "." else packer.entry(fd, own, name)
            yield packer.end()
        finally:
            os.close(fd)

    return gathered(pieces())


def _upload(link: Transport, container: str, path: str, pieces: Iterator[bytes], options: argparse.Namespace) -> None:
    query: dict[str, object] = {"path": path, "noOverwriteDirNonDir": True, "copyUIDGID": options.archive or None}
    try:
        link.request("PUT", f"/containers/{container}/archive", query=query, body=pieces, headers=_TAR).read()
    except OSError as error:
        raise KernelError(f"read {error.filename or 'what is copied'}", error.errno or 0) from error
