"""`/stackrun/v1/stacks/drift`: fields under their own names, both ways."""

from __future__ import annotations

from typing import Any

from stackrun.api.drift import Drift, DriftOptions, DriftReport, Repair
from stackrun.api.wire.fields import FLAG, NUMBER, TEXT, TEXTS, Field, Kind, members, read, records, write
from stackrun.errors import InvalidArgument

DRIFT_VERSION = 1
"""Of a report as a document: a reader of another version refuses it."""


def _repair(value: Any, place: str) -> Repair:
    try:
        return Repair(value)
    except ValueError:
        raise InvalidArgument(f"invalid JSON: {place} must be one of {', '.join(Repair)}") from None


_OPTIONS = (Field("services", "services", TEXTS), Field("repair", "repair", FLAG), Field("timeout_s", "timeout_s", NUMBER))
_DRIFT = (*(Field(name, name, TEXT) for name in ("resource", "field", "declared", "actual")), Field("repair", "repair", Kind(_repair, str)))
_REPORT = (
    Field("project", "project", TEXT),
    Field("found", "found", records(_DRIFT, Drift)),
    Field("left", "left", records(_DRIFT, Drift)),
    Field("repaired", "repaired", FLAG),
    Field("kernel", "kernel", FLAG),
    Field("failures", "failures", TEXTS),
)


def drift_options_from_json(body: Any) -> DriftOptions:
    return DriftOptions(**read(_OPTIONS, members(body, "the body").get("options"), "options"))


def drift_options_to_json(options: DriftOptions) -> dict[str, Any]:
    return write(_OPTIONS, options)


def drift_to_json(report: DriftReport) -> dict[str, Any]:
    """A document of its own, its version first."""
    return {"version": DRIFT_VERSION, **write(_REPORT, report)}


def drift_from_json(body: Any) -> DriftReport:
    version = members(body, "the report").get("version")
    if version != DRIFT_VERSION:
        raise InvalidArgument(f"a drift report of version {version!r} cannot be read: this is version {DRIFT_VERSION}")
    return DriftReport(**{"project": "", **read(_REPORT, body)})
