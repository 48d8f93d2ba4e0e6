"""Completion: what can stand at the end of an unfinished command line, told by the parsers themselves.

The shells' scripts (`completions`) only ask `stackrun __complete SHELL WORD…` and show the answer, so they know no verb or option and are
never out of date.  The answer is a line `KIND<tab>CURRENT`, KIND being words, files or directories and CURRENT the word that is completed,
then a line `VALUE<tab>DESCRIPTION` for each word.  A value that ends in `=` goes on.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stackrun.cli.sources import SOURCES, Values

ParserOf = Callable[[str], argparse.ArgumentParser]
HIDDEN_FROM = 3
"""Options that `--help` does not repeat for each verb are offered once so many characters of them are there."""
_MANY = (argparse.ZERO_OR_MORE, argparse.ONE_OR_MORE)


@dataclass(frozen=True, slots=True)
class Answer:
    """`kind` is words, files or directories; `current` the word as far as it is typed."""

    kind: str
    current: str
    values: Values = ()

    def lines(self) -> str:
        return "".join(f"{one}\t{two}\n" for one, two in ((self.kind, self.current), *self.values))


def run(argv: Sequence[str], verbs: Mapping[str, str], program: argparse.ArgumentParser, parser_of: ParserOf) -> int:
    """The hidden command `__complete`; `verbs` have their summaries."""
    shell, *words = argv or ["", ""]
    words = as_typed(words) if shell == "bash" else words
    print(complete(words or [""], verbs, program, parser_of).lines(), end="")
    return 0


def as_typed(pieces: Sequence[str]) -> list[str]:
    """bash splits words at = and : too and keeps the quotes; `--format`, `=`, `js` → `--format=js`."""
    words: list[str] = []
    joining = False
    for piece in pieces:
        separator = bool(piece) and not piece.strip("=:")
        if words and (separator or joining):
            words[-1] += piece
        else:
            words.append(piece)
        joining = separator
    return [_unquoted(word) for word in words]


def _unquoted(word: str) -> str:
    try:
        return "".join(shlex.split(word))
    except ValueError:  # the quote is not closed yet
        return word.replace('"', "").replace("'", "")


def complete(words: Sequence[str], verbs: Mapping[str, str], program: argparse.ArgumentParser, parser_of: ParserOf) -> Answer:
    """What can be the last of `words`, which are all words after the program's name; the last may be empty."""
    *before, current = words
    line = Line(program, program.parse_args([]))
    rest = line.read(before, stop_at_operand=True)
    if not rest and not line.operands:
        return line.answer(current, operands=(*verbs.items(), ("help", "tell more about a command")))
    verb, *after = rest
    if verb == "help" and not after:
        return Answer("words", current, _starting(verbs.items(), current))
    if verb not in verbs:
        return Answer("words", current)
    line = Line(parser_of(verb), line.options)
    line.read(after)
    return line.answer(current)


@dataclass(slots=True)
class Line:
    """A command line as far as it is typed, against one parser; `options` collects those that say which stack is meant."""

    parser: argparse.ArgumentParser
    options: argparse.Namespace
    operands: list[str] = field(default_factory=list)
    waiting: argparse.Action | None = None
    """The option whose value comes next."""
    only_operands: bool = False

    def read(self, words: Sequence[str], *, stop_at_operand: bool = False) -> list[str]:
        """Takes the words in; gives those from the first operand on when that is asked for."""
        for index, word in enumerate(words):
            if self.waiting is not None:
                self._store(self.waiting, word)
                self.waiting = None
            elif self._is_option(word):
                self._option(word)
            elif stop_at_operand:
                return list(words[index:])
            else:
                self.operands.append(word)
        return []

    def _is_option(self, word: str) -> bool:
        """A lone dash is stdin, and so an operand."""
        return self._options_may_follow() and len(word) > 1 and word.startswith("-")

    def _options_may_follow(self) -> bool:
        """Not behind `--`, and not where a command with options of its own has begun."""
        positional = self._operand()
        return not (self.only_operands or (self.operands and positional is not None and positional.nargs == argparse.REMAINDER))

    def _option(self, word: str) -> None:
        known = self.parser._option_string_actions
        name, _, value = word.partition("=")
        if word == "--":
            self.only_operands = True
        elif name in known and "=" in word:
            self._store(known[name], value)
        elif word in known:
            self.waiting = known[word] if _takes_value(known[word]) else None
        elif not word.startswith("--"):
            self._cluster(word[1:])

    def _cluster(self, letters: str) -> None:
        """`-dq`, `-ffile`: the first letter that takes a value takes the rest."""
        for index, letter in enumerate(letters):
            action = self.parser._option_string_actions.get(f"-{letter}")
            if action is not None and _takes_value(action):
                if letters[index + 1 :]:
                    self._store(action, letters[index + 1 :])
                else:
                    self.waiting = action
                return

    def _store(self, action: argparse.Action, value: str) -> None:
        if hasattr(self.options, action.dest):
            many = isinstance(action, argparse._AppendAction)
            setattr(self.options, action.dest, [*(getattr(self.options, action.dest) or ()), value] if many else value)

    def _operand(self) -> argparse.Action | None:
        """The positional argument that comes next."""
        left = len(self.operands)
        for action in self.parser._get_positional_actions():
            if action.nargs in (*_MANY, argparse.REMAINDER, argparse.PARSER) or left == 0:
                return action
            left -= 1
        return None

    def answer(self, current: str, operands: Iterable[tuple[str, str]] = ()) -> Answer:
        if self.waiting is not None:
            return self._values(self.waiting, current)
        name, equals, value = current.partition("=")
        if equals and name in self.parser._option_string_actions and self._is_option(current):
            found = self._values(self.parser._option_string_actions[name], value)
            return Answer(found.kind, current, tuple((f"{name}={one}", text) for one, text in found.values))
        if current.startswith("-") and self._options_may_follow():
            return Answer("words", current, _starting(self._flags(current), current))
        if operands:
            return Answer("words", current, _starting(operands, current))
        positional = self._operand()
        return self._values(positional, current) if positional is not None else Answer("words", current)

    def _flags(self, current: str) -> Iterable[tuple[str, str]]:
        for flag, action in self.parser._option_string_actions.items():
            if action.help != argparse.SUPPRESS:
                yield flag, _described(action)
            elif len(current) >= HIDDEN_FROM:
                yield flag, ""

    def _values(self, action: argparse.Action, current: str) -> Answer:
        if action.choices is not None:
            return Answer("words", current, _starting(((str(one), "") for one in action.choices), current))
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        if metavar == "FILE":
            return Answer("files", current)
        if metavar in ("DIR", "DIRECTORY"):
            return Answer("directories", current)
        source = SOURCES.get(action.dest) or SOURCES.get(metavar)
        return Answer("words", current, _starting(source(self.options, current), current) if source else ())


def _takes_value(action: argparse.Action) -> bool:
    return action.nargs not in (0, argparse.OPTIONAL)


def _described(action: argparse.Action) -> str:
    """One line, for the shells that show it."""
    text: Any = action.help or ""
    return " ".join(str(text).replace("%%", "%").split())


def _starting(values: Iterable[tuple[str, str]], current: str) -> Values:
    return tuple((value, text) for value, text in values if value.startswith(current))
