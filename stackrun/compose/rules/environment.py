"""Variables: those that the file is filled in with, and those that containers get."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from stackrun.compose.origins import Note
from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Service, Stack
from stackrun.compose.rules.written_lists import repeated
from stackrun.compose.scalar import Timestamp, resolve, text_of
from stackrun.compose.tree import Place

GROUP = Group("environment")

GROUP.reported("unset-variable", "A variable is not set and has no default, so nothing takes its place.", "warning", "references")
GROUP.reported("missing-variable", "A variable that is required is not set or empty.", stage="references")
GROUP.reported("interpolation", "A dollar sign starts something that is no variable.", stage="references")

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_BARE = re.compile(rf"(?<!\$)(?:\$\$)*\$({_NAME})")


def _of(service: Service) -> str:
    return f'service "{service.name}"'


def _written_value(stack: Stack, place: Place) -> str:
    """A scalar as it is written, before anything is replaced in it; `rest_of_line` where the scalar ends on its line."""
    line = stack.rest_of_line(place)
    if line[:1] not in "|>&*!" and not line.endswith("\\"):
        return line
    node = stack.written(place.path).at(place.line, place.column)
    return node.value if node is not None else ""


# --- dollar signs ---------------------------------------------------------------------------------

_HASH = re.compile(r"\$(?:2[abxy]|apr1|argon2\w*|pbkdf2[\w-]*|scrypt|[1568y])\$")


@GROUP.rule("eaten-dollar", "warning", "A dollar sign that is meant as one starts a variable that nobody has set.")
def eaten_dollar(stack: Stack) -> Iterator[Found]:
    inner = {place: service for service in stack.services for place in _commands(service)} if stack.origins.unset else {}
    for place, names in stack.origins.variables.items() if stack.origins.unset else ():
        lost = stack.origins.unset.intersection(names)
        if not lost:
            continue
        text = _written_value(stack, place)
        bare = [name for name in _BARE.findall(text) if name in lost]
        if bare and _HASH.search(text):
            yield Found(place, f"${bare[0]} is taken for a variable, and what looks like a hash loses a part", "write every $ of it as $$")
        elif wrong := next((name for name in bare if name != name.upper() or _has(inner.get(place), name)), ""):
            yield Found(
                place,
                f"${wrong} is taken for a variable of this file, and nobody sets it",
                f"write $${wrong} if the container shall see it",
            )


def _has(service: Service | None, name: str) -> bool:
    """Whether a shell in the service's container would know the variable."""
    return service is not None and name in service.map("environment")


def _commands(service: Service) -> Iterator[Place]:
    for path in (("command",), ("entrypoint",), ("healthcheck", "test")):
        if service.get(*path):
            yield service.at(*path)
            yield from (place for _, place in service.items(*path))


_OF_THE_CALLER = frozenset(("HOME", "HOSTNAME", "LANG", "OLDPWD", "PATH", "PWD", "RANDOM", "SHELL", "TERM", "UID", "USER"))


@GROUP.rule("variable-of-caller", "warning", "A command gets a value of whoever starts the stack where its own was meant.")
def variable_of_caller(stack: Stack) -> Iterator[Found]:
    used = {name for names in stack.origins.variables.values() for name in names}
    for service in stack.services if used & _OF_THE_CALLER else ():
        for place in dict.fromkeys(_commands(service)):
            names = _OF_THE_CALLER.intersection(stack.origins.variables.get(place, ()))
            if names and not names <= stack.origins.defined.keys():
                name = min(names)
                message = f"{name} in a command of {_of(service)} is that of whoever starts the stack, not the container's"
                yield Found(place, message, f"write $${name} for the container's")
        for name, _, place in service.pairs("environment"):
            if (
                name in ("PATH", "HOME", "HOSTNAME")
                and name in stack.origins.variables.get(place, ())
                and name not in stack.origins.defined
            ):
                message = f"{_of(service)} gets the {name} of whoever starts the stack"
                yield Found(place, message, "write the container's own value out")


@GROUP.rule("path-from-unset-variable", "warning", "A path begins with a variable that is not set, so another folder is meant.")
def path_from_unset_variable(stack: Stack) -> Iterator[Found]:
    begins = re.compile(rf"(?:-\s+)?['\"]?\$(?:\{{({_NAME})\}}|({_NAME}))/")
    for service in stack.services if stack.origins.unset else ():
        places = [(node.at("source"), node.text("source")) for node in service.nodes("volumes") if node.text("type") == "bind"]
        places.append((service.at("build", "context"), service.text("build", "context")))
        for place, path in places:
            lost = stack.origins.unset.intersection(stack.origins.variables.get(place, ()))
            found = begins.match(stack.rest_of_line(place)) if lost else None
            if found and (found[1] or found[2]) in lost:
                message = f"{found[1] or found[2]} is not set, so {_of(service)} gets {path} of this machine"
                yield Found(place, message, f"set it, or require it: ${{{found[1] or found[2]}:?}}")


