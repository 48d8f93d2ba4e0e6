"""No rule raises, whatever stands in the place of a value: what is wrong with it is another rule's to tell."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackrun.compose.check import edges
from stackrun.compose.normalize import services_of
from stackrun.compose.origins import Origins
from stackrun.compose.rules.catalog import GROUPS, rules
from stackrun.compose.rules.stack import Stack
from stackrun.compose.tree import Map, Place, Seq

_WHOLE: dict[str, Any] = {
    "name": "shop",
    "services": {
        "web": {
            "image": "nginx:1.27", "build": {"context": ".", "args": {"A": "1"}, "secrets": [{"source": "key"}]}, "user": "root",
            "command": ["a", "--password=x"], "entrypoint": ["b"], "environment": {"A": "1", "PATH": "/x", "URL": "http://db:80"},
            "labels": {"a": "b"}, "cap_add": ["ALL"], "cap_drop": ["ALL"], "security_opt": ["seccomp:unconfined"], "group_add": ["0"],
            "devices": [{"source": "/dev/mem", "target": "/dev/mem"}], "device_cgroup_rules": ["a *:* rwm"], "sysctls": {"net.a": "1"},
            "ulimits": {"core": -1, "memlock": {"soft": 1, "hard": 2}}, "tmpfs": ["/tmp:exec"], "read_only": True, "scale": 2,
            "volumes": [
                {"type": "bind", "source": "/srv/a", "target": "/a", "bind": {"propagation": "shared"}},
                {"type": "volume", "source": "data", "target": "/a/b", "volume": {"nocopy": True}},
            ],
            "configs": [{"source": "conf", "target": "/a/b/c"}], "secrets": [{"source": "key", "target": "/k"}],
            "ports": [{"target": 80, "published": "8080-8081", "host_ip": "127.0.0.1", "protocol": "tcp"}], "expose": ["80"],
            "networks": {"default": {"ipv4_address": "10.0.0.2", "aliases": ["x"]}}, "profiles": ["p"], "restart": "always",
            "depends_on": {"db": {"condition": "service_healthy", "required": True, "restart": False}}, "links": ["db"],
            "healthcheck": {"test": ["CMD", "curl", "http://localhost:80"], "interval": "1s", "timeout": "2s", "retries": 0},
            "deploy": {"replicas": 2, "resources": {"limits": {"memory": "1", "cpus": 1}}, "update_config": {"order": "start-first"}},
            "logging": {"driver": "x", "options": {"a": "b"}}, "develop": {"watch": [{"path": "/x", "action": "sync", "target": "/y"}]},
            "stop_grace_period": "1s", "stop_signal": "SIGTERM", "mem_limit": "1", "container_name": "x", "hostname": "y",
        },
        "db": {"image": "postgres:18", "networks": {"default": None}, "volumes": [{"type": "volume", "source": "data", "target": "/d"}]},
    },
    "networks": {"default": {"ipam": {"config": [{"subnet": "10.0.0.0/24", "gateway": "10.0.0.1"}]}}},
    "volumes": {"data": {"driver_opts": {"o": "bind", "device": "/srv/x"}}},
    "configs": {"conf": {"content": "x"}},
    "secrets": {"key": {"file": "/srv/key"}},
}  # fmt: skip
_PLACE = Place("stack.yaml", 1, 1)
_JUNK: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    10**30,
    3.5,
    float("inf"),
    float("nan"),
    "",
    "x",
    "/",
    "=",
    "a:b:c",
    "\0",
    "\ud800",
    {},
    [],
    {"": None},
    [None, 1, {}, []],
)


def _placed(value: Any) -> Any:
    if isinstance(value, dict):
        node = Map(place=_PLACE)
        for key, item in value.items():
            node.put(key, _placed(item), _PLACE, _PLACE)
        return node
    return Seq((_placed(item) for item in value), _PLACE, [_PLACE] * len(value)) if isinstance(value, list) else value


def _spots(node: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Every place below the sections that a value can be put in."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        if depth:
            yield node, key
        if isinstance(node[key], (dict, list)):
            yield from _spots(node[key], depth + 1)


def _stack(root: Map) -> Stack:
    return Stack(root, Map(), "/srv", {}, Origins(), edges(services_of(root)), sources={"stack.yaml": "services:\n"})


def _check(root: Map) -> None:
    stack = _stack(root)
    for rule in rules().values():
        for found in rule.check(stack) if rule.check else ():
            assert found.message and found.place.path, rule.code


def test_the_stack_itself_has_findings_of_most_groups() -> None:
    stack = _stack(_placed(_WHOLE))
    told = {rule.group for rule in rules().values() if rule.check and any(True for _ in rule.check(stack))}
    assert len(told) > len(GROUPS) // 2


@pytest.mark.parametrize("junk", _JUNK, ids=repr)
def test_one_kind_of_junk_at_each_place(junk: Any) -> None:
    for spot in range(sum(1 for _ in _spots(_WHOLE))):
        root = _placed(_WHOLE)
        node, key = list(_spots(root))[spot]
        node[key] = _placed(junk)
        _check(root)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1 << 32))
def test_much_junk_at_many_places(seed: int) -> None:
    choice = random.Random(seed)
    root = _placed(_WHOLE)
    for node, key in list(_spots(root)):
        if choice.random() < 0.2:
            node[key] = _placed(choice.choice(_JUNK))
    _check(root)
