"""`config`: the stack as it was understood, with every default, variable and merge resolved."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from stackrun.cli import project
from stackrun.compose.model import Project
from stackrun.errors import NotFound


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="these and what they depend on")
    parser.add_argument("--format", choices=("yaml", "json"), default="yaml")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing, only check")
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="write there instead of stdout")
    parser.add_argument("--hash", default="", metavar="SERVICE", help="the services' configuration hashes; * for all")
    for what in ("services", "volumes", "images", "networks", "profiles"):
        parser.add_argument(f"--{what}", dest="listed", action="store_const", const=what, help=f"names of the {what} alone")


def run(options: argparse.Namespace) -> int:
    stack = project.load(options, for_up=False)
    for warning in stack.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if options.quiet:
        return 0
    text = _text(stack, options)
    if options.output:
        Path(options.output).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


def _text(stack: Project, options: argparse.Namespace) -> str:
    if options.hash:
        return "".join(f"{line}\n" for line in _hashes(stack, options.hash))
    if options.listed:
        return "".join(f"{line}\n" for line in _listed(stack, options.listed))
    from stackrun.compose.render import to_json, to_yaml

    return (to_json if options.format == "json" else to_yaml)(stack)


def _listed(stack: Project, what: str) -> Iterable[str]:
    match what:
        case "services":
            return stack.services
        case "volumes":
            return stack.volumes
        case "networks":
            return stack.networks
        case "images":
            return [service.image or f"{stack.name}-{name}" for name, service in stack.services.items()]
    return sorted({profile for service in (*stack.services.values(), *stack.disabled_services.values()) for profile in service.profiles})


def _hashes(stack: Project, wanted: str) -> Iterable[str]:
    """As the containers' labels carry them."""
    from stackrun.stack.content import read_contents
    from stackrun.stack.desired import desired
    from stackrun.stack.graph import start_order

    services = desired(stack, start_order(stack), contents=read_contents(stack), state_dir="").services
    for name in sorted(services) if wanted == "*" else wanted.split(","):
        if name not in services:
            raise NotFound(f"no such service: {name}")
        yield f"{name} {services[name].config_hash}"
