"""`build`: the images of the services named, or of all that have a build; no container is touched."""

from __future__ import annotations

import argparse
import os

from stackrun.cli.operations import follow, operate
from stackrun.cli.options import add_services, source
from stackrun.cli.render import Display, display
from stackrun.errors import InvalidArgument


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    add_services(parser)
    flag = parser.add_argument
    flag("--build-arg", action="append", default=[], metavar="NAME[=VALUE]", help="a build argument, before those of the file")
    flag("--no-cache", action="store_true", help="take no step from the cache")
    flag("--pull", action="store_true", help="pull newer versions of the images that they are built on")
    flag("--with-dependencies", action="store_true", help="build what the services depend on, too")
    flag("-q", "--quiet", action="store_true", help="no progress")


def run(options: argparse.Namespace) -> int:
    asked = {
        "services": list(options.services),
        "with_dependencies": options.with_dependencies,
        "no_cache": options.no_cache,
        "pull": options.pull,
        "arguments": dict(map(_argument, options.build_arg)),
    }
    shown = Display() if options.quiet else display(options, "build")
    follow(operate(options, "build", {"source": source(options), "options": asked}), shown, "build")
    return 0


def _argument(text: str) -> tuple[str, str]:
    """Without a value it is the caller's variable of that name."""
    name, separator, value = text.partition("=")
    if not name or (not separator and name not in os.environ):
        raise InvalidArgument(f"--build-arg {text}: {name or 'it'} has no value", hint="--build-arg NAME=VALUE")
    return name, value if separator else os.environ[name]
