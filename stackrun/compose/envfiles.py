"""A service's env_file and label_file, merged under its environment and labels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from stackrun.compose.dotenv import parse_env, parse_raw
from stackrun.compose.normalize import services_of
from stackrun.compose.read import Reader
from stackrun.compose.scalar import is_true, text_of
from stackrun.compose.source import shown
from stackrun.compose.template import Lookup
from stackrun.compose.textfile import Unreadable, contents, decoded
from stackrun.compose.tree import Map, Place, Seq


def resolve_env_files(root: Map, directory: str, environment: Mapping[str, str], reader: Reader) -> None:
    """In place, relative paths from `directory`: the files' values become the service's own, and the keys that named the files go away.

    A later file wins over an earlier one, what the service says itself wins over all; in the files, `${NAME}` is the
    caller's value, else the service's own, else one set above it in the same file.
    """
    for _, service in services_of(root):
        for key, files_key in (("environment", "env_file"), ("labels", "label_file")):
            files = service.pop(files_key, None)
            if isinstance(files, Seq):
                _merge_files(service, key, files, directory, environment, reader)


def _merge_files(service: Map, key: str, files: Seq, directory: str, environment: Mapping[str, str], reader: Reader) -> None:
    own = service.get(key)
    own = own if isinstance(own, Map) else Map(place=files.place)
    known: Mapping[str, str] = {}  # a label file sees nothing but itself
    if key == "environment":
        known = {name: value for name, value in own.items() if value is not None} | dict(environment)
    lookup = known.get
    merged = Map(place=own.place)
    for index, entry in enumerate(files):
        at = files.item_place(index)
        found = _read(entry, at, directory, lookup, merged, reader)
        reader.faults.spend("variables", len(found), at)
        for name, value in found.items():
            merged.put(name, value, at, at)
    for name, value in own.items():
        if value is not None and merged.get(name, value) != value:
            reader.faults.origins.hidden[own.value_place(name)] = merged.value_place(name)
        merged.take(own, name, value)
    if merged:
        service[key] = merged
        service.values_at.setdefault(key, files.place)
        service.keys_at.setdefault(key, files.place)


def _read(entry: Any, at: Place, directory: str, lookup: Lookup, known: Mapping[str, str], reader: Reader) -> dict[str, str]:
    options: Mapping[str, Any] = entry if isinstance(entry, Map) else {"path": entry}
    path, required = options.get("path", ""), options.get("required", True)
    optional = required is False or is_true(text_of(required)) is False
    path = os.path.join(directory, path) if path else ""
    name = shown(path, reader.working_dir)
    try:
        text, wrong = decoded(contents(path))
    except Unreadable as error:
        reader.awaited += [path] if path else []
        if error.missing and path and not optional:
            reader.faults.error(at, f"file {name} is not there", hint="create it, or say required: false", code="missing-file")
        elif not optional or (path and not error.missing):
            reader.faults.error(at, f"cannot read {name}: {error.message}", hint=error.hint, code=error.code)
        return {}
    for line, column, message, hint in wrong:
        reader.faults.error(Place(name, line, column), message, hint=hint, code="env-file")
    reader.inputs.append(path)
    reader.faults.spend("characters", len(text), at)
    if options.get("format") not in (None, "", "raw"):
        reader.faults.error(at, f"unknown format {options['format']!r}", hint="raw, or none at all", code="env-file-format")
    if options.get("format") == "raw":
        return parse_raw(text, name, reader.faults, lookup)
    return parse_env(text, name, reader.faults, lookup=lookup, known=known)
