"""The entry of our pre-commit hook: `python -m stackrun.cli.hook [OPTION…] FILE…`, the options being those of `validate`.

pre-commit hands over whichever files are to be committed, of any number of stacks, while `validate` takes the files of one.  So each file
is a stack of its own, except that a base file and its override (`compose.override.yaml`), which are merged wherever they are used, are one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from stackrun.cli import exit, main

_ENDINGS = (".yaml", ".yml")
Stack = tuple[str, ...]
"""Files in the order they are merged in."""


def stacks(files: Iterable[str]) -> tuple[Stack, ...]:
    """Each once, in the order of the files."""
    return tuple(dict.fromkeys(_stack(Path(file)) for file in files))


def _stack(file: Path) -> Stack:
    if file.stem.endswith(".override"):
        found = _beside(file, file.stem.removesuffix(".override"))
        return (found, str(file)) if found else (str(file),)
    found = _beside(file, f"{file.stem}.override")
    return (str(file), found) if found else (str(file),)


def _beside(file: Path, stem: str) -> str:
    """The file of that name beside `file`, with either ending."""
    candidates = (file.with_name(stem + ending) for ending in _ENDINGS)
    return next((str(one) for one in candidates if one.is_file()), "")


def check(argv: list[str]) -> int:
    """The worst exit code of all the stacks'. pre-commit puts the files last."""
    options = main.parsed("validate", argv)
    count = len(options.paths)
    before = argv[: len(argv) - count]
    return max((_reported(main.run, ["validate", *before, *stack]) for stack in stacks(options.paths)), default=0)


def _reported(do: Callable[[list[str]], int], argv: list[str]) -> int:
    try:
        return do(argv)
    except (Exception, KeyboardInterrupt) as error:
        return exit.report(error)


if __name__ == "__main__":
    sys.exit(_reported(check, sys.argv[1:]))
