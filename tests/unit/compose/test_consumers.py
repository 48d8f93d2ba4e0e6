"""Every key of the schema is heard: giving it changes the frozen model, or is an error or a notice. Never parsed and ignored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.compose.stack_files import Stack

from stackrun.compose.load import check, load
from stackrun.compose.model import Project
from stackrun.compose.schema import load_schema
from stackrun.compose.tree import Map
from stackrun.errors import ComposeError

SCHEMA = load_schema()
KeyPath = tuple[str, ...]
"""`*` is a user's name, `[]` an item of a list."""

BESIDE: dict[str, dict[str, Any]] = {
    "services.*": {"image": "x"},
    "services.*.build.secrets.[]": {"source": "s"},
    "services.*.build.ulimits.*": {"soft": 1, "hard": 9},
    "services.*.configs.[]": {"source": "c"},
    "services.*.depends_on.*": {"condition": "service_started"},
    "services.*.deploy.resources.reservations.devices.[]": {"capabilities": ["gpu"]},
    "services.*.develop.watch.[]": {"path": "src", "action": "rebuild"},
    "services.*.develop.watch.[].exec": {"command": "x"},
    "services.*.devices.[]": {"source": "/dev/a", "target": "/dev/b"},
    "services.*.env_file.[]": {"path": "odd.env"},
    "services.*.extends": {"service": "more"},
    "services.*.gpus.[]": {"driver": "d"},
    "services.*.logging": {"driver": "json-file"},
    "services.*.models.*": {"endpoint_var": "E"},
    "services.*.ports.[]": {"target": 81},
    "services.*.post_start.[]": {"command": "x"},
    "services.*.pre_stop.[]": {"command": "x"},
    "services.*.provider": {"type": "p"},
    "services.*.secrets.[]": {"source": "s"},
    "services.*.ulimits.*": {"soft": 1, "hard": 9},
    "services.*.volumes.[]": {"type": "volume", "target": "/t"},
    "services.*.volumes.[].bind": {},
    "services.*.blkio_config.weight_device.[]": {"path": "/dev/a", "weight": 10},
    "configs.*": {"file": "f"},
    "secrets.*": {"file": "f"},
    "models.*": {"model": "m"},
    "include.[]": {"path": "more.yaml"},
}
"""What must stand beside a key for it to mean something."""
ALONE = {f"{section}.*.{key}" for section in ("configs", "secrets") for key in ("content", "environment")}
"""Keys that exclude what would stand beside them."""
BESIDE |= {
    f"services.*.blkio_config.device_{what}.[]": {"path": "/dev/a", "rate": 1}
    for what in ("read_bps", "read_iops", "write_bps", "write_iops")
}
INSTEAD: dict[str, tuple[Any, ...]] = {
    "version": ("3.8",),
    "name": ("named",),
    "networks": ({"n": {"driver": "other"}},),
    "volumes": ({"kept": {"driver": "other"}},),
    "configs": ({"c": {"file": "g"}},),
    "secrets": ({"s": {"file": "g"}},),
    "models": ({"m": {"model": "other"}},),
    "configs.*.environment": ("A",),
    "configs.*.x-stackrun": ({"on_change": "restart"},),
    "secrets.*.environment": ("A",),
    "secrets.*.x-stackrun": ({"on_change": "restart"},),
    "services.*.x-stackrun": ({"kind": "job"},),
    "services.*.build.additional_contexts": ({"a": "https://example.org/a"},),
    "services.*.build.secrets.[].source": ("s",),
    "services.*.configs.[].source": ("c",),
    "services.*.secrets.[].source": ("s",),
    "services.*.develop.watch.[].action": ("restart",),
    "services.*.volumes.[].tmpfs": ({"size": 5},),
    "services.*.volumes.[].tmpfs.mode": (0o755,),
    "networks.*.external.name": ("own",),
    "volumes.*.external.name": ("own",),
    "configs.*.external.name": ("own",),
    "secrets.*.external.name": ("own",),
    "include": (["more.yaml"],),
    "include.[].path": ("other.yaml",),
    "include.[].project_directory": ("sub",),
    "include.[].env_file": ("one.env",),
    "services.*.extends": ("user",),
    "services.*.extends.file": ("more.yaml",),
    "services.*.env_file": ("one.env",),
    "services.*.env_file.[].path": ("two.env",),
    "services.*.env_file.[].required": (False,),
    "services.*.env_file.[].format": ("raw",),
    "services.*.label_file": ("one.env",),
    "services.*.depends_on": (["base"],),
    "services.*.depends_on.*.condition": ("service_healthy",),
    "services.*.links": (["base"],),
    "services.*.volumes_from": (["base"],),
    "services.*.network_mode": ("host",),
    "services.*.networks": (["n"],),
    "services.*.configs": (["c"],),
    "services.*.secrets": (["s"],),
    "services.*.models": (["m"],),
    "services.*.build.secrets": (["s"],),
    "services.*.container_name": ("own",),
    "services.*.scale": (2,),
    "services.*.profiles": (["p"],),
    "services.*.provider.options": ({"a": "b"},),
    "services.*.volumes.[].type": ("tmpfs",),
    "services.*.volumes.[].source": ("kept",),
}
"""Values that mean something in the stack built here, where the schema's own examples do not."""
NOT_HEARD: dict[str, str] = {
    "services.*.extends.service": "required: without it there is no extends, which is tried as a whole",
    "services.*.env_file.[].required": "of a missing file it makes an error or nothing; the tests of env files have both",
    "include.[].project_directory": "moves where paths start; the tests of include have it",
    "x-stackrun": "takes no key yet at the top level",
}
"""Keys that this test cannot show to be heard, each with the reason."""


