"""A canonical tree as text: what `config` prints, and what can be read again with the same result.

`$` is doubled, so that reading it back replaces nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    return yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1000)


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


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Strings of several lines as blocks, those that a reader would take for a number quoted; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: Any, text: str) -> Any:
    style = "|" if "\n" in text else None if isinstance(resolve(text), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _timestamp(dumper: Any, value: Timestamp) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:timestamp", value.text)


_Dumper.add_representer(str, _string)
_Dumper.add_representer(Timestamp, _timestamp)
