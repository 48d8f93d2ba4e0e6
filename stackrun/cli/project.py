"""Which stack a command means, and its containers as the engine tells them.

A name given (`-p`, COMPOSE_PROJECT_NAME) is enough: the stack may be there though its file is not.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from stackrun.api import labels
from stackrun.cli.options import source
from stackrun.errors import NotFound

if TYPE_CHECKING:
    import argparse

    from stackrun.api.stacks import StackSource
    from stackrun.client.http import Transport
    from stackrun.compose.model import Project

Summary = dict[str, Any]
"""One element of GET /containers/json."""


def name(options: argparse.Namespace) -> str:
    """The stack's name, from the definition when nobody gave it."""
    given = options.project_name or os.environ.get("COMPOSE_PROJECT_NAME", "")
    return given or load(options).name


def load(options: argparse.Namespace) -> Project:
    """The resolved definition, read in this process. ComposeError, NotFound."""
    from stackrun.compose.load import load as load_project

    return load_project(stack_source(options))


def stack_source(options: argparse.Namespace) -> StackSource:
    from stackrun.api.stacks import StackSource

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
    return int(number) if str(number).isdigit() else 0
