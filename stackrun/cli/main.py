"""The command line: finds the verb, imports its module alone, runs it.

A command that only asks the daemon is over in well under 100 ms, so nothing heavy is imported here.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from stackrun.cli import exit, interrupts
from stackrun.cli.options import AsWritten, Parser, add_stack_options
from stackrun.errors import InvalidArgument

COMMANDS = {
    "up": ("up", "create and start the stack"),
    "plan": ("plan", "show what up would do, and why, without doing anything"),
    "drift": ("drift", "tell what is otherwise than declared, down to the kernel; --repair brings it back"),
    "watch": ("watch", "bring the stack up, and again whenever a file of it changes"),
    "keep": ("keep", "tell whether and how the stack is kept as declared; on or off switches that"),
    "history": ("revisions", "list what the stack was brought to by each up that succeeded"),
    "diff": ("revisions", "show what differs between two revisions, or one and the file"),
    "rollback": ("revisions", "bring the stack back to a revision"),
    "down": ("down", "stop the stack and remove what belongs to it"),
    "ps": ("ps", "list the stack's containers"),
    "ls": ("ls", "list the stacks"),
    "logs": ("logs", "show what the services print"),
    "why": ("why", "tell why a service is as it is: what was done with it, and what happened to it"),
    "events": ("events", "show what happens to the stack, and what is decided, as it happens"),
    "exec": ("exec", "run a command in a service's container"),
    "cp": ("cp", "copy files out of a service's container, or into them"),
    "start": ("lifecycle", "start services that exist"),
    "stop": ("lifecycle", "stop services"),
    "restart": ("lifecycle", "restart services"),
    "kill": ("lifecycle", "send a signal to services"),
    "config": ("config", "print the resolved stack"),
    "validate": ("validate", "tell every fault of a stack file"),
    "rules": ("rules", "list what validate looks for"),
    "graph": ("graph", "show the dependencies, the start order and the critical path"),
    "schema": ("schema", "print the JSON Schema of stack files"),
    "init": ("init", "write a stack file to start from"),
    "completion": ("completion", "print what makes bash, zsh or fish complete our commands"),
    "build": ("build", "build the services' images"),
    "pull": ("pull", "fetch the services' images"),
    "images": ("images", "list the images the stack uses"),
    "load": ("archives", "load images from an archive"),
    "import": ("archives", "make an image of a root file system"),
    "version": ("version", "show the versions of client and engine"),
    "info": ("info", "show what the engine and this machine can do"),
    "check": ("check", "tell what this kernel and this user can do, and what each lack costs"),
    "daemon": ("daemon", "run our own engine in the foreground, or stop it"),
}
"""Verb → its module in cli.commands and one line of help, in the order `--help` lists them."""

COMPLETE = "__complete"
"""What the shells' completion asks; no verb of anybody's."""


def main() -> int:
    """The `stackrun` program. Returns the exit code."""
    try:
        with interrupts.heard():
            code = run(sys.argv[1:])
            sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt) as error:
        return exit.report(error)


def run(argv: list[str]) -> int:
    program = _program()
    if argv[:1] == [COMPLETE]:
        return _complete(argv[1:], program)
    options = program.parse_args(argv)
    verb, *rest = options.command or ["help"]
    if options.version:
        verb, rest = "version", ["--short"]
    if verb == "help":
        (_verb_parser(rest[0], _module(rest[0])) if rest else program).print_help()
        return 0
    module = _module(verb)
    _verb_parser(verb, module).parse(rest, options)
    options.verb = verb
    with ExitStack() as options.at_end:
        code: int = module.run(options)
    return code


def parsed(verb: str, argv: Sequence[str]) -> argparse.Namespace:
    """The options that the verb would get."""
    options = _program().parse_args([verb])
    _verb_parser(verb, _module(verb)).parse(list(argv), options)
    return options


def _complete(words: list[str], program: Parser) -> int:
    from stackrun.cli import completing

    summaries = {verb: summary for verb, (_, summary) in COMMANDS.items()}
    return completing.run(words, summaries, program, lambda verb: _verb_parser(verb, _module(verb)))


def _program() -> Parser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {verb:{width}}  {summary}" for verb, (_, summary) in COMMANDS.items())
    parser = Parser(
        "stackrun",
        usage="stackrun [OPTION…] COMMAND …",
        description="Bring a stack of services up from a Compose file, and keep it up.",
        epilog=f"commands:\n{listing}\n\n`stackrun COMMAND --help` tells more.",
        formatter_class=AsWritten,
    )
    add_stack_options(parser, after_verb=False)
    parser.add_argument("--version", action="store_true", help="print the version")
    command = parser.add_argument("command", nargs=argparse.PARSER, help=argparse.SUPPRESS)
    command.required = False
    return parser


def _verb_parser(verb: str, module: Any) -> Parser:
    parser = Parser(f"stackrun {verb}", description=COMMANDS[verb][1])
    add_stack_options(parser, after_verb=True)
    module.arguments(parser, verb)
    return parser


def _module(verb: str) -> Any:
    if verb not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(verb, COMMANDS, 1)
        raise InvalidArgument(f"unknown command: {verb}", hint=f"did you mean {near[0]}?" if near else "see `stackrun --help`")
    return importlib.import_module(f"stackrun.cli.commands.{COMMANDS[verb][0]}")
