"""A plan in a file: what it was made for and what it depends on, so that `up --plan` does that or nothing.

The file holds no steps to carry out and no secret: `up` decides again and refuses unless it comes to the very same.
"""

from __future__ import annotations

import json
import os
from typing import Any

from stackrun.errors import Conflict, InvalidArgument, KernelError

_NOT_SAVED = ("environment", "stdin")
"""Of the source: the caller's own at the time; what it changes in the definition, the seal tells."""


def document(plan: dict[str, Any], request: dict[str, Any], host: str) -> dict[str, Any]:
    """The plan's JSON, with what is needed to carry it out."""
    source = {name: value for name, value in request["source"].items() if name not in _NOT_SAVED}
    return {**plan, "host": host, "source": source, "options": request["options"]}


def save(path: str, saved: dict[str, Any]) -> None:
    """For its owner alone: environments are in it. Complete or not at all."""
    unfinished = f"{path}.{os.getpid()}.tmp"
    try:
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(json.dumps(saved, indent=2) + "\n")
        os.replace(unfinished, path)
    except OSError as error:
        raise KernelError(f"save the plan to {path}", error.errno or 0) from None


class SavedPlan:
    __slots__ = ("_host", "options", "path", "seal", "source")

    def __init__(self, path: str, told: dict[str, Any]) -> None:
        self.path = path
        self.seal: dict[str, str] = told["seal"]
        self.source: dict[str, Any] = told["source"]
        self.options: dict[str, Any] = told["options"]
        self._host: str = told["host"]

    @classmethod
    def read(cls, path: str) -> SavedPlan:
        """InvalidArgument for what is no saved plan, or one of another version."""
        from pathlib import Path

        from stackrun.api.wire.stacks import PLAN_VERSION

        try:
            told = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidArgument(f"cannot read the plan {path}: {(error.strerror or '').lower()}") from None
        except ValueError:
            told = None
        wanted = {"seal": dict, "source": dict, "options": dict, "host": str}
        if not isinstance(told, dict) or not all(isinstance(told.get(name), kind) for name, kind in wanted.items()):
            raise InvalidArgument(f"{path} is no saved plan", hint="make one with `stackrun plan --out FILE`")
        if told.get("version") != PLAN_VERSION:
            raise InvalidArgument(f"{path} is a plan of version {told.get('version')}, this is {PLAN_VERSION}", hint="plan again")
        if not told["seal"] or not {"services", "wait", "no_start", "timeout_s"} <= told["options"].keys():
            raise InvalidArgument(f"{path} is no whole plan", hint="make one with `stackrun plan --out FILE`")
        return cls(path, told)

    def require_engine(self, host: str) -> None:
        if host != self._host:
            raise Conflict(f"{self.path} was made for the engine at {self._host}, not for {host}", hint="plan again, or use -H")

    def enter(self) -> None:
        """The directory it was made in, which relative names start from."""
        folder = str(self.source.get("working_dir", ""))
        try:
            os.chdir(folder)
        except OSError as error:
            raise Conflict(f"{self.path} was made in {folder}: {(error.strerror or '').lower()}") from None
