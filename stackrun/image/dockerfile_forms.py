"""What each instruction of a Dockerfile takes: flags, forms and limits.

`read_instruction` raises InvalidArgument with Docker's phrase and a hint.  Source: https://docs.docker.com/reference/dockerfile/.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stackrun.errors import InvalidArgument
from stackrun.image.dockerfile_lines import Lines, Statement, heredoc_word
from stackrun.image.dockerfile_words import json_words, pairs, plain_words, quoted_words, split_statement
from stackrun.image.instructions import (
    Arg,
    Check,
    Command,
    Copy,
    Env,
    Expose,
    Heredoc,
    Instruction,
    Label,
    Maintainer,
    OnBuild,
    Run,
    RunMount,
    Shell,
    Stage,
    StopSignal,
    User,
    VolumePaths,
    Workdir,
)
from stackrun.units import parse_duration

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.\-]*")
_MOUNT_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_MOUNT_FLAGS = {"readonly", "ro", "readwrite", "rw", "required"}
_MOUNT_OPTIONS = {
    *("type", "from", "source", "src", "target", "dst", "destination", "size", "id", "sharing", "mode", "uid", "gid", "env"),
    *_MOUNT_FLAGS,
}
_NETWORKS = ("default", "none", "host")
_SECURITY = ("sandbox", "insecure")
_SHORTEST_INTERVAL_S = 0.001
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Parts:
    """A statement taken apart; `flags` holds every value of a flag, "true" for one without."""

    line: int
    keyword: str
    rest: str
    flags: dict[str, list[str]]
    heredocs: tuple[Heredoc, ...]
    escape: str

    def flag(self, name: str) -> str:
        return self.flags.get(name, [""])[-1]

    def words(self) -> tuple[str, ...]:
        """JSON, or words between spaces."""
        words = json_words(self.rest)
        return tuple(plain_words(self.rest)) if words is None else words

    def fault(self, message: str, example: str) -> InvalidArgument:
        return InvalidArgument(f"{self.keyword} {message}", hint=example)


def near(word: str, known: Iterable[str]) -> str:
    """`did you mean "FROM"?`, or nothing when no known word is near."""
    found = difflib.get_close_matches(word[:_SHOWN], list(known), n=1)
    return f'did you mean "{found[0]}"?' if found else ""


def read_instruction(statement: Statement, escape: str) -> Instruction | Stage:
    """A stage for FROM, without its instructions."""
    keyword, flags, rest = split_statement(statement.text, escape)
    form = _FORMS.get(keyword.upper())
    if not form:
        shown = keyword if len(keyword) <= _SHOWN else keyword[:_SHOWN] + "…"
        listed = f"there are {', '.join(sorted(_FORMS))}"
        raise InvalidArgument(f"unknown instruction: {shown}", hint=near(keyword.upper(), _FORMS) or listed)
    parts = Parts(statement.line, keyword.upper(), rest, _flags(keyword.upper(), flags, form.flags), statement.heredocs, escape)
    if not rest:
        raise parts.fault(f"requires {form.wants}", form.example)
    return form.read(parts)


def _flags(keyword: str, written: list[str], known: dict[str, str]) -> dict[str, list[str]]:
    """Flags by name; `known` says what each takes: a `value`, `values` when it may be given again, or `switch`."""
    found: dict[str, list[str]] = {}
    for word in written:
        name, separator, value = word[2:].partition("=")
        kind = known.get(name, "")
        if not kind:
            listed = f"{keyword} has {', '.join(f'--{one}' for one in known)}" if known else f"{keyword} has no flags"
            raise InvalidArgument(f"unknown flag: --{name}", hint=near(f"--{name}", [f"--{one}" for one in known]) or listed)
        if name in found and kind != "values":
            raise InvalidArgument(f"duplicate flag specified: --{name}", hint="give it once")
        if (not separator and kind != "switch") or (kind == "switch" and separator and not value):
            raise InvalidArgument(f"missing a value on flag: --{name}", hint=f"--{name}=…")
        if kind == "switch" and separator and value.lower() not in ("true", "false"):
            raise InvalidArgument(f"expecting boolean value for flag --{name}, not: {value}", hint=f"--{name} or --{name}=false")
        found.setdefault(name, []).append(value if separator and kind != "switch" else (value or "true").lower())
    return found


def _from(parts: Parts) -> Stage:
    words = plain_words(parts.rest)
    if len(words) == 1:
        return Stage(parts.line, words[0], platform=parts.flag("platform"))
    if len(words) != 3 or words[1].lower() != "as":
        raise parts.fault("requires either one or three arguments", "FROM image AS name")
    name = words[2].lower()
    if not _STAGE_NAME.fullmatch(name):
        message = f'invalid name for build stage: "{words[2]}", name can\'t start with a number or contain symbols'
        raise InvalidArgument(message, hint="a letter, then letters, digits, - _ and .")
    return Stage(parts.line, words[0], name, parts.flag("platform"))


def _arg(parts: Parts) -> Arg:
    names: dict[str, str | None] = {}
    for word in quoted_words(parts.rest, parts.escape):
        name, separator, value = word.partition("=")
        if not name:
            raise parts.fault("names can not be blank", "ARG NAME=default")
        names[name] = value if separator else None
    return Arg(parts.line, names)


def _env(parts: Parts) -> Env:
    return Env(parts.line, pairs("ENV", parts.rest, parts.escape))


def _label(parts: Parts) -> Label:
    return Label(parts.line, pairs("LABEL", parts.rest, parts.escape))


def _volume(parts: Parts) -> VolumePaths:
    paths = tuple(word.strip() for word in parts.words())
    if not all(paths):
        raise parts.fault("specified can not be an empty string", 'VOLUME ["/data"]')
    if not paths:
        raise parts.fault("requires at least one argument", "VOLUME /data")
    return VolumePaths(parts.line, paths)


def _shell(parts: Parts) -> Shell:
    words = json_words(parts.rest)
    if words is None:
        raise parts.fault("requires the arguments to be in JSON form", 'SHELL ["/bin/bash", "-c"]')
    if not words:
        raise parts.fault("requires at least one argument", 'SHELL ["/bin/bash", "-c"]')
    return Shell(parts.line, words)


def _command(parts: Parts) -> Command:
    words = json_words(parts.rest)
    if words is None:
        return Command(parts.line, parts.keyword, text=parts.rest, is_shell=True)
    return Command(parts.line, parts.keyword, words)


def _healthcheck(parts: Parts) -> Check:
    kind, *others = parts.rest.split(maxsplit=1)
    rest = others[0] if others else ""
    if kind.upper() == "NONE":
        if rest:
            raise parts.fault("NONE takes no arguments", "HEALTHCHECK NONE")
        return Check(parts.line, none=True)
    if kind.upper() != "CMD":
        raise InvalidArgument(f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)', hint="HEALTHCHECK CMD curl -f http://localhost/")
    words = json_words(rest)
    if not rest or words == ():
        raise InvalidArgument("Missing command after HEALTHCHECK CMD", hint="HEALTHCHECK CMD curl -f http://localhost/")
    command = Command(parts.line, "CMD", text=rest, is_shell=True) if words is None else Command(parts.line, "CMD", words)
    return Check(
        parts.line,
        command,
        interval_s=_interval(parts, "interval"),
        timeout_s=_interval(parts, "timeout"),
        start_period_s=_interval(parts, "start-period"),
        start_interval_s=_interval(parts, "start-interval"),
        retries=_retries(parts.flag("retries")),
    )


def _interval(parts: Parts, name: str) -> float:
    """Seconds of a flag; Go's units, so days and weeks are none."""
    text = parts.flag(name)
    if not text:
        return 0.0
    if re.search(r"[dw]", text):
        raise InvalidArgument(f"invalid duration: {text!r}", hint="the units are ns, us, ms, s, m and h")
    seconds = parse_duration(text)
    if seconds and seconds < _SHORTEST_INTERVAL_S:
        raise InvalidArgument(f'Interval "{name}" cannot be less than 1ms', hint=f"--{name}=30s")
    return seconds


