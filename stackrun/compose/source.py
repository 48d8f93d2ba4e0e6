"""What is to be loaded: which files, from which directory, with which variables, under which name.

Follows Docker Compose's order: the caller's environment wins over env files; `COMPOSE_FILE`, `COMPOSE_PROFILES`,
`COMPOSE_PROJECT_NAME` and `COMPOSE_ENV_FILES` may stand in either.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from stackrun.api.stack_source import StackSource
from stackrun.compose.dotenv import parse_env
from stackrun.compose.faults import Faults
from stackrun.compose.textfile import Unreadable, contents, decoded
from stackrun.compose.tree import Place
from stackrun.errors import InvalidArgument, NoStackFile

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("stack.yaml", "stackrun.yaml", "compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
"""File names that are looked for, best first."""
STDIN = "-"


class Inputs(NamedTuple):
    """A StackSource made definite; paths are absolute (`-` is stdin)."""

    files: tuple[str, ...]
    directory: str
    """Relative paths start here."""
    environment: dict[str, str]
    env_files: tuple[str, ...]
    profiles: tuple[str, ...]
    project_name: str
    """As asked for; empty to take the file's or the directory's."""


def discover(working_dir: str, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The stack file of this directory or of the nearest parent that has one, with its override; () when none has.

    `COMPOSE_FILE` in `environment` names them instead.
    """
    listed = (environment or {}).get("COMPOSE_FILE", "")
    if listed:
        separator = (environment or {}).get("COMPOSE_PATH_SEPARATOR") or os.pathsep
        return tuple(name if name == STDIN else _join(working_dir, name) for name in listed.split(separator) if name)
    from pathlib import Path  # 4 ms, for who names no file

    directory = Path(working_dir)
    for folder in (directory, *directory.parents):
        found = next((folder / name for name in NAMES if (folder / name).is_file()), None)
        if found:
            return (str(found), *_overrides(found))
    return ()


def _overrides(file: Path) -> Iterator[str]:
    """`compose.override.yaml` beside `compose.yaml`; either ending will do."""
    for suffix in (file.suffix, ".yml", ".yaml"):
        override = file.with_name(f"{file.stem}.override{suffix}")
        if override.is_file():
            yield str(override)
            return


def resolve(source: StackSource, faults: Faults) -> Inputs:
    """Raises NoStackFile when there is no stack file; what is wrong in an env file is a fault."""
    reader = _Environment(source, faults)
    given_directory = _join(source.working_dir, source.project_directory) if source.project_directory else ""
    files = tuple(name if name == STDIN else _join(source.working_dir, name) for name in source.files)
    reader.read_defaults(given_directory or _directory_of(files) or source.working_dir)
    files = files or discover(given_directory or source.working_dir, reader.environment)
    if not files:
        hint = f"write a {NAMES[0]} or {NAMES[2]}, or name one with -f"
        raise NoStackFile("no stack file found in this directory or its parents", hint=hint)
    directory = given_directory or _directory_of(files) or source.working_dir
    reader.read_defaults(directory)
    profiles = source.profiles or tuple(word.strip() for word in reader.environment.get("COMPOSE_PROFILES", "").split(",") if word.strip())
    name = source.project_name or reader.environment.get("COMPOSE_PROJECT_NAME", "")
    return Inputs(files, directory, reader.environment, tuple(reader.files), profiles, name)


def _join(directory: str, path: str) -> str:
    return os.path.normpath(os.path.join(directory, path))


def _directory_of(files: tuple[str, ...]) -> str:
    return next((os.path.dirname(file) for file in files if file != STDIN), "")


class _Environment:
    """The caller's variables, and what env files add to them."""

    def __init__(self, source: StackSource, faults: Faults) -> None:
        self.source, self.faults = source, faults
        self.environment = dict(source.environment)
        self.files: list[str] = []

    def read_defaults(self, directory: str) -> None:
        """The env files asked for, else `.env` of the directory where there is one; a file is read once."""
        listed = self.source.env_files or tuple(name for name in self.environment.get("COMPOSE_ENV_FILES", "").split(",") if name)
        names = [_join(self.source.working_dir, name) for name in listed]
        if not listed and os.path.isfile(os.path.join(directory, ".env")):
            names = [os.path.join(directory, ".env")]
        added: dict[str, str] = {}
        for name in names:
            if name not in self.files:
                self.files.append(name)
                added.update(read_env(name, shown(name, self.source.working_dir), self.faults, self.environment, added))
        for name, value in added.items():
            if name in self.environment:
                self.faults.origins.defined.pop(name, None)
            self.environment.setdefault(name, value)


def read_env(path: str, shown_as: str, faults: Faults, environment: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Variables of one env file; a file that is missing is a fault."""
    try:
        text, wrong = decoded(contents(path))
    except Unreadable as error:
        faults.error(Place(shown_as), f"env file cannot be read: {error.message}", hint=error.hint, code=error.code)
        return {}
    for line, column, message, hint in wrong:
        faults.error(Place(shown_as, line, column), message, hint=hint, code="env-file")
    found = parse_env(text, shown_as, faults, lookup=environment.get, known=known, places=faults.origins.defined)
    return {name: value for name, value in found.items() if not name[:1].isdigit()}


def shown(path: str, working_dir: str) -> str:
    """A path as the user would write it: relative when it is below the working directory."""
    below = path.startswith(working_dir.rstrip("/") + "/")
    return path[len(working_dir.rstrip("/")) + 1 :] if below else path


def normalized_name(text: str) -> str:
    """A project's name as Compose makes it: lower case, only a-z 0-9 _ and -, and none of _ - in front."""
    return re.sub(r"[^-_a-z0-9]", "", text.lower()).lstrip("_-")


def checked_name(name: str) -> str:
    """The name a user asked for; InvalidArgument when it is not one."""
    if name != normalized_name(name):
        hint = "use lower case letters, digits, - and _, and start with a letter or digit"
        raise InvalidArgument(f"invalid project name {name!r}", hint=hint)
    return name
