"""Where completion gets values from that no parser knows: services, profiles, rules, signals. What fails offers nothing, in silence."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
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
    """Of a list with commas the last one. `rules --format json` knows them."""
    before = current[: current.rfind(",") + 1]
    return tuple((before + code, text) for code, text in sorted(_rules().items()))


def _rules() -> Mapping[str, str]:
    """Codes and groups of rules, each with a line about it; none when they cannot be told."""
    import io
    import json
    from contextlib import redirect_stdout
    from importlib import import_module

    from stackrun.errors import StackrunError

    told = io.StringIO()
    try:
        run: Callable[[list[str]], int] = import_module("stackrun.cli.main").run
        with redirect_stdout(told):
            run(["rules", "--format", "json"])
        return dict(_listed(json.loads(told.getvalue())))
    except (StackrunError, ValueError, KeyError, TypeError):
        return {}


def _listed(told: Any) -> Iterable[tuple[str, str]]:
    for rule in told["rules"]:
        yield str(rule["code"]), str(rule.get("title") or rule.get("summary") or "")
        if rule.get("group"):
            yield str(rule["group"]), "every rule of the group"


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
    "CODE": codes,
    "CODES": codes,
    "profiles": profiles,
}
"""By an argument's metavar or, where that says too little, by its destination."""
