"""`docker import --change`: Dockerfile instructions that set the configuration of an image without building."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from stackrun.errors import InvalidArgument
from stackrun.image.dockerfile import parse_instruction
from stackrun.image.imageconfig import apply_instruction
from stackrun.image.instructions import Command
from stackrun.image.substitution import expand

_KNOWN = ("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")


def apply_changes(config: dict[str, Any], changes: Iterable[str]) -> None:
    """Apply instructions to the `config` object of an image configuration, in place; InvalidArgument for others than these."""
    has_command = False
    for change in changes:
        keyword = change.split(maxsplit=1)[0].upper() if change.strip() else ""
        if keyword not in _KNOWN:
            raise InvalidArgument(f"{keyword} is not a valid change command", hint=f"it is one of {', '.join(_KNOWN)}")
        instruction = parse_instruction(change)
        variables = dict(line.partition("=")[::2] for line in config.get("Env") or ())
        apply_instruction(config, instruction, partial(expand, variables=variables), has_command=has_command)
        has_command = has_command or (isinstance(instruction, Command) and instruction.keyword == "CMD")
