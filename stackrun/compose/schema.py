"""A stack file against `schemas/stack.schema.json`, and what jsonschema finds as findings a person can use.

Every error becomes one finding at the place of the offending key or value.  Of alternatives (`anyOf`) the one the
user meant is picked: the one whose type fits.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from stackrun.compose.accept import Acceptance, identity
from stackrun.compose.faults import Faults, did_you_mean
from stackrun.compose.scalar import Timestamp, text_of
from stackrun.compose.textfile import contents
from stackrun.compose.tree import Map, Place, Seq, place_of

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

Path = tuple[str | int, ...]
Violation = Any
"""A jsonschema.ValidationError, whose attributes its stubs call possibly unset."""


@functools.cache
def load_schema() -> dict[str, Any]:
    """The schema as shipped, a draft-07 document."""
    package = os.path.dirname(os.path.dirname(__file__))  # importlib.resources takes 5 ms to import, pathlib 4
    schema: dict[str, Any] = json.loads(contents(os.path.join(package, "schemas", "stack.schema.json")))
    return schema


@functools.cache
def _validator() -> Validator:
    from jsonschema import Draft7Validator, validators  # 84 ms to import: only when a file was refused

    checking: Any = validators.extend(Draft7Validator, {"uniqueItems": _unique_items})  # type: ignore[no-untyped-call]
    validator: Validator = checking(load_schema())
    return validator


def _unique_items(_validator: Any, wanted: Any, items: Any, _schema: Any) -> Iterator[Violation]:
    """The library's own compares every item with every other when they cannot be sorted."""
    from jsonschema import ValidationError

    if wanted and isinstance(items, list) and len(set(map(identity, items))) < len(items):
        yield ValidationError("items are equal")


@functools.cache
def _acceptance() -> Acceptance:
    return Acceptance(load_schema())


def validate(root: Map, faults: Faults) -> tuple[Path, ...]:
    """Report every violation; gives the paths of the offending values, so that the rest can be worked with."""
    if _acceptance().accepts(root):
        return ()
    report = _Report(root, faults)
    for error in _validator().iter_errors(root):
        report.error(error)
    return tuple(report.paths)


def prune(root: Map, paths: Iterable[Path]) -> None:
    """Take the values at `paths` out, so that what is left can be checked further; a named resource stays, empty."""
    for path in sorted(set(paths), key=lambda path: (len(path), [str(step) for step in path]), reverse=True):
        node: Any = root
        for step in path[:-1]:
            node = _step(node, step)
        if not path or node is None:
            continue
        if len(path) == 2 and isinstance(node, Map) and path[1] in node and not str(path[1]).startswith("x-"):
            node[str(path[1])] = Map(place=node.value_place(str(path[1])))
        elif isinstance(node, Map):
            node.pop(str(path[-1]), None)
        elif isinstance(node, Seq) and int(path[-1]) < len(node):
            node[int(path[-1])] = _GONE
    _sweep(root)


def _step(node: Any, step: str | int) -> Any:
    if isinstance(node, dict):
        return node.get(step)
    return node[step] if isinstance(node, list) and isinstance(step, int) and step < len(node) else None


_GONE = object()


def _sweep(node: Any) -> None:
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _sweep(value)
    if isinstance(node, Seq):
        for index in reversed([index for index, item in enumerate(node) if item is _GONE]):
            del node[index], node.items_at[index : index + 1]


