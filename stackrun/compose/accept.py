"""Whether a value is what a JSON Schema (draft-07) allows: yes or no, and nothing about why.

Nearly every stack file is right, and then nobody asks why.  Only of a file that is refused does jsonschema tell what is
wrong (see `schema`): importing it and asking it costs several times what reading the file does.  Each subschema becomes a
function when a value first gets there.  A word that is not known here is refused (KeyError) rather than passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Check = Callable[[Any], bool]
Schema = dict[str, Any]

_TYPES: dict[str, Check] = {
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
    "null": lambda value: value is None,
    "number": lambda value: _is_number(value),
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}


class Acceptance:
    """One schema document; `accepts` says of a whole value what `check` says of a part."""

    def __init__(self, document: Schema) -> None:
        self._document = document
        self._referred: dict[str, Check] = {}
        self.accepts = self.check(document)

    def check(self, schema: Any) -> Check:
        """A subschema as a function. Beside `$ref` nothing counts, as draft-07 has it."""
        if schema is True:
            return _anything
        if schema is False:
            return _nothing
        if "$ref" in schema:
            return self._refer(schema["$ref"])
        makers = dict.fromkeys(_WORDS[word] for word in schema)
        return _all([made for made in (make(self, schema) for make in makers if make) if made])

    def _refer(self, reference: str) -> Check:
        if reference not in self._referred:
            section, name = reference.removeprefix("#/").split("/")
            self._referred[reference] = self.check(self._document[section][name])
        return self._referred[reference]

    # --- words: each gives its check, or None when it forbids nothing ---------------------------------

    def _type(self, schema: Schema) -> Check:
        kinds = schema["type"]
        return _TYPES[kinds] if isinstance(kinds, str) else _any([_TYPES[kind] for kind in kinds])

    def _any_of(self, schema: Schema) -> Check:
        return _any([self.check(branch) for branch in schema["anyOf"]])

    def _enum(self, schema: Schema) -> Check:
        words = frozenset(map(identity, schema["enum"]))
        return lambda value: identity(value) in words

    def _pattern(self, schema: Schema) -> Check:
        search = re.compile(schema["pattern"]).search
        return lambda value: not isinstance(value, str) or search(value) is not None

    def _minimum(self, schema: Schema) -> Check:
        least = schema["minimum"]
        return lambda value: not (_is_number(value) and value < least)

    def _maximum(self, schema: Schema) -> Check:
        most = schema["maximum"]
        return lambda value: not (_is_number(value) and value > most)

    def _unique_items(self, schema: Schema) -> Check | None:
        if not schema["uniqueItems"]:
            return None
        return lambda value: not isinstance(value, list) or len(set(map(identity, value))) == len(value)

    def _items(self, schema: Schema) -> Check:
        made: list[Check] = []

        def accepts(value: Any) -> bool:
            if not isinstance(value, list) or not value:
                return True
            if not made:
                made.append(self.check(schema["items"]))
            return all(map(made[0], value))

        return accepts

    def _required(self, schema: Schema) -> Check:
        wanted = schema["required"]
        return lambda value: not isinstance(value, dict) or all(key in value for key in wanted)

    def _members(self, schema: Schema) -> Check:
        """properties, patternProperties and additionalProperties at once; which of them a key of `properties` falls under is kept."""
        named: Schema = schema.get("properties", {})
        patterns = [(re.compile(pattern).search, pattern) for pattern in schema.get("patternProperties", {})]
        known: dict[str, Check] = {}
        others: dict[tuple[str, ...], Check] = {}

        def other(key: str) -> Check:
            matching = tuple(pattern for search, pattern in patterns if search(key))
            if key in named:
                return known.setdefault(key, self._member(schema, [named[key]], matching))
            return others.get(matching) or others.setdefault(matching, self._member(schema, [], matching))

        def accepts(value: Any) -> bool:
            if not isinstance(value, dict):
                return True
            return all((known.get(key) or other(key))(member) for key, member in value.items())

        return accepts

    def _member(self, schema: Schema, found: list[Any], patterns: tuple[str, ...]) -> Check:
        found += [schema["patternProperties"][pattern] for pattern in patterns]
        return _all([self.check(inner) for inner in found or (schema.get("additionalProperties", True),)])


_WORDS: dict[str, Callable[[Acceptance, Schema], Check | None] | None] = {
    **dict.fromkeys(("$id", "$schema", "default", "definitions", "deprecated", "description", "examples", "title")),
    **dict.fromkeys(("additionalProperties", "patternProperties", "properties"), Acceptance._members),
    "anyOf": Acceptance._any_of,
    "enum": Acceptance._enum,
    "items": Acceptance._items,
    "maximum": Acceptance._maximum,
    "minimum": Acceptance._minimum,
    "pattern": Acceptance._pattern,
    "required": Acceptance._required,
    "type": Acceptance._type,
    "uniqueItems": Acceptance._unique_items,
}
"""None: a word that only describes."""


def identity(value: Any) -> str:
    """Equal for equal JSON values: 1 is 1.0 and not true."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{identity(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(identity, value)) + "]"
    return repr(int(value) if isinstance(value, float) and value.is_integer() else value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _anything(_value: Any) -> bool:
    return True


def _nothing(_value: Any) -> bool:
    return False


def _all(checks: list[Check]) -> Check:
    if len(checks) < 2:
        return checks[0] if checks else _anything
    return lambda value: all(check(value) for check in checks)


def _any(checks: list[Check]) -> Check:
    if len(checks) == 1:
        return checks[0]
    return lambda value: any(check(value) for check in checks)
