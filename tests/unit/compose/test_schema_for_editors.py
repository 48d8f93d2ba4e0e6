"""What an editor shows of the schema: every key described, every example and default valid where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from stackrun.compose.schema import load_schema

SCHEMA = load_schema()


def subschemas(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every subschema with its path as a person writes it: `service.ports.target`."""
    yield path, schema
    for key, inner in schema.get("properties", {}).items():
        yield from subschemas(inner, f"{path}.{key}")
    for inner in (
        *schema.get("patternProperties", {}).values(),
        *schema.get("anyOf", ()),
        *([schema["items"]] if "items" in schema else ()),
    ):
        yield from subschemas(inner, path)


def everything() -> list[tuple[str, dict[str, Any]]]:
    found = list(subschemas({key: value for key, value in SCHEMA.items() if key != "definitions"}, "stack"))
    return found + [one for name, schema in SCHEMA["definitions"].items() for one in subschemas(schema, name)]


def properties() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{path}.{key}", inner) for path, one in everything() for key, inner in one.get("properties", {}).items()]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A subschema that stands alone: draft 7 looks at nothing beside `$ref`, so neither do we."""
    return {**schema, "definitions": SCHEMA["definitions"]}


def violations(schema: dict[str, Any], value: Any) -> list[str]:
    return [error.message for error in Draft7Validator(resolved(schema)).iter_errors(value)]


def test_the_identity_is_stable_and_has_a_version() -> None:
    assert SCHEMA["$id"] == "https://stackrun.dev/schemas/1/stack.schema.json"


def test_every_property_says_in_a_sentence_or_two_what_it_is() -> None:
    assert len(properties()) > 250
    wrong = [path for path, one in properties() if not one.get("description", "").endswith(".") or len(one["description"]) > 300]
    assert wrong == []


def test_every_definition_has_a_title_and_a_description() -> None:
    assert [name for name, one in SCHEMA["definitions"].items() if not {"title", "description"} <= set(one)] == []


def test_descriptions_are_not_shared_by_keys_that_mean_different_things() -> None:
    """A service's own keys; what stands twice was copied without a thought."""
    told = [one["description"] for one in SCHEMA["definitions"]["service"]["properties"].values()]
    assert [text for text in set(told) if told.count(text) > 1] == []


def test_every_example_is_valid_where_it_stands() -> None:
    wrong = [(path, example, violations(one, example)) for path, one in everything() for example in one.get("examples", ())]
    assert [one for one in wrong if one[2]] == []
    assert len(wrong) > 300


def test_every_default_is_valid_where_it_stands() -> None:
    told = [(path, one["default"], violations(one, one["default"])) for path, one in everything() if "default" in one]
    assert [one for one in told if one[2]] == []
    assert len(told) > 40


@pytest.mark.parametrize("key", ["restart", "pull_policy", "network_mode", "ipc"])
def test_words_that_are_no_enum_are_proposed_all_the_same(key: str) -> None:
    """Interpolation forbids an enum; editors complete from the examples."""
    assert len(SCHEMA["definitions"]["service"]["properties"][key]["examples"]) >= 3
