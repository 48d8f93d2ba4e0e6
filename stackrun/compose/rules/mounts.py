"""Mounts of a service as the rules about storage and security look at them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stackrun.compose.rules.images import major_version, reference
from stackrun.compose.rules.stack import Node, Service, Stack
from stackrun.compose.tree import Place


@dataclass(frozen=True, slots=True)
class Mount:
    """`place` is the item's; `source` is absolute for a bind mount, a volume's name or empty for an anonymous one."""

    kind: str
    source: str
    target: str
    read_only: bool
    place: Place
    source_at: Place
    node: Node
    options: str = ""
    """Those of an item of `tmpfs`."""

    def covers(self, path: str) -> bool:
        """Whether `path` of the container is in this mount."""
        return path == self.target or path.startswith(self.target.rstrip("/") + "/")


def mounts(stack: Stack, service: Service) -> tuple[Mount, ...]:
    """The entries of `volumes`; those of `tmpfs` come as well, with their options left out."""
    return stack.once(_all_mounts)[service.name]


def _all_mounts(stack: Stack) -> dict[str, tuple[Mount, ...]]:
    return {service.name: tuple(_mounts(service)) for service in stack.services}


def _mounts(service: Service) -> Iterator[Mount]:
    for node in service.nodes("volumes"):
        yield Mount(
            node.text("type"), node.text("source"), node.text("target"), node.get("read_only") is True, node.place, node.at("source"), node
        )
    for item, place in service.items("tmpfs"):
        if isinstance(item, str):
            target, _, options = item.partition(":")
            yield Mount("tmpfs", "", target.rstrip("/") or "/", False, place, place, service, options)


def around(path: str, known: Mapping[str, Mount]) -> Iterator[Mount]:
    """Mounts, by their targets, that `path` lies in, the nearest first; what is mounted at `path` itself is none."""
    for _ in range(_DEEPEST):
        path = path.rpartition("/")[0]
        if path in known:
            yield known[path]
        if not path:
            return


_DEEPEST = 100
"""Folders of a path that are looked at."""
_DATA_FOLDERS: dict[str, tuple[str, ...]] = {
    "cassandra": ("/var/lib/cassandra",),
    "clickhouse": ("/var/lib/clickhouse",),
    "clickhouse-server": ("/var/lib/clickhouse",),
    "couchdb": ("/opt/couchdb/data",),
    "elasticsearch": ("/usr/share/elasticsearch/data",),
    "influxdb": ("/var/lib/influxdb", "/var/lib/influxdb2", "/var/lib/influxdb3"),
    "mariadb": ("/var/lib/mysql",),
    "minio": ("/data", "/export"),
    "mongo": ("/data/db",),
    "mysql": ("/var/lib/mysql",),
    "mysql-server": ("/var/lib/mysql",),
    "neo4j": ("/data",),
    "opensearch": ("/usr/share/opensearch/data",),
    "pgvector": ("/var/lib/postgresql", "/var/lib/postgresql/data"),
    "postgis": ("/var/lib/postgresql", "/var/lib/postgresql/data"),
    "postgres": ("/var/lib/postgresql", "/var/lib/postgresql/data"),
    "rabbitmq": ("/var/lib/rabbitmq", "/var/lib/rabbitmq/mnesia"),
    "timescaledb": ("/var/lib/postgresql", "/var/lib/postgresql/data"),
}
"""Last part of an image's name → where its database may lie, by the image's own documentation."""
_OWNERS = frozenset(
    ("library", "clickhouse", "minio", "mysql", "opensearchproject", "pgvector", "postgis", "timescale", "elasticsearch", "quay.io/minio")
)
_PATHS_OF_DATA = re.compile(r"(PGDATA|MINIO_VOLUMES|ES_PATH_DATA)")


def database(service: Service) -> str:
    """The name of the known database that the service's image holds; empty for all others."""
    image = None if service.get("build") else reference(service)
    if image is None:
        return ""
    owner, _, name = image.path.rpartition("/")
    return name if name in _DATA_FOLDERS and owner.rpartition("/")[2] in _OWNERS else ""


def data_folders(service: Service) -> tuple[str, ...]:
    """Where a known database keeps its files, moved by its variables or command when these say so."""
    found = _DATA_FOLDERS.get(database(service), ())
    moved = [str(value) for name, value, _ in service.pairs("environment") if _PATHS_OF_DATA.fullmatch(name) and value]
    command = service.get("command")
    words = [str(word) for word in command[:20]] if isinstance(command, list) else []
    return (*found, *moved, *(word for word in words if word.startswith("/") and database(service) == "minio"))


def is_new_postgres(service: Service) -> bool:
    """Version 18 or later of the official image, which keeps its files elsewhere than those before it."""
    image = reference(service)
    return image is not None and database(service) == "postgres" and (major_version(image.tag) or 0) >= 18