def _retries(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[+\-]?[0-9]{1,10}", text):
        raise InvalidArgument(f"--retries is no number: {text}", hint="--retries=3")
    if int(text) < 0:
        raise InvalidArgument(f"--retries cannot be negative ({text})", hint="--retries=3")
    if int(text) >= 1 << 31:
        raise InvalidArgument(f"--retries is too much: {text}", hint="--retries=3")
    return int(text)


def _onbuild(parts: Parts) -> OnBuild:
    keyword = split_statement(parts.rest, parts.escape)[0].upper()
    if keyword == "ONBUILD":
        raise InvalidArgument("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", hint="ONBUILD RUN command")
    if keyword in ("FROM", "MAINTAINER"):
        raise InvalidArgument(f"{keyword} isn't allowed as an ONBUILD trigger", hint="ONBUILD RUN command")
    read_instruction(Statement(parts.line, parts.rest, parts.heredocs), parts.escape)
    return OnBuild(parts.line, parts.rest + "".join(f"\n{one.content}{one.name}" for one in parts.heredocs))


def _run(parts: Parts) -> Run:
    words = json_words(parts.rest)
    if words == ():
        raise parts.fault("requires at least one argument", "RUN command")
    for name, known in (("network", _NETWORKS), ("security", _SECURITY)):
        if parts.flag(name) and parts.flag(name) not in known:
            raise InvalidArgument(f'{name} "{parts.flag(name)}" is not valid', hint=f"one of {', '.join(known)}")
    return Run(
        parts.line,
        words or (),
        "" if words else parts.rest,
        is_shell=words is None,
        heredocs=parts.heredocs,
        mounts=tuple(_mount(text) for text in parts.flags.get("mount", ())),
        network=parts.flag("network"),
        security=parts.flag("security"),
    )


def _mount(text: str) -> RunMount:
    """`type=cache,target=/x`; an option without a value is "true"."""
    options: dict[str, str] = {}
    for field in next(csv.reader([text])):
        name, separator, value = field.partition("=")
        name = name.strip().lower()
        if name not in _MOUNT_OPTIONS:
            raise InvalidArgument(f"unexpected key '{name}' in '{field}'", hint=near(name, _MOUNT_OPTIONS))
        if not separator and name not in _MOUNT_FLAGS:
            raise InvalidArgument(f"invalid field '{field}' must be a key=value pair", hint="--mount=type=cache,target=/root/.cache")
        options[name] = value if separator else "true"
    kind = options.pop("type", "bind").lower()
    if kind not in _MOUNT_TYPES and "$" not in kind:
        raise InvalidArgument(f'unsupported mount type "{kind}"', hint=near(kind, _MOUNT_TYPES) or f"one of {', '.join(_MOUNT_TYPES)}")
    _check_source(options.get("from", ""))
    return RunMount(kind, options)


def _check_source(name: str) -> None:
    """The stage or image that files come from: which stages are needed is known before any variable is."""
    if "$" in name:
        message = "'from' doesn't support variable expansion, define alias stage instead"
        raise InvalidArgument(message, hint="FROM ${IMAGE} AS name, and from=name")


def _copy(parts: Parts) -> Copy:
    words = parts.words()
    if len(words) < 2:
        message = "requires at least two arguments, but only one was provided. Destination could not be determined"
        raise parts.fault(message, f"{parts.keyword} source destination")
    _check_source(parts.flag("from"))
    is_json = json_words(parts.rest) is not None
    if not is_json and heredoc_word(words[-1]):
        raise parts.fault("cannot accept a heredoc as a destination", f"{parts.keyword} <<EOF /destination")
    return Copy(
        parts.line,
        parts.keyword,
        tuple(word for word in words[:-1] if is_json or not heredoc_word(word)),
        words[-1],
        heredocs=parts.heredocs,
        from_=parts.flag("from"),
        chown=parts.flag("chown"),
        chmod=parts.flag("chmod"),
        link=parts.flag("link") == "true",
        parents=parts.flag("parents") == "true",
        excludes=tuple(parts.flags.get("exclude", ())),
        checksum=parts.flag("checksum"),
        keep_git_dir=parts.flag("keep-git-dir") == "true",
        unpack=parts.flag("unpack") == "true" if "unpack" in parts.flags else None,
    )


@dataclass(frozen=True, slots=True)
class _Form:
    """How an instruction is read; `wants` ends the sentence `X requires …`."""

    read: Callable[[Parts], Instruction | Stage]
    example: str
    wants: str
    flags: dict[str, str]


def _form(read: Callable[[Parts], Instruction | Stage], example: str, wants: str = "at least one argument", **flags: str) -> _Form:
    return _Form(read, example, wants, {name.replace("_", "-"): kind for name, kind in flags.items()})


_ONE = "exactly one argument"
_TWO = "at least two arguments"
_FILES = {"chown": "value", "chmod": "value", "link": "switch", "exclude": "values"}
_TIMES = dict.fromkeys(("interval", "timeout", "start_period", "start_interval", "retries"), "value")

_FORMS = {
    "ADD": _form(_copy, "ADD source destination", _TWO, **_FILES, checksum="value", keep_git_dir="switch", unpack="switch"),
    "ARG": _form(_arg, "ARG NAME=default"),
    "CMD": _form(_command, 'CMD ["command", "argument"]'),
    "COPY": _form(_copy, "COPY source destination", _TWO, **_FILES, **{"from": "value"}, parents="switch"),
    "ENTRYPOINT": _form(_command, 'ENTRYPOINT ["command", "argument"]'),
    "ENV": _form(_env, "ENV NAME=value"),
    "EXPOSE": _form(lambda parts: Expose(parts.line, tuple(plain_words(parts.rest))), "EXPOSE 80/tcp"),
    "FROM": _form(_from, "FROM image AS name", "either one or three arguments", platform="value"),
    "HEALTHCHECK": _form(_healthcheck, "HEALTHCHECK CMD curl -f http://localhost/", **_TIMES),
    "LABEL": _form(_label, "LABEL name=value"),
    "MAINTAINER": _form(lambda parts: Maintainer(parts.line, parts.rest), "LABEL org.opencontainers.image.authors=name", _ONE),
    "ONBUILD": _form(_onbuild, "ONBUILD RUN command"),
    "RUN": _form(_run, "RUN command", mount="values", network="value", security="value"),
    "SHELL": _form(_shell, 'SHELL ["/bin/bash", "-c"]'),
    "STOPSIGNAL": _form(lambda parts: StopSignal(parts.line, parts.rest), "STOPSIGNAL SIGTERM", _ONE),
    "USER": _form(lambda parts: User(parts.line, parts.rest), "USER name:group", _ONE),
    "VOLUME": _form(_volume, 'VOLUME ["/data"]'),
    "WORKDIR": _form(lambda parts: Workdir(parts.line, parts.rest), "WORKDIR /app", _ONE),
}


def read_trigger(text: str) -> Instruction | Stage:
    """One instruction of its own, with its here-documents."""
    lines = Lines(text)
    found = list(lines.statements())
    if lines.faults:
        raise lines.faults[0][1]
    if len(found) != 1:
        raise InvalidArgument("one instruction is wanted", hint="RUN command")
    return read_instruction(found[0], lines.escape)
