"""`config`: the stack as it was understood, with every default, variable and merge resolved."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stackrun.cli import project
from stackrun.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from stackrun.compose.resolved import Resolved
    from stackrun.compose.template import Variable

LISTS = ("services", "volumes", "images", "networks", "profiles", "models")


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="these and what they depend on, whatever their profiles are")
    parser.add_argument("--format", choices=("yaml", "json"), default="", help="yaml, or json; --variables is a table otherwise")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing, only check")
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="write there instead of stdout")
    parser.add_argument("--hash", default="", metavar="SERVICE", help="the services' configuration hashes; * for all")
    parser.add_argument("--environment", action="store_true", help="what variables are looked up in, NAME=value")
    parser.add_argument("--variables", action="store_true", help="the variables that the files name")
    parser.add_argument("--resolve-image-digests", action="store_true", help="pin every image to what its registry has now")
    parser.add_argument("--lock-image-digests", action="store_true", help="the same, as an override file of the images alone")
    for what, help in (
        ("interpolate", "leave variables as they are written"),
        ("normalize", "add no names, default network or implied dependencies"),
        ("path-resolution", "leave relative paths as they are written"),
        ("env-resolution", "leave env_file and label_file as they are"),
        ("consistency", "do not check what refers to what; the output may be no valid stack"),
    ):
        parser.add_argument(f"--no-{what}", action="store_true", help=help)
    for listed in LISTS:
        parser.add_argument(f"--{listed}", dest="listed", action="store_const", const=listed, help=f"names of the {listed} alone")


def run(options: argparse.Namespace) -> int:
    text = "".join(f"{line}\n" for line in _hashes(options)) if options.hash else _text(options)
    if options.quiet:
        return 0
    if options.output:
        from pathlib import Path

        Path(options.output).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


def _text(options: argparse.Namespace) -> str:
    if options.format == "" and not options.variables:
        options.format = "yaml"
    interpolate = not (options.no_interpolate or options.variables)
    stack = _resolved(options, interpolate=interpolate)
    if options.variables:
        return _variables(stack.tree, options.format)
    if options.listed or options.environment:
        lines = _listed(stack, options.listed) if options.listed else _environment(stack.environment)
        return "".join(f"{line}\n" for line in lines)
    tree = stack.tree
    if options.resolve_image_digests or options.lock_image_digests:
        tree = _pinned(tree, alone=options.lock_image_digests)
    if options.quiet:
        return ""
    from stackrun.compose import render

    if interpolate:
        return (render.to_json if options.format == "json" else render.to_yaml)(tree)
    return (render.written_json if options.format == "json" else render.written_yaml)(tree)


def _resolved(options: argparse.Namespace, *, interpolate: bool) -> Resolved:
    from stackrun.compose.phases import Phases
    from stackrun.compose.resolved import resolved
    from stackrun.stack.graph import cycle_faults

    phases = Phases(
        interpolate=interpolate,
        normalize=not options.no_normalize,
        paths=not options.no_path_resolution,
        env_files=not (options.no_env_resolution or options.listed or options.variables),
        consistency=not options.no_consistency,
        services=tuple(options.services),
    )
    stack = resolved(project.stack_source(options), phases, cycle_faults)
    for warning in stack.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return stack


# --- lists ----------------------------------------------------------------------------------------


def _listed(stack: Resolved, what: str) -> Iterable[str]:
    if what == "profiles":
        return stack.profiles
    if what == "images":
        return [_image(stack.tree["name"], name, service) for name, service in stack.tree["services"].items()]
    if what == "models":
        return sorted({str(model["model"]) for model in stack.tree.get("models", {}).values()})
    return list(stack.tree.get(what, {}))


def _image(project_name: str, name: str, service: Mapping[str, Any]) -> str:
    return str(service.get("image") or f"{project_name}-{name}")


def _environment(environment: Mapping[str, str]) -> Iterable[str]:
    return [f"{name}={environment[name]}" for name in sorted(environment)]


def _hashes(options: argparse.Namespace) -> Iterable[str]:
    """As the containers' labels carry them."""
    from stackrun.stack.content import read_contents
    from stackrun.stack.desired import desired
    from stackrun.stack.graph import start_order

    stack = project.load(options, for_up=False)
    services = desired(stack, start_order(stack), contents=read_contents(stack), state_dir="").services
    for name in sorted(services) if options.hash == "*" else sorted(options.hash.split(",")):
        if name not in services:
            raise NotFound(f"no such service: {name}")
        yield f"{name} {services[name].config_hash}"


# --- variables ------------------------------------------------------------------------------------

_COLUMNS = ("NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE")
_CELL_WIDTH = 20


def _variables(tree: Mapping[str, Any], form: str) -> str:
    """By name; of a variable that is named more than once the last mention counts."""
    from stackrun.compose.template import variables

    found: dict[str, Variable] = {variable.name: variable for text in _strings(tree) for variable in variables(text)}
    rows = [found[name] for name in sorted(found)]
    if form:
        return _variables_as(form, rows)
    cells = [_COLUMNS, *((row.name, str(row.required).lower(), row.default, row.alternate) for row in rows)]
    widths = [max(_CELL_WIDTH, *(len(row[column]) + 3 for row in cells)) for column in range(len(_COLUMNS) - 1)]
    lines = ("".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)) for row in cells)
    return "".join(f"{line}\n" for line in lines)


def _variables_as(form: str, rows: list[Variable]) -> str:
    """Docker Compose's words, which are other ones in YAML."""
    if form == "json":
        words = ("Name", "DefaultValue", "PresenceValue", "Required")
    else:
        words = ("name", "defaultvalue", "presencevalue", "required")
    table = {row.name: dict(zip(words, (row.name, row.default, row.alternate, row.required), strict=True)) for row in rows}
    if form == "json":
        return json.dumps(table, indent=4, ensure_ascii=False) + "\n"
    from stackrun.compose.render import written_yaml

    return written_yaml(table)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


# --- digests --------------------------------------------------------------------------------------


def _pinned(tree: Mapping[str, Any], *, alone: bool) -> dict[str, Any]:
    """Each image with the digest that its registry gives its tag now; `alone` leaves the images of services and nothing else."""
    images = dict.fromkeys(str(service["image"]) for service in tree["services"].values() if service.get("image"))
    for image in images:
        if "$" in image:
            hint = "leave --no-interpolate out"
            raise InvalidArgument(f"image {image} has a variable, so no registry can tell its digest", hint=hint)
    digests = {image: _with_digest(image) for image in images}
    services: dict[str, Any] = {}
    for name, service in tree["services"].items():
        image = service.get("image", "")
        pinned = {"image": digests[image]} if image else {}
        services[name] = pinned if alone else {**service, **pinned}
    return {"services": services} if alone else {**tree, "services": services}


def _with_digest(image: str) -> str:
    import hashlib

    from stackrun.image.auth import stored_credentials
    from stackrun.image.reference import parse
    from stackrun.image.registry import RegistryClient

    reference = parse(image).with_default_tag()
    if reference.digest:
        return f"{reference.name}@{reference.digest}"
    client = RegistryClient(reference, stored_credentials(reference.domain))
    digest = hashlib.sha256(client.manifest(reference.tag).data).hexdigest()
    return f"{reference.canonical}@sha256:{digest}"
