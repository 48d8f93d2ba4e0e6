"""Files in which a rule could see a fault, and there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackrun.api.stacks import StackSource
from stackrun.compose.validation import validate
from stackrun.stack.graph import cycle_faults

_SERVICE = "services: {{web: {{image: 'nginx:1', {}}}}}"
_TWO = "services: {{web: {{image: 'nginx:1', {}}}, db: {{image: 'postgres:17', {}}}}}"
_BACK = "\nnetworks: {back: , front: }"
_N = "\nnetworks: {n: {%s}}"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        # graph
        ("unknown-host", _TWO.format("environment: {API_URL: 'http://api.example.org'}", "init: true")),
        ("unknown-host", _TWO.format("environment: {API_URL: 'http://localhost:80', HOST: '0.0.0.0'}", "init: true")),
        ("unknown-host", _TWO.format("environment: {DB_HOST: database}", "networks: {default: {aliases: [database]}}")),
        ("unknown-host", _TWO.format("environment: {DB_URL: 'postgres://u:p@main:5432/x'}", "hostname: main")),
        ("unknown-host", _TWO.format("environment: {DB_URL: 'postgres://main/x'}", "container_name: main")),
        ("unknown-host", _TWO.format("environment: {A: 'http://nas:80'}, extra_hosts: ['nas=192.0.2.1']", "init: true")),
        ("unknown-host", _TWO.format("environment: {A: 'http://old:80'}, links: ['db:old']", "init: true")),
        ("unknown-host", _TWO.format("environment: {A: 'http://other:80'}, network_mode: host", "init: true")),
        ("unknown-host", _TWO.format("environment: {A: 'http://other:80'}, networks: [n]", "init: true") + _N % "external: true"),
        ("unknown-host", _TWO.format("environment: {A: 'http://EXAMPLE_PLACE:80', B: 'http://your-host'}", "init: true")),
        ("unknown-host", _SERVICE.format("environment: {A: 'http://front:80'}")),
        ("unknown-host", _TWO.format("environment: {A: 'urn://thing:80', SERVER: production}", "init: true")),
        ("unreachable-host", _TWO.format("environment: {DB_HOST: db}, network_mode: 'service:db'", "networks: [back]") + _BACK),
        ("unreachable-host", _TWO.format("environment: {DB_HOST: db}, network_mode: host", "networks: [back]") + _BACK),
        ("no-common-network", _TWO.format("depends_on: [db], networks: [front, back]", "networks: [back], expose: [1]") + _BACK),
        ("no-common-network", _TWO.format("depends_on: [db], networks: [front]", "networks: [back]") + _BACK),
        ("unexposed-port", _TWO.format("environment: {A: 'http://db:81'}", "ports: ['80:80'], command: '--port 81'")),
        ("unexposed-port", _TWO.format("environment: {A: 'http://db:81'}", "init: true")),
        ("completion-of-restarted", _TWO.format("depends_on: [db]", "restart: always")),
        ("needed-optional-dependency", _TWO.format("depends_on: {db: {condition: service_started, required: false}}", "init: true")),
        # ports
        ("port-clash", _TWO.format("ports: ['127.0.0.1:80:80']", "ports: ['127.0.0.2:80:80']")),
        ("port-clash", _TWO.format("ports: ['80:80']", "ports: ['80:80/udp']")),
        ("port-clash", _TWO.format("ports: ['80:80'], profiles: [a]", "ports: ['80:80'], profiles: [b]")),
        ("port-clash", _TWO.format("ports: ['80']", "ports: ['80']")),
        ("port-clash", _TWO.format("ports: ['8000-8010:80']", "ports: ['8005:80']")),
        ("too-few-ports", _SERVICE.format("scale: 2, ports: ['8000-8001:80']")),
        ("public-port", _SERVICE.format("ports: ['80', '[::1]:81:80', '127.0.0.1:82:80']")),
        ("public-ssh-port", "services: {gitea: {image: 'gitea/gitea:1', ports: ['22:22']}}"),
        # names
        ("alias-clash", _TWO.format("networks: {front: {aliases: [a]}}", "networks: {back: {aliases: [a]}}") + _BACK),
        ("name-of-other-service", _TWO.format("networks: {front: {aliases: [db]}}", "networks: [back]") + _BACK),
        ("name-of-other-service", _TWO.format("container_name: web, hostname: web", "init: true")),
        ("reserved-address", _SERVICE.format("networks: {n: {ipv4_address: 10.0.0.255}}") + _N % "ipam: {config: [{subnet: 10.0.0.0/16}]}"),
        ("address-without-subnet", _SERVICE.format("networks: {n: {ipv4_address: 10.0.0.9}}") + _N % "external: true"),
        ("overlapping-subnets", _SERVICE.format("networks: [n]") + _N % "ipam: {config: [{subnet: 10.0.0.0/24}, {subnet: 'fd00::/64'}]}"),
        ("overlapping-subnets", _SERVICE.format("networks: [n]") + _N % "ipam: {config: [{subnet: 10.0.0.0/24}, {subnet: 10.0.1.0/24}]}"),
        # health
        ("curl-without-fail", _SERVICE.format("healthcheck: {test: 'curl -sSf http://localhost'}")),
        ("curl-without-fail", _SERVICE.format("healthcheck: {test: 'curl -s http://localhost | grep ok'}")),
        ("curl-without-fail", _SERVICE.format("healthcheck: {test: 'curl --fail-with-body http://localhost'}")),
        ("healthcheck-cannot-fail", _SERVICE.format("healthcheck: {test: 'a || exit 1'}")),
        ("shell-words-without-shell", _SERVICE.format("healthcheck: {test: [CMD, sh, -c, 'a || exit 1']}")),
        ("unknown-probe-port", _SERVICE.format("expose: [80], environment: {A: ':9000'}, healthcheck: {test: 'nc localhost:9000'}")),
        ("zero-retries", _SERVICE.format("healthcheck: {disable: true, retries: 0}")),
        # lifecycle
        ("shell-as-first-process", _SERVICE.format("command: [sh, -c, 'a && exec b']")),
        ("shell-as-first-process", _SERVICE.format("command: [sh, -c, 'serve --now']")),
        ("shell-as-first-process", _SERVICE.format("command: [sh, -c, 'a; b'], init: true")),
        ("no-restart-policy", _TWO.format("restart: always, depends_on: {db: {condition: service_completed_successfully}}", "ports: [1]")),
        ("unknown-stop-signal", _SERVICE.format("stop_signal: RTMIN+3")),
        ("unknown-stop-signal", _SERVICE.format("stop_signal: usr1")),
        ("swap-below-memory", _SERVICE.format("mem_limit: 1g, memswap_limit: -1")),
        # references, structure
        ("unused-network", _SERVICE.format("init: true") + "\nnetworks: {default: {driver: bridge}}"),
        ("unused-volume", _SERVICE.format("profiles: [a], volumes: ['data:/d']") + "\nvolumes: {data: }"),
        ("unused-secret", _SERVICE.format("build: {context: ., secrets: [s]}") + "\nsecrets: {s: {environment: HOME}}"),
        ("dependency-of-other-profile", _TWO.format("profiles: [a], depends_on: [db]", "init: true")),
        ("unused-anchor", "services: {web: {image: x, command: 'a & b', environment: &e {A: 1}, labels: *e}}"),
        ("yaml-boolean", _SERVICE.format("command: [echo, yes], labels: {a: 'yes', b: \"no\"}")),
        ("yaml-number", _SERVICE.format("ports: ['22:22', 8080:80]")),
        ("bad-dockerfile", _SERVICE.format('build: {context: ., dockerfile_inline: "# syntax=other/language:1\\nanything"}')),
        ("bad-dockerfile", _SERVICE.format('build: {context: ., dockerfile_inline: "FROM $$X\\nRUN $$Y"}')),
        ("undefined-stage", _SERVICE.format("build: {context: ., target: '0', dockerfile_inline: 'FROM x'}")),
        ("undefined-stage", _SERVICE.format("build: {context: ., target: Prod, dockerfile_inline: 'FROM --platform=x y AS prod'}")),
    ],
)  # fmt: skip
def test_nothing_is_told(code: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text(text)
    found = validate(StackSource(str(tmp_path), ("stack.yaml",)), graph_faults=cycle_faults).findings
    assert [str(one.place) for one in found if one.code == code] == []
    assert not {one.code for one in found} & {"yaml-syntax", "wrong-type", "unknown-key", "invalid-value"}
