"""What a build has come to: a configuration and layers, and the key by which the same would be found again.  Pure.

A state's key is a digest of the key before it and of all that the step's result depends on.  Times are no part of it: the cache keeps the
time at which a step was done first, and with it the image of an unchanged build is the same to the last byte.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stackrun.image.arguments import StageArguments
from stackrun.image.assembly import Layers
from stackrun.image.imageconfig import Expand, shell_of
from stackrun.image.instructions import (
    Arg,
    Check,
    Command,
    Env,
    Expose,
    Instruction,
    Label,
    Maintainer,
    OnBuild,
    Shell,
    StopSignal,
    User,
    VolumePaths,
    Workdir,
)
from stackrun.image.manifest import Platform

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("architecture", "variant", "os", "os.version", "os.features", "author")
"""Of a base's configuration; the rest is of the base itself."""


@dataclass(slots=True)
class State:
    """`document` is the image configuration but for `config`, `history` and `rootfs`; `args` what ARG has declared in this stage.

    `has_command`: a CMD of this stage came before.  `is_base`: nothing was added to the image `base_id`.
    """

    document: dict[str, Any]
    config: dict[str, Any]
    history: list[dict[str, Any]]
    layers: Layers
    key: str
    args: StageArguments
    base_id: str = ""
    has_command: bool = False
    is_base: bool = True

    @property
    def environment(self) -> dict[str, str]:
        return dict(line.partition("=")[::2] for line in self.config.get("Env") or ())

    def variables(self) -> dict[str, str]:
        return self.args.variables(self.environment)

    @property
    def working_dir(self) -> str:
        return str(self.config.get("WorkingDir") or "/")

    def written(self) -> bytes:
        """The image's configuration."""
        rootfs = {"type": "layers", "diff_ids": [one.diff_id for one in self.layers]}
        whole = {**self.document, "config": self.config, "rootfs": rootfs, "history": self.history}
        return json.dumps(whole, separators=(",", ":"), sort_keys=True).encode()

    @property
    def id(self) -> str:
        """What the image's id is if the build ends here."""
        return self.base_id if self.is_base else f"sha256:{hashlib.sha256(self.written()).hexdigest()}"

    def step(self, created: str, created_by: str, layers: Layers | None = None) -> None:
        """Takes a step in: `layers` None when it has none of its own."""
        entry: dict[str, Any] = {"created": created, "created_by": created_by}
        if layers is None:
            entry["empty_layer"] = True
        else:
            self.layers = layers
        self.history.append(entry)
        self.document["created"] = created
        self.is_base = False


def from_image(image_id: str, configuration: Mapping[str, Any], layers: Layers, args: StageArguments) -> State:
    """Where a stage begins that is built FROM an image."""
    document = {name: configuration[name] for name in (*_KEPT, "created") if configuration.get(name)}
    config = copy.deepcopy(dict(configuration.get("config") or {}))
    state = State(document, config, list(configuration.get("history") or ()), layers, digest("from", image_id), args, image_id)
    _add_path(config)
    return state


def from_scratch(platform: Platform, args: StageArguments) -> State:
    document = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        document["variant"] = platform.variant
    state = State(document, {}, [], (), digest("scratch", str(platform)), args)
    _add_path(state.config)
    return state


def from_stage(other: State, args: StageArguments) -> State:
    """Where a stage begins that is built FROM another."""
    return State(
        dict(other.document), copy.deepcopy(other.config), list(other.history), other.layers, digest("stage", other.key), args,
        other.base_id, is_base=other.is_base,
    )  # fmt: skip


def _add_path(config: dict[str, Any]) -> None:
    """As Docker does at the beginning of each stage."""
    lines = list(config.get("Env") or ())
    if not any(line.startswith("PATH=") for line in lines):
        config["Env"] = [*lines, DEFAULT_PATH]


def digest(*parts: object) -> str:
    """One key of many parts, each told apart from its neighbours."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


# --- created_by ----------------------------------------------------------------------------------


def nop(config: Mapping[str, Any], comment: str, *, spaces: int = 2) -> str:
    """How Docker's classic builder writes what ran no command; of files and WORKDIR with one space."""
    return f"{' '.join(shell_of(dict(config)))} #(nop){' ' * spaces}{comment}"


def comment(instruction: Instruction, before: Mapping[str, Any], after: Mapping[str, Any], expand: Expand = str) -> str:
    """What an instruction did to the `config` object, in the words of Docker's classic builder."""
    match instruction:
        case Env():
            return f"ENV {_changed(before, after, instruction)}"
        case Label():
            return f"LABEL {_labels(before, after, instruction)}"
        case Workdir():
            return f"WORKDIR {after.get('WorkingDir', '/')}"
        case User():
            return f"USER {after.get('User', '')}"
        case Expose():
            return f"EXPOSE {' '.join(sorted(word for text in instruction.ports for word in expand(text).split()))}"
        case VolumePaths():
            return f"VOLUME [{' '.join(list(after.get('Volumes') or ())[-len(instruction.paths):])}]"
        case StopSignal():
            return f"STOPSIGNAL {after.get('StopSignal', '')}"
        case Maintainer():
            return f"MAINTAINER {instruction.name}"
        case Shell():
            return f"SHELL [{' '.join(instruction.words)}]"
        case Command():
            words = after.get(instruction.keyword.title()) or []
            return f"{instruction.keyword} [{' '.join(json.dumps(word, ensure_ascii=False) for word in words)}]"
        case Check():
            return f"HEALTHCHECK {_health(after.get('Healthcheck') or {})}"
        case OnBuild():
            return f"ONBUILD {instruction.text}"
        case Arg():
            return f"ARG {' '.join(name if value is None else f'{name}={value}' for name, value in instruction.names.items())}"
    return type(instruction).__name__.upper()


def _changed(before: Mapping[str, Any], after: Mapping[str, Any], env: Env) -> str:
    lines = list(after.get("Env") or ())
    old = set(before.get("Env") or ())
    found = [line for line in lines if line not in old]
    return " ".join(found or lines[-len(env.pairs):])


def _labels(before: Mapping[str, Any], after: Mapping[str, Any], label: Label) -> str:
    old = before.get("Labels") or {}
    changed = [f"{name}={value}" for name, value in (after.get("Labels") or {}).items() if old.get(name) != value]
    return " ".join(changed or [f"{name}={value}" for name, value in label.pairs])


def _health(check: Mapping[str, Any]) -> str:
    """As Go prints the structure by %q, which is what Docker writes."""
    words = " ".join(json.dumps(word, ensure_ascii=False) for word in check.get("Test") or ())
    names = ("Interval", "Timeout", "StartPeriod", *(("StartInterval",) if check.get("StartInterval") else ()))
    times = " ".join(f'"{go_duration(int(check.get(name) or 0))}"' for name in names)
    return f"&{{[{words}] {times} {_go_character(int(check.get('Retries') or 0))}}}"


def go_duration(nanoseconds: int) -> str:
    """`1m0s`, `1.5s`, `500ms`, `0s`, as Go's time.Duration prints itself."""
    if nanoseconds < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if nanoseconds >= size:
                return f"{nanoseconds / size:.9f}".rstrip("0").rstrip(".") + unit
        return "0s"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 1e9:.9f}".rstrip("0").rstrip(".") + "s"
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + seconds


def _go_character(number: int) -> str:
    """A rune by %q."""
    named = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 39: "\\'", 92: "\\\\"}
    if number in named:
        return f"'{named[number]}'"
    return f"'{chr(number)}'" if 32 <= number < 127 else f"'\\x{number:02x}'" if number < 128 else f"'\\u{number:04x}'"
