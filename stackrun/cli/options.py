"""argv → options: what every command shares.

Stack options may stand before the verb, as Docker Compose has it, or after it where the verb does not use the same letter itself
(`logs -f` follows).
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import Any, NoReturn

from stackrun.errors import InvalidArgument

_MOST_OF_STDIN = 20 << 20
"""As of any stack file."""


class Formatter(argparse.HelpFormatter):
    """As wide as the terminal, found without shutil, whose import costs every command 2 ms."""

    def __init__(self, prog: str) -> None:
        try:
            columns = int(os.environ.get("COLUMNS", "")) or os.get_terminal_size().columns
        except (ValueError, OSError):
            columns = 80
        super().__init__(prog, width=columns - 2)


class AsWritten(Formatter, argparse.RawDescriptionHelpFormatter):
    """Descriptions keep their lines."""


class Parser(argparse.ArgumentParser):
    """Raises InvalidArgument where argparse would exit."""

    def __init__(self, program: str, **words: Any) -> None:
        super().__init__(prog=program, allow_abbrev=False, conflict_handler="resolve", **{"formatter_class": Formatter, **words})

    def parse(self, argv: list[str], options: argparse.Namespace) -> None:
        """Adds to `options`. Operands and options may mix, unless the last operand is a command with options of its own."""
        if any(action.nargs == argparse.REMAINDER for action in self._actions):
            self.parse_args(argv, options)
        else:
            self.parse_intermixed_args(argv, options)

    def error(self, message: str) -> NoReturn:
        raise InvalidArgument(message, hint=f"see `{self.prog} --help`")


def add_stack_options(parser: argparse.ArgumentParser, *, after_verb: bool) -> None:
    """Options of the program as a whole; after the verb they add to what stood before it."""
    absent: Any = argparse.SUPPRESS if after_verb else None
    group = parser.add_argument_group("options of every command")

    def add(*flags: str, help: str, default: Any = absent, **words: Any) -> None:
        group.add_argument(*flags, help=argparse.SUPPRESS if after_verb else help, default=default, **words)

    add("-f", "--file", dest="files", action="append", metavar="FILE", help="stack file, repeatable; - is stdin")
    add("-p", "--project-name", metavar="NAME", help="name of the stack")
    add("--project-directory", metavar="DIR", help="what relative paths start from")
    add("--env-file", dest="env_files", action="append", metavar="FILE", help="variables for interpolation, repeatable")
    add("--profile", dest="profiles", action="append", metavar="NAME", help="enable a profile, repeatable")
    add(
        "-H",
        "--host",
        dest="hosts",
        action="append",
        metavar="URL",
        help="another engine, or $STACKRUN_HOST: unix:///path, tcp://host:port",
    )
    add("--root", metavar="DIR", help="state of our own engine, or $STACKRUN_ROOT (/var/lib/stackrun)")
    add("--ansi", choices=("auto", "never", "always"), help="colours and live progress")
    add("--no-color", action="store_true", help="no colours", default=argparse.SUPPRESS if after_verb else False)
    add("--progress", choices=("auto", "tty", "plain", "quiet"), help="how progress is shown")


def add_services(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="these alone; otherwise all")


def add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-t", "--timeout", type=seconds, metavar="SECONDS", help="how long a stop may take before SIGKILL")


def seconds(text: str) -> float:
    """`10`, `1m30s` → seconds."""
    from stackrun.units import parse_duration

    return parse_duration(float(text) if text.replace(".", "", 1).isdigit() else text)


def source(options: argparse.Namespace) -> dict[str, object]:
    """Where the definition is found, as the wire form of api.stacks.StackSource."""
    files = list(options.files or ())
    return {
        "working_dir": os.getcwd(),
        "files": files,
        "project_name": options.project_name or "",
        "project_directory": options.project_directory or "",
        "env_files": list(options.env_files or ()),
        "profiles": list(options.profiles or ()),
        "environment": dict(os.environ),
        "stdin": _stdin(options) if "-" in files else None,
    }


def _stdin(options: argparse.Namespace) -> str:
    """Read once: a command may need the definition more than once."""
    if not hasattr(options, "stdin_text"):
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")  # what is no text is told at its place, as of any file
        options.stdin_text = sys.stdin.read(_MOST_OF_STDIN + 1)
        if len(options.stdin_text) > _MOST_OF_STDIN:
            raise InvalidArgument(f"stdin is larger than {_MOST_OF_STDIN >> 20} MB", hint="is it the right file?")
    return str(options.stdin_text)