class _Report:
    def __init__(self, root: Map, faults: Faults) -> None:
        self.root, self.faults = root, faults
        self.paths: list[Path] = []

    def error(self, error: Violation) -> None:
        """Report one error, or those of the alternative that was meant."""
        if self.faults.full:
            return
        if error.validator == "anyOf":
            meant = _meant(error)
            if meant:
                for inner in meant:
                    self.error(inner)
                return
        path: Path = tuple(error.absolute_path)
        _HANDLERS[error.validator](self, error, path)

    def _found(self, path: Path, message: str, *, hint: str = "", code: str, key: bool = False, at: Place | None = None) -> None:
        self.paths.append(path)
        self.faults.error(at or place_of(self.root, path, key=key), message, hint=hint, code=code)

    def _unknown_keys(self, error: Violation, path: Path) -> None:
        known = _known_keys(error.schema)
        for key in list(error.instance):
            if self.faults.full:
                break
            if key not in known and not _matches_pattern(key, error.schema):
                message, hint = _unknown_key(key, path, known, error.instance[key])
                code = "misplaced-key" if " belongs " in hint else "unknown-key"
                self._found((*path, key), message, hint=hint, code=code, key=True)

    def _type(self, error: Violation, path: Path) -> None:
        self._wrong_type(error.validator_value, error.instance, path)

    def _no_alternative(self, error: Violation, path: Path) -> None:
        kinds = [kind for inner in error.context or () if inner.validator == "type" for kind in _as_list(inner.validator_value)]
        self._wrong_type(kinds, error.instance, path)

    def _wrong_type(self, kinds: Any, value: Any, path: Path) -> None:
        wanted = _alternatives([_KINDS[kind] for kind in dict.fromkeys(_as_list(kinds)) if kind != "null" or len(_as_list(kinds)) == 1])
        message = f"{_subject(path)} must be {wanted}, not {_described(value)}"
        self._found(path, message, hint=_type_hint(kinds, value, path), code="wrong-type")

    def _enum(self, error: Violation, path: Path) -> None:
        words = [text_of(word) for word in error.validator_value]
        hint = did_you_mean(text_of(error.instance), words) or _containing(text_of(error.instance), words)
        message = f"{_subject(path)} must be {_alternatives(words)}, not {text_of(error.instance)!r}"
        self._found(path, message, hint=hint, code="invalid-value")

    def _pattern(self, error: Violation, path: Path) -> None:
        known = _PATTERN_WORDS.get(str(path[-1]) if path else "", "of the form " + str(error.validator_value))
        self._found(path, f"{_subject(path)} must be {known}, not {text_of(error.instance)!r}", code="invalid-value")

    def _required(self, error: Violation, path: Path) -> None:
        missing = [key for key in error.validator_value if key not in error.instance]
        for key in missing:
            self._found(path, f"{_subject(path)} has no {key}", hint=_describe_key(error.schema, key), code="missing-key")

    def _duplicates(self, error: Violation, path: Path) -> None:
        items, seen = error.instance, dict[str, int]()
        for index, item in enumerate(items):
            first = seen.setdefault(identity(item), index)
            if first != index:
                message = f"{_shown(item)} is in {_subject(path)} twice"
                self._found((*path, index), message, hint=_first_at(items, first), code="duplicate-item")

    def _minimum(self, error: Violation, path: Path) -> None:
        self._found(path, f"{_subject(path)} must be at least {error.validator_value}, not {text_of(error.instance)}", code="invalid-value")

    def _maximum(self, error: Violation, path: Path) -> None:
        self._found(path, f"{_subject(path)} must be at most {error.validator_value}, not {text_of(error.instance)}", code="invalid-value")


_HANDLERS: dict[str, Callable[[_Report, Violation, Path], None]] = {
    "additionalProperties": _Report._unknown_keys,
    "anyOf": _Report._no_alternative,
    "enum": _Report._enum,
    "maximum": _Report._maximum,
    "minimum": _Report._minimum,
    "pattern": _Report._pattern,
    "required": _Report._required,
    "type": _Report._type,
    "uniqueItems": _Report._duplicates,
}
"""One for every validating word that the schema uses."""


# --- words ----------------------------------------------------------------------------------------

