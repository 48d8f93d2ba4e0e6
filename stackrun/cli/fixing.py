"""`validate --fix`: the edits as a diff, or written to the files, each at once or not at all."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stackrun.compose.fixes import Fix, applied, fix_of
from stackrun.compose.source import STDIN
from stackrun.compose.validation import Validation
from stackrun.errors import InvalidArgument, PermissionDenied


def fixed(validation: Validation, *, unsafe: bool) -> dict[str, tuple[str, str, int]]:
    """Path as shown → (text, text with the fixes, how many they are), of each file that has any."""
    fixes: dict[str, list[Fix]] = {}
    for one in validation.open:
        fix = fix_of(one, validation.sources.get(one.place.path))
        if fix is not None and (fix.safe or unsafe):
            fixes.setdefault(one.place.path, []).append(fix)
    found = {}
    for path, chosen in sorted(fixes.items()):
        written = validation.sources[path]
        text, count = applied(written, chosen)
        found[path] = (written.text, text, count)
    return found


def diff(path: str, before: str, after: str) -> Iterator[str]:
    """A unified diff that `patch -p1` takes."""
    for line in difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"a/{path}", f"b/{path}"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def write(working_dir: str, path: str, before: str, after: str) -> None:
    """Replace a file's content; refused when somebody has changed it meanwhile. Its mode and a link to it stay."""
    if path == STDIN:
        raise InvalidArgument("what came from stdin cannot be written", hint="leave --apply out for the diff")
    file = Path(os.path.realpath(os.path.join(working_dir, path)))
    try:
        if file.read_bytes() != before.encode():
            raise InvalidArgument(f"{path} has changed meanwhile, or is not UTF-8: nothing was written to it", hint="run it again")
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "wb") as new:
                new.write(after.encode())
                os.fsync(new.fileno())
            status = file.stat()
            os.chmod(name, status.st_mode & 0o7777)
            os.chown(name, status.st_uid, status.st_gid)
            os.replace(name, file)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise PermissionDenied(f"cannot write {path}: {(error.strerror or '').lower()}") from None
