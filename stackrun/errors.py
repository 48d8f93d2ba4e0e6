"""Every failure stackrun reports, with its exit code and HTTP status.

    StackrunError
    ├── InvalidArgument            400  exit 2   the caller asked for something that makes no sense
    │   └── ComposeError           400  exit 2   faults in a stack file, all of them, each with its place
    ├── Unauthorized               401  exit 1
    ├── NotFound                   404  exit 1
    │   └── NoStackFile            404  exit 2   neither this folder nor its parents have one
    ├── Conflict                   409  exit 1
    ├── Forbidden                  403  exit 1   the object may not be touched so (network in use, predefined)
    ├── NotModified                304  exit 0
    ├── PermissionDenied           403  exit 4   the kernel or the file system says no to this user
    ├── Unsupported                501  exit 4   this kernel or this version lacks it
    ├── Unavailable                503  exit 3   no engine answers
    ├── KernelError                500  exit 1   a system call failed: call, operands, errno
    ├── CommandNotFound            400  exit 127 the container's command does not exist
    ├── CommandNotExecutable       400  exit 126 it exists and cannot be executed
    ├── RegistryError              500  exit 1
    ├── BuildFailed                500  exit 1   a step of an image's build ended with a code
    ├── DeadlineExceeded           500  exit 1
    └── ExecuteFailed              500  exit 1   a plan was carried out only in part

Anything else that escapes is a bug: traceback, 500, exit 70.

Messages are lower case without a full stop, except where Docker's own words must stay because
clients search for them ("No such container: x").  A hint says what to do about it.
"""

from __future__ import annotations

import errno as _errno
import os

TYPE_CHECKING = False  # typing itself is too heavy for a container's start path; checkers take this name as true
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "EXIT_BUG",
    "EXIT_INTERRUPTED",
    "BuildFailed",
    "CommandNotExecutable",
    "CommandNotFound",
    "ComposeError",
    "Conflict",
    "DeadlineExceeded",
    "Diagnostic",
    "ExecuteFailed",
    "Forbidden",
    "InvalidArgument",
    "KernelError",
    "NoStackFile",
    "NotFound",
    "NotModified",
    "PermissionDenied",
    "RegistryError",
    "StackrunError",
    "Unauthorized",
    "Unavailable",
    "Unsupported",
]  # fmt: skip

EXIT_BUG = 70
"""sysexits(3) EX_SOFTWARE: an exception nobody modelled."""
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


class StackrunError(Exception):
    """Base of every modelled failure.

    `message` is one line; `hint` is one line or empty and says what to do.
    """

    exit_code: int = 1
    http_status: int = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class InvalidArgument(StackrunError):
    exit_code = 2
    http_status = 400


class Diagnostic:
    """One fault of a stack file at its place.

    `path` as the user gave it, `line` and `column` from 1 (0: the file as a whole), `code` a stable
    short word such as `unknown-key`, `level` one of `error`, `warning`, `note`.  `notes` are (place, sentence)
    pairs that say where the value came from; a place has `path`, `line` and `column`, line 0 for none.
    """

    __slots__ = ("code", "column", "hint", "level", "line", "message", "notes", "path")

    def __init__(
        self, path: str, line: int, column: int, message: str, *, hint: str = "", code: str = "invalid", level: str = "error"
    ) -> None:
        self.path = path
        self.line = line
        self.column = column
        self.message = message
        self.hint = hint
        self.code = code
        self.level = level
        self.notes: tuple[tuple[Any, str], ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.path}:{self.line}:{self.column}: {self.message}"]
        lines += [f"  note: {f'{place}: ' if place.line else ''}{sentence}" for place, sentence in self.notes]
        return "\n".join([*lines, f"  hint: {self.hint}"] if self.hint else lines)

    def __repr__(self) -> str:
        return f"Diagnostic({str(self)!r})"

    def sort_key(self) -> tuple[str, int, int, str]:
        return (self.path, self.line, self.column, self.message)

    def to_dict(self) -> dict[str, str | int]:
        return {name: getattr(self, name) for name in self.__slots__ if name != "notes"}


class ComposeError(InvalidArgument):
    """The stack file is wrong: `diagnostics` holds every fault, sorted by place."""

    def __init__(self, diagnostics: list[Diagnostic] | tuple[Diagnostic, ...]) -> None:
        self.diagnostics = tuple(sorted(diagnostics, key=Diagnostic.sort_key))
        super().__init__("\n".join(str(one) for one in self.diagnostics))


class Unauthorized(StackrunError):
    http_status = 401


class NotFound(StackrunError):
    http_status = 404


class NoStackFile(NotFound):
    exit_code = 2


class Conflict(StackrunError):
    http_status = 409


class Forbidden(StackrunError):
    http_status = 403


class NotModified(StackrunError):
    exit_code = 0
    http_status = 304


class PermissionDenied(StackrunError):
    exit_code = 4
    http_status = 403


class Unsupported(StackrunError):
    exit_code = 4
    http_status = 501


class Unavailable(StackrunError):
    exit_code = 3
    http_status = 503


class KernelError(StackrunError):
    """A system call failed.

    `call` names it with its operands, as in `mount overlay /x`; `errno` is the number.
    """

    def __init__(self, call: str, errno: int, *, hint: str = "") -> None:
        self.call = call
        self.errno = errno
        name = _errno.errorcode.get(errno, str(errno))
        super().__init__(f"{call}: {name} ({os.strerror(errno)})", hint=hint)


class CommandNotFound(StackrunError):
    exit_code = 127
    http_status = 400


class CommandNotExecutable(StackrunError):
    exit_code = 126
    http_status = 400


class RegistryError(StackrunError):
    pass


class BuildFailed(StackrunError):
    """A command of a build ended with `code`, which is not 0."""

    def __init__(self, message: str, code: int = 1, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class DeadlineExceeded(StackrunError):
    pass


class ExecuteFailed(StackrunError):
    """Part of a plan failed; `failures` are the causes, one line each."""

    def __init__(self, message: str, failures: tuple[str, ...] = (), *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.failures = failures
