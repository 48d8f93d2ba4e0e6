"""Several files: one test a rule of merging."""

from __future__ import annotations

from typing import Any

import pytest
from unit.compose.stack_files import Stack

from stackrun.errors import ComposeError


def service(stack: Stack, base: str, over: str) -> dict[str, Any]:
    top = "\nnetworks: {n: , m: }\nvolumes: {vol: , wol: }\nsecrets: {s: {file: s}}\nconfigs: {c: {file: c}}\n"
    project = stack.merged(f"services: {{b: {{image: y}}, a: {{{base}}}}}{top}", f"services: {{a: {{image: z, {over}}}}}")
    return project.services["a"].to_dict()


@pytest.mark.parametrize(
    ("key", "base", "over", "merged"),
    [
        ("image", "image: x", "", "z"),
        ("command", "command: [a, b]", "command: [c]", ["c"]),
        ("entrypoint", "entrypoint: a", "entrypoint: [b]", ["b"]),
        ("environment", "environment: {A: 1, B: 2}", "environment: [B=3, C]", {"A": "1", "B": "3", "C": None}),
        ("labels", "labels: [a=1, b=2]", "labels: {b: 3}", {"a": "1", "b": "3"}),
        ("sysctls", "sysctls: [a=1]", "sysctls: {a: 2}", {"a": "2"}),
        ("dns", "dns: 1.1.1.1", "dns: [2.2.2.2, 1.1.1.1]", ["1.1.1.1", "2.2.2.2"]),
        ("tmpfs", "tmpfs: /a", "tmpfs: [/a, /b]", ["/a", "/b"]),
        ("expose", "expose: [1]", "expose: ['1', 2]", ["1", "2"]),
        ("cap_add", "cap_add: [A]", "cap_add: [A, B]", ["A", "B"]),
        ("profiles", "profiles: []", "profiles: []", None),
        ("extra_hosts", "extra_hosts: {a: 1.1.1.1}", "extra_hosts: ['a:2.2.2.2']", ["a=1.1.1.1", "a=2.2.2.2"]),
        (
            "ulimits",
            "ulimits: {nofile: 5, nproc: 1}",
            "ulimits: {nofile: {soft: 1, hard: 2}}",
            {"nofile": {"soft": 1, "hard": 2}, "nproc": 1},
        ),
        ("healthcheck", "healthcheck: {test: a, interval: 5s}", "healthcheck: {test: [CMD, b]}", {"test": ["CMD", "b"], "interval": "5s"}),
        (
            "logging",
            "logging: {driver: a, options: {x: 1}}",
            "logging: {options: {y: 2}}",
            {"driver": "a", "options": {"x": "1", "y": "2"}},
        ),
        ("logging", "logging: {driver: a, options: {x: 1}}", "logging: {driver: b}", {"driver": "b"}),
        ("networks", "networks: [n]", "networks: {n: {aliases: [q]}, m: }", {"n": {"aliases": ["q"]}, "m": None}),
        ("restart", "restart: always", "restart: null", "always"),
        ("deploy", "deploy: {replicas: 2}", "deploy: {mode: global}", {"replicas": 2, "mode": "global"}),
    ],
)
def test_a_rule(stack: Stack, key: str, base: str, over: str, merged: object) -> None:
    assert service(stack, base, over).get(key) == merged


def targets(found: dict[str, Any], key: str) -> list[str]:
    return [f"{item.get('source', item.get('published', ''))}:{item['target']}" for item in found[key]]


def test_volumes_are_the_same_by_their_target(stack: Stack) -> None:
    found = service(stack, "volumes: ['vol:/vv', './d:/d']", "volumes: ['wol:/vv', {type: tmpfs, target: /t}]")
    assert [(item["type"], item["target"]) for item in found["volumes"]] == [("volume", "/vv"), ("bind", "/d"), ("tmpfs", "/t")]
    assert found["volumes"][0]["source"] == "wol"


def test_ports_are_appended_and_equal_ones_are_one(stack: Stack) -> None:
    assert targets(service(stack, "ports: ['80:80', '81:81']", "ports: ['81:81', '82:82']"), "ports") == ["80:80", "81:81", "82:82"]


def test_secrets_and_configs_are_the_same_by_their_target(stack: Stack) -> None:
    found = service(
        stack,
        "secrets: [s], configs: [c]",
        "secrets: [{source: s, target: /run/secrets/s, mode: 0400}], configs: [{source: c, target: /q}]",
    )
    assert found["secrets"] == [{"source": "s", "target": "/run/secrets/s", "mode": "0400"}]
    assert found["configs"] == [{"source": "c"}, {"source": "c", "target": "/q"}]


def test_devices_are_the_same_by_their_target(stack: Stack) -> None:
    found = service(stack, "devices: ['/dev/a:/dev/x']", "devices: ['/dev/b:/dev/x', /dev/c]")
    assert [device["source"] for device in found["devices"]] == ["/dev/b", "/dev/c"]


def test_depends_on_is_merged_as_a_mapping(stack: Stack) -> None:
    found = service(stack, "depends_on: [b]", "depends_on: {b: {condition: service_healthy}}")
    assert found["depends_on"] == {"b": {"condition": "service_healthy", "required": True}}


