"""A canonical tree as text: what `config` prints, and what can be read again with the same result.

`$` is doubled, so that reading it back replaces nothing.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from stackrun.compose.scalar import Timestamp, resolve


def to_json(tree: Mapping[str, Any]) -> str:
    """Docker Compose's canonical form, indented, keys sorted; like it, without `x-…` keys below the top level."""
    kept = {key: value if key.startswith("x-") else _without_extensions(value, key) for key, value in tree.items()}
    return written_json(escaped(kept))


def to_yaml(tree: Mapping[str, Any]) -> str:
    """The same as YAML, without the nulls that JSON has for a command that is not given, and with all `x-…` keys."""
    return written_yaml(escaped(_spare(tree)))


def written_json(tree: Mapping[str, Any]) -> str:
    """A tree whose variables were not replaced, as it is."""
    return json.dumps(tree, indent=2, ensure_ascii=False, default=str) + "\n"


def written_yaml(tree: Mapping[str, Any]) -> str:
    """The same, `name` first, then services and what they use."""
    ordered = {key: tree[key] for key in ("name", "services") if key in tree} | dict(tree)
    return _emitted(ordered)


def _spare(tree: Mapping[str, Any]) -> dict[str, Any]:
    services = {
        name: {key: value for key, value in service.items() if value is not None or key not in ("command", "entrypoint")}
        for name, service in tree.get("services", {}).items()
    }
    networks = {
        name: {key: value for key, value in (network or {}).items() if key != "ipam" or value}
        for name, network in tree.get("networks", {}).items()
    }
    return {**tree, "services": services} | ({"networks": networks} if networks else {})


_NAMES = frozenset((
    "services", "networks", "volumes", "configs", "secrets", "models", "depends_on", "ulimits", "environment", "labels", "annotations",
    "args", "additional_contexts", "options", "driver_opts", "sysctls", "storage_opt", "aux_addresses",
))  # fmt: skip
"""Mappings whose keys are the user's names: an `x-…` key in them is one more name."""


def _without_extensions(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        kept = (name for name in value if key in _NAMES or not name.startswith("x-"))
        return {name: _without_extensions(value[name], "" if key in _NAMES else name) for name in kept}
    return [_without_extensions(item) for item in value] if isinstance(value, list) else value


def escaped(value: Any) -> Any:
    """Every `$` of every string doubled."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    return [escaped(item) for item in value] if isinstance(value, list) else value


# --- YAML -----------------------------------------------------------------------------------------


def _emitted(tree: Any) -> str:
    """Events straight to the emitter: PyYAML's way over nodes takes three times as long, and may use anchors."""
    text: str = yaml.emit(_document(tree), Dumper=_DUMPER, allow_unicode=True, width=1000)
    return text


_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _document(tree: Any) -> Iterator[yaml.Event]:
    yield yaml.StreamStartEvent()
    yield yaml.DocumentStartEvent(explicit=False)
    yield from _events(tree)
    yield yaml.DocumentEndEvent(explicit=False)
    yield yaml.StreamEndEvent()


def _events(value: Any) -> Iterator[yaml.Event]:
    if isinstance(value, dict):
        yield yaml.MappingStartEvent(None, None, True, flow_style=False)
        for key, item in value.items():
            yield _scalar(key)
            yield from (_scalar(item),) if not isinstance(item, (dict, list)) else _events(item)
        yield yaml.MappingEndEvent()
    elif isinstance(value, list):
        yield yaml.SequenceStartEvent(None, None, True, flow_style=False)
        for item in value:
            yield from (_scalar(item),) if not isinstance(item, (dict, list)) else _events(item)
        yield yaml.SequenceEndEvent()
    else:
        yield _scalar(value)


def _scalar(value: Any) -> yaml.Event:
    """Strings of several lines as blocks, those that a reader would take for something else quoted."""
    if isinstance(value, str):
        style, plain = _style(value)
        return yaml.ScalarEvent(None, None, (plain, True), value, style=style)
    text = value.text if isinstance(value, Timestamp) else _REPRESENTER.represent_data(value).value
    return yaml.ScalarEvent(None, None, (True, False), text)


_REPRESENTER = yaml.SafeDumper(io.StringIO())
_RESOLVER: Any = yaml.resolver.Resolver()


@functools.lru_cache(4096)
def _style(text: str) -> tuple[str | None, bool]:
    """The style of a string, and whether it may stand plain: neither we nor YAML 1.1 take it for anything but text."""
    if "\n" in text:
        return "|", False
    if not isinstance(resolve(text), str):
        return "'", False
    return None, _RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) == "tag:yaml.org,2002:str"
