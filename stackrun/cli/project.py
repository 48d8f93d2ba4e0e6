"""Which stack a command means, and its containers as the engine tells them.

A name given (`-p`, COMPOSE_PROJECT_NAME) is enough: the stack may be there though its file is not.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from stackrun.api import labels
from stackrun.cli.options import source
from stackrun.errors import NotFound

if TYPE_CHECKING:
    import argparse

    from stackrun.api.stack_source import StackSource
    from stackrun.client.http import Transport
    from stackrun.compose.model import Project

Summary = dict[str, Any]
"""One element of GET /containers/json."""


_KEY = re.compile(r"^(services|include|name)[ \t]*:(.*)$", re.MULTILINE)
_INTRICATE = re.compile(r"^(?:<<|[?{\"'&*!%])", re.MULTILINE)
_WORD = re.compile(r"""\s+(["']?)([a-z][a-z0-9_-]*)\1[ \t]*(?:#.*)?""")
_NOT_TEXT = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")


def name(options: argparse.Namespace) -> str:
    """The stack's name; of the definition as little is read as tells it, since `ps` must be quick."""
    given = options.project_name or os.environ.get("COMPOSE_PROJECT_NAME", "")
    return given or _name_at_a_glance(options) or load(options, for_up=False).name


def name_of_past(options: argparse.Namespace) -> str:
    """The same, also of a stack whose file tells nothing (any more): then that of the folder, which it had unless its file named it."""
    from stackrun.compose.faults import Faults
    from stackrun.compose.source import normalized_name, resolve
    from stackrun.errors import ComposeError, NoStackFile

    try:
        return name(options)
    except ComposeError:
        folder = resolve(stack_source(options), Faults()).directory
    except NoStackFile:
        folder = os.path.abspath(options.project_directory or "")
    found = normalized_name(os.path.basename(folder))
    if not found:
        raise NotFound("there is no stack file that names the stack, and the folder's name is no name for one", hint="name it with -p")
    return found


def _name_at_a_glance(options: argparse.Namespace) -> str:
    """Empty when the whole definition must be read to tell it."""
    from stackrun.compose.faults import Faults
    from stackrun.compose.source import STDIN, normalized_name, resolve

    inputs = resolve(stack_source(options), Faults())
    if inputs.project_name or STDIN in inputs.files:
        return inputs.project_name
    found = os.path.basename(inputs.directory)
    for file in inputs.files:
        written = written_name(_content(file), found)
        if written is None:
            return ""
        found = written
    return normalized_name(found)


def _content(file: str) -> str:
    from pathlib import Path

    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def written_name(text: str, otherwise: str) -> str | None:
    """The word after `name:` at the left margin of a stack file, `otherwise` without one.

    None when it is not plain to see: no key of a stack file stands at the left margin, or something more intricate does.
    """
    keys = _KEY.findall(text)
    if not keys or _INTRICATE.search(text):
        return None
    for key, value in keys:
        if key == "name":
            word = _WORD.fullmatch(value)
            if not word or word[2] in _NOT_TEXT:
                return None
            otherwise = word[2]
    return otherwise


def load(options: argparse.Namespace, *, for_up: bool = True) -> Project:
    """The resolved definition, read in this process; `for_up` refuses what our engine cannot do. ComposeError, NoStackFile."""
    from stackrun.compose.load import load as load_project
    from stackrun.stack.graph import cycle_faults

    return load_project(stack_source(options), for_up=for_up, graph_faults=cycle_faults)


def stack_source(options: argparse.Namespace) -> StackSource:
    from stackrun.api.stack_source import StackSource

    words: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in source(options).items()}
    return StackSource(**words)


def containers(transport: Transport, project: str, *, all: bool = True, services: tuple[str, ...] = ()) -> list[Summary]:
    """The stack's containers by service and number; NotFound for a service that has none.

    One-off containers belong to `run`, not to a service.
    """
    filters = {"label": [f"{labels.PROJECT}={project}", f"{labels.ONEOFF}=False"]}
    found: Any = transport.json("GET", "/containers/json", query={"all": all, "filters": filters})
    wanted = [one for one in found if not services or service_of(one) in services]
    for service in services:
        if not any(service_of(one) == service for one in wanted):
            raise NotFound(f"no such service: {service}", hint=f"no container of stack {project} belongs to it; see `stackrun ps -a`")
    return sorted(wanted, key=lambda one: (service_of(one), number_of(one)))


def container_name(summary: Summary) -> str:
    return str(summary["Names"][0]).removeprefix("/")


def short_name(project: str, name: str) -> str:
    """`shop-api-1` of stack `shop` → `api-1`, as Docker Compose names it in front of logs; a name of its own stays whole."""
    return name.removeprefix(f"{project}-")


def service_of(summary: Summary) -> str:
    return str(summary["Labels"].get(labels.SERVICE, ""))


def number_of(summary: Summary) -> int:
    number = summary["Labels"].get(labels.CONTAINER_NUMBER, "0")
    text = str(number)
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else 0
