"""Relative paths of a model → absolute ones, from the directory that its file's paths start at."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from stackrun.compose.patterns import Pattern
from stackrun.compose.tree import Map, Seq

Resolve = Callable[[Any, str, str], Any]
_REMOTE = ("https://", "http://", "git://", "ssh://", "github.com/", "git@")


def is_remote(path: str) -> bool:
    """Whether Docker Compose would fetch this file, from git or from a registry."""
    return path.startswith((*_REMOTE, "oci://"))


def absolute(path: str, directory: str, home: str) -> str:
    """An absolute path stays as it is written; `~` is the caller's home, whoever's name follows it."""
    if path.startswith("~") and home:
        path = os.path.normpath(os.path.join(home, path[1:].lstrip("/")))
    if path.startswith(("/", "\\\\")) or path[1:3] in (":\\", ":/"):
        return path
    return os.path.normpath(os.path.join(directory, path))


def clean(path: str) -> str:
    """A container path without `.`, `..`, doubled and trailing slashes; a relative one stays relative."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", ".", "..") or (part == ".." and not path.startswith("/")):
            parts.append(part)
    return ("/" if path.startswith("/") else "") + "/".join(parts) or "."


def _file(value: Any, directory: str, home: str) -> Any:
    return absolute(value, directory, home) if isinstance(value, str) and value else value


def _content_file(value: Any, directory: str, home: str) -> Any:
    """Docker Compose makes the directory of an empty one, as an unset variable leaves it."""
    return absolute(value, directory, home) if isinstance(value, str) else value


def _context(value: Any, directory: str, home: str) -> Any:
    """A build context may be a URL, an image or a service."""
    if not isinstance(value, str) or not value or "://" in value or value.startswith((*_REMOTE, "service:")):
        return value
    return absolute(value, directory, home)


def _named_context(value: Any, directory: str, home: str) -> Any:
    if not isinstance(value, str):
        return value
    name, separator, context = value.partition("=")
    return f"{name}={_context(context, directory, home)}" if separator else value


def _mount(value: Any, directory: str, home: str) -> Any:
    if isinstance(value, Map) and value.get("type") == "bind" and value.get("source"):
        value["source"] = _file(value["source"], directory, home)
    return value


def _local_bind(value: Any, directory: str, home: str) -> Any:
    """A named volume that is a bind mount in truth: driver local, options `o: bind` and `device`."""
    options = value.get("driver_opts") if isinstance(value, Map) and value.get("driver") == "local" else None
    if isinstance(options, Map) and options.get("o") == "bind":
        options["device"] = _file(options.get("device"), directory, home)
    return value


_TABLE: Pattern[Resolve] = Pattern.table(
    {
        "services.*.build.context": _context,
        "services.*.env_file.*.path": _file,
        "services.*.label_file.*": _file,
        "services.*.develop.watch.*.path": _file,
        "services.*.volumes.*": _mount,
        "configs.*.file": _content_file,
        "secrets.*.file": _content_file,
        "volumes.*": _local_bind,
    }
)


def resolve_paths(root: Map, directory: str, home: str) -> None:
    """In place, on a canonical tree."""
    _walk(root, _TABLE, directory, home)
    for service in (root.get("services") or {}).values():
        build = service.get("build") if isinstance(service, Map) else None
        contexts = build.get("additional_contexts") if isinstance(build, Map) else None
        if isinstance(contexts, Map):
            for name, value in contexts.items():
                contexts[name] = _context(value, directory, home)
        elif isinstance(contexts, Seq):
            contexts[:] = [_named_context(item, directory, home) for item in contexts]


def _walk(node: Any, known: Pattern[Resolve], directory: str, home: str) -> Any:
    if known.known is not None:
        node = known.known(node, directory, home)
    if isinstance(node, Map):
        for key, value in node.items():
            if (inner := known.at(key)) is not None:
                node[key] = _walk(value, inner, directory, home)
    elif isinstance(node, Seq) and known.any is not None:
        node[:] = [_walk(item, known.any, directory, home) for item in node]
    return node