_DEFAULT = re.compile(rf"\$\{{({_NAME}):?-([^${{}}]*)\}}")


@GROUP.rule("different-defaults", "note", "One variable has different defaults.")
def different_defaults(stack: Stack) -> Iterator[Found]:
    first: dict[str, tuple[str, Place]] = {}
    told: set[str] = set()
    for path, text in stack.sources.items():
        for number, line in enumerate(text.splitlines(), 1) if "-" in text and "${" in text else ():
            comment = re.search(r"(?:^|\s)#", line) if "${" in line else None
            for found in _DEFAULT.finditer(line, 0, comment.start() if comment else len(line)) if "${" in line else ():
                place = Place(path, number, found.start() + 1)
                value, at = first.setdefault(found[1], (found[2], place))
                if value != found[2] and value and found[2] and found[1] not in told:
                    told.add(found[1])
                    yield Found(place, f"{found[1]} has another default here", "set it once, in .env", (Note(at, "the first one"),))


# --- env files ------------------------------------------------------------------------------------

_FOR_TOOLS = re.compile(r"(COMPOSE|DOCKER|BUILDKIT|STACKRUN|NERDCTL|PODMAN)_.*")


@GROUP.rule("unused-variable", "note", "A variable of .env is used nowhere.")
def unused_variable(stack: Stack) -> Iterator[Found]:
    """Reads the env files once more: their variables may use each other. Of a file that others read as well nothing is told."""
    given = {file for file in stack.env_files if file in stack.files}
    defined = [(name, place) for name, place in stack.origins.defined.items() if not _FOR_TOOLS.fullmatch(name)]
    if not defined or given:
        return  # a service gets the whole file
    used = set(re.findall(_NAME, "\n".join(stack.sources.values())))
    for file in dict.fromkeys((*stack.env_files, *stack.files)):
        used.update(name for pair in re.findall(rf"\$(?:\{{({_NAME})|({_NAME}))", _content(file)) for name in pair)
    unused = [(name, place) for name, place in defined if name not in used]
    if 2 * len(unused) < len(defined) or len(defined) < 4:  # else the file serves others, too
        for name, place in unused:
            yield Found(place, f"nothing uses {name}", "remove it, or correct its name")