def test_build_is_merged_from_either_form(stack: Stack) -> None:
    found = service(stack, "build: ./ctx", "build: {args: [A=1], dockerfile: D}")["build"]
    assert (found["context"].rsplit("/", 1)[1], found["dockerfile"], found["args"]) == ("ctx", "D", {"A": "1"})


def test_env_file_appends_and_the_later_wins(stack: Stack) -> None:
    stack.write({"e": "A=1\nB=1\n", "f": "B=2\nC=${A}\n"})
    assert service(stack, "env_file: e, environment: {D: 4}", "env_file: [f]")["environment"] == {"A": "1", "B": "2", "C": "1", "D": "4"}


def test_ipam_pools_of_one_subnet_are_merged(stack: Stack) -> None:
    pools = "services: {a: {image: x}}\nnetworks: {default: {ipam: {config: [{subnet: 10.0.0.0/24, gateway: 10.0.0.1}]}}}"
    over = "networks: {default: {ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: 10.0.0.0/24, ip_range: 10.0.0.0/25}]}}}"
    network = stack.merged(pools, over).networks["default"]
    assert [(pool.subnet, pool.gateway, pool.ip_range) for pool in network.pools] == [
        ("10.1.0.0/24", "", ""),
        ("10.0.0.0/24", "10.0.0.1", "10.0.0.0/25"),
    ]


def test_top_level_extensions_are_merged(stack: Stack) -> None:
    assert stack.merged("services: {a: {image: x}}\nx-a: {b: 1}", "x-a: {c: 2}").extensions == {"x-a": {"b": 1, "c": 2}}


def test_the_documents_of_one_file_are_merged(stack: Stack) -> None:
    project = stack.load("services: {a: {image: x, expose: [1]}}\n---\nservices: {a: {expose: [2]}, b: {image: y}}\n")
    assert (project.services["a"].expose, list(project.services)) == (("1", "2"), ["a", "b"])


# --- !reset and !override ---------------------------------------------------------------------------


def test_reset_takes_out_what_is_below(stack: Stack) -> None:
    found = service(
        stack,
        "ports: [80], environment: {A: 1, B: 2}, command: a",
        "ports: !reset null, environment: {A: !reset null}, command: !reset null",
    )
    assert ("ports" in found, found["environment"], found["command"]) == (False, {"B": "2"}, None)


def test_override_replaces_instead_of_merging(stack: Stack) -> None:
    found = service(stack, "ports: ['80:80'], labels: {a: 1}", "ports: !override ['90:90'], labels: !override {b: 2}")
    assert (targets(found, "ports"), found["labels"]) == (["90:90"], {"b": "2"})


def test_reset_reaches_what_is_extended(stack: Stack) -> None:
    text = """
        services:
          base: {image: q, expose: [1], environment: {A: 1, B: 2}}
          a: {extends: base, expose: !override [80], environment: {A: !reset null}}
    """
    found = stack.load(text).services["a"]
    assert (found.image, found.expose, found.environment) == ("q", ("80",), {"B": "2"})


# --- faults -----------------------------------------------------------------------------------------


def test_another_kind_of_value_is_a_fault_of_the_later_file(stack: Stack) -> None:
    with pytest.raises(ComposeError) as caught:
        stack.merged("services: {a: {image: x, healthcheck: {test: a}}}", "services:\n  a:\n    healthcheck: [b]\n")
    assert str(caught.value) == "1.yaml:3:18: must be a mapping, as in the file that this one is laid over"


def test_what_only_the_merge_makes_wrong_is_found(stack: Stack) -> None:
    with pytest.raises(ComposeError) as caught:
        stack.merged("services: {a: {image: x, security_opt: [q]}}", "services: {a: {security_opt: [q]}}")
    assert str(caught.value).startswith("1.yaml:1:31: 'q' is in security_opt twice")


def test_faults_of_all_files_come_at_once(stack: Stack) -> None:
    with pytest.raises(ComposeError) as caught:
        stack.merged("services: {a: {image: 5}}", "services: {a: {imge: x}}", "services: {a: {networks: [gone]}}")
    assert [one.path for one in caught.value.diagnostics] == ["0.yaml", "1.yaml", "2.yaml"]


@pytest.mark.parametrize(
    ("base", "over", "key", "value"),
    [
        ("container_name: one", "container_name: !override 55", "container_name", "55"),
        ("environment: {A: 1}", "environment: {A: !override 2.50}", "environment", {"A": "2.50"}),
        ("cpuset: '1'", "cpuset: !override '0'", "cpuset", "0"),
        ("volumes: ['/var/a']", "volumes: ['/var/a/']", "volumes", [{"type": "volume", "target": "/var/a", "volume": {}}]),
    ],
)
def test_what_the_later_file_says_alone(stack: Stack, base: str, over: str, key: str, value: object) -> None:
    """A tagged scalar is text; a trailing slash makes no other mount."""
    project = stack.merged(f"services: {{a: {{image: x, {base}}}}}", f"services: {{a: {{{over}}}}}")
    assert project.to_dict()["services"]["a"][key] == value
