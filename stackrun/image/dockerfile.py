"""A Dockerfile's text becomes stages of instructions, or all that is wrong with it, each fault at its line.

The words of instructions stay as they are written: quotes, escapes and variables are for `substitution`, at the time the builder
knows the variables.  Source: https://docs.docker.com/reference/dockerfile/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from stackrun.errors import InvalidArgument
from stackrun.image.dockerfile_forms import near, read_instruction, read_trigger
from stackrun.image.dockerfile_lines import Lines, Statement
from stackrun.image.instructions import Arg, Copy, Dockerfile, Instruction, Run, Stage
from stackrun.image.substitution import expand, expand_words

__all__ = [
    "SCRATCH",
    "Fault",
    "examine",
    "expand",
    "expand_words",
    "needed_stages",
    "parse",
    "parse_instruction",
    "stage_named",
    "stage_of_copy",
]

SCRATCH = "scratch"
"""The base that is no image."""
MOST_FAULTS = 50
"""A file with more is something else."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at `line`, 0 for the file as a whole."""

    line: int
    message: str
    hint: str = ""


def parse(text: str, name: str = "Dockerfile") -> Dockerfile:
    """The stages of a Dockerfile.  InvalidArgument tells every fault, one a line, as `Dockerfile:12: unknown instruction: FRM`."""
    found, faults = examine(text)
    if not faults:
        return found
    told = [f"{name}:{one.line}: {one.message}" if one.line else f"{name}: {one.message}" for one in faults]
    if len(faults) == 1:
        raise InvalidArgument(told[0], hint=faults[0].hint)
    raise InvalidArgument("\n".join(f"{line}\n  hint: {one.hint}" if one.hint else line for line, one in zip(told, faults, strict=True)))


def examine(text: str) -> tuple[Dockerfile, tuple[Fault, ...]]:
    """What could be read, and every fault in order of lines; the Dockerfile is whole when there is none."""
    lines = Lines(text)
    reading = _Reading(lines.escape)
    for statement in lines.statements():
        reading.add(statement)
        if len(reading.faults) == MOST_FAULTS:
            reading.faults.append(Fault(statement.line, "too many faults: the rest of the file was not read", "is it a Dockerfile?"))
            break
    reading.faults += [Fault(line, error.message, error.hint) for line, error in lines.faults]
    if not reading.has_from and not reading.faults:
        message = "dockerfile contains no stages to build" if reading.arguments else "file with no instructions"
        reading.faults.append(Fault(0, message, "begin with FROM image"))
    stages = tuple(replace(stage, instructions=tuple(instructions)) for stage, instructions in reading.stages)
    found = Dockerfile(stages, tuple(reading.arguments), lines.escape, lines.directives.get("syntax", ""))
    return found, tuple(sorted(reading.faults, key=lambda one: one.line))


class _Reading:
    """Collects stages, arguments and faults, statement by statement."""

    def __init__(self, escape: str) -> None:
        self.escape = escape
        self.stages: list[tuple[Stage, list[Instruction]]] = []
        self.names: set[str] = set()
        self.arguments: list[Arg] = []
        self.faults: list[Fault] = []
        self.has_from = False

    def add(self, statement: Statement) -> None:
        is_from = statement.text.split(maxsplit=1)[0].upper() == "FROM"
        is_early = not self.has_from and not is_from
        self.has_from = self.has_from or is_from
        try:
            found = read_instruction(statement, self.escape)
        except InvalidArgument as error:
            self.faults.append(Fault(statement.line, error.message, error.hint))
            return
        if isinstance(found, Stage):
            self._begin(found)
        elif is_early and isinstance(found, Arg):
            self.arguments.append(found)
        elif is_early:
            self.faults.append(Fault(statement.line, "no build stage in current context", "FROM comes first; only ARG may stand before it"))
        elif self.stages:
            self.stages[-1][1].append(found)

    def _begin(self, stage: Stage) -> None:
        if stage.name in self.names:
            self.faults.append(Fault(stage.line, f"{stage.name} stage name already used", "give each stage a name of its own"))
        if stage.name:
            self.names.add(stage.name)
        self.stages.append((stage, []))


