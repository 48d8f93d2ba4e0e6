"""Where a stack file says what a plan changes: `compose.yaml:12:7`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stackrun.compose.model import Project
from stackrun.stack.facts import Path

_BY_TARGET = ("volumes", "ports", "tmpfs")
"""Lists of a service that a path names items of by what they are for: `ports 80/tcp`, `volumes /data`."""


class Places:
    def __init__(self, project: Project) -> None:
        self._project = project
        self._network_keys = {one.name: key for key, one in project.networks.items()}

    def of_service(self, service: str, paths: Iterable[Path]) -> str:
        """The first of the paths that the file has; else the nearest to the first that was written."""
        options = [self._full(service, path) for path in paths if path]
        written = next((one for one in options if _has(self._project.canonical, one)), None)
        return self._text(written or (options or [("services", service)])[0])

    def of_network(self, name: str, paths: Iterable[Path]) -> str:
        below = ("networks", self._network_keys.get(name, name))
        return self._text(next((one for path in paths if _has(self._project.canonical, one := (*below, *path))), below))

    def _full(self, service: str, path: Path) -> Path:
        head, *rest = path
        if head in ("configs", "secrets"):
            return self._content(str(head), str(rest[0]))
        if head == "networks" and rest:
            return ("services", service, head, self._network_keys.get(str(rest[0]), rest[0]), *rest[1:])
        if head in _BY_TARGET and rest:
            items = self._project.services[service].canonical.get(head) or ()
            found = [index for index, item in enumerate(items) if _target(item) == rest[0]]
            return ("services", service, head, *(found[:1] or rest))
        return ("services", service, *path)

    def _content(self, section: str, key: str) -> Path:
        definition = (self._project.canonical.get(section) or {}).get(key) or {}
        return (section, key, *[one for one in ("file", "content", "environment") if one in definition][:1])

    def _text(self, path: Path) -> str:
        place = self._project.place(*path)
        return str(place) if place.line else ""


class NoPlaces(Places):
    """What comes from no file."""

    def __init__(self) -> None: ...

    def of_service(self, service: str, paths: Iterable[Path]) -> str:
        return ""

    def of_network(self, name: str, paths: Iterable[Path]) -> str:
        return ""


def _target(item: Any) -> str:
    """What an item is known by: a port's `80/tcp`, a mount's target."""
    if not isinstance(item, dict):
        return str(item).partition(":")[0]
    target = item.get("target", "")
    return f"{target}/{item.get('protocol', 'tcp')}" if isinstance(target, int) else str(target)


def _has(node: Any, path: Path) -> bool:
    for step in path:
        if isinstance(node, dict) and step in node:
            node = node[step]
            continue
        if not (isinstance(node, list) and isinstance(step, int) and step < len(node)):
            return False
        node = node[step]
    return True
