"""`validate --fix`: the edits as a diff, or written to the files, each file at once or not at all."""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from stackrun.compose.fixes import Fix, applied, fix_of
from stackrun.compose.source import STDIN
from stackrun.compose.validation import Validation
from stackrun.errors import InvalidArgument, PermissionDenied

Look = Callable[[Mapping[str, str]], Validation]
"""Path as shown → text to look at instead of what the file has."""
_TRIED = 50
"""How often a part of the fixes is tried out."""


class Fixed(NamedTuple):
    """A file's text before and after its fixes, and how many they are."""

    before: str
    after: str
    number: int


def fixed(validation: Validation, look: Look, *, unsafe: bool) -> dict[str, Fixed]:
    """By path as shown, each file that has fixes; of those that together bring a new error, the ones that do not alone."""
    fixes = []
    for one in validation.open:
        fix = fix_of(one, validation.sources.get(one.place.path))
        if fix is not None and (fix.safe or unsafe):
            fixes.append((one.place.path, fix))
    return _applied(validation, _harmless(validation, fixes, look))


def _harmless(validation: Validation, fixes: list[tuple[str, Fix]], look: Look) -> list[tuple[str, Fix]]:
    """Those that together bring no error that was not there: all, or of each half of them what does not."""
    kept: list[tuple[str, Fix]] = []
    untried = [fixes] if fixes else []
    for _ in range(_TRIED):
        if not untried:
            break
        some = untried.pop()
        if not _harm(validation, _applied(validation, [*kept, *some]), look):
            kept += some
        elif len(some) > 1:
            untried += [some[len(some) // 2 :], some[: len(some) // 2]]
    return kept


def _applied(validation: Validation, fixes: list[tuple[str, Fix]]) -> dict[str, Fixed]:
    by_path: dict[str, list[Fix]] = {}
    for path, fix in fixes:
        by_path.setdefault(path, []).append(fix)
    sources = validation.sources
    return {path: Fixed(sources[path].text, *applied(sources[path], some)) for path, some in sorted(by_path.items())}


def _harm(validation: Validation, found: Mapping[str, Fixed], look: Look) -> bool:
    """Whether a rule finds more errors in a file than before."""
    after = look({path: one.after for path, one in found.items()})
    return bool(_errors(after) - _errors(validation))


def _errors(validation: Validation) -> Counter[tuple[str, str]]:
    return Counter((one.place.path, one.code) for one in validation.findings if one.level == "error")


def diff(path: str, before: str, after: str) -> Iterator[str]:
    """A unified diff that `patch -p1` takes; lines end at a line feed alone, as they do for `patch`."""
    name = path.lstrip("/") + ("\t" if " " in path else "")
    for line in difflib.unified_diff(_lines(before), _lines(after), f"a/{name}", f"b/{name}"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(text: str) -> list[str]:
    return re.findall("[^\n]*\n|[^\n]+", text)


def write(working_dir: str, path: str, before: str, after: str) -> None:
    """Replace a file's content; refused when somebody has changed it meanwhile. Its mode, its owner and a link to it stay."""
    if path == STDIN:
        raise InvalidArgument("what came from stdin cannot be written", hint="leave --apply out for the diff")
    file = Path(os.path.realpath(os.path.join(working_dir, path)))
    try:
        if file.read_bytes() != before.encode():
            raise InvalidArgument(f"{path} has changed meanwhile, or is not UTF-8: nothing was written to it", hint="run it again")
        _replace(file, after.encode())
    except OSError as error:
        raise PermissionDenied(f"cannot write {path}: {(error.strerror or '').lower()}") from None


def _replace(file: Path, content: bytes) -> None:
    """In one step: whoever reads the file sees the old content or the new, also after a crash."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as new:
            new.write(content)
            status = file.stat()
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(new.fileno(), status.st_uid, status.st_gid)
            os.fchmod(new.fileno(), status.st_mode & 0o7777)
            new.flush()
            os.fsync(new.fileno())
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise
