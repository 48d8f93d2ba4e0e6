"""Stack files written to a temporary directory, loaded or checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

from stackrun.api.stacks import StackSource
from stackrun.compose.load import check, load
from stackrun.compose.model import Project


@dataclass
class Stack:
    """Writes files and reads them as a stack; `environment` is the caller's."""

    directory: Path
    environment: dict[str, str] = field(default_factory=lambda: {"HOME": "/home/user"})

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text), encoding="utf-8")

    def source(self, *files: str, profiles: tuple[str, ...] = (), env_files: tuple[str, ...] = ()) -> StackSource:
        return StackSource(str(self.directory), files, profiles=profiles, env_files=env_files, environment=self.environment)

    def load(self, text: str, *, profiles: tuple[str, ...] = (), **files: str) -> Project:
        """`text` is compose.yaml; further files by name, `__` for a slash and `_DOT_` for a dot."""
        self._write(text, files)
        return load(self.source("compose.yaml", profiles=profiles), for_up=False)

    def merged(self, *texts: str) -> Project:
        names = [f"{number}.yaml" for number in range(len(texts))]
        self.write(dict(zip(names, texts, strict=True)))
        return load(self.source(*names), for_up=False)

    def findings(self, text: str, *, profiles: tuple[str, ...] = (), **files: str) -> list[str]:
        """`line:column: message` of each finding of compose.yaml, other files with their name in front."""
        self._write(text, files)
        found = check(self.source("compose.yaml", profiles=profiles))
        return [str(one).split("\n")[0].removeprefix("compose.yaml:") for one in found]

    def hints(self, text: str) -> list[str]:
        self._write(text, {})
        return [one.hint for one in check(self.source("compose.yaml"))]

    def _write(self, text: str, files: Mapping[str, str]) -> None:
        named = {name.replace("_DOT_", ".").replace("__", "/"): content for name, content in files.items()}
        self.write({"compose.yaml": text} | named)
