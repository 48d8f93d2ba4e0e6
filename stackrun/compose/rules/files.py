"""Files that a stack is made of or refers to: they are there, can be read, and lead to no circle."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stackrun.compose.origins import Note
from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Service, Stack
from stackrun.compose.textfile import Unreadable, contents
from stackrun.compose.tree import Place

if TYPE_CHECKING:
    from stackrun.image.dockerfile import Fault
    from stackrun.image.instructions import Dockerfile

GROUP = Group("files")

GROUP.reported("missing-file", "A file that the stack is made of is not there.", stage="schema")
GROUP.reported("unreadable-file", "A file that the stack is made of cannot be read.", stage="schema")
GROUP.reported("remote-file", "A file is named by an address on the network.", stage="schema")
GROUP.reported("env-file", "A line of an env file is no variable.", stage="schema")
GROUP.reported("env-file-format", "An env file is said to have a format that there is not.", stage="schema")
GROUP.reported("include-cycle", "Files include each other in a circle.", stage="references")
GROUP.reported("include-conflict", "A name is defined in a file and, otherwise, in one that it includes.", stage="references")
GROUP.reported("extends-cycle", "Services extend each other in a circle.", stage="references")
GROUP.reported("undefined-base", "The service to extend is not there.", stage="references")

_REMOTE = re.compile(r"^(?:[a-z][a-z0-9+.\-]*://|[\w.\-]+@[\w.\-]+:|github\.com/|docker-image:|service:|oci-layout:)")


def _builds(stack: Stack) -> Iterator[tuple[Service, str]]:
    """Services built from a folder of this machine, each with the folder."""
    for service in stack.services:
        context = service.text("build", "context")
        if context.startswith("/") and "\0" not in context and not _REMOTE.match(context):
            yield service, context


def _shown(stack: Stack, path: str) -> str:
    return os.path.relpath(path, stack.directory) if path.startswith(stack.directory.rstrip("/") + "/") else path


@GROUP.rule("missing-context", "warning", "The folder to build an image from is not there.")
def missing_context(stack: Stack) -> Iterator[Found]:
    for service, context in _builds(stack):
        if not os.path.isdir(context):
            message = f'service "{service.name}" is built from {_shown(stack, context)}, which is no folder'
            yield Found(service.at("build", "context"), message, "correct the path: it starts at the folder of the stack file")


def _dockerfile(service: Service, context: str) -> str:
    """The absolute path of the Dockerfile; empty when there is none to look for."""
    name = service.text("build", "dockerfile")
    if not name or service.text("build", "dockerfile_inline") or not os.path.isdir(context):
        return ""
    return os.path.join(context, name)


@GROUP.rule("missing-dockerfile", "warning", "The folder to build an image from has no such Dockerfile.")
def missing_dockerfile(stack: Stack) -> Iterator[Found]:
    for service, context in _builds(stack):
        file = _dockerfile(service, context)
        if file and not os.path.lexists(file):
            message = f'service "{service.name}" is built by {_shown(stack, file)}, which is not there'
            yield Found(service.at("build", "dockerfile"), message, "dockerfile: the path below the context")


@dataclass(frozen=True, slots=True)
class _Built:
    """A service, and what the Dockerfile that it is built by says; `path` is absolute, "" for one that stands in the stack file."""

    service: Service
    path: str
    stages: tuple[str, ...]
    faults: tuple[Fault, ...]


def _dockerfiles(stack: Stack) -> tuple[_Built, ...]:
    """Those that can be read; one of a syntax of its own is for who knows it."""
    from stackrun.image.dockerfile import examine  # 30 ms, for stacks that build

    read: dict[tuple[str, str], tuple[Dockerfile, tuple[Fault, ...]]] = {}
    found = []
    for service, context in _builds(stack):
        inline, path = service.text("build", "dockerfile_inline"), _dockerfile(service, context)
        try:
            if (path, inline) not in read and (path or inline):
                read[path, inline] = examine(inline or contents(path).decode("utf-8", "replace"))
        except Unreadable:
            continue
        dockerfile, faults = read.get((path, inline), (None, ()))
        if dockerfile and "docker/dockerfile" in (dockerfile.syntax or "docker/dockerfile"):
            found.append(_Built(service, path, tuple(stage.name for stage in dockerfile.stages), faults))
    return tuple(found)


@GROUP.rule("bad-dockerfile", "error", "A Dockerfile has a fault.", "references")
def bad_dockerfile(stack: Stack) -> Iterator[Found]:
    told = set()
    for built in stack.once(_dockerfiles) if any(_builds(stack)) else ():
        service = built.service
        if built.path and built.path in told:
            continue
        told.add(built.path)
        for fault in built.faults:
            if built.path:
                notes = (Note(service.at("build"), f'service "{service.name}" is built by it'),)
                yield Found(Place(stack.shown(built.path), fault.line, 1 if fault.line else 0), fault.message, fault.hint, notes)
            else:
                yield Found(_inline_place(stack, service, fault.line), fault.message, fault.hint)


def _inline_place(stack: Stack, service: Service, line: int) -> Place:
    """A line of `dockerfile_inline`; in anything but a literal block scalar, its beginning."""
    place = service.at("build", "dockerfile_inline")
    return Place(place.path, place.line + line, 1) if line and stack.rest_of_line(place).startswith("|") else place


@GROUP.rule("undefined-stage", "error", "The stage to build is none that the Dockerfile has.", "references")
def undefined_stage(stack: Stack) -> Iterator[Found]:
    for built in stack.once(_dockerfiles) if any(_builds(stack)) else ():
        service, target = built.service, built.service.text("build", "target")
        if not target or "$" in target or built.faults or target.lower() in built.stages or _is_stage_number(target, len(built.stages)):
            continue
        stages = [name for name in built.stages if name]
        listed = f"its stages are {', '.join(stages[:10])}" if stages else "it names no stage: FROM … AS NAME"
        hint = stack.near(target.lower(), stages) or listed
        yield Found(service.at("build", "target"), f'service "{service.name}": the Dockerfile has no stage "{target}"', hint)


def _is_stage_number(target: str, count: int) -> bool:
    return target.isascii() and target.isdigit() and len(target) < 10 and int(target) < count


def _missing_source(stack: Stack, section: str) -> Iterator[Found]:
    for resource in stack.resources(section):
        file = resource.text("file")
        if file and "\0" not in file and resource.get("external") is not True and not os.path.lexists(file):
            message = f'{section[:-1]} "{resource.name}" is in {_shown(stack, file)}, which is not there'
            yield Found(resource.at("file"), message, "create it before the stack is started")


@GROUP.rule("missing-secret-file", "warning", "The file with a secret is not there.")
def missing_secret_file(stack: Stack) -> Iterator[Found]:
    yield from _missing_source(stack, "secrets")


@GROUP.rule("missing-config-file", "warning", "The file with a config is not there.")
def missing_config_file(stack: Stack) -> Iterator[Found]:
    yield from _missing_source(stack, "configs")


@GROUP.rule("unset-source", "warning", "The variable that holds a config or secret is not set.")
def unset_source(stack: Stack) -> Iterator[Found]:
    for section in ("secrets", "configs"):
        for resource in stack.resources(section):
            name = resource.text("environment")
            if name and resource.get("external") is not True and name not in stack.environment:
                message = f'{section[:-1]} "{resource.name}" is taken from the variable {name}, which is not set'
                yield Found(resource.at("environment"), message, "set it where the stack is started, or in .env")


_DECIMAL = re.compile(r"[1-7][0-7]{2,3}(?=\s*(?:[,}#]|$))")


@GROUP.rule("decimal-mode", "warning", "The permissions of a file are written as a decimal number.")
def decimal_mode(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        places = [node.at("mode") for section in ("secrets", "configs") for node in service.nodes(section) if "mode" in node]
        places += [node.at("tmpfs", "mode") for node in service.nodes("volumes") if "mode" in node.map("tmpfs")]
        for place in places:
            written = _DECIMAL.match(stack.rest_of_line(place))
            if written:
                message = f'service "{service.name}": {written[0]} is decimal, so the permissions are {int(written[0]):04o}'
                yield Found(place, message, f"write 0{written[0]}")