def parse_instruction(text: str) -> Instruction:
    """One instruction, as an image keeps it for ONBUILD; InvalidArgument for FROM, too."""
    found = read_trigger(text)
    if isinstance(found, Stage):
        raise InvalidArgument("FROM isn't allowed here", hint="it begins a stage of a Dockerfile")
    return found


def stage_named(dockerfile: Dockerfile, name: str, *, before: int | None = None) -> int | None:
    """The index of the stage with that name, in any case; of those before index `before` when it is given."""
    return _earlier(_names(dockerfile), name, len(dockerfile.stages) if before is None else before)


def _names(dockerfile: Dockerfile) -> dict[str, int]:
    return {stage.name: index for index, stage in enumerate(dockerfile.stages) if stage.name}


def _earlier(names: Mapping[str, int], name: str, before: int) -> int | None:
    found = names.get(name.lower())
    return found if found is not None and found < before else None


def needed_stages(dockerfile: Dockerfile, target: str = "", variables: Mapping[str, str] | None = None) -> tuple[int, ...]:
    """Indexes of the stages to build for `target` (a name, a number, "" for the last), each after those it needs.

    `variables` are the global arguments, for `FROM ${BASE}`.  InvalidArgument for a target that is not there, and for stages that
    need each other.
    """
    names = _names(dockerfile)
    ordered: dict[int, None] = {}
    pending: dict[int, Iterator[int]] = {}

    def enter(index: int) -> None:
        if index in pending:
            shown = dockerfile.stages[index].name or str(index)
            raise InvalidArgument(f"circular dependency detected on stage: {shown}", hint="let it need no files of this one")
        if index not in ordered:
            pending[index] = _dependencies(dockerfile, index, names, variables or {})

    enter(_target(dockerfile, target, names))
    while pending:
        index, dependencies = next(reversed(pending.items()))
        following = next(dependencies, None)
        if following is None:
            ordered[index] = None
            del pending[index]
        else:
            enter(following)
    return tuple(ordered)


def _target(dockerfile: Dockerfile, target: str, names: Mapping[str, int]) -> int:
    if not target:
        return len(dockerfile.stages) - 1
    found = names.get(target.lower())
    if found is None and _is_number(target) and len(target) < 10 and int(target) < len(dockerfile.stages):
        found = int(target)
    if found is None:
        listed = f"its stages are {', '.join(list(names)[:10])}" if names else "it names no stage: FROM image AS name"
        raise InvalidArgument(f'target stage "{target}" could not be found', hint=near(target.lower(), names) or listed)
    return found


def _dependencies(dockerfile: Dockerfile, index: int, names: Mapping[str, int], variables: Mapping[str, str]) -> Iterator[int]:
    stage = dockerfile.stages[index]
    base = _earlier(names, expand(stage.base, variables, dockerfile.escape), index)
    if base is not None:
        yield base
    for instruction in stage.instructions:
        for name in _sources(instruction):
            found = _numbered(dockerfile, name) if _is_number(name) else names.get(name.lower())
            if found is not None:
                yield found


def _sources(instruction: Instruction) -> tuple[str, ...]:
    """The names an instruction takes files from: stages, images or named contexts."""
    if isinstance(instruction, Copy) and instruction.from_:
        return (instruction.from_,)
    if isinstance(instruction, Run):
        return tuple(mount.options["from"] for mount in instruction.mounts if mount.options.get("from"))
    return ()


def stage_of_copy(dockerfile: Dockerfile, name: str) -> int | None:
    """The stage that `--from` means, by name or number; None for an image or a named context.  InvalidArgument for a number too high."""
    return _numbered(dockerfile, name) if _is_number(name) else stage_named(dockerfile, name)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _numbered(dockerfile: Dockerfile, number: str) -> int:
    if len(number) > 9 or int(number) >= len(dockerfile.stages):
        raise InvalidArgument(f"invalid stage index {number}", hint=f"there are {len(dockerfile.stages)} stages, counted from 0")
    return int(number)