_KINDS = {
    "string": "a string", "integer": "a whole number", "number": "a number", "boolean": "true or false", "array": "a list",
    "object": "a mapping", "null": "empty",
}  # fmt: skip
_PATTERN_WORDS = {
    "container_name": "letters, digits, _, . and -, two or more",
    "pull_policy": "always, missing, never, build, daily, weekly or every_<duration>",
}


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _alternatives(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _containing(part: str, words: list[str]) -> str:
    whole = next((word for word in words if part and part in word), "")
    return f'did you mean "{whole}"?' if whole else ""


def _subject(path: Path) -> str:
    """What is spoken of: the key, or the item of the key's list."""
    if not path:
        return "the stack file"
    if isinstance(path[-1], int):
        name = next((str(step) for step in reversed(path) if isinstance(step, str)), "list")
        return f"an item of {name}"
    return str(path[-1]) if len(path) != 2 else f'{_SINGULAR.get(str(path[0]), str(path[0]))} "{path[1]}"'


_SINGULAR = {"services": "service", "networks": "network", "volumes": "volume", "configs": "config", "secrets": "secret", "models": "model"}


def _described(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return f"the boolean {text_of(value)}"
    if isinstance(value, (int, float)):
        return f"the number {text_of(value)}"
    if isinstance(value, Timestamp):
        return f"the date {value.text}"
    if isinstance(value, str):
        return f"the string {_shown(value)}"
    return "a list" if isinstance(value, list) else "a mapping"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else text_of(value)
    return repr(text if len(text) <= 40 else text[:37] + "...")


_DURATIONS = frozenset(
    ("delay", "interval", "monitor", "start_interval", "start_period", "stop_grace_period", "timeout", "window"),
)


def _type_hint(kinds: Any, value: Any, path: Path) -> str:
    kinds = _as_list(kinds)
    if path and path[-1] in _DURATIONS and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"write a unit: {text_of(value)}s"
    if isinstance(value, (bool, int, float, Timestamp)) and "string" in kinds:
        return f'quote it: "{text_of(value)}"'
    if isinstance(value, str) and "array" in kinds and "string" not in kinds:
        return f"write a list: - {value}" if value and "\n" not in value else "write a list"
    if isinstance(value, dict) and isinstance(path[-1] if path else "", int) and "string" in kinds and len(value) == 1:
        key, inner = next(iter(value.items()))
        scalar = not isinstance(inner, (dict, list))
        return f'write "- {key}={text_of(inner)}", or drop the dashes' if scalar else "quote an item that contains a colon"
    if isinstance(value, list) and "object" in kinds:
        return "write NAME: VALUE, without dashes"
    if value is None:
        return "give it a value or remove the key"
    return ""


def _first_at(items: Any, index: int) -> str:
    place = items.item_place(index) if isinstance(items, Seq) else None
    return f"it is there first at line {place.line}" if place and place.line else ""


# --- alternatives ---------------------------------------------------------------------------------


def _meant(error: Violation) -> list[Violation]:
    """The errors of the alternative whose type fits the value; empty when none does."""
    branches: dict[Any, list[Violation]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.schema_path[0], []).append(inner)
    fitting = [found for found in branches.values() if not any(_is_root_type(one) for one in found)]
    return min(fitting, key=len) if fitting else []


def _is_root_type(error: Violation) -> bool:
    """Whether the value itself has the wrong type (rather than something inside it)."""
    if error.relative_path:
        return False
    if error.validator == "anyOf":
        return not _meant(error)
    return bool(error.validator == "type")


# --- unknown keys ---------------------------------------------------------------------------------


def _known_keys(schema: Any) -> set[str]:
    return {key for key in schema.get("properties", {}) if not key.startswith("x-")}


def _matches_pattern(key: str, schema: Any) -> bool:
    return key in schema.get("properties", {}) or any(re.search(pattern, key) for pattern in schema.get("patternProperties", {}))


def _describe_key(schema: Any, key: str) -> str:
    text: str = schema.get("properties", {}).get(key, {}).get("description", "")
    first = text.partition(". ")[0].rstrip(".")
    return f"{key}: {first[0].lower()}{first[1:]}" if text else ""


def _unknown_key(key: str, path: Path, known: set[str], value: Any) -> tuple[str, str]:
    if not path:
        hint = _top_level_hint(key, known, value)
        return f'unknown key "{key}"', hint
    if not known:
        return f'"{key}" is not a valid name here', "a name is made of letters, digits, _, . and -"
    near = did_you_mean(key, known)
    homes = _homes().get(key, ())
    hint = near if near and not (homes and key.lower() != key) else ""
    if not hint or (homes and _far(key, near)):
        hint = _home_hint(key, path, homes) or near
    return f'unknown key "{key}" in {_where(path)}', hint


def _far(key: str, near: str) -> bool:
    return abs(len(near) - len('did you mean ""?') - len(key)) > 1


def _where(path: Path) -> str:
    if len(path) == 2 and path[0] in _SINGULAR:
        return f'{_SINGULAR[str(path[0])]} "{path[1]}"'
    return next((str(step) for step in reversed(path) if isinstance(step, str)), "the stack file")


def _top_level_hint(key: str, known: set[str], value: Any) -> str:
    if isinstance(value, dict) and ("image" in value or "build" in value):
        return f"a service belongs under services: services.{key}"
    near = did_you_mean(key, known)
    return near or _home_hint(key, (), _homes().get(key, ())) or "a key of your own starts with x-"


def _home_hint(key: str, path: Path, homes: Iterable[str]) -> str:
    """Where a key that is valid elsewhere belongs: below this one if it can, else beside it."""
    here = ".".join(str(step) for step in path if isinstance(step, str))
    generic = ".".join(["services", "*", *[str(step) for step in path[2:] if isinstance(step, str)]]) if path[:1] == ("services",) else here
    places = sorted(homes, key=lambda home: (not home.startswith(generic), home.count("."), home))
    if not places or places[0] == generic:
        return ""
    home = places[0]
    if path[:1] == ("services",) and home.startswith("services.*"):
        home = home.replace("*", str(path[1]), 1) if len(path) > 1 else home
    home = home.replace("services.*", "services.<name>").replace(".*", ".<name>")
    return f"{key} belongs under {home}" if home else f"{key} belongs at the top level"


@functools.cache
def _homes() -> dict[str, tuple[str, ...]]:
    """Each key of the schema → the key paths it is valid under."""
    found: dict[str, list[str]] = {}
    for path, key in _walk(load_schema(), load_schema(), "", ()):
        found.setdefault(key, []).append(path)
    return {key: tuple(dict.fromkeys(paths)) for key, paths in found.items()}


def _walk(root: dict[str, Any], schema: Any, path: str, seen: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    reference = schema.get("$ref", "")
    if reference:
        if reference in seen:
            return
        schema, seen = root["definitions"][reference.rsplit("/", 1)[1]], (*seen, reference)
    for key, inner in schema.get("properties", {}).items():
        yield path, key
        yield from _walk(root, inner, f"{path}.{key}".lstrip("."), seen)
    for inner in schema.get("patternProperties", {}).values():
        yield from _walk(root, inner, f"{path}.*".lstrip("."), seen)
    for inner in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())):
        yield from _walk(root, inner, path, seen)