def _content(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace") if Path(file).is_file() else ""
    except OSError:
        return ""


@GROUP.rule("env-file-twice", "warning", "A service reads one env file twice.")
def env_file_twice(stack: Stack) -> Iterator[Found]:
    for one in repeated(stack, "env_file", re.compile(r"(?:\./)?([^\s'\"#:]+)['\"]?\s*(?:#.*)?$")):
        message = f'service "{one.service}" reads {one.subject} a second time'
        yield Found(one.second, message, "remove one of the two", (Note(one.first, "the first one"),))


@GROUP.rule("overridden-variable", "note", "A variable replaces one that an env file of the service gives.")
def overridden_variable(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for name, _, place in service.pairs("environment"):
            file = stack.origins.hidden.get(place)
            if file is not None:
                message = f"{name} of {_of(service)} does not come from its env file, which gives another value"
                yield Found(place, message, "keep one of the two", (Note(file, "the env file"),))


# --- variables of a container ---------------------------------------------------------------------


def _listed(stack: Stack, service: Service) -> Iterator[tuple[str, str, Place, str]]:
    """Variables written as NAME=VALUE items: name, value, place, and the item as it is written."""
    for name, value, place in service.pairs("environment"):
        line = stack.rest_of_line(place)
        if value is not None and line.lstrip("'\"").startswith(name) and "=" in line:
            yield name, str(value), place, line


@GROUP.rule("duplicate-variable", "warning", "A list gives one variable twice, and the first value is lost.")
def duplicate_variable(stack: Stack) -> Iterator[Found]:
    for one in repeated(stack, "environment", re.compile(r"([A-Za-z_][\w.\-]*)=")):
        message = f'service "{one.service}" is given {one.subject} twice: the later value counts'
        yield Found(one.second, message, "remove one of the two", (Note(one.first, "this value is lost"),))


@GROUP.rule("quotes-in-value", "warning", "Quotes around a value of a list become part of the value.")
def quotes_in_value(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for name, value, place, line in _listed(stack, service):
            if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and line[0] not in "'\"|>" and value[0] not in value[1:-1]:
                message = f"the value of {name} of {_of(service)} has quotes around it, which the container gets too"
                yield Found(place, message, f'put them around the item: "{name}=…", or leave them out')


@GROUP.rule("space-in-variable", "warning", "There is a space around the equals sign, which becomes part of the name or value.")
def space_in_variable(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for name, value, place in service.pairs("environment"):
            line = stack.rest_of_line(place)
            listed = line.lstrip("'\"").startswith(name.rstrip() or name)
            if name != name.strip() or (listed and "=" in line and isinstance(value, str) and value[:1] == " "):
                message = f"{name.strip() or 'a variable'} of {_of(service)} has a space beside its equals sign"
                yield Found(place, message, f"write {name.strip()}=value")


@GROUP.rule("variable-name", "warning", "A shell cannot read a variable of this name.")
def variable_name(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for name, _, place in service.pairs("environment"):
            if name == name.strip() and not re.fullmatch(r"[A-Za-z_][\w.\-/:\[\]()]*", name):
                message = f"{name!r} of {_of(service)} is no name of a variable" if name else f"a variable of {_of(service)} has no name"
                yield Found(place, message, "use letters, digits and _")


@GROUP.rule("variable-without-value", "note", "A variable is passed on that the caller does not have.")
def variable_without_value(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for name, value, _ in service.pairs("environment"):
            if value is None and name not in stack.environment:
                hint = f'set it, or write {name}: "" for an empty value'
                yield Found(service.key_at("environment", name), f"{name} is not set, so {_of(service)} does not get it", hint)


@GROUP.rule("path-without-system", "warning", "PATH leaves the folders of the system out.")
def path_without_system(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for name, value, place in service.pairs("environment"):
            folders = str(value or "").split(":")
            if (
                name == "PATH"
                and value
                and "PATH" not in stack.origins.variables.get(place, ())
                and not {"/bin", "/usr/bin"} & set(folders)
            ):
                message = f"programs of {_of(service)} find neither /bin nor /usr/bin"
                yield Found(place, message, "add :/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


# --- how values are written -----------------------------------------------------------------------

_PLAIN = re.compile(r"([^\s#'\"\[\]{},&*!|>%@`][^\n]*?)(?:\s+#.*|\s*)$")
_OTHER_WORDS = re.compile(r"(?:y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF)")
_SIXTIES = re.compile(r"[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+")


def _plain(line: str) -> str:
    """A short scalar without quotes at the beginning of a line's rest; empty when there is none."""
    found = _PLAIN.fullmatch(line) if len(line) < 200 else None
    return found[1] if found else ""


Plain = tuple[Service, str, str, str, Place]
"""A value of a mapping that stands without quotes: service, name, value, what is written, place."""


def _plain_values(stack: Stack) -> list[Plain]:
    return stack.once(_find_plain_values)


def _find_plain_values(stack: Stack) -> list[Plain]:
    return list(_each_plain_value(stack))


def _each_plain_value(stack: Stack) -> Iterator[Plain]:
    for service in stack.services:
        for path in (("environment",), ("labels",), ("build", "args"), ("sysctls",)):
            for name, value, place in service.pairs(*path):
                if value is None or place == service.key_at(*path, name) or place in stack.origins.variables:
                    continue
                written = _plain(stack.rest_of_line(place).partition(",")[0].rstrip("} "))
                if written:
                    yield service, name, str(value), written, place


@GROUP.rule("changed-value", "warning", "A number or word without quotes reaches the container in another form.")
def changed_value(stack: Stack) -> Iterator[Found]:
    for service, name, value, written, place in _plain_values(stack):
        meant = resolve(written)
        if value != written and not isinstance(meant, (str, Timestamp)) and meant is not None and text_of(meant) == value:
            message = f"{name} of {_of(service)} is written {written} and becomes {value}"
            yield Found(place, message, f'write "{written}" if it shall stay so')


@GROUP.rule("ambiguous-value", "note", "Other YAML readers take a value without quotes for something else.")
def ambiguous_value(stack: Stack) -> Iterator[Found]:
    for service, name, _, written, place in _plain_values(stack):
        if _OTHER_WORDS.fullmatch(written) or _SIXTIES.fullmatch(written):
            yield Found(place, f"{name} of {_of(service)}: other YAML readers do not take {written} for a text", f'write "{written}"')
