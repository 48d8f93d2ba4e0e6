"""What must hold between the parts of a project, each with its place."""

from __future__ import annotations

import pytest
from unit.compose.stack_files import Stack

from stackrun.compose.check import dependency_edges


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("services: {a: {}}", ['1:12: service "a" has neither an image nor a build']),
        ("services: {a: {image: x, networks: [gone]}}", ['1:37: undefined network "gone"']),
        ("services: {a: {image: x, volumes: ['data:/d']}}", ['1:36: undefined volume "data"']),
        ("services: {a: {image: x, volumes: [{type: volume, source: data, target: /d}]}}", ['1:59: undefined volume "data"']),
        ("services: {a: {image: x, secrets: [s], configs: [{source: c}]}}", ['1:36: undefined secret "s"', '1:59: undefined config "c"']),
        ("services: {a: {image: x, depends_on: [b]}}", ['1:39: service "a" depends on "b", which is no service']),
        ("services: {a: {image: x, links: ['b:c']}}", ['1:34: service "a" depends on "b", which is no service']),
        ("services: {a: {image: x, network_mode: 'service:b'}}", ['1:40: service "a" depends on "b", which is no service']),
        ("services: {a: {image: x, volumes_from: ['b:ro']}}", ['1:41: service "a" depends on "b", which is no service']),
        ("services: {a: {image: x, depends_on: [b]}, b: {image: y, profiles: [p]}}",
         ['1:39: service "b" is not enabled: it belongs to profile p']),
        ("services: {a: {image: x, depends_on: {b: {condition: service_started, required: false}}}, b: {image: y, profiles: [p]}}", []),
        ("services: {a: {image: x, network_mode: host, networks: [default]}}", ["1:46: networks and network_mode exclude each other"]),
        ("services: {a: {image: x, healthcheck: {test: [curl]}}}", ["1:46: a healthcheck's test starts with CMD, CMD-SHELL or NONE"]),
        ("services: {a: {image: x, depends_on: [b], x-stackrun: {on_dependency: {b: hold, c: restart}}}, b: {image: y}}",
         ['1:81: "c" is no dependency of this service']),
        ("services: {a: {image: x, depends_on: [b], x-stackrun: {on_dependency: hold, on_unhealthy: restart}}, b: {image: y}}", []),
        ("services: {a: {image: x, scale: 2, deploy: {replicas: 3}}}", ["1:33: scale is 2, deploy.replicas is not"]),
        ("services: {a: {image: x, scale: 2, container_name: one}}", ["1:52: 2 containers cannot all be named one"]),
        ("services: {a: {image: x, container_name: one}, b: {image: x, container_name: one}}",
         ['1:78: container_name "one" is also that of service "a"']),
        ("services: {a: {image: x, mem_limit: 1g, deploy: {resources: {limits: {memory: 2g}}}}}",
         ["1:37: mem_limit is 1073741824, deploy.resources.limits.memory is 2147483648"]),
        ("services: {a: {image: x, cpus: 2, deploy: {resources: {limits: {memory: 2g}}}}}",
         ["1:32: cpus is 2, deploy.resources.limits.cpus is not given"]),
        ("services: {a: {image: x, volumes: [{type: bind, target: /d}]}}", ["1:36: a bind mount needs a source"]),
        ("services: {a: {image: x, ports: [{target: 80, host_ip: here}]}}", ["1:56: 'here' is not an IP address"]),
        ("services: {a: {image: x}}\nsecrets: {s: {}}", ['2:11: secret "s" has no value']),
        ("services: {a: {image: x}}\nconfigs: {c: {file: x, content: y}}", ["2:24: file and content exclude each other"]),
        ("services: {a: {image: x}}\nvolumes: {v: {external: true, driver: d}}", ['2:31: volume "v" is external and cannot have driver']),
        ("services: {a: {image: x, env_file: gone}}", ["1:36: file gone is not there"]),
        ("services: {a: {image: x, env_file: [{path: gone, required: false}]}}", []),
        ("services: {a: {image: x, mem_limit: lots}}", ["1:37: invalid size: 'lots'"]),
        ("services: {a: {image: x, stop_grace_period: '5'}}", ["1:45: invalid duration: '5'"]),
        ("services: {a: {image: x, ports: ['80:80:80:80']}}", ["1:34: '80:80' is not an IP address"]),
        ("services: {a: {image: x, volumes: [':/d']}}", ["1:36: an empty part in volume ':/d'"]),
        ("services: {a: {image: x, extra_hosts: [foo]}}", ["1:40: invalid extra host 'foo'"]),
        ("services: {a: {image: x, devices: ['a:b:c:d']}}", ["1:36: invalid device 'a:b:c:d'"]),
        ("services: {a: {image: x, command: 'a \"b'}}", ["1:35: the command has a quote that is not closed"]),
        ("services: {a: {image: x, command: 'a; b'}}", ["1:35: everything from '; b' on is dropped, as Docker Compose does"]),
        ("services: {a: {image: x, build: {dockerfile: x, dockerfile_inline: y}}}",
         ["1:49: dockerfile and dockerfile_inline exclude each other"]),
        ("services: {a: {image: x}}\nversion: '3'", ["2:1: version is obsolete and ignored"]),
        ("services: {a: {image: x, networks: [n]}}\nnetworks: {n: {external: {name: q}}}", ["2:27: external.name is deprecated"]),
    ],
)  # fmt: skip
def test_a_finding(stack: Stack, text: str, findings: list[str]) -> None:
    assert stack.findings(text) == findings


def test_a_missing_file_hides_what_depends_on_it(stack: Stack) -> None:
    text = "include: [gone.yaml]\nservices: {a: {image: x, depends_on: [b], networks: [n]}, c: {}}"
    assert stack.findings(text) == [
        "1:11: cannot read gone.yaml: no such file or directory",
        '2:59: service "c" has neither an image nor a build',
    ]


def test_a_name_that_is_nearly_right_is_named(stack: Stack) -> None:
    text = "services: {web: {image: x, depends_on: [databas]}, database: {image: y}}"
    assert stack.hints(text) == ['did you mean "database"?']


def test_edges_have_their_reason_and_place(stack: Stack) -> None:
    text = """\
services:
  a:
    image: x
    depends_on:
      b: {condition: service_healthy, restart: true}
      c: {condition: service_started, required: false}
    links: [d]
    ipc: service:b
    pid: service:e
    volumes_from: ["f:ro", "container:q"]
  b: {image: x}
  c: {image: x}
  d: {image: x}
  e: {image: x}
  f: {image: x}
"""
    edges = dependency_edges(stack.load(text))
    assert [(e.source, e.target, e.condition, e.required, e.restart, e.reason, e.place.line, e.place.column) for e in edges] == [
        ("a", "b", "service_healthy", True, True, "depends_on", 5, 7),
        ("a", "c", "service_started", False, False, "depends_on", 6, 7),
        ("a", "d", "service_started", True, True, "links", 7, 13),
        ("a", "e", "service_started", True, True, "pid", 9, 10),
        ("a", "f", "service_started", True, False, "volumes_from", 10, 20),
    ]
