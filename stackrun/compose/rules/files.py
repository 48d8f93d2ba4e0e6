"""Files that a stack is made of or refers to: they are there, can be read, and lead to no circle."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Service, Stack
from stackrun.compose.textfile import Unreadable, contents

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
_STAGE = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*\S+(?:\s+AS\s+(\S+))?\s*(?:#.*)?$", re.IGNORECASE | re.MULTILINE)


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


@GROUP.rule("undefined-stage", "error", "The stage to build is none that the Dockerfile has.", "references")
def undefined_stage(stack: Stack) -> Iterator[Found]:
    for service, context in _builds(stack):
        target, file = service.text("build", "target"), _dockerfile(service, context)
        inline = service.text("build", "dockerfile_inline")
        if not target or target.isdigit() or not (file or inline) or "$" in target:
            continue
        try:
            text = inline or contents(file).decode("utf-8", "replace")
        except Unreadable:
            continue
        stages = [found[1] for found in _STAGE.finditer(re.sub(r"\\\s*\n", " ", text)) if found[1]]
        if target.lower() not in [one.lower() for one in stages]:
            listed = f"its stages are {', '.join(stages[:10])}" if stages else "it names no stage: FROM … AS NAME"
            hint = stack.near(target, stages) or listed
            yield Found(service.at("build", "target"), f'service "{service.name}": the Dockerfile has no stage "{target}"', hint)


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
