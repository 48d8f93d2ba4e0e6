"""The whole of `validate`: read, apply every rule, and say of each finding all that a report may want to tell.

A file is looked at a second time, for how it is written, only when it has findings or suppressions.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from stackrun.api.stack_source import StackSource
from stackrun.compose.check import edges
from stackrun.compose.faults import MAX_MESSAGE, Faults, did_you_mean, readable
from stackrun.compose.load import GraphFaults, Loaded, check_use, read_stack
from stackrun.compose.normalize import services_of
from stackrun.compose.origins import Note
from stackrun.compose.rules.catalog import codes, rules
from stackrun.compose.rules.rule import LEVELS, Level, Rule
from stackrun.compose.rules.stack import Stack
from stackrun.compose.source import shown
from stackrun.compose.suppress import MARK, Suppression, in_comments, in_keys
from stackrun.compose.textfile import Unreadable, contents, decoded
from stackrun.compose.tree import Map, Place
from stackrun.compose.written import KeyPath, Node, Written
from stackrun.errors import Diagnostic

MAX_LINTED = 20_000
"""Findings of rules: SARIF's readers refuse more than 25,000, and nobody reads them."""
MAX_SUPPRESSIONS = 1_000
"""Of a whole validation."""
IN_BASELINE = "in the baseline"
_NEAR = 20
"""Unknown codes that are compared with the known ones."""


class Finding(NamedTuple):
    """`end` is the (line, column) after the last character; `path` leads to the value in its file, () when it has none."""

    rule: Rule
    level: Level
    message: str
    hint: str
    place: Place
    end: tuple[int, int]
    path: KeyPath
    notes: tuple[Note, ...]
    fingerprint: str
    """Of the rule and what it is about: it stays when lines are moved."""
    suppressed: str = ""
    """Why it does not count; empty when it does."""

    @property
    def code(self) -> str:
        return self.rule.code

    @property
    def service(self) -> str:
        return str(self.path[1]) if len(self.path) > 1 and self.path[0] == "services" else ""


@dataclass(frozen=True, slots=True)
class Validation:
    """`findings` by place, suppressed ones too; `complete` is false when something could not be read or was cut off."""

    findings: tuple[Finding, ...]
    sources: Mapping[str, Written]
    """Path as shown → how it is written, of each file that has a finding."""
    files: tuple[str, ...]
    """Every file read, as shown."""
    complete: bool

    @property
    def open(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if not one.suppressed)

    def worst(self) -> Level | None:
        return next((level for level in LEVELS if any(one.level == level for one in self.open)), None)


def validate(
    source: StackSource,
    *,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    baseline: frozenset[str] = frozenset(),
    graph_faults: GraphFaults = lambda _: (),
    extra: Callable[[Stack], Iterable[Diagnostic]] | None = None,
    unsaved: Mapping[str, str] | None = None,
) -> Validation:
    """Every fault of every file in one run; raises for nothing that stands in a file (NoStackFile when there is none).

    `select` and `ignore` are codes, groups or levels, none selected for all; what keeps the stack from being read is always told.
    `baseline` are fingerprints of findings that are known.  `extra` gives findings of the group `host`, of who looked at the machine.
    `unsaved` is path as shown → text to look at instead of the file.
    """
    chosen = (codes(select) if select else frozenset(rules())) - codes(ignore)
    faults = Faults()
    loaded = read_stack(source, faults, graph_faults, unsaved=unsaved)
    stack = _stack(loaded, source)
    linted = list(islice(_linted(stack, chosen), MAX_LINTED))  # before what nobody uses is dropped
    check_use(loaded)
    found = [*faults.all, *linted, *(extra(stack) if extra else ())]
    kept = [one for one in found if one.code in chosen or (one.level == "error" and rules()[one.code].stage != "lint")]
    sources = _Sources(stack.sources, kept, source.working_dir)
    suppressions = list(islice(_suppressions(sources, loaded), MAX_SUPPRESSIONS))
    complete = not loaded.reader.incomplete and not faults.cut and len(linted) < MAX_LINTED
    judged = chosen if extra else chosen - codes(["host"])
    findings = _suppressed(_numbered(_finding(one, sources) for one in kept), suppressions)
    findings += _numbered(one for one in _idle(suppressions, judged if complete else frozenset(), sources) if one.code in chosen)
    ordered = sorted(_known(findings, baseline), key=lambda one: (one.place, LEVELS.index(one.level), one.code, one.message))
    files = dict.fromkeys(shown(file, source.working_dir) for file in (*loaded.reader.inputs, *loaded.inputs.env_files))
    return Validation(tuple(ordered), sources.read, tuple(files), complete)


def _stack(loaded: Loaded, source: StackSource) -> Stack:
    reader = loaded.reader
    return Stack(
        root=loaded.root,
        disabled=loaded.disabled,
        directory=loaded.inputs.directory,
        environment=loaded.environment,
        origins=reader.faults.origins,
        edges=edges([*services_of(loaded.root), *((name, node) for name, node in loaded.disabled.items() if isinstance(node, Map))]),
        files=tuple(reader.inputs),
        env_files=loaded.inputs.env_files,
        sources=reader.texts,
        working_dir=source.working_dir,
    )


def _linted(stack: Stack, chosen: frozenset[str]) -> Iterator[Diagnostic]:
    for rule in rules().values():
        if rule.check is None or rule.code not in chosen:
            continue
        for place, message, hint, notes in rule.check(stack):
            one = Diagnostic(place.path, place.line, place.column, message, hint=hint, code=rule.code, level=rule.level)
            one.notes = notes or stack.origins.notes(place)
            yield one


