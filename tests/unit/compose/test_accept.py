"""The quick yes or no of a schema is jsonschema's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from stackrun.compose.accept import _WORDS, Acceptance
from stackrun.compose.scalar import Timestamp
from stackrun.compose.schema import _validator, load_schema

NAMES = ("a", "b", "x-a", "9")
SCALARS: st.SearchStrategy[Any] = st.sampled_from(
    (None, True, False, 0, 1, 1.0, 0.5, -1, 7, 1e400, "", "a", "b", "9", "1", Timestamp("2001-12-14"))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3), max_leaves=8
)
KINDS = st.sampled_from(("array", "boolean", "integer", "null", "number", "object", "string"))


def described(words: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=words | {"description": st.just("said")})


PLAIN = described(
    {
        "type": KINDS | st.lists(KINDS, min_size=1, max_size=3, unique=True),
        "enum": st.lists(SCALARS.filter(lambda value: not isinstance(value, Timestamp)), min_size=1, max_size=3),
        "pattern": st.sampled_from(("^a", "[0-9]", "b$")),
        "minimum": st.sampled_from((0, 1, 0.5)),
        "maximum": st.sampled_from((0, 1, 6.5)),
        "uniqueItems": st.booleans(),
        "required": st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
    }
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    members = {
        "properties": st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
        "patternProperties": st.dictionaries(st.sampled_from(("^x-", "[a-z]", "^a$")), inner, max_size=2),
        "additionalProperties": inner | st.booleans(),
    }
    return described({**members, "type": KINDS, "items": inner, "anyOf": st.lists(inner, min_size=1, max_size=3)})


SCHEMAS = st.recursive(PLAIN | st.just({"$ref": "#/definitions/named"}), nested, max_leaves=6)


@settings(max_examples=400, deadline=None)
@given(schema=SCHEMAS, named=PLAIN, values=st.lists(VALUES, min_size=1, max_size=6))
def test_it_says_of_any_schema_what_jsonschema_says(schema: dict[str, Any], named: dict[str, Any], values: list[Any]) -> None:
    document = {**schema, "definitions": {"named": named}}
    ours, theirs = Acceptance(document), Draft7Validator(document)
    assert [ours.accepts(value) for value in values] == [theirs.is_valid(value) for value in values]


def test_a_schema_may_refer_to_itself() -> None:
    document = {
        "$ref": "#/definitions/tree",
        "definitions": {"tree": {"type": "object", "additionalProperties": {"$ref": "#/definitions/tree"}}},
    }
    accepts = Acceptance(document).accepts
    assert accepts({"a": {"b": {}}, "c": {}})
    assert not accepts({"a": {"b": {"c": 1}}})


def test_a_word_that_it_does_not_know_is_refused() -> None:
    with pytest.raises(KeyError, match="multipleOf"):
        Acceptance({"multipleOf": 2})


def test_it_knows_every_word_of_the_stack_schema() -> None:
    assert {word for schema in subschemas(load_schema()) for word in schema} - {"$ref"} <= set(_WORDS)


def subschemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    inner = [one for word in ("properties", "patternProperties", "definitions") for one in schema.get(word, {}).values()]
    inner += [*schema.get("anyOf", ()), *(schema[word] for word in ("items", "additionalProperties") if isinstance(schema.get(word), dict))]
    for one in inner:
        yield from subschemas(one)


@st.composite
def nearly(draw: st.DrawFn, schema: dict[str, Any], depth: int = 0) -> Any:
    """A value that a subschema of the stack schema accepts, but for something now and then."""
    if "$ref" in schema:
        return draw(nearly(load_schema()["definitions"][schema["$ref"].rsplit("/", 1)[1]], depth))
    if "anyOf" in schema:
        return draw(nearly(draw(st.sampled_from(schema["anyOf"])), depth))
    if depth > 6 or draw(st.integers(0, 39)) == 0:
        return draw(VALUES)
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    kinds = schema.get("type", "string")
    match kinds if isinstance(kinds, str) else draw(st.sampled_from(kinds)):
        case "object":
            return draw(members(schema, depth + 1))
        case "array":
            return draw(st.lists(nearly(schema.get("items", {}), depth + 1), max_size=3))
        case "string":
            return draw(st.sampled_from(("a", "9", "daily", "", "ab")))
        case kind:
            return draw(
                st.sampled_from({"integer": (0, 7, 2000), "number": (0.5, 99, -3.0), "boolean": (True, False), "null": (None,)}[kind])
            )


@st.composite
def members(draw: st.DrawFn, schema: dict[str, Any], depth: int) -> dict[str, Any]:
    named: dict[str, Any] = schema.get("properties", {})
    chosen = draw(st.lists(st.sampled_from(sorted(named)), max_size=3, unique=True)) if named else []
    found = {key: draw(nearly(named[key], depth)) for key in (*schema.get("required", ()), *chosen)}
    for inner in schema.get("patternProperties", {}).values():
        found |= draw(st.dictionaries(st.sampled_from(("a", "9", "x-a", "a b")), nearly(inner, depth), max_size=1))
    return found


@settings(max_examples=300, deadline=None)
@given(value=nearly(load_schema()))
def test_it_says_of_nearly_right_stack_files_what_jsonschema_says(value: Any) -> None:
    assert Acceptance(load_schema()).accepts(value) is _validator().is_valid(value)


@settings(max_examples=200, deadline=None)
@given(value=nearly({"$ref": "#/definitions/service"}))
def test_and_of_services(value: Any) -> None:
    stack = {"services": {"a": value}}
    assert Acceptance(load_schema()).accepts(stack) is _validator().is_valid(stack)
