"""The arguments of a build: which `ARG` is known where, and with what value.

Those before the first FROM are global: they are for FROM itself, and a stage sees one after `ARG NAME` of its own, with the global
value.  A stage's go to the stages that are built FROM it.  ENV wins over an ARG of the same name, wherever it stands.
Source: https://docs.docker.com/reference/dockerfile/#arg.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stackrun.errors import InvalidArgument
from stackrun.image.instructions import Arg, Dockerfile, Stage
from stackrun.image.substitution import expand

_PROXY_NAMES = ("ALL_PROXY", "FTP_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
PROXIES = frozenset(name for word in _PROXY_NAMES for name in (word, word.lower()))
"""Known to RUN without an ARG, and no part of what the cache or the history knows."""

PLATFORM_ARGUMENTS = frozenset(side + what for side in ("TARGET", "BUILD") for what in ("PLATFORM", "OS", "ARCH", "VARIANT"))
"""Global without being declared; a stage declares them like others."""


def platform_arguments(target: str, builder: str) -> dict[str, str]:
    """`linux/arm64/v8` → TARGETPLATFORM, TARGETOS, TARGETARCH, TARGETVARIANT; the same for BUILD of the builder's own platform."""
    found: dict[str, str] = {}
    for side, platform in (("TARGET", target), ("BUILD", builder)):
        os_name, architecture, variant, *_ = (*platform.split("/"), "", "")
        found |= {f"{side}PLATFORM": platform, f"{side}OS": os_name, f"{side}ARCH": architecture, f"{side}VARIANT": variant}
    return found


class GlobalArguments:
    """`given` is what the caller sets: a name without a value takes the Dockerfile's own; `platform` as `platform_arguments` has it."""

    def __init__(self, dockerfile: Dockerfile, given: Mapping[str, str | None], platform: Mapping[str, str]) -> None:
        self.escape = dockerfile.escape
        self.given = {name: value for name, value in given.items() if value is not None}
        self.values = {name: self.given.get(name, value) for name, value in platform.items()}
        for argument in dockerfile.arguments:
            for written, default in argument.names.items():
                name = expand(written, self.values, self.escape)
                if name in self.given:
                    self.values[name] = self.given[name]
                elif default is not None:
                    self.values[name] = expand(default, self.values, self.escape)

    def stage(self, base: StageArguments | None = None) -> StageArguments:
        """The arguments of a new stage; `base` are those of the stage it is built FROM."""
        return StageArguments(self, base.values if base else {})

    def base_of(self, stage: Stage) -> str:
        """The image or stage that FROM names; InvalidArgument when nothing is left of it."""
        name = expand(stage.base, self.values, self.escape)
        if not name:
            raise InvalidArgument(f"base name ({stage.base}) should not be blank", hint="give its ARG a default, or a --build-arg")
        return name

    def platform_of(self, stage: Stage) -> str:
        """What `--platform` names, "" without one."""
        return expand(stage.platform, self.values, self.escape)

    def unused(self, dockerfile: Dockerfile) -> tuple[str, ...]:
        """Names given that no ARG declares, for Docker's warning `One or more build-args [x] were not consumed`."""
        declared = {name for argument in _declarations(dockerfile) for name in argument.names}
        return tuple(sorted(name for name in self.given if name not in declared and name not in PROXIES))


class StageArguments:
    """What the ARGs of one stage have declared so far; `values` are those that have a value."""

    def __init__(self, scope: GlobalArguments, inherited: Mapping[str, str]) -> None:
        self.scope = scope
        self.values = dict(inherited)

    def declare(self, argument: Arg, environment: Mapping[str, str]) -> None:
        """Takes an ARG in: the value given, else its default, else the global value; `environment` is what ENV has set."""
        for written, default in argument.names.items():
            known = self.variables(environment)
            name = expand(written, known, self.scope.escape)
            if name in self.scope.given:
                self.values[name] = self.scope.given[name]
            elif default is not None:
                self.values[name] = expand(default, known, self.scope.escape)
            elif name in self.scope.values:
                self.values[name] = self.scope.values[name]

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """For the words of the next instruction."""
        return self.values | dict(environment)

    def run_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """For the process of RUN: the proxies given, too."""
        proxies = {name: value for name, value in self.scope.given.items() if name in PROXIES}
        return proxies | self.variables(environment)


def _declarations(dockerfile: Dockerfile) -> Iterable[Arg]:
    yield from dockerfile.arguments
    for stage in dockerfile.stages:
        yield from (one for one in stage.instructions if isinstance(one, Arg))
