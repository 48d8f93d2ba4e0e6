"""Errors over HTTP: Docker's `{"message": …}` with our own keys beside it, and back to the class that was raised.

`hint`, `kind` (the class's name), `diagnostics` and `failures` are ours; Docker's clients ignore them.  Against another engine the
class follows from the status.  Imports nothing heavy.
"""

from __future__ import annotations

import json

from stackrun import errors
from stackrun.errors import ComposeError, Diagnostic, ExecuteFailed, StackrunError

_BY_STATUS = {
    304: errors.NotModified,
    400: errors.InvalidArgument,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    501: errors.Unsupported,
    503: errors.Unavailable,
}
_BY_KIND = {
    one.__name__: one
    for one in (*_BY_STATUS.values(), errors.PermissionDenied, errors.RegistryError, errors.DeadlineExceeded,
                errors.CommandNotFound, errors.CommandNotExecutable, errors.NoStackFile)
}  # fmt: skip
_MISSING = ("executable file not found", "no such file or directory")
_NOT_EXECUTABLE = ("permission denied", "exec format error", "is a directory")


def error_to_json(error: StackrunError) -> dict[str, object]:
    body: dict[str, object] = {"message": error.message, "kind": type(error).__name__}
    if error.hint:
        body["hint"] = error.hint
    if isinstance(error, ComposeError):
        body["diagnostics"] = [one.to_dict() for one in error.diagnostics]
    if isinstance(error, ExecuteFailed):
        body["failures"] = list(error.failures)
    return body


def error_from_json(status: int, body: bytes) -> StackrunError:
    """The error an answer tells; a body that is no JSON object is its message as it stands."""
    try:
        told = json.loads(body) if body.strip() else {}
    except ValueError:
        told = {"message": body.decode(errors="replace").strip()}
    if not isinstance(told, dict):
        told = {"message": str(told)}
    message, hint = str(told.get("message") or f"the engine answered with status {status}"), str(told.get("hint") or "")
    kind = told.get("kind")
    if kind == "ComposeError":
        return ComposeError([_diagnostic(one) for one in told.get("diagnostics") or ()])
    if kind == "ExecuteFailed":
        return ExecuteFailed(message, tuple(map(str, told.get("failures") or ())), hint=hint)
    return (_BY_KIND.get(str(kind)) or _class_of(status, message))(message, hint=hint)


def _class_of(status: int, message: str) -> type[StackrunError]:
    """An engine that is not ours tells a missing command only by the runtime's words (`exec: "/x": stat /x: no such file …`)."""
    if status in (400, 500) and "exec: " in message:
        if any(words in message for words in _MISSING):
            return errors.CommandNotFound
        if any(words in message for words in _NOT_EXECUTABLE):
            return errors.CommandNotExecutable
    return _BY_STATUS.get(status, StackrunError)


def _diagnostic(told: dict[str, object]) -> Diagnostic:
    return Diagnostic(
        str(told["path"]), int(str(told["line"])), int(str(told["column"])), str(told["message"]),
        hint=str(told["hint"]), code=str(told["code"]), level=str(told["level"]),
    )  # fmt: skip
