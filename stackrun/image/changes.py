"""`docker import --change`: Dockerfile instructions that set the configuration of an image without building."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from typing import Any

from stackrun.errors import InvalidArgument

_SIMPLE = {"USER": "User", "WORKDIR": "WorkingDir"}
_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?")
_KNOWN = ("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "USER", "VOLUME", "WORKDIR")


def apply_changes(config: dict[str, Any], changes: Iterable[str]) -> None:
    """Apply instructions to the `config` object of an image configuration, in place; InvalidArgument for others than these."""
    for change in changes:
        instruction, _, rest = change.strip().partition(" ")
        instruction, rest = instruction.upper(), rest.strip()
        if instruction not in _KNOWN or not rest:
            raise InvalidArgument(f"{instruction} is not a valid change command", hint=f"it is one of {', '.join(_KNOWN)}")
        if instruction in _SIMPLE:
            config[_SIMPLE[instruction]] = rest
        elif instruction in ("CMD", "ENTRYPOINT"):
            config[instruction.title()] = _command(rest)
        elif instruction == "ENV":
            _set_environment(config, _pairs(rest, instruction))
        elif instruction == "LABEL":
            config["Labels"] = (config.get("Labels") or {}) | dict(_pairs(rest, instruction))
        elif instruction == "EXPOSE":
            config["ExposedPorts"] = (config.get("ExposedPorts") or {}) | {port: {} for port in _ports(rest)}
        else:
            config["Volumes"] = (config.get("Volumes") or {}) | {path: {} for path in _list(rest)}


def _command(text: str) -> list[str]:
    """The exec form is a JSON list; anything else is a line for the shell."""
    return _json_list(text) or ["/bin/sh", "-c", text]


def _json_list(text: str) -> list[str]:
    try:
        parsed = json.loads(text)
    except ValueError:
        return []
    return parsed if isinstance(parsed, list) and all(isinstance(word, str) for word in parsed) else []


def _list(text: str) -> list[str]:
    return _json_list(text) or _split(text)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid change {text!r}: {error}") from None


def _pairs(text: str, instruction: str) -> list[tuple[str, str]]:
    """`a=1 b="2 3"`, or the old form `a 1 2`."""
    words = _split(text)
    if "=" not in words[0]:
        name, _, value = text.partition(" ")
        if not value:
            raise InvalidArgument(f"{instruction} must have two arguments: {text!r}", hint="write NAME=value")
        return [(name, value.strip())]
    found = [word.partition("=") for word in words]
    if not all(separator and name for name, separator, _ in found):
        raise InvalidArgument(f"{instruction} needs NAME=value: {text!r}")
    return [(name, value) for name, _, value in found]


def _set_environment(config: dict[str, Any], pairs: Iterable[tuple[str, str]]) -> None:
    current = dict(line.partition("=")[::2] for line in config.get("Env") or ())
    current.update(pairs)
    config["Env"] = [f"{name}={value}" for name, value in current.items()]


def _ports(text: str) -> list[str]:
    found = []
    for word in _split(text):
        match = _PORT.fullmatch(word)
        if not match:
            raise InvalidArgument(f"invalid containerPort: {word}", hint="write 80, 80/udp or 8000-8010")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 < first <= last <= 65535:
            raise InvalidArgument(f"invalid containerPort: {word}", hint="ports go from 1 to 65535")
        found += [f"{port}/{match[3] or 'tcp'}" for port in range(first, last + 1)]
    return found
