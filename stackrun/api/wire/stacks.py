"""`/stackrun/v1/stacks`: our own routes, fields under their own names, both ways."""

from __future__ import annotations

from typing import Any

from stackrun.api.stacks import (
    DownOptions,
    FieldChange,
    Phase,
    PlannedAction,
    StackEvent,
    StackPlan,
    StackSource,
    StackSummary,
    Symbol,
    UpOptions,
)
from stackrun.api.wire.fields import (
    FLAG,
    INTEGER,
    NUMBER,
    PAIRS,
    TEXT,
    TEXTS,
    Field,
    Kind,
    Table,
    integer,
    items,
    members,
    read,
    records,
    write,
)
from stackrun.errors import ExecuteFailed, InvalidArgument, StackrunError

_COUNTS = Kind(lambda value, place: {key: integer(one, f"{place}.{key}") for key, one in members(value, place).items()}, dict)
_PHASE = Kind(lambda value, place: Phase(value), str)


def _table(**kinds: Kind) -> Table:
    """Our own fields have one name on both sides."""
    return tuple(Field(name, name, kind) for name, kind in kinds.items())


_SOURCE = _table(
    working_dir=TEXT, files=TEXTS, project_name=TEXT, project_directory=TEXT, env_files=TEXTS, profiles=TEXTS, environment=PAIRS, stdin=TEXT
)
_UP = _table(
    services=TEXTS, force_recreate=FLAG, no_recreate=FLAG, no_deps=FLAG, no_start=FLAG, remove_orphans=FLAG, renew_anonymous_volumes=FLAG,
    pull=TEXT, scale=_COUNTS, timeout_s=NUMBER, wait=FLAG, wait_timeout_s=NUMBER, by=TEXT,
    seal=PAIRS,
)  # fmt: skip
_DOWN = _table(volumes=FLAG, remove_orphans=FLAG, timeout_s=NUMBER, services=TEXTS)
_EVENT = _table(
    resource=TEXT, phase=_PHASE, text=TEXT, detail=TEXT, hint=TEXT, current=INTEGER, total=INTEGER, exit_code=INTEGER
)  # fmt: skip
_CHANGE = _table(field=TEXT, before=TEXT, after=TEXT, place=TEXT)
_ACTION = _table(
    symbol=Kind(lambda value, place: _symbol(value, place), str), resource=TEXT, cause=TEXT, steps=TEXTS,
    changes=records(_CHANGE, FieldChange), waits_for=TEXTS, destroys=TEXTS, notes=TEXTS,
)  # fmt: skip
_PLAN = _table(
    project=TEXT, actions=records(_ACTION, PlannedAction), notices=records(_EVENT, StackEvent), waits=TEXTS, unchanged=TEXTS, seal=PAIRS
)  # fmt: skip
PLAN_VERSION = 1
"""Of a plan as a document: a reader of another version refuses it."""
_SUMMARY = _table(name=TEXT, status=TEXT, config_files=TEXTS)


def source_from_json(body: Any) -> StackSource:
    asked = read(_SOURCE, members(body, "the body").get("source"), "source")
    if not asked.get("working_dir", "").startswith("/"):
        raise InvalidArgument("source.working_dir must be an absolute path", hint="the daemon has a working directory of its own")
    return StackSource(**asked)


def request_to_json(source: StackSource, **rest: Any) -> dict[str, Any]:
    """`rest`: options (already in JSON form), or services, timeout_s, signal."""
    return {"source": write(_SOURCE, source), **rest}


def up_options_from_json(body: Any) -> UpOptions:
    return UpOptions(**read(_UP, members(body, "the body").get("options"), "options"))


def up_options_to_json(options: UpOptions) -> dict[str, Any]:
    return write(_UP, options)


def down_options_from_json(body: Any) -> DownOptions:
    return DownOptions(**read(_DOWN, members(body, "the body").get("options"), "options"))


def down_options_to_json(options: DownOptions) -> dict[str, Any]:
    return write(_DOWN, options)


_ARGUMENTS = _table(services=TEXTS, timeout_s=NUMBER, signal=TEXT)


def arguments_from_json(body: Any) -> tuple[tuple[str, ...], float | None, str]:
    """(services, timeout_s, signal) of start, stop, restart, kill, pull."""
    asked = read(_ARGUMENTS, body)
    return asked.get("services", ()), asked.get("timeout_s"), asked.get("signal", "")


def event_to_json(event: StackEvent) -> dict[str, Any]:
    return write(_EVENT, event)


def event_from_json(body: Any) -> StackEvent:
    return StackEvent(**{"resource": "", "text": "", **read(_EVENT, body)})


def failure_event(error: StackrunError) -> StackEvent:
    """The last event of an operation that broke after its first one was sent."""
    detail = "\n".join((error.message, *error.failures)) if isinstance(error, ExecuteFailed) else error.message
    return StackEvent("", Phase.FAILED, "Error", detail=detail, hint=error.hint, exit_code=error.exit_code)


def _symbol(value: Any, place: str) -> Symbol:
    try:
        return Symbol(value)
    except ValueError:
        raise InvalidArgument(f"invalid JSON: {place} must be one of {', '.join(Symbol)}") from None


def plan_to_json(plan: StackPlan) -> dict[str, Any]:
    """A document of its own: its version first, and the counts for those who only count."""
    counts = {symbol.name.lower(): plan.count(symbol) for symbol in Symbol}
    return {"version": PLAN_VERSION, **write(_PLAN, plan), "summary": {**counts, "unchanged": len(plan.unchanged), "text": plan.summary}}


def plan_from_json(body: Any) -> StackPlan:
    version = members(body, "the plan").get("version")
    if version != PLAN_VERSION:
        raise InvalidArgument(f"a plan of version {version!r} cannot be read: this is version {PLAN_VERSION}", hint="plan again")
    return StackPlan(**{"project": "", **read(_PLAN, body)})


def summaries_to_json(summaries: tuple[StackSummary, ...]) -> list[dict[str, Any]]:
    return [write(_SUMMARY, one) for one in summaries]


def summaries_from_json(body: Any) -> tuple[StackSummary, ...]:
    return tuple(StackSummary(**{"status": "", "config_files": (), **read(_SUMMARY, one)}) for one in items(body, "the answer"))
