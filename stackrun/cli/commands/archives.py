"""`load` and `import`: images from files, for machines without a registry."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from stackrun.cli.engines import connect
from stackrun.errors import NotFound, StackrunError

if TYPE_CHECKING:
    from stackrun.client.http import Response

CHUNK_BYTES = 1 << 20


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    if verb == "load":
        parser.add_argument("-i", "--input", default="-", metavar="FILE", help="a docker-archive or OCI layout as a tar; otherwise stdin")
        parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
        return
    parser.add_argument("input", metavar="FILE", help="a tar of a root file system; - is stdin")
    parser.add_argument("reference", nargs="?", default="", metavar="NAME[:TAG]")
    parser.add_argument(
        "-c", "--change", action="append", default=[], metavar="INSTRUCTION", help="a Dockerfile line such as CMD, repeatable"
    )
    parser.add_argument("-m", "--message", default="", help="note in the image's history")


def run(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        file = sys.stdin.buffer if options.input == "-" else stack.enter_context(_opened(options.input))
        link = connect(options)
        if options.verb == "load":
            path, query = "/images/load", {"quiet": options.quiet}
        else:
            repository, _, tag = _reference(options.reference)
            path = "/images/create"
            query = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": tuple(options.change), "message": options.message}
        headers = (("Content-Type", "application/x-tar"),)
        with link.request("POST", path, query=query, body=_chunks(file), headers=headers) as response:
            _tell(response)
    return 0


def _opened(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise NotFound(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None


def _reference(text: str) -> tuple[str, str, str]:
    """(repository, separator, tag); a registry's port is no tag."""
    repository, separator, tag = text.rpartition(":")
    return (repository, separator, tag) if separator and "/" not in tag else (text, "", "")


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _tell(response: Response) -> None:
    """Prints the lines that say what was made; an error may come after the first of them."""
    for line in response.lines():
        _tell_one(json.loads(line))


def _tell_one(line: dict[str, Any]) -> None:
    if "error" in line:
        raise StackrunError(str(line["error"]))
    if "stream" in line:
        sys.stdout.write(line["stream"])
    elif str(line.get("status", "")).startswith("sha256:"):
        print(line["status"])