def _suppressions(sources: _Sources, loaded: Loaded) -> Iterator[Suppression]:
    for name in sources.texts:
        if (written := sources.read.get(name)) is not None and MARK in written.text:
            yield from in_comments(written)
    yield from in_keys(loaded.root, [*services_of(loaded.root), *loaded.disabled.items()])


class _Sources:
    """How files are written, of those that have a finding or a suppression; `texts` are the stack files."""

    def __init__(self, texts: Mapping[str, str], found: Iterable[Diagnostic], working_dir: str) -> None:
        self.texts = texts
        needed = {one.path for one in found if one.line}
        self.read = {name: Written.of(text, name) for name, text in texts.items() if name in needed or MARK in text}
        for name in sorted(needed - texts.keys()):
            try:  # an env file: lines, but no YAML
                text, _ = decoded(contents(os.path.join(working_dir, name)))
            except Unreadable:
                continue
            self.read[name] = Written(text, name, (), 0, frozenset())

    def node(self, place: Place) -> Node | None:
        written = self.read.get(place.path)
        return written.at(place.line, place.column) if written is not None else None


def _finding(one: Diagnostic, sources: _Sources) -> Finding:
    place = Place(one.path, one.line, one.column)
    node = sources.node(place)
    end = (one.line, one.column + 1 if one.column else 0)
    if node is not None:
        end = (node.end.line, node.end.column) if node.end.line == node.start.line else (node.start.line, node.start.column + 1)
    level: Level = one.level if one.level in LEVELS else "error"
    notes = tuple(Note(*note) for note in one.notes)
    message, hint = readable(one.message, MAX_MESSAGE), readable(one.hint, 2 * MAX_MESSAGE)
    path = node.path if node is not None else ()
    return Finding(rules()[one.code], level, message, hint, place, end, path, notes, _subject(one, node, sources))


def _subject(one: Diagnostic, node: Node | None, sources: _Sources) -> str:
    """What a finding is about, in words that do not change when lines move: list items by what they say."""
    if node is None or not node.path:
        return f"{one.path}\0{one.code}\0{one.message}"
    written, steps = sources.read[one.path], list[str]()
    for length, step in enumerate(node.path, 1):
        item = written.node(node.path[:length], node.document) if isinstance(step, int) else None
        steps.append(str(step) if item is None else " ".join(written.text_of(item).split()))
    return "\0".join((one.path, one.code, *steps))


def _numbered(findings: Iterable[Finding]) -> list[Finding]:
    """Each once, with its fingerprint: the same fault of the same thing is told apart by its number."""
    unique = {(one.place, one.code, one.message): one for one in findings}
    seen: Counter[str] = Counter()
    numbered = []
    for _, one in sorted(unique.items()):
        subject = one.fingerprint
        text = f"{subject}\0{seen[subject]}"
        seen[subject] += 1
        numbered.append(one._replace(fingerprint=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]))
    return numbered


def _suppressed(findings: list[Finding], suppressions: list[Suppression]) -> list[Finding]:
    by_code: dict[str, list[Suppression]] = {}
    for item in suppressions:
        by_code.setdefault(item.code, []).append(item)
    done = []
    for one in findings:
        silencing = [item for item in by_code.get(one.code, ()) if item.covers(one.code, one.place, one.service)]
        if silencing and _can_be(one.rule, one.level):
            for item in silencing:
                item.used = True
            one = one._replace(suppressed=next((item.reason for item in silencing if item.reason), "no reason given"))
        done.append(one)
    return done


def _known(findings: list[Finding], baseline: frozenset[str]) -> Iterator[Finding]:
    """Findings of the baseline do not count either."""
    for one in findings:
        known = not one.suppressed and one.fingerprint in baseline and _can_be(one.rule, one.level)
        yield one._replace(suppressed=IN_BASELINE) if known else one


def _can_be(rule: Rule, level: Level) -> bool:
    """Errors that stop `up` cannot be silenced."""
    return rule.stage == "lint" or level != "error"


def _idle(suppressions: list[Suppression], judged: frozenset[str], sources: _Sources) -> Iterator[Finding]:
    """Suppressions that do not do what they seem to; whether one is used can be told of `judged` codes alone."""
    known, hints = rules(), _hints({item.code for item in suppressions})
    for item in suppressions:
        message = hint = code = ""
        if item.code not in known:
            code, message = "unknown-suppression", f"there is no rule {item.code!r}"
            hint = hints.get(item.code) or "`stackrun rules` lists them"
        elif not item.used and not _can_be(known[item.code], known[item.code].level):
            code, message, hint = "suppressed-error", f"{item.code} cannot be suppressed", "what it reports keeps the stack from starting"
        elif not item.reason:
            code, message, hint = "suppression-without-reason", f"{item.code} is suppressed without a reason", "write it behind the bracket"
        elif not item.used and item.code in judged:
            code, message, hint = "unused-suppression", f"{item.code} has nothing to suppress here", "remove it"
        if code:
            place = item.place
            one = _finding(Diagnostic(place.path, place.line, place.column, message, hint=hint, code=code, level="warning"), sources)
            yield one._replace(end=(place.line, place.column + max(1, len(item.code))))


def _hints(words: set[str]) -> dict[str, str]:
    unknown = sorted(words - rules().keys())[:_NEAR]
    return {word: did_you_mean(word, rules()) for word in unknown}
