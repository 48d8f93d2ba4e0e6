"""Where completion gets values from that no parser knows: services, profiles, rules, signals. What fails offers nothing, in silence."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

Values = tuple[tuple[str, str], ...]
"""(value, description) pairs."""


def services(options: argparse.Namespace, _current: str) -> Values:
    """Of the stack that the options mean, those of a profile that is not enabled too: naming one enables it."""
    stack = _stack(options)
    return () if stack is None else tuple((name, one.image) for name, one in sorted({**stack.services, **stack.disabled_services}.items()))


def scaled(options: argparse.Namespace, current: str) -> Values:
    """`web=`: the number is the user's to say."""
    return tuple((f"{name}=", text) for name, text in services(options, current))


def profiles(options: argparse.Namespace, _current: str) -> Values:
    stack = _stack(options)
    every = (*stack.services.values(), *stack.disabled_services.values()) if stack is not None else ()
    return tuple((name, "") for name in sorted({profile for one in every for profile in one.profiles}))


def signals(_options: argparse.Namespace, _current: str) -> Values:
    import signal

    return tuple((one.name, signal.strsignal(one) or "") for one in signal.Signals)


def codes(_options: argparse.Namespace, current: str) -> Values:
    """Rules, groups and levels, as `--select` takes them; of a list with commas the last one."""
    from stackrun.compose.rules.catalog import GROUPS, rules
    from stackrun.compose.rules.rule import LEVELS

    before = current[: current.rfind(",") + 1]
    sets = (*((group, "every rule of the group") for group in GROUPS), *((level, "every rule of the level") for level in LEVELS))
    return tuple((before + code, text) for code, text in (*((one.code, one.summary) for one in rules().values()), *sets))


def code(_options: argparse.Namespace, _current: str) -> Values:
    from stackrun.compose.rules.catalog import rules

    return tuple((one.code, one.summary) for one in rules().values())


def _stack(options: argparse.Namespace) -> Any:
    """The Project, or None when there is none that can be read."""
    from stackrun.cli.project import load
    from stackrun.errors import StackrunError

    if "-" in (options.files or ()):  # stdin is the terminal
        return None
    try:
        return load(options, for_up=False)
    except (StackrunError, OSError):
        return None


SOURCES: Mapping[str, Callable[[argparse.Namespace, str], Values]] = {
    "SERVICE": services,
    "SERVICE=N": scaled,
    "SIGNAL": signals,
    "CODE": code,
    "CODES": codes,
    "GROUP": codes,
    "profiles": profiles,
}
"""By an argument's metavar or, where that says too little, by its destination."""
