"""What an instruction changes in the `config` object of an image's configuration, for a build and for `docker import --change`.

Sources: OCI image-spec config.md, Docker's additions to it (Healthcheck, OnBuild, Shell), and Docker's dispatch of instructions.
"""

from __future__ import annotations

import posixpath
import re
import signal
from collections.abc import Callable, Iterable
from typing import Any

from stackrun.errors import InvalidArgument
from stackrun.image.instructions import (
    Check,
    Command,
    Env,
    Expose,
    Instruction,
    Label,
    OnBuild,
    Shell,
    StopSignal,
    User,
    VolumePaths,
    Workdir,
)

Expand = Callable[[str], str]
DEFAULT_SHELL = ("/bin/sh", "-c")

_PORT = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?(?:/(tcp|udp|sctp)?)?", re.IGNORECASE)
_PUBLISHED = re.compile(r"(?:.*:)?([^:\[\]]*)")
_REAL_TIME = re.compile(r"(?:SIG)?RT(?:MIN(?:\+([0-9]{1,2}))?|MAX(?:-([0-9]{1,2}))?)")


def apply_instruction(config: dict[str, Any], instruction: Instruction, expand: Expand, *, has_command: bool = False) -> bool:
    """Changes `config` in place; False for an instruction that has no place in it (ARG, RUN, COPY, ADD, MAINTAINER).

    `expand` puts variables in.  `has_command`: a CMD of this stage came before, which ENTRYPOINT keeps; a base image's goes.
    InvalidArgument for ports, signals and paths that are none once variables were put in.
    """
    apply = _CHANGES.get(type(instruction))
    if not apply:
        return False
    is_entrypoint = isinstance(instruction, Command) and instruction.keyword == "ENTRYPOINT"
    apply(config, instruction, expand)
    if is_entrypoint and not has_command:
        config.pop("Cmd", None)
    return True


def shell_of(config: dict[str, Any]) -> list[str]:
    """The words before a shell form's text, as SHELL or the base image says."""
    return list(config.get("Shell") or DEFAULT_SHELL)


def _env(config: dict[str, Any], env: Env, expand: Expand) -> None:
    current = dict(line.partition("=")[::2] for line in config.get("Env") or ())
    current.update(_expanded("ENV", env.pairs, expand))
    config["Env"] = [f"{name}={value}" for name, value in current.items()]


def _expanded(keyword: str, pairs: Iterable[tuple[str, str]], expand: Expand) -> dict[str, str]:
    """All with the variables there were before the instruction: `ENV a=1 b=$a` does not see its own a."""
    found = {expand(name): expand(value) for name, value in pairs}
    if "" in found:
        raise InvalidArgument(f"{keyword} names can not be blank", hint=f"{keyword} NAME=value")
    return found


def _label(config: dict[str, Any], label: Label, expand: Expand) -> None:
    config["Labels"] = (config.get("Labels") or {}) | _expanded("LABEL", label.pairs, expand)


def _command(config: dict[str, Any], command: Command, _: Expand) -> None:
    words = [*shell_of(config), command.text] if command.is_shell else list(command.words)
    if command.keyword == "ENTRYPOINT" and not words:
        config.pop("Entrypoint", None)
        return
    config[command.keyword.title()] = words


def _expose(config: dict[str, Any], expose: Expose, expand: Expand) -> None:
    ports = [port for text in expose.ports for word in expand(text).split() for port in exposed_ports(word)]
    config["ExposedPorts"] = (config.get("ExposedPorts") or {}) | {port: {} for port in ports}


def exposed_ports(text: str) -> list[str]:
    """`80`, `80/udp`, `8000-8010` → `80/tcp`, …; of `127.0.0.1:8080:80` the last, as Docker does."""
    published = _PUBLISHED.fullmatch(text)
    match = _PORT.fullmatch(published[1]) if published else None
    if not match:
        raise InvalidArgument(f"invalid containerPort: {text}", hint="write 80, 80/udp or 8000-8010")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 0 < first <= last <= 65535:
        raise InvalidArgument(f"invalid containerPort: {text}", hint="ports go from 1 to 65535")
    return [f"{port}/{(match[3] or 'tcp').lower()}" for port in range(first, last + 1)]


def _volume(config: dict[str, Any], volume: VolumePaths, expand: Expand) -> None:
    paths = [expand(path) for path in volume.paths]
    if not all(paths):
        raise InvalidArgument("VOLUME specified can not be an empty string", hint="VOLUME /data")
    config["Volumes"] = (config.get("Volumes") or {}) | {path: {} for path in paths}


def _user(config: dict[str, Any], user: User, expand: Expand) -> None:
    config["User"] = expand(user.user)


def _workdir(config: dict[str, Any], workdir: Workdir, expand: Expand) -> None:
    path = expand(workdir.path)
    if not path:
        raise InvalidArgument("cannot normalize nothing: the path of WORKDIR is empty", hint="WORKDIR /app")
    config["WorkingDir"] = posixpath.normpath(posixpath.join("/", config.get("WorkingDir") or "/", path)).replace("//", "/")


def _stop_signal(config: dict[str, Any], stop: StopSignal, expand: Expand) -> None:
    text = expand(stop.signal)
    if not _is_signal(text.upper()):
        raise InvalidArgument(f"invalid signal: {text}", hint="a name such as SIGTERM, or a number from 1 to 64")
    config["StopSignal"] = text


def _is_signal(text: str) -> bool:
    if text.isascii() and text.isdigit():
        return len(text) < 3 and 0 < int(text) <= 64
    if match := _REAL_TIME.fullmatch(text):
        return int(match[1] or match[2] or 0) <= signal.SIGRTMAX - signal.SIGRTMIN
    return f"SIG{text.removeprefix('SIG')}" in signal.Signals.__members__


def _healthcheck(config: dict[str, Any], check: Check, _: Expand) -> None:
    if check.none or not check.command:
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    command = check.command
    found: dict[str, Any] = {"Test": ["CMD-SHELL", command.text] if command.is_shell else ["CMD", *command.words]}
    seconds = {
        "Interval": check.interval_s,
        "Timeout": check.timeout_s,
        "StartPeriod": check.start_period_s,
        "StartInterval": check.start_interval_s,
    }
    found |= {name: round(value * 1e9) for name, value in seconds.items() if value}
    if check.retries:
        found["Retries"] = check.retries
    config["Healthcheck"] = found


def _shell(config: dict[str, Any], shell: Shell, _: Expand) -> None:
    config["Shell"] = list(shell.words)


def _onbuild(config: dict[str, Any], trigger: OnBuild, _: Expand) -> None:
    config["OnBuild"] = [*(config.get("OnBuild") or ()), trigger.text]


_CHANGES: dict[type[Instruction], Callable[[dict[str, Any], Any, Expand], None]] = {
    Check: _healthcheck,
    Command: _command,
    Env: _env,
    Expose: _expose,
    Label: _label,
    OnBuild: _onbuild,
    Shell: _shell,
    StopSignal: _stop_signal,
    User: _user,
    VolumePaths: _volume,
    Workdir: _workdir,
}
