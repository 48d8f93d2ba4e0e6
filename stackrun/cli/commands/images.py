"""`images`: what the stack's containers were made of; outside a stack, what the engine holds."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from stackrun.cli import project, tables
from stackrun.cli.engines import connect
from stackrun.cli.options import add_services
from stackrun.units import format_bytes

_SHORT_ID = 12
_STACK_TITLES = ("CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE", "CREATED")
_ENGINE_TITLES = ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE")


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    add_services(parser)
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("-q", "--quiet", action="store_true", help="ids alone")


def run(options: argparse.Namespace) -> int:
    link = connect(options)
    stack = _stack_name(options)
    rows = _of_engine(link) if stack is None else _of_stack(link, stack, tuple(options.services))
    if options.quiet:
        for image in dict.fromkeys(row["ID"] for row in rows):
            print(image)
    elif options.format == "json":
        print(json.dumps(rows, ensure_ascii=False))
    else:
        print(_table(rows, of_stack=stack is not None), end="")
    return 0


def _stack_name(options: argparse.Namespace) -> str | None:
    """None outside of a stack: nobody named one, and no stack file is in this directory or above it."""
    from stackrun.compose.load import discover

    named = options.files or options.project_name or options.project_directory or options.services
    return project.name(options) if named or discover(os.getcwd(), os.environ) else None


def _of_stack(link: Any, stack: str, services: tuple[str, ...]) -> list[dict[str, Any]]:
    images: dict[str, Any] = {}
    rows = []
    for one in project.containers(link, stack, services=services):
        image_id = one["ImageID"]
        if image_id not in images:
            images[image_id] = link.json("GET", f"/images/{image_id}/json")
        rows.append({"ContainerName": project.container_name(one), **_described(images[image_id], one["Image"])})
    return rows


def _of_engine(link: Any) -> list[dict[str, Any]]:
    rows = []
    for image in link.json("GET", "/images/json"):
        for tag in image.get("RepoTags") or ["<none>:<none>"]:
            rows.append(_described(image, tag))
    return rows


def _described(image: dict[str, Any], reference: str) -> dict[str, Any]:
    repository, tag = split(reference)
    platform = "/".join(filter(None, (image.get("Os", ""), image.get("Architecture", ""), image.get("Variant", ""))))
    return {
        "ID": image["Id"],
        "Repository": repository,
        "Tag": tag,
        "Platform": platform,
        "Size": image.get("Size", 0),
        "Created": image.get("Created", ""),
    }


def split(reference: str) -> tuple[str, str]:
    """`localhost:5000/shop/api:1` → its repository and its tag; a port is no tag."""
    name = reference.partition("@")[0]
    repository, separator, tag = name.rpartition(":")
    return (repository, tag) if separator and "/" not in tag else (name, "latest")


def _table(rows: list[dict[str, Any]], *, of_stack: bool) -> str:
    titles = _STACK_TITLES if of_stack else _ENGINE_TITLES
    return tables.table(titles, [[_cell(row, title) for title in titles] for row in rows])


def _cell(row: dict[str, Any], title: str) -> str:
    match title:
        case "CONTAINER":
            return str(row["ContainerName"])
        case "IMAGE ID":
            return str(row["ID"].removeprefix("sha256:")[:_SHORT_ID])
        case "SIZE":
            return format_bytes(row["Size"])
        case "CREATED":
            return _created(row["Created"])
    return str(row[title.capitalize()])


def _created(value: object) -> str:
    """The list tells seconds since the epoch, inspect an ISO 8601 time."""
    if isinstance(value, int | float):
        return tables.ago(value) if value > 0 else "N/A"
    if not value or str(value).startswith("0001-"):
        return "N/A"
    from datetime import datetime

    return tables.ago(datetime.fromisoformat(str(value)[:19] + "+00:00").timestamp())
