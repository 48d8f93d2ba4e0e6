"""The schema itself, and what its violations are told as."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator
from unit.compose.stack_files import Stack

from stackrun.compose.schema import _HANDLERS, load_schema


def test_it_is_a_draft_07_schema() -> None:
    schema = load_schema()
    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_every_key_is_described() -> None:
    schema = load_schema()
    lacking = [path for path, key in _properties(schema, "") if "description" not in key]
    assert not lacking


def _properties(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        for key, inner in schema.get("properties", {}).items() if isinstance(schema.get("properties"), dict) else ():
            yield f"{path}.{key}", inner
        for key, inner in schema.items():
            yield from _properties(inner, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, inner in enumerate(schema):
            yield from _properties(inner, f"{path}/{index}")


def test_every_word_that_it_validates_with_has_a_message() -> None:
    silent = {"$schema", "$id", "$ref", "title", "description", "default", "deprecated", "examples", "definitions", "properties"}
    silent |= {"patternProperties", "items"}
    assert _words(load_schema()) - silent == set(_HANDLERS)


def _words(schema: Any) -> set[str]:
    words = set(schema)
    inner = [*schema.get("properties", {}).values(), *schema.get("patternProperties", {}).values(), *schema.get("definitions", {}).values()]
    inner += [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]
    return words.union(*(_words(one) for one in inner))


@pytest.mark.parametrize(
    ("body", "finding", "hint"),
    [
        ("imge: x", '3:3: unknown key "imge" in service "a"', 'did you mean "image"?'),
        ("port: [80]", '3:3: unknown key "port" in service "a"', 'did you mean "ports"?'),
        ("Image: x", '3:3: unknown key "Image" in service "a"', 'did you mean "image"?'),
        ("replicas: 3", '3:3: unknown key "replicas" in service "a"', "replicas belongs under services.a.deploy"),
        ("context: .", '3:3: unknown key "context" in service "a"', "context belongs under services.a.build"),
        ("interval: 5s", '3:3: unknown key "interval" in service "a"', "interval belongs under services.a.healthcheck"),
        ("subnet: x", '3:3: unknown key "subnet" in service "a"', "subnet belongs under networks.<name>.ipam.config"),
        ("ports: 8080", "3:10: ports must be a list, not the number 8080", ""),
        ("ports: '80'", "3:10: ports must be a list, not the string '80'", "write a list: - 80"),
        ("image: 5", "3:10: image must be a string, not the number 5", 'quote it: "5"'),
        ("restart: true", "3:12: restart must be a string, not the boolean true", 'quote it: "true"'),
        ("environment: {A: 2001-12-14}",
         "3:20: A must be a string, a number or true or false, not the date 2001-12-14", 'quote it: "2001-12-14"'),
        ("environment: [A: b]", "3:17: an item of environment must be a string, not a mapping", 'write "- A=b", or drop the dashes'),
        ("security_opt: [x, x]", "3:21: 'x' is in security_opt twice", "it is there first at line 3"),
        ("healthcheck: {interval: 5}", "3:27: interval must be a string, not the number 5", "write a unit: 5s"),
        ("depends_on: {b: {condition: healthy}}",
         "3:31: condition must be service_started, service_healthy or service_completed_successfully, not 'healthy'",
         'did you mean "service_healthy"?'),
        ("depends_on: {b: {}}", "3:19: b has no condition", "condition: what is waited for"),
        ("oom_score_adj: 2000", "3:18: oom_score_adj must be at most 1000, not 2000", ""),
        ("cpu_count: -1", "3:14: cpu_count must be at least 0, not -1", ""),
        ("pull_policy: sometimes",
         "3:16: pull_policy must be always, missing, never, build, daily, weekly or every_<duration>, not 'sometimes'", ""),
        ("command: {a: b}", "3:12: command must be a string or a list, not a mapping", ""),
        ("networks: {q: {ipv4: x}}", '3:18: unknown key "ipv4" in q', "ipv4 belongs nowhere"),
        ("volumes: [{source: x}]", "3:13: an item of volumes has no type", "type: what is mounted"),
        ("x-stackrun: {kin: job}", '3:16: unknown key "kin" in x-stackrun', 'did you mean "kind"?'),
    ],
)  # fmt: skip
def test_a_violation_of_a_service(stack: Stack, body: str, finding: str, hint: str) -> None:
    text = f"services:\n a:\n  {body}\n b: {{image: x}}\nnetworks: {{q: }}\n"
    found = [one for one in stack.findings(text) if one.startswith("3:")]
    assert found == [finding]
    if "nowhere" not in hint:
        assert hint in stack.hints(text)


@pytest.mark.parametrize(
    ("text", "finding", "hint"),
    [
        ("servics: {}\n", '1:1: unknown key "servics"', 'did you mean "services"?'),
        ("web: {image: x}\n", '1:1: unknown key "web"', "a service belongs under services: services.web"),
        ("image: x\n", '1:1: unknown key "image"', "image belongs under services.<name>"),
        ("logging_: x\n", '1:1: unknown key "logging_"', "a key of your own starts with x-"),
        ("services: {a b: {image: x}}\n", '1:12: "a b" is not a valid name here', "a name is made of letters, digits, _, . and -"),
        ("services: {a: }\n", '1:15: service "a" must be a mapping, not empty', "give it a value or remove the key"),
        ("services: []\n", "1:11: services must be a mapping, not a list", "write NAME: VALUE, without dashes"),
        ("version: 3\nservices: {a: {image: x}}\n", "1:10: version must be a string, not the number 3", 'quote it: "3"'),
        ("services: {a: {image: x}}\nvolumes: {v: {drivr: x}}\n", '2:15: unknown key "drivr" in volume "v"', 'did you mean "driver"?'),
        ("services: {a: {image: x}}\nsecrets: {s: x}\n", "2:14: secret \"s\" must be a mapping, not the string 'x'", ""),
    ],
)
def test_a_violation_of_the_top_level(stack: Stack, text: str, finding: str, hint: str) -> None:
    assert stack.findings(text)[0] == finding
    assert stack.hints(text)[0] == hint


def test_what_was_refused_does_not_hide_the_rest(stack: Stack) -> None:
    text = """\
services:
  web:
    image: nginx
    prots: ["80:80"]
    ports: ["80000:80"]
    environment:
      - A: b
    depends_on: [bd]
    networks: [fornt]
    mem_limit: lots
    healthcheck: {interval: 5, test: [curl]}
  db:
    restart: true
    volumes: ["data:/x", ":/y"]
networks:
  front: {drivr: bridge}
volumes:
  dta:
"""
    found = stack.findings(text)
    assert [tuple(int(word) for word in one.split(":")[:2]) for one in found] == [
        (4, 5), (5, 13), (7, 9), (8, 18), (9, 16), (10, 16), (11, 29), (11, 38), (12, 3), (13, 14), (14, 15), (14, 26), (16, 11),
    ]  # fmt: skip
