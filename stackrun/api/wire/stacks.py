"""`/stackrun/v1/stacks`: our own routes, fields under their own names, both ways."""

from __future__ import annotations

from typing import Any

from stackrun.api.stacks import (
    BuildOptions,
    Change,
    ChangeQuery,
    Decision,
    DownOptions,
    FieldChange,
    History,
    Keep,
    Phase,
    PlannedAction,
    Reasons,
    ResourceChange,
    RevisionEntry,
    StackEvent,
    StackPlan,
    StackSource,
    StackSummary,
    Standing,
    StateDifference,
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
    number,
    read,
    records,
    write,
)
from stackrun.errors import ExecuteFailed, InvalidArgument, StackrunError

_COUNTS = Kind(lambda value, place: {key: integer(one, f"{place}.{key}") for key, one in members(value, place).items()}, dict)
_SECONDS = Kind(lambda value, place: {key: number(one, f"{place}.{key}") for key, one in members(value, place).items()}, dict)
_PHASE = Kind(lambda value, place: Phase(value), str)


def _table(**kinds: Kind) -> Table:
    """Our own fields have one name on both sides."""
    return tuple(Field(name, name, kind) for name, kind in kinds.items())


_SOURCE = _table(
    working_dir=TEXT, files=TEXTS, project_name=TEXT, project_directory=TEXT, env_files=TEXTS, profiles=TEXTS, environment=PAIRS, stdin=TEXT
)
_UP = _table(
    services=TEXTS, force_recreate=FLAG, no_recreate=FLAG, no_deps=FLAG, no_start=FLAG, remove_orphans=FLAG, renew_anonymous_volumes=FLAG,
    pull=TEXT, build=TEXT, unbuilt=TEXTS, scale=_COUNTS, timeout_s=NUMBER, wait=FLAG, wait_timeout_s=NUMBER, keep=FLAG, by=TEXT,
    atomic=FLAG, revision=INTEGER, revert=FLAG,
    seal=PAIRS,
)  # fmt: skip
_BUILD = _table(services=TEXTS, with_dependencies=FLAG, no_cache=FLAG, pull=FLAG, arguments=PAIRS)
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
_RESOURCE = _table(symbol=Kind(lambda value, place: _symbol(value, place), str), resource=TEXT, changes=records(_CHANGE, FieldChange))
_DIFFERENCE = _table(project=TEXT, before=TEXT, after=TEXT, resources=records(_RESOURCE, ResourceChange))
_REVISION = _table(number=INTEGER, time_s=NUMBER, how=TEXT, changed=TEXT, current=FLAG, fault=TEXT)
_HISTORY = _table(project=TEXT, revisions=records(_REVISION, RevisionEntry), unfinished=TEXT, unfinished_s=NUMBER)
PLAN_VERSION = 1
"""Of a plan as a document: a reader of another version refuses it."""
_DECISION = _table(
    time_s=NUMBER, service=TEXT, resource=TEXT, did=TEXT, cause=TEXT, detail=TEXT, by=TEXT, times=INTEGER, since_s=NUMBER
)  # fmt: skip
_STANDING = _table(
    name=TEXT, id=TEXT, status=TEXT, since_s=NUMBER, exit_code=INTEGER, oom_killed=FLAG, error=TEXT, restart_policy=TEXT,
    restart_count=INTEGER, health=TEXT, probe=TEXT, waits=TEXTS,
)  # fmt: skip
_REASONS = _table(
    project=TEXT, service=TEXT, containers=records(_STANDING, Standing), decisions=records(_DECISION, Decision), waits=TEXTS, notes=TEXTS
)  # fmt: skip
REASONS_VERSION = 1
_QUERY = _table(services=TEXTS, since_s=NUMBER, until_s=NUMBER, all=FLAG)
_CHANGED = _table(time_ns=INTEGER, type=TEXT, action=TEXT, id=TEXT, project=TEXT, service=TEXT, attributes=PAIRS)
_KEEP = _table(project=TEXT, kept=FLAG, stopped=TEXTS, held=TEXTS, resting=_SECONDS, waiting=PAIRS)
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


def build_options_from_json(body: Any) -> BuildOptions:
    return BuildOptions(**read(_BUILD, members(body, "the body").get("options"), "options"))


def build_options_to_json(options: BuildOptions) -> dict[str, Any]:
    return write(_BUILD, options)


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


_COMPARED = _table(before=INTEGER, after=INTEGER)


def compared_from_json(body: Any) -> tuple[int, int]:
    """(before, after) of diff."""
    asked = read(_COMPARED, body)
    return asked.get("before", 0), asked.get("after", 0)


def history_to_json(history: History) -> dict[str, Any]:
    return write(_HISTORY, history)


def history_from_json(body: Any) -> History:
    return History(**{"project": "", **read(_HISTORY, body)})


def difference_to_json(difference: StateDifference) -> dict[str, Any]:
    return write(_DIFFERENCE, difference)


def difference_from_json(body: Any) -> StateDifference:
    return StateDifference(**{"project": "", "before": "", "after": "", **read(_DIFFERENCE, body)})


def summaries_to_json(summaries: tuple[StackSummary, ...]) -> list[dict[str, Any]]:
    return [write(_SUMMARY, one) for one in summaries]


def summaries_from_json(body: Any) -> tuple[StackSummary, ...]:
    return tuple(StackSummary(**{"status": "", "config_files": (), **read(_SUMMARY, one)}) for one in items(body, "the answer"))


def reasons_to_json(reasons: Reasons) -> dict[str, Any]:
    """A document of its own, as a plan is."""
    return {"version": REASONS_VERSION, **write(_REASONS, reasons)}


def reasons_from_json(body: Any) -> Reasons:
    return Reasons(**{"project": "", "service": "", **read(_REASONS, body)})


def asked_from_json(body: Any) -> tuple[str, int]:
    """(service, limit) of why."""
    asked = read(_table(service=TEXT, limit=INTEGER), body)
    return asked.get("service", ""), asked.get("limit", 100)


def keep_from_json(told: Any) -> Keep:
    return Keep(**read(_KEEP, told))


def keep_to_json(keep: Keep) -> dict[str, Any]:
    return write(_KEEP, keep)


def switch_from_json(body: Any) -> bool | None:
    """What keep is switched to, if it is."""
    return read(_table(on=FLAG), body).get("on")


def query_from_json(body: Any) -> ChangeQuery:
    return ChangeQuery(**read(_QUERY, members(body, "the body").get("query"), "query"))


def query_to_json(query: ChangeQuery) -> dict[str, Any]:
    return write(_QUERY, query)


def change_to_json(change: Change) -> dict[str, Any]:
    return write(_CHANGED, change)


def change_from_json(body: Any) -> Change:
    return Change(**{"time_ns": 0, "type": "", "action": "", "id": "", "project": "", **read(_CHANGED, body)})
