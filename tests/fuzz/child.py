"""One command of the command line in a child process that may use no more than a user's machine has."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

ADDRESS_SPACE = 4 << 30
SECONDS = 5
"""Of processor time: what others do on the machine is not the input's fault. The clock may show six times that."""


@dataclass(frozen=True, slots=True)
class Ended:
    """`code` is the exit code, or minus the signal; `said` is stdout and stderr, `seconds` processor time."""

    code: int
    said: str
    seconds: float
    megabytes: int


def stackrun(directory: Path, *argv: str, seconds: int = SECONDS, stdin: bytes = b"", uid: int = 0) -> Ended:
    """Runs `stackrun ARGV` in `directory`, killed when it takes too long and starved when it wants too much."""

    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        pid = os.fork()
        if pid == 0:
            _child(directory, argv, seconds, output.fileno(), given.fileno(), uid)
        _, status, usage = os.wait4(pid, 0)
        output.seek(0)
        said = output.read().decode("utf-8", "replace")
    return Ended(os.waitstatus_to_exitcode(status), said, usage.ru_utime + usage.ru_stime, usage.ru_maxrss >> 10)


def _child(directory: Path, argv: tuple[str, ...], seconds: int, output: int, given: int, uid: int) -> None:
    code = 99
    try:
        os.dup2(given, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(directory)
        if uid:
            os.setresuid(uid, uid, uid)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(6 * seconds)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        code = _run(argv)
    finally:
        os._exit(code)


def _run(argv: tuple[str, ...]) -> int:
    import sys

    from stackrun.cli.main import main

    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(0, encoding="utf-8"),
        os.fdopen(1, "w", encoding="utf-8"),
        os.fdopen(2, "w", encoding="utf-8"),
    )
    sys.argv = ["stackrun", *argv]
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    return code
