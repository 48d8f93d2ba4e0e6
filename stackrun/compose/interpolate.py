"""Variables of a whole document, and the casts that go with them.

A value that may come from a variable is a string when it was quoted (`replicas: "${N}"`); where the specification
wants a number or a boolean, it is cast here, as compose-go does, so that the schema sees the right type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from stackrun.compose.faults import Faults
from stackrun.compose.patterns import Pattern
from stackrun.compose.scalar import is_true
from stackrun.compose.template import Lookup, MissingVariable, TemplateError, substitute
from stackrun.compose.tree import Map, Place, Seq


class _NotCast(Exception):
    pass


def _integer(text: str) -> int:
    try:
        if "_" in text or text != text.strip():
            raise ValueError
        number = int(text)
        if not -(1 << 63) <= number < 1 << 63:
            raise _NotCast("a number of 64 bits")
        return number
    except ValueError:
        raise _NotCast("a whole number") from None


def _number(text: str) -> float:
    try:
        if "_" in text or text != text.strip():
            raise ValueError
        number = float(text)
        if math.isinf(number) and "inf" not in text.lower():
            raise _NotCast("a number that is not as large")
        return number
    except ValueError:
        raise _NotCast("a number") from None


def _boolean(text: str) -> bool:
    value = is_true(text)
    if value is None:
        raise _NotCast("true or false")
    return value


Cast = Callable[[str], Any]
_SERVICE_CASTS: tuple[tuple[Cast, str], ...] = (
    (
        _integer,
        "cpu_count cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares deploy.replicas deploy.update_config.parallelism"
        " deploy.rollback_config.parallelism deploy.restart_policy.max_attempts deploy.placement.max_replicas_per_node"
        " healthcheck.retries oom_score_adj pids_limit ports.*.target scale ulimits.* ulimits.*.hard ulimits.*.soft",
    ),
    (_number, "cpu_percent cpus deploy.update_config.max_failure_ratio deploy.rollback_config.max_failure_ratio"),
    (
        _boolean,
        "init depends_on.*.required depends_on.*.restart healthcheck.disable oom_kill_disable privileged read_only stdin_open tty"
        " volumes.*.read_only volumes.*.volume.nocopy",
    ),
)
_CASTS: dict[str, Cast] = {f"services.*.{key}": cast for cast, keys in _SERVICE_CASTS for key in keys.split()} | {
    f"{section}.*.{key}": _boolean
    for section, keys in (
        ("networks", ("external", "internal", "attachable", "enable_ipv4", "enable_ipv6")),
        ("volumes", ("external",)),
        ("secrets", ("external",)),
        ("configs", ("external",)),
    )
    for key in keys
}
_TABLE: Pattern[Cast] = Pattern.table(_CASTS)


def interpolate(root: Map, lookup: Lookup, faults: Faults) -> Map:
    """A new tree with every string's variables replaced; the places stay. A value that fails is left out."""
    walk = _Walk(lookup, faults)
    return walk.mapping(root, _TABLE)


class _Walk:
    def __init__(self, lookup: Lookup, faults: Faults) -> None:
        self.lookup, self.faults = lookup, faults

    def mapping(self, old: Map, known: Pattern[Cast] | None) -> Map:
        new = Map(place=old.place)
        new.keys_at, new.values_at = old.keys_at, old.values_at
        for key, value in old.items():
            result = self.value(value, known.at(key) if known else None, old.value_place(key))
            if result is not _FAILED:
                new[key] = result
        new.keys_at, new.values_at = dict(old.keys_at), dict(old.values_at)
        return new

    def sequence(self, old: Seq, known: Pattern[Cast] | None) -> Seq:
        new = Seq(place=old.place)
        for index, value in enumerate(old):
            at = old.item_place(index)
            result = self.value(value, known.at("[]") if known else None, at)
            if result is not _FAILED:
                new.add(result, at)
        return new

    def value(self, value: Any, known: Pattern[Cast] | None, at: Place) -> Any:
        if isinstance(value, str):
            if "$" in value:
                value = self.text(value, at)
            return value if known is None or known.known is None or "$" in value else self.cast(value, known.known, at)
        if isinstance(value, Map):
            return self.mapping(value, known)
        return self.sequence(value, known) if isinstance(value, Seq) else value

    def text(self, text: str, at: Place) -> Any:
        used = self.faults.origins.variables.setdefault(at, [])

        def looked_up(name: str) -> str | None:
            if len(used) < _NOTED and name not in used:
                used.append(name)
            value = self.lookup(name)
            if value is None:
                self.faults.origins.unset.add(name)
            return value

        def unset(name: str) -> None:
            self.faults.warning(at, f"variable {name} is not set, an empty string is taken", code="unset-variable")

        try:
            replaced = substitute(text, looked_up, unset=unset)
            self.faults.spend("characters", len(replaced), at)
            return replaced
        except MissingVariable as error:
            self.faults.error(at, error.message, hint=error.hint, code="missing-variable")
        except TemplateError as error:
            self.faults.error(at, error.message, hint=error.hint, code="interpolation")
        return text

    def cast(self, text: str, cast: Cast, at: Place) -> Any:
        try:
            return cast(text)
        except _NotCast as wanted:
            self.faults.error(at, f"must be {wanted}, not {text!r}", code="wrong-type")
            return _FAILED


_NOTED = 20
"""Variables of one value that are remembered, to tell where they come from."""
_FAILED: Any = object()
