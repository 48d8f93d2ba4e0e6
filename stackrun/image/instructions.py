"""The instructions of a Dockerfile as values: what `dockerfile` reads and the builder carries out.

Texts are as written, with their quotes, escapes and variables: `substitution.expand` takes those away once the stage's variables are
known, from paths, values of ENV, LABEL and ARG, ports, users, --chown, --chmod and --checksum.  Commands (RUN, CMD, ENTRYPOINT,
HEALTHCHECK, SHELL), MAINTAINER and ONBUILD are never expanded.
`line` is where the instruction begins, counted from 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_ALONE = re.compile(r"""<<-?\s*(?:'[^']*'|"[^"]*"|[^\s<'"]+)""")
"""A here-document and nothing else."""


@dataclass(frozen=True, slots=True)
class Heredoc:
    """`<<NAME` … `NAME`; `expands` is false for `<<'NAME'`; `<<-` has lost its leading tabs already."""

    name: str
    content: str
    expands: bool = True


@dataclass(frozen=True, slots=True)
class Instruction:
    line: int


@dataclass(frozen=True, slots=True)
class Arg(Instruction):
    """Names → default, None without one."""

    names: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Env(Instruction):
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Label(Instruction):
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Workdir(Instruction):
    path: str


@dataclass(frozen=True, slots=True)
class User(Instruction):
    user: str


@dataclass(frozen=True, slots=True)
class Expose(Instruction):
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VolumePaths(Instruction):
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopSignal(Instruction):
    signal: str


@dataclass(frozen=True, slots=True)
class Maintainer(Instruction):
    name: str


@dataclass(frozen=True, slots=True)
class Shell(Instruction):
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command(Instruction):
    """CMD and ENTRYPOINT, by `keyword`: exec form has `words`, shell form `text`."""

    keyword: str
    words: tuple[str, ...] = ()
    text: str = ""
    is_shell: bool = False


@dataclass(frozen=True, slots=True)
class Check(Instruction):
    """HEALTHCHECK; `none` is HEALTHCHECK NONE.  0 is the default."""

    command: Command | None = None
    none: bool = False
    interval_s: float = 0.0
    timeout_s: float = 0.0
    start_period_s: float = 0.0
    start_interval_s: float = 0.0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class RunMount:
    """`--mount=type=bind|cache|tmpfs|secret|ssh`, its options as they are written (`source` and `from` too)."""

    type: str = "bind"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run(Instruction):
    """Shell form has `text` (with `heredocs`, which it announces), exec form `words`."""

    words: tuple[str, ...] = ()
    text: str = ""
    is_shell: bool = True
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[RunMount, ...] = ()
    network: str = ""
    security: str = ""

    @property
    def script(self) -> str:
        """What the shell is given: a here-document that stands alone is the script itself, else the shell reads it by its own rules.

        A script that begins with `#!` is a program, not for the shell.
        """
        if len(self.heredocs) == 1 and _ALONE.fullmatch(self.text):
            return self.heredocs[0].content
        return self.text + "".join(f"\n{one.content}{one.name}" for one in self.heredocs)


@dataclass(frozen=True, slots=True)
class Copy(Instruction):
    """COPY and ADD, by `keyword`.  `sources` may be empty when `heredocs` are not; `from_`: stage, image or named context."""

    keyword: str
    sources: tuple[str, ...]
    target: str
    heredocs: tuple[Heredoc, ...] = ()
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    excludes: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None


@dataclass(frozen=True, slots=True)
class OnBuild(Instruction):
    """`text` is the instruction to come, as it is kept in the image's configuration."""

    text: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One FROM and what follows; `base` and `platform` are not yet expanded, `name` is "" without AS."""

    line: int
    base: str
    name: str = ""
    platform: str = ""
    instructions: tuple[Instruction, ...] = ()


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """`arguments`: the ARGs before the first FROM; `escape`: a backslash, or a backtick by directive."""

    stages: tuple[Stage, ...]
    arguments: tuple[Arg, ...] = ()
    escape: str = "\\"
    syntax: str = ""
