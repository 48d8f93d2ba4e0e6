"""YAML text → documents of Map and Seq with the place of every key and value.

Works on libyaml's event stream: nothing is built twice, duplicate keys are seen, and aliases are counted before they
are followed, so a few hundred bytes cannot ask for gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import yaml

from stackrun.compose.faults import Faults
from stackrun.compose.scalar import resolve, tagged, text_of
from stackrun.compose.textfile import decoded, forbidden
from stackrun.compose.tree import Map, Place, Seq

MAX_DEPTH = 128
MAX_DIRECTIVES = 100
"""`%TAG` lines: libyaml compares each with all before it."""
MAX_NODES = 120_000
"""Keys and values of one file, aliases followed; a stack of 2,000 services has about 100,000."""
MAX_CHARACTERS = 20_000_000
"""Of the scalars of one file, aliases followed."""
MAX_DOCUMENTS = 100
"""Of one file: each is laid over those before it."""

Path = tuple[str, ...]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE_TAG = "tag:yaml.org,2002:merge"


class Document(NamedTuple):
    """One YAML document. `resets` are the key paths tagged `!reset` or `!override`: what earlier files say there is dropped."""

    root: Any
    place: Place
    resets: tuple[Path, ...]
    nodes: int = 0
    """Keys and values, aliases followed: what it costs to look at all of it."""


_TOO_DEEP, _TOO_DEEP_HINT = f"nested more than {MAX_DEPTH} levels deep", "no stack file needs this"


class _TooMuch(Exception):
    def __init__(self, at: Place, message: str, hint: str) -> None:
        super().__init__(message)
        self.at, self.message, self.hint = at, message, hint


_DROPPED = object()
"""What a node tagged `!reset` leaves behind: nothing."""


def parse(data: bytes | str, path: str, faults: Faults) -> tuple[Document, ...]:
    """All documents of a file; what cannot be read is a fault, and the documents before it are kept."""
    text = _text(data, path, faults)
    documents: list[Document] = []
    if (line := line_of_too_many(text)) > 0:
        faults.error(Place(path, line, 1), f"more than {MAX_DIRECTIVES} directives", hint="no stack file needs any", code="yaml-limit")
        return ()
    try:
        events = yaml.parse(text, Loader=_LOADER)
        builder = _Builder(events, path, faults)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents.append(builder.document(next(events), len(documents)))
    except yaml.MarkedYAMLError as error:
        at = _place(path, error.problem_mark or error.context_mark)
        if "nesting depth" in (error.problem or ""):  # libyaml has a limit of its own since PyYAML 6.0.4
            faults.error(at, _TOO_DEEP, hint=_TOO_DEEP_HINT, code="yaml-limit")
        else:
            faults.error(at, _syntax_message(error), hint=_syntax_hint(error, _char_at(text, at)), code="yaml-syntax")
    except yaml.YAMLError as error:
        faults.error(Place(path, 1, 1), f"YAML syntax: {str(error).splitlines()[0]}", code="yaml-syntax")
    except _TooMuch as error:
        faults.error(error.at, error.message, hint=error.hint, code="yaml-limit")
    return tuple(documents)


def line_of_too_many(text: str) -> int:
    """The line of the directive that is one too many, 0 when there is none."""
    if text.count("\n%") < MAX_DIRECTIVES:
        return 0
    lines = (number for number, line in enumerate(text.split("\n"), 1) if line.startswith("%TAG"))
    return next(islice(lines, MAX_DIRECTIVES, None), 0)


def _text(data: bytes | str, path: str, faults: Faults) -> str:
    """The text without what YAML refuses, each such thing a fault."""
    text, wrong = decoded(data) if isinstance(data, bytes) else (data, ())
    text, more = forbidden(text)
    for line, column, message, hint in (*wrong, *more):
        faults.error(Place(path, line, column), message, hint=hint, code="yaml-encoding")
    return text


def _place(path: str, mark: Any) -> Place:
    return Place(path, mark.line + 1, mark.column + 1) if mark is not None else Place(path, 1, 1)


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    """libyaml's problem with what it was doing."""
    context = f" {error.context}" if error.context else ""
    return f"YAML syntax: {error.problem or 'cannot be read'}{context}"


def _char_at(text: str, at: Place) -> str:
    lines = text.split("\n")
    return lines[at.line - 1][at.column - 1 : at.column] if at.line <= len(lines) else ""


def _syntax_hint(error: yaml.MarkedYAMLError, char: str) -> str:
    problem = error.problem or ""
    if char == "\t":
        return "indent with spaces, not with tabs"
    if "mapping values are not allowed" in problem:
        return "quote a value that contains a colon and a space, and check the indentation"
    if "did not find expected key" in problem or "block" in problem:
        return "check the indentation of this line and of the one before"
    return ""


