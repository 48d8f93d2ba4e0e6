"""The whole of `validate`: read, apply every rule, and say of each finding all that a report may want to tell.

A file is looked at a second time, for how it is written, only when it has findings or suppressions.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from stackrun.api.stacks import StackSource
from stackrun.compose.check import edges
from stackrun.compose.faults import Faults, did_you_mean
from stackrun.compose.load import GraphFaults, Loaded, check_use, read_stack
from stackrun.compose.normalize import services_of
from stackrun.compose.origins import Note
from stackrun.compose.rules.catalog import codes, rules
from stackrun.compose.rules.rule import LEVELS, Level, Rule
from stackrun.compose.rules.stack import Stack
from stackrun.compose.source import shown
from stackrun.compose.suppress import MARK, Suppression, in_comments, in_keys
from stackrun.compose.tree import Map, Place
from stackrun.compose.written import KeyPath, Node, Written
from stackrun.errors import Diagnostic


@dataclass(frozen=True, slots=True)
class Finding:
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
    extra: Callable[[Stack], Iterable[Diagnostic]] = lambda _: (),
) -> Validation:
    """Every fault of every file in one run; raises for nothing that stands in a file (NoStackFile when there is none).

    `select` and `ignore` are codes, groups or levels, none selected for all; what makes a file unreadable is always told.
    `baseline` are fingerprints of findings that are known.  `extra` gives findings of somebody else's, with codes of the catalogue.
    """
    chosen = (codes(select) if select else frozenset(rules())) - codes(ignore)
    faults = Faults()
    loaded = read_stack(source, faults, graph_faults)
    stack = _stack(loaded, source)
    linted = [*_linted(stack, chosen), *extra(stack)]  # before what nobody uses is dropped
    check_use(loaded)
    found = [*faults.all, *linted]
    kept = [one for one in found if one.code in chosen or (one.level == "error" and rules()[one.code].stage != "lint")]
    texts = {name: _text(content) for name, content in loaded.reader.texts.items()}
    sources = _Sources(texts, {one.path for one in kept})
    findings = [_finding(one, sources) for one in dict.fromkeys(kept)]
    suppressions = [*sources.suppressions(), *in_keys(loaded.root, loaded.root["services"] | loaded.disabled)]
    findings = _suppressed(_numbered(findings), suppressions, baseline)
    findings += [one for one in _idle(suppressions, chosen, sources) if one.code in chosen]
    files = tuple(shown(file, source.working_dir) for file in (*loaded.reader.inputs, *loaded.inputs.env_files))
    ordered = tuple(sorted(findings, key=lambda one: (one.place, LEVELS.index(one.level), one.code, one.message)))
    return Validation(ordered, sources.read, files, not loaded.reader.incomplete and not faults.full)


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
        sources={name: _text(content) for name, content in reader.texts.items()},
    )


def _text(content: bytes | str) -> str:
    return content if isinstance(content, str) else content.decode("utf-8", "replace")


def _linted(stack: Stack, chosen: frozenset[str]) -> Iterable[Diagnostic]:
    for rule in rules().values():
        if rule.check is None or rule.code not in chosen:
            continue
        for place, message, hint, notes in rule.check(stack):
            one = Diagnostic(place.path, place.line, place.column, message, hint=hint, code=rule.code, level=rule.level)
            one.notes = notes or stack.origins.notes(place)
            yield one


class _Sources:
    """How files are written, each read when it is first asked for."""

    def __init__(self, texts: Mapping[str, str], needed: set[str]) -> None:
        self.texts = texts
        self.read: dict[str, Written] = {}
        for name, text in texts.items():
            if name in needed or MARK in text:
                self.read[name] = Written.of(text, name)

    def node(self, place: Place) -> Node | None:
        written = self.read.get(place.path)
        return written.at(place.line, place.column) if written is not None else None

    def suppressions(self) -> list[Suppression]:
        return [one for written in self.read.values() if MARK in written.text for one in in_comments(written)]


def _finding(one: Diagnostic, sources: _Sources) -> Finding:
    place = Place(one.path, one.line, one.column)
    node = sources.node(place)
    end = (one.line, one.column + 1 if one.column else 0)
    if node is not None:
        end = (node.end.line, node.end.column) if node.end.line == node.start.line else (node.start.line, node.start.column + 1)
    level: Level = one.level if one.level in LEVELS else "error"
    notes = tuple(Note(*note) for note in one.notes)
    path = node.path if node is not None else ()
    return Finding(rules()[one.code], level, one.message, one.hint, place, end, path, notes, _subject(one, path, sources))


def _subject(one: Diagnostic, path: KeyPath, sources: _Sources) -> str:
    """What a finding is about, in words that do not change when lines move: list items by what they say."""
    written = sources.read.get(one.path)
    steps: list[str] = []
    for length, step in enumerate(path, 1):
        node = written.node(path[:length]) if written is not None and isinstance(step, int) else None
        steps.append(str(step) if node is None else node.raw or f"[{step}]")
    return "\0".join((one.path, one.code, *(steps or [one.message])))


def _numbered(findings: list[Finding]) -> list[Finding]:
    """Fingerprints: the same fault of the same thing is told apart by its number."""
    seen: Counter[str] = Counter()
    numbered = []
    for one in sorted(findings, key=lambda one: one.place):
        subject = one.fingerprint
        text = f"{subject}\0{seen[subject]}"
        seen[subject] += 1
        numbered.append(replace(one, fingerprint=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]))
    return numbered


def _suppressed(findings: list[Finding], suppressions: list[Suppression], baseline: frozenset[str]) -> list[Finding]:
    """Errors that stop `up` cannot be silenced."""
    done = []
    for one in findings:
        silencing = [item for item in suppressions if item.covers(one.code, one.place, one.service)] if _can_be(one.rule) else []
        for item in silencing:
            item.used = True
        reason = next((item.reason or "no reason given" for item in silencing), "")
        if not reason and one.fingerprint in baseline and _can_be(one.rule):
            reason = "in the baseline"
        done.append(replace(one, suppressed=reason) if reason else one)
    return done


def _can_be(rule: Rule) -> bool:
    return rule.stage == "lint" or rule.level != "error"


def _idle(suppressions: list[Suppression], chosen: frozenset[str], sources: _Sources) -> Iterable[Finding]:
    known = rules()
    for item in suppressions:
        message = hint = code = ""
        if item.code not in known:
            code, message = "unknown-suppression", f"there is no rule {item.code!r}"
            hint = did_you_mean(item.code, known) or "`stackrun rules` lists them"
        elif not _can_be(known[item.code]):
            code, message, hint = "suppressed-error", f"{item.code} cannot be suppressed", "what it reports keeps the stack from starting"
        elif not item.reason:
            code, message, hint = "suppression-without-reason", f"{item.code} is suppressed without a reason", "write it behind the bracket"
        elif not item.used and item.code in chosen:
            code, message, hint = "unused-suppression", f"{item.code} has nothing to suppress here", "remove it"
        if code:
            place = item.place
            yield _numbered(
                [_finding(Diagnostic(place.path, place.line, place.column, message, hint=hint, code=code, level="warning"), sources)]
            )[0]
