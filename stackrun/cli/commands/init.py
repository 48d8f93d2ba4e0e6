"""`init`: a stack file to start from, with the schema beside it. Both are there whole or not at all, and nothing is overwritten."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from stackrun.cli.shipped import schema_text
from stackrun.cli.starter import FILE, SCHEMA_FILE, starter
from stackrun.errors import Conflict, InvalidArgument


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("directory", nargs="?", default=".", metavar="DIRECTORY", help="made if missing; its name is the stack's")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def run(options: argparse.Namespace) -> int:
    directory = Path(options.directory)
    texts = {SCHEMA_FILE: schema_text(), FILE: starter(_name(directory, options.project_name))}
    if not options.force:
        for name, text in texts.items():
            _check_free(directory / name, text)
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        _write(directory / name, text, force=options.force)
    _tell(directory)
    return 0


def _name(directory: Path, asked: str | None) -> str:
    from stackrun.compose.source import checked_name, normalized_name

    if asked:
        return checked_name(asked)
    found = normalized_name(directory.resolve().name)
    if not found:
        raise InvalidArgument(f"{directory.resolve()} makes no name of a stack", hint="give it one with -p")
    return found


def _check_free(file: Path, text: str) -> None:
    """The schema may be there already, if it is the one we have."""
    if os.path.lexists(file) and not (file.name == SCHEMA_FILE and _content(file) == text):
        raise Conflict(f"{file} is there already", hint="--force overwrites it")


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _write(file: Path, text: str, *, force: bool) -> None:
    """A temporary file beside it, then one step: nobody sees half of it. Without `force` the step fails if somebody was quicker."""
    if not force and file.name == SCHEMA_FILE and _content(file) == text:
        return
    fd, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            stream.write(text)
            os.fchmod(fd, 0o666 & ~_umask())
        if force:
            temporary.replace(file)
        else:
            _link(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _link(temporary: Path, file: Path) -> None:
    try:
        file.hardlink_to(temporary)
    except FileExistsError:
        raise Conflict(f"{file} is there already", hint="--force overwrites it") from None
    except PermissionError:  # a file system without hard links
        temporary.rename(file)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _tell(directory: Path) -> None:
    from stackrun.compose.source import NAMES

    print(f"wrote {directory / FILE} and {directory / SCHEMA_FILE}")
    hidden = [name for name in NAMES if name != FILE and (directory / name).exists()]
    if hidden:
        print(f"warning: {FILE} is found before {', '.join(hidden)}; name that with -f", file=sys.stderr)
    where = "" if directory == Path() else f"cd {directory} && "
    print(f"next: {where}stackrun validate && stackrun up -d --wait")