class _Builder:
    """Builds a file's documents from its events; what it counts, it counts for the whole file."""

    def __init__(self, events: Iterator[Any], path: str, faults: Faults) -> None:
        self.events = events
        self.path = path
        self.faults = faults
        self.resets: list[Path] = []
        self.anchors: dict[str, tuple[Any, int, int]] = {}
        """Name → value, its nodes and its characters."""
        self.open_anchors: set[str] = set()
        self.nodes = 0
        self.characters = 0
        self.depth = 0

    def document(self, event: Any, number: int) -> Document:
        at = Place(self.path, event.start_mark.line + 1, event.start_mark.column + 1)
        if number >= MAX_DOCUMENTS:
            raise _TooMuch(at, f"more than {MAX_DOCUMENTS} documents in one file", "make them files, or services of one document")
        self.resets, self.anchors = [], {}
        before = self.nodes
        root, at = self.value(event, ())
        return Document(None if root is _DROPPED else root, at, tuple(self.resets), self.nodes - before)

    def value(self, event: Any, path: Path) -> tuple[Any, Place]:
        at = Place(self.path, event.start_mark.line + 1, event.start_mark.column + 1)
        self._count(1, at)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor or "", at)
        if not event.anchor:
            return self._tag(event.tag, self._node(event, path, at), path), at
        nodes, characters = self.nodes, self.characters
        self.open_anchors.add(event.anchor)
        value = self._node(event, path, at)
        self.open_anchors.discard(event.anchor)
        self.anchors[event.anchor] = (value, self.nodes - nodes + 1, self.characters - characters)
        return self._tag(event.tag, value, path), at

    def _tag(self, tag: str | None, value: Any, path: Path) -> Any:
        if tag not in ("!reset", "!override"):
            return value
        self.resets.append(path)
        return _DROPPED if tag == "!reset" else value

    def _node(self, event: Any, path: Path, at: Place) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            self.characters += len(event.value)
            return self._scalar(event)
        if self.depth >= MAX_DEPTH:
            raise _TooMuch(at, _TOO_DEEP, _TOO_DEEP_HINT)
        self.depth += 1
        value = self._mapping(path, at) if isinstance(event, yaml.MappingStartEvent) else self._sequence(path, at)
        self.depth -= 1
        return value

    def _count(self, nodes: int, at: Place) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise _TooMuch(at, f"more than {MAX_NODES:,} values once aliases are followed", "fewer aliases of aliases")
        if self.characters > MAX_CHARACTERS:
            raise _TooMuch(at, f"more than {MAX_CHARACTERS:,} characters once aliases are followed", "fewer aliases of long values")

    def _alias(self, anchor: str, at: Place) -> tuple[Any, Place]:
        if anchor in self.open_anchors:
            raise _TooMuch(at, f"anchor {anchor!r} contains itself", "an alias cannot stand inside its own anchor")
        if anchor not in self.anchors:
            raise _TooMuch(at, f"unknown anchor {anchor!r}", "an anchor (&name) must come before its alias (*name)")
        value, nodes, characters = self.anchors[anchor]
        self.characters += characters
        self._count(nodes, at)
        return value, at

    def _scalar(self, event: Any) -> Any:
        if event.tag is not None and event.tag not in ("!", "!reset", "!override"):
            return tagged(event.tag, event.value)
        return resolve(event.value) if event.implicit[0] and event.tag is None else event.value

    def _sequence(self, path: Path, at: Place) -> Seq:
        items = Seq(place=at)
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            value, value_at = self.value(event, (*path, f"[{len(items)}]"))
            if value is not _DROPPED:
                items.add(value, value_at)
        return items

    def _mapping(self, path: Path, at: Place) -> Map:
        items = Map(place=at)
        merged: list[Map] = []
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key, key_at = self._key(event)
            value, value_at = self.value(next(self.events), (*path, key))
            if key == "<<" and _is_merge(event):
                merged.extend(self._merge_sources(value, value_at))
            elif value is not _DROPPED:
                self._put(items, key, value, key_at, value_at)
        for source in merged:
            for key, value in source.items():
                if key not in items:
                    items.take(source, key, value)
        return items

    def _key(self, event: Any) -> tuple[str, Place]:
        key, at = self.value(event, ())
        if isinstance(key, str):
            return key, at
        if isinstance(key, (dict, list)):
            raise _TooMuch(at, "a key must be a string, not a collection", "")
        written = event.value if isinstance(event, yaml.ScalarEvent) else text_of(key)
        self.faults.error(at, f"a key must be a string, not {_kind(key)}", hint=f'quote it: "{written}"', code="key-type")
        return text_of(key), at

    def _put(self, items: Map, key: str, value: Any, key_at: Place, value_at: Place) -> None:
        if key in items:
            first = items.key_place(key)
            self.faults.error(key_at, f'"{key}" is given twice', hint=f"it was given first at line {first.line}", code="duplicate-key")
        else:
            items.put(key, value, key_at, value_at)

    def _merge_sources(self, value: Any, at: Place) -> list[Map]:
        sources = list(value) if isinstance(value, Seq) else [value]
        if all(isinstance(source, Map) for source in sources):
            return sources
        self.faults.error(at, "a merge key (<<) takes a mapping or a list of mappings", code="merge-key")
        return [source for source in sources if isinstance(source, Map)]


def _is_merge(event: Any) -> bool:
    return bool(getattr(event, "tag", None) in (None, _MERGE_TAG)) and bool(event.implicit[0] or event.tag == _MERGE_TAG)


def _kind(value: Any) -> str:
    names: tuple[tuple[type | tuple[type, ...], str], ...] = ((bool, "a boolean"), ((int, float), "a number"), (type(None), "null"))
    return next((name for kind, name in names if isinstance(value, kind)), "a string")
