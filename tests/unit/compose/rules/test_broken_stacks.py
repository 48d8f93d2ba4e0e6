"""Rules look at stacks that have faults: whatever stands where, none of them raises."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from stackrun.api.stacks import StackSource
from stackrun.compose.faults import Faults
from stackrun.compose.load import read_stack
from stackrun.compose.rules.catalog import rules
from stackrun.compose.rules.stack import Stack
from stackrun.compose.tree import Map, Seq, copy
from stackrun.compose.validation import _stack

_TEXT = """\
services:
  web:
    image: nginx:1.27.3
    build: {context: ., target: x, additional_contexts: {a: b}, secrets: [token], args: {A: "1"}}
    ports: ["8080:80", "127.0.0.1:9000-9001:90-91", {target: 1, published: "5-9", host_ip: "::1"}]
    expose: ["80", "90-92/tcp"]
    environment: {DB_HOST: db, URL: "postgres://u:p@db:5432/x"}
    command: sh -c "a; b http://api:80"
    depends_on: {db: {condition: service_healthy, required: false, restart: true}, job: {condition: service_completed_successfully}}
    networks: {back: {ipv4_address: 172.30.0.10, aliases: [a], mac_address: "02:42:ac:11:00:02"}, default: }
    volumes: [".:/src", "data:/data", {type: tmpfs, target: /t}]
    develop: {watch: [{path: ., action: sync, target: /src}]}
    healthcheck: {test: [CMD, curl, "http://localhost:81"], interval: 5s, timeout: 9s, retries: 0, start_interval: 1s}
    deploy:
      replicas: 2
      restart_policy: {condition: any}
      update_config: {order: start-first}
      resources: {limits: {memory: 1g, cpus: "1"}, reservations: {memory: 2g, cpus: "2"}}
    extra_hosts: ["x=192.0.2.1"]
    restart: always
    memswap_limit: 1m
    stop_signal: KILL
    stop_grace_period: 0s
    hostname: a_b
    container_name: web1
    links: ["db:x"]
    secrets: [token]
    configs: [site]
  db: {image: "postgres:17", profiles: [a], network_mode: "service:job", x-stackrun: {kind: job}}
  job: {image: busybox, profiles: [b], volumes_from: [web], tmpfs: [/t], cap_add: [ALL], security_opt: [a], user: root}
networks: {back: {ipam: {config: [{subnet: 172.30.0.0/24, gateway: 172.30.0.1, ip_range: 172.30.0.0/25}]}}, other: {name: o}}
volumes: {data: {driver_opts: {device: /x, o: bind}}, more: {external: true}}
secrets: {token: {file: ./token}, other: {environment: NO}}
configs: {site: {content: x}}
"""
_JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    1e308,
    "",
    "x",
    "a:b:c",
    "${",
    "\0",
    "9" * 5000,
    "²",
    [],
    {},
    [None],
    {"": None},
    ["a", 1],
    {"a": [{}]},
)


def _read(folder: Path) -> Stack:
    (folder / "stack.yaml").write_text(_TEXT)
    source = StackSource(str(folder), ("stack.yaml",))
    return _stack(read_stack(source, Faults()), source)


def _nodes(node: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """(collection, key or index) of everything below."""
    for key, value in list(node.items()) if isinstance(node, Map) else list(enumerate(node)) if isinstance(node, Seq) else ():
        found.append((node, key))
        _nodes(value, found)
    return found


def _junk(chance: random.Random) -> Any:
    value = chance.choice(_JUNK)
    return Map(value) if isinstance(value, dict) else Seq(value) if isinstance(value, list) else value


@pytest.mark.parametrize("seed", range(60))
def test_no_rule_raises(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    stack = _read(tmp_path)
    root, disabled = copy(stack.root), copy(stack.disabled)
    everything = _nodes(root, []) + _nodes(disabled, [])
    for node, key in chance.sample(everything, 12):
        if chance.random() < 0.2 and isinstance(node, Map):
            node.pop(key, None)
        elif isinstance(node, Map) or key < len(node):
            node[key] = _junk(chance)
    broken = Stack(root, disabled, stack.directory, {}, stack.origins, stack.edges, sources=stack.sources)
    for rule in rules().values():
        for found in rule.check(broken) if rule.check else ():
            assert found.place.path == "stack.yaml", (rule.code, found)
            assert found.message, rule.code
