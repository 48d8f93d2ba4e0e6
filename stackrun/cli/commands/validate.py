"""`validate`: every fault of a stack file at once, each at its place; starts nothing and asks no engine."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackrun.cli.project import stack_source
from stackrun.cli.render import colours
from stackrun.errors import InvalidArgument, StackrunError

if TYPE_CHECKING:
    from stackrun.cli.fixing import Fixed
    from stackrun.compose.rules.stack import Stack
    from stackrun.compose.validation import Validation
    from stackrun.errors import Diagnostic

_ROUNDS = 4
"""Of fixing: of two fixes of the same words the second is made in the next."""
FINDINGS, INCOMPLETE = 1, 2
"""Exit codes: something at or above --fail-on; not everything could be checked."""
_FORMATS = ("text", "json", "sarif", "github", "gitlab", "junit")
_LEVELS = ("error", "warning", "note")


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("paths", nargs="*", metavar="FILE", help="stack files, one override after the other; - is stdin")
    parser.add_argument("--format", choices=_FORMATS, default="text")
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="write the report there instead of stdout")
    parser.add_argument("--select", action="append", default=[], metavar="CODES", help="only these rules, groups or levels; commas between")
    parser.add_argument("--ignore", action="append", default=[], metavar="CODES", help="not these")
    parser.add_argument("--level", choices=_LEVELS, help="the least that is shown to a person (warning, or what --fail-on says)")
    parser.add_argument("--fail-on", choices=_LEVELS, default="error", help="the least that makes the exit code 1 (error)")
    parser.add_argument("--baseline", default="", metavar="FILE", help="findings that are known and do not count")
    parser.add_argument("--write-baseline", default="", metavar="FILE", help="write the findings of now as known ones")
    parser.add_argument("--fix", action="store_true", help="show as a diff what can be put right by itself")
    parser.add_argument("--apply", action="store_true", help="with --fix: write it, and check again")
    parser.add_argument("--unsafe-fixes", action="store_true", help="with --fix: also what changes what the stack does")
    parser.add_argument("--host", action="store_true", help="also look at this machine: ports, subnets, folders, memory")
    parser.add_argument("--explain", default="", metavar="CODE", help="what a rule means, why, and how it looks done right")


def run(options: argparse.Namespace) -> int:
    if options.explain:
        return _explain(options.explain)
    collecting = gc.isenabled()
    gc.disable()  # a seventh of the time: next to nothing of what is made is a cycle, and all of it is needed until the end
    try:
        return _run(options)
    finally:
        if collecting:
            gc.enable()


def _run(options: argparse.Namespace) -> int:
    from stackrun.cli.reports import baseline, report

    if options.apply and not options.fix:
        raise InvalidArgument("--apply is for --fix", hint="stackrun validate --fix --apply")
    options.files = options.paths or options.files
    options.level = options.level or max("warning", options.fail_on, key=_LEVELS.index)
    validation = _validated(options)
    if options.write_baseline:
        baseline.write(options.write_baseline, validation)
        count = len(validation.open)
        print(f"{options.write_baseline}: {count} finding{'' if count == 1 else 's'} noted", file=sys.stderr)
        return INCOMPLETE if not validation.complete else 0
    if options.fix:
        validation, written = _fixed(validation, options)
        if not written:
            return _exit_code(validation, options)
    _write(report.report(options.format)(validation, shown=options.level, colour=_coloured(options)), options.output)
    return _exit_code(validation, options)


def _validated(options: argparse.Namespace, unsaved: Mapping[str, str] | None = None) -> Validation:
    from stackrun.cli.reports import baseline
    from stackrun.compose.validation import validate
    from stackrun.stack.graph import cycle_faults

    return validate(
        stack_source(options),
        select=_words(options.select),
        ignore=_words(options.ignore),
        baseline=baseline.read(options.baseline) if options.baseline else frozenset(),
        graph_faults=cycle_faults,
        extra=(lambda stack: _host_faults(stack, options)) if options.host else None,
        unsaved=unsaved,
    )


def _fixed(validation: Validation, options: argparse.Namespace) -> tuple[Validation, bool]:
    """Show the edits, or make them and look again; whether they were made."""
    from stackrun.cli import fixing

    for round in range(_ROUNDS if options.apply else 1):
        found = fixing.fixed(validation, lambda texts: _validated(options, texts), unsafe=options.unsafe_fixes)
        if not found:
            if not round:
                print("nothing that could be fixed by itself", file=sys.stderr)
            break
        if not options.apply:
            _write("".join(_diff(found, options)), options.output)
            break
        for path, (before, after, count) in found.items():
            fixing.write(stack_source(options).working_dir, path, before, after)
            print(f"{path}: {count} fixed", file=sys.stderr)
        validation = _validated(options)
    return validation, options.apply


def _diff(found: Mapping[str, Fixed], options: argparse.Namespace) -> Iterator[str]:
    """For `patch` as it is, for a terminal without what it would obey."""
    from stackrun.cli import fixing
    from stackrun.cli.reports.report import visible

    exact = options.output or not sys.stdout.isatty()
    for path, one in found.items():
        for line in fixing.diff(path, one.before, one.after):
            yield line if exact else f"{visible(line[:-1])}\n"


def _host_faults(stack: Stack, options: argparse.Namespace) -> list[Diagnostic]:
    from stackrun.cli import preflight

    return list(preflight.check(stack, preflight.this_host(), own_ports=_own_ports(stack, options)))


def _own_ports(stack: Stack, options: argparse.Namespace) -> frozenset[tuple[int, str]]:
    """What the stack publishes now, if an engine is there to tell; none is started for that."""
    from stackrun.cli import engines, project

    engine = engines.chosen(options)
    if not engine.listening():
        return frozenset()
    try:
        found = project.containers(engines.connect(options), str(stack.root.get("name")))
    except StackrunError:
        return frozenset()
    ports = (port for one in found for port in one.get("Ports") or ())
    return frozenset((int(port["PublicPort"]), str(port["Type"])) for port in ports if port.get("PublicPort"))


def _words(lists: list[str]) -> tuple[str, ...]:
    return tuple(word.strip() for text in lists for word in text.split(",") if word.strip())


def _explain(code: str) -> int:
    from stackrun.compose.rules.catalog import page

    sys.stdout.write(page(code))
    return 0


def _coloured(options: argparse.Namespace) -> bool:
    return not options.output and colours(options)


def _write(text: str, output: str) -> None:
    """A file is UTF-8 whatever the locale is. What cannot be encoded, a name of a file that is no text for one, becomes an escape."""
    encoding = "utf-8" if output else sys.stdout.encoding or "utf-8"
    content = text.encode(encoding, "backslashreplace")
    if not output:
        sys.stdout.write(content.decode(encoding))
        return
    try:
        Path(output).write_bytes(content)
    except OSError as error:
        raise InvalidArgument(f"cannot write {output}: {(error.strerror or '').lower()}") from None


def _exit_code(validation: Validation, options: Any) -> int:
    if not validation.complete:
        return INCOMPLETE
    worst = validation.worst()
    return FINDINGS if worst is not None and _LEVELS.index(worst) <= _LEVELS.index(options.fail_on) else 0