def properties(schema: Any, path: KeyPath = (), seen: tuple[str, ...] = ()) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        if name not in seen:
            yield from properties(SCHEMA["definitions"][name], path, (*seen, name))
        return
    for key, inner in schema.get("properties", {}).items():
        yield (*path, key), inner
        yield from properties(inner, (*path, key), seen)
    for pattern, inner in schema.get("patternProperties", {}).items():
        if not pattern.startswith("^x-"):
            yield from properties(inner, (*path, "*"), seen)
    for inner in schema.get("anyOf", ()):
        yield from properties(inner, path, seen)
    if "items" in schema:
        yield from properties(schema["items"], (*path, "[]"), seen)


PROPERTIES = {".".join(path): schema for path, schema in properties(SCHEMA)}


def values(path: str, schema: dict[str, Any]) -> tuple[Any, ...]:
    if path in INSTEAD:
        return INSTEAD[path]
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]] | {key: value for key, value in schema.items() if key != "$ref"}
    return (*schema.get("examples", ()), True, False)


def stack_with(path: str, *value: Any) -> dict[str, Any]:
    """A small stack that has `value` at `path`, and one that lacks the key alone when no value is given."""
    steps = path.split(".")
    node: Any = None
    for index in range(len(steps) - 1, -1, -1):
        step, above = steps[index], ".".join(steps[:index])
        if step == "[]":
            node = [node]
            continue
        name = {"services": "a", "networks": "n", "volumes": "kept", "configs": "c", "secrets": "s", "models": "m", "depends_on": "base"}
        key = name.get(steps[index - 1], "k") if step == "*" else step
        here = dict(BESIDE.get(above, {}))
        if index == len(steps) - 1:
            here = {} if path in ALONE else here
            here.pop(key, None)
            here |= {key: value[0]} if value else {}
        else:
            here[key] = node
        node = here
    service = {"image": "u", "networks": ["n"], "volumes": ["vol:/vv"], "configs": ["c"], "secrets": ["s"], "models": ["m"]}
    whole: dict[str, Any] = {"services": {"base": {"image": "b"}, "other": {"image": "o"}, "user": service}}
    whole |= {"networks": {"n": {}}, "volumes": {"vol": {}, "kept": {}}, "configs": {"c": {"file": "f"}}, "secrets": {"s": {"file": "f"}}}
    whole |= {"models": {"m": {"model": "m"}}}
    for section, entries in node.items():
        whole[section] = whole[section] | entries if isinstance(whole.get(section), dict) and isinstance(entries, dict) else entries
    if steps[0] == "volumes":
        whole["services"]["user"]["volumes"] = ["kept:/vv"]
    return whole


def heard(stack: Stack, content: dict[str, Any]) -> tuple[Any, list[str]]:
    """(the model without the tree that it was made of, or None; every finding's message)"""
    Path(stack.directory, "compose.yaml").write_text(json.dumps(content), encoding="utf-8")
    source = stack.source("compose.yaml")
    try:
        project = load(source, for_up=False)
    except ComposeError:
        return None, [str(one).partition(": ")[2] for one in check(source)]
    return bare(project), [str(one).partition(": ")[2] for one in check(source)]


def bare(project: Project) -> str:
    """As text; the tree, which no engine looks at, left out."""
    services = {name: replace(one, canonical=Map()) for name, one in project.services.items()}
    disabled = {name: replace(one, canonical=Map()) for name, one in project.disabled_services.items()}
    return repr(replace(project, services=services, disabled_services=disabled, canonical=Map(), warnings=(), environment={}, inputs=()))


@pytest.fixture
def files(stack: Stack) -> Stack:
    stack.write({
        "odd.env": "A='1'\n", "one.env": "A=1\n", "two.env": "A=2\n", "f": "f", "g": "g",
        "more.yaml": "services: {more: {image: 'm${A}', volumes: ['./d:/d']}, fallen: {image: bb}}",
        "other.yaml": "services: {another: {image: q}}",
    })  # fmt: skip
    return stack


@pytest.mark.parametrize("path", PROPERTIES)
def test_every_key_is_heard(files: Stack, path: str) -> None:
    if path in NOT_HEARD:
        return
    without = heard(files, stack_with(path))
    for value in values(path, PROPERTIES[path]):
        found = heard(files, stack_with(path, value))
        if found[0] is not None and found != without:
            return
    pytest.fail(f"no value of {path} changes the model or is told: without it {without[1]}")


def test_the_exceptions_are_keys_of_the_schema() -> None:
    assert NOT_HEARD.keys() | INSTEAD.keys() <= PROPERTIES.keys()
