"""Hosts and ports that variables and commands name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from stackrun.compose.rules.stack import Service, Stack
from stackrun.compose.tree import Place

_URL = re.compile(
    r"\b([a-z][a-z0-9+.\-]*)://(?:[^\s/@'\"]*@)?([a-z0-9_][a-z0-9_.\-]*)(?::([0-9]{1,5}))?(?=[/\s'\"?,;)\]]|$)", re.IGNORECASE
)
_HOST_VARIABLE = re.compile(r"(?:.*_)?(?:HOST|HOSTNAME|HOSTS|SERVER|ADDR|ADDRESS)", re.IGNORECASE)
_HOST = re.compile(r"([A-Za-z][A-Za-z0-9_\-]*)(?::([0-9]{1,5}))?")
_PLACEHOLDER = re.compile(r"[A-Z]+(?:_[A-Z]+)+|[\d._]+|x{3,}|y(?:our|OUR)[\-_].*")
_BACKENDS = frozenset((
    "amqp", "amqps", "bolt", "clickhouse", "cockroachdb", "cql", "elasticsearch", "grpc", "http", "https", "kafka", "ldap", "mariadb",
    "memcached", "mongodb", "mqtt", "mysql", "mysql2", "nats", "neo4j", "pgsql", "postgis", "postgres", "postgresql", "pulsar", "redis",
    "rediss", "smtp", "sqlserver", "tcp", "valkey", "ws", "zookeeper",
))  # fmt: skip
"""Schemes of what stacks run themselves; any other may name anything."""


class Mention(NamedTuple):
    """`host` in lower case, `port` 0 when none is named; `in_url` when it stands in a URL and not in a variable named …HOST."""

    host: str
    written: str
    port: int
    in_url: bool
    place: Place


def mentions(stack: Stack) -> Mapping[str, tuple[Mention, ...]]:
    """Service → the hosts that it names. Addresses and what is evidently to be filled in are none."""
    return stack.once(_find)


def _find(stack: Stack) -> Mapping[str, tuple[Mention, ...]]:
    return {service.name: tuple(one for one in _of(service) if not _PLACEHOLDER.fullmatch(one.written)) for service in stack.services}


def _of(service: Service) -> Iterator[Mention]:
    for name, value, place in service.pairs("environment"):
        if not isinstance(value, str):
            continue
        if "://" in value:
            yield from _urls(value, place)
        elif (found := _HOST.fullmatch(value)) and _HOST_VARIABLE.fullmatch(name):
            yield Mention(found[1].lower(), found[1], int(found[2] or 0), False, place)
    for key in ("command", "entrypoint"):
        for word, place in service.items(key):
            if isinstance(word, str) and "://" in word:
                yield from _urls(word, place)


def _urls(text: str, place: Place) -> Iterator[Mention]:
    for found in _URL.finditer(text):
        if found[1].lower().partition("+")[0] in _BACKENDS:
            yield Mention(found[2].lower(), found[2], int(found[3] or 0), True, place)
