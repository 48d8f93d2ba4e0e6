"""Which file a command is, found inside the container, and what execve's refusals mean in runc's words."""

from __future__ import annotations

import errno
import os
import stat

from stackrun.errors import CommandNotExecutable, CommandNotFound, StackrunError

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find(command: str, search_path: str) -> str:
    """The path execve is to be given.  A name with a slash is taken as it is, another is searched for in PATH.

    To be called as the container's user in its root and working directory.  CommandNotFound or
    CommandNotExecutable.
    """
    if "/" in command:
        error = _refusal(command)
        if error:
            raise _explained(command, error, f"stat {command}: no such file or directory")
        return command
    refusal = 0
    for directory in search_path.split(":"):
        path = f"{directory or '.'}/{command}"
        error = _refusal(path)
        if not error:
            return path
        if error == errno.EACCES:
            refusal = error
    if refusal:
        raise _explained(command, refusal, "")
    raise CommandNotFound(f'exec: "{command}": executable file not found in $PATH')


def _refusal(path: str) -> int:
    """0, or the errno for which `path` cannot be executed."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.errno or errno.EIO
    if stat.S_ISDIR(mode):
        return errno.EISDIR
    # With effective ids; a file without any x bit cannot even be executed by root.
    if mode & 0o111 and os.access(path, os.X_OK, effective_ids=True):
        return 0
    return errno.EACCES


def _explained(command: str, error: int, not_found: str) -> StackrunError:
    if error in (errno.ENOENT, errno.ENOTDIR):
        return CommandNotFound(f'exec: "{command}": {not_found}')
    text = {errno.EACCES: "permission denied", errno.EISDIR: "is a directory"}.get(error, os.strerror(error).lower())
    return CommandNotExecutable(f'exec: "{command}": {text}')


def execute(path: str, arguments: list[str], environment: dict[str, str]) -> StackrunError:
    """execve; comes back only with the reason it failed."""
    try:
        os.execve(path, arguments, environment)
    except OSError as error:
        text = {errno.ENOEXEC: "exec format error"}.get(error.errno or 0, os.strerror(error.errno or 0).lower())
        if error.errno == errno.ENOENT:
            # The file is there, so it is its interpreter that is missing.
            return CommandNotFound(f"exec {path}: {text}", hint="the script's or program's interpreter is missing in the image")
        return CommandNotExecutable(f"exec {path}: {text}")
    raise AssertionError("unreachable")
