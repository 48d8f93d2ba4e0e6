"""runc's command line, read as runc reads it: `-name`, `--name`, `--name=value`, and the first word that is none ends it.

A table instead of argparse, which reads options after the container's id too (they belong to the command of `exec`) and
whose import would be a fifth of what a start costs.
"""

from __future__ import annotations

from stackrun.errors import InvalidArgument

FLAG, VALUE, NUMBER, LIST = "flag", "value", "number", "list"


class Option:
    """`names`: the long one first.  `text` is empty for what is only accepted so that callers need not leave it out."""

    __slots__ = ("default", "kind", "metavar", "names", "text")

    def __init__(self, names: str, kind: str, text: str = "", *, default: str | int = "", metavar: str = "") -> None:
        self.names = names.split()
        self.kind = kind
        self.text = text
        self.default: str | int | bool | list[str] = {FLAG: False, NUMBER: default or 0, LIST: []}.get(kind, default)
        self.metavar = metavar or self.names[0].upper()

    @property
    def key(self) -> str:
        return self.names[0].replace("-", "_")

    def line(self) -> str:
        """Of the help."""
        words = ", ".join(f"-{name}" if len(name) == 1 else f"--{name}" for name in self.names)
        return f"  {words + ('' if self.kind == FLAG else f' {self.metavar}'):<34} {self.text}"


class Options:
    """What was said: every option of the table as an attribute, and the words after them."""

    def __init__(self, table: tuple[Option, ...]) -> None:
        self.words: list[str] = []
        for option in table:
            setattr(self, option.key, list(option.default) if isinstance(option.default, list) else option.default)

    def __getattr__(self, name: str) -> object:
        """Only asked for what is not there; said so that checkers know attributes are made at run time."""
        raise AttributeError(name)


def parse(table: tuple[Option, ...], words: list[str]) -> Options:
    """InvalidArgument for an unknown option or a missing value; `--help` becomes the word `help`."""
    known = {name: option for option in table for name in option.names}
    found = Options(table)
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.lstrip("-").partition("=")
        if name in ("help", "h") and name not in known:
            found.words = ["help"]
            return found
        option = known.get(name)
        if option is None:
            raise InvalidArgument(f"flag provided but not defined: -{name}")
        if option.kind != FLAG and not equals:
            if not rest:
                raise InvalidArgument(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        _set(found, option, name, value if equals or option.kind != FLAG else "true")
    found.words = rest
    return found


def _set(found: Options, option: Option, name: str, value: str) -> None:
    if option.kind == FLAG:
        if value not in ("true", "false", "1", "0"):
            raise InvalidArgument(f"invalid boolean value {value!r} for -{name}")
        setattr(found, option.key, value in ("true", "1"))
    elif option.kind == NUMBER:
        try:
            setattr(found, option.key, int(value, 0))
        except ValueError:
            raise InvalidArgument(f"invalid value {value!r} for flag -{name}: it is not a number") from None
    elif option.kind == LIST:
        getattr(found, option.key).append(value)
    else:
        setattr(found, option.key, value)
