"""Odd values, each as Docker Compose 2.40.3 takes or refuses it (`docker compose config --format json` on the same file)."""

from __future__ import annotations

from typing import Any

import pytest
from unit.compose.stack_files import Stack

from stackrun.compose.load import load
from stackrun.errors import ComposeError

RESOURCES = "secrets: {s: {file: f}}\nconfigs: {c: {file: f}}\nvolumes: {v: }\n"


def loaded(stack: Stack, body: str) -> Any:
    return stack.load(f"services: {{a: {{image: x, {body}}}}}\n{RESOURCES}").to_dict()["services"]["a"]


def refused(stack: Stack, body: str) -> list[str]:
    stack.write({"compose.yaml": f"services: {{a: {{image: x, {body}}}}}\n{RESOURCES}"})
    with pytest.raises(ComposeError) as caught:
        load(stack.source(), for_up=False)
    return [one.message for one in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("body", "key", "value"),
    [
        ("build: {dockerfile: ''}", "build", {"context": "/"}),
        ("build: {dockerfile_inline: ''}", "build", {"context": "/"}),
        ("build: {platforms: [a, a]}", "build", {"context": "/", "dockerfile": "Dockerfile", "platforms": ["a", "a"]}),
        ("credential_spec: {config: '', file: x}", "credential_spec", {"file": "x"}),
        ("devices: [{source: /dev/a, target: /dev/b}]", "devices", [{"source": "/dev/a", "target": "/dev/b"}]),
        ("devices: ['']", "devices", [{"permissions": "rwm"}]),
        ("devices: ['a::']", "devices", [{"source": "a", "target": "a"}]),
        ("dns: ''", "dns", None),
        ("network_mode: ''", "networks", None),
        ("secrets: [{source: s, mode: 0, target: ''}]", "secrets", [{"source": "s", "mode": "00"}]),
        ("env_file: [{path: none.env, required: 'no'}]", "environment", None),
        ("env_file: [{path: '', required: false}]", "environment", None),
        ("storage_opt: {a: 1}", "storage_opt", {"a": "1"}),
        ("mem_limit: -1", "mem_limit", "-1"),
        ("mem_limit: '-1'", "mem_limit", "-1"),
        ("volumes: [{type: volume, source: v, target: ''}]", "volumes", [{"type": "volume", "source": "v", "target": "."}]),
        ("volumes: [{type: image, source: v, target: /t, image: {subpath: ''}}]", "volumes",
         [{"type": "image", "source": "v", "target": "/t", "image": {}}]),
        ("deploy: {placement: {preferences: [{spread: ''}]}}", "deploy", {"placement": {"preferences": [{}]}}),
        ("deploy: {resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: g}}]}}}", "deploy",
         {"resources": {"reservations": {"generic_resources": [{"discrete_resource_spec": {"kind": "g", "value": 0}}]}}}),
    ],
)  # fmt: skip
def test_taken(stack: Stack, body: str, key: str, value: Any) -> None:
    found = loaded(stack, body).get(key)
    if isinstance(found, dict) and "context" in found:
        found["context"] = "/"
    assert found == value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("attach: '1'", "must be true or false, not '1'"),
        ("blkio_config: {weight: '1'}", "must be a whole number, not '1'"),
        ("blkio_config: {weight: -1}", "must not be negative, as -1 is"),
        ("build: {ssh: [a]}", "invalid ssh key 'a'"),
        ("build: {additional_contexts: [a]}", "the context 'a' has no name"),
        ("build: {additional_contexts: {a: }}", "a context is a path, a URL, an image or a service"),
        ("build: {ulimits: {core: '1'}}", "must be a whole number, not '1'"),
        ("build: {ulimits: {core: 1.0}}", "must be a whole number, or soft and hard"),
        ("build: {secrets: [{source: s, mode: 1.5}]}", "must be an octal number such as 0440, not '1.5'"),
        ("configs: [{source: c, mode: '-1'}]", "must be an octal number such as 0440, not '-1'"),
        ("deploy: {update_config: {parallelism: -1}}", "must not be negative, as -1 is"),
        ("deploy: {resources: {limits: {pids: '1.5'}}}", "must be a whole number, not '1.5'"),
        ("deploy: {resources: {limits: {cpus: .inf}}}", "must be a number, not inf"),
        ("expose: [1.5]", "must be a string or a whole number, not 1.5"),
        ("gpus: [{count: 1.0}]", "must be a whole number or \"all\", not '1'"),
        ("healthcheck: {retries: -1}", "must not be negative, as -1 is"),
        ("mem_limit: .inf", "invalid size: '+Inf'"),
        ("ports: ['80:0']", "port 0 in '80:0' is none that a container could listen on"),
        ("ports: ['[fe80::1%eth0]:80:80']", "'fe80::1%eth0' is not an IP address"),
        ("ports: [{target: 80, host_ip: ''}]", "host_ip is empty"),
        ("ports: [{target: -1}]", "a port cannot be negative, as -1 is"),
        ("ports: [{target: 80, published: 8e1}]", "a port must be a whole number, not 80"),
        ("storage_opt: {a: true}", "must be a string, not true"),
        ("volumes: [{type: tmpfs, target: /t, tmpfs: {mode: '1'}}]", "must be a number such as 0755, not '1'"),
    ],
)
def test_refused(stack: Stack, body: str, message: str) -> None:
    assert refused(stack, body) == [message]


@pytest.mark.parametrize("include", ["include:", "include: []", "include: [null]", "include: [{}]", "include: [{path: []}]"])
def test_an_include_of_nothing(stack: Stack, include: str) -> None:
    assert "include" not in stack.load(f"{include}\nservices: {{a: {{image: x}}}}").to_dict()


@pytest.mark.parametrize(
    "entry", ["{path: o.yaml, env_file: 1}", "{path: o.yaml, env_file: [[a]]}", "{path: o.yaml, project_directory: 1}"]
)
def test_an_include_of_the_wrong_kind_is_told_and_not_followed(stack: Stack, entry: str) -> None:
    stack.write({"compose.yaml": f"include: [{entry}]\nservices: {{a: {{image: x}}}}\n"})
    with pytest.raises(ComposeError) as caught:
        load(stack.source(), for_up=False)
    assert [one.code for one in caught.value.diagnostics] == ["wrong-type"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("tmpfs: [/a, '/a:ro']", "/a is mounted already, by item 1 of tmpfs"),
        ("tmpfs: [/a], volumes: ['/a/']", "/a is mounted already, by item 1 of tmpfs"),
        ("volumes: [{type: bind, source: ., target: /a/}, '/a']", "/a is mounted already, by item 1 of volumes"),
    ],
)
def test_one_path_of_the_container_mounted_twice(stack: Stack, body: str, message: str) -> None:
    assert refused(stack, body) == [message]


def test_sources_of_secrets_and_configs(stack: Stack) -> None:
    """An empty file is the directory, as Docker Compose has it; an empty variable is none."""
    text = "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {%s}}"
    assert stack.load(text % "file: ''").secrets["s"].file == str(stack.directory)
    for body, said in (
        ("environment: ''", 'secret "s" has no value'),
        ("file: f, environment: E", "file and environment exclude"),
    ):
        assert said in stack.findings(text % body)[0]
