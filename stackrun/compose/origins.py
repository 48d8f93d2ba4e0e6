"""Where a value came from when the place it stands at does not tell: variables, merges, includes and `extends`."""

from __future__ import annotations

from typing import NamedTuple

from stackrun.compose.tree import Place


class Note(NamedTuple):
    """A sentence that belongs to another place than the finding itself; `place.line` 0 when there is none to show."""

    place: Place
    message: str


class Origins:
    """Filled while files are read, asked when there is something to tell.

    `variables`  value's place → names of the variables replaced in it
    `defined`    variable → the line of the env file that gave it
    `hidden`     place of a service's own variable → the env file's item that gives the variable another value
    `unset`      variables that were looked up and have no value
    `replaced`   value's place → the place of the value that it replaced
    `reached`    file → the place that led there, and how (`included`, `extended`)
    """

    __slots__ = ("defined", "hidden", "reached", "replaced", "unset", "variables")

    def __init__(self) -> None:
        self.variables: dict[Place, list[str]] = {}
        self.defined: dict[str, Place] = {}
        self.hidden: dict[Place, Place] = {}
        self.replaced: dict[Place, Place] = {}
        self.reached: dict[str, tuple[Place, str]] = {}
        self.unset: set[str] = set()

    def notes(self, at: Place, *, told: bool = False) -> tuple[Note, ...]:
        """What explains the value at `at`; `told`: the finding itself says which variables are not set."""
        names = dict.fromkeys(self.variables.get(at, ()))
        found = [self._variable(name) for name in names if not (told and name in self.unset)]
        if (before := self.replaced.get(at)) is not None and before.line:
            found.append(Note(before, "it replaces the value given here"))
        if (reached := self.reached.get(at.path)) is not None:
            found.append(Note(reached[0], f"{at.path} is {reached[1]} here"))
        return tuple(found)

    def _variable(self, name: str) -> Note:
        if name in self.defined:
            return Note(self.defined[name], f"{name} is given here")
        return Note(Place(), f"{name} is not set" if name in self.unset else f"{name} comes from the environment")
