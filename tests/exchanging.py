"""A race won on purpose: two names are exchanged right before a chosen system call of a container's init, and put back after it or not.

Nothing of this is in the program: `command` runs a `stackrun-runtime` that wraps what init looks paths up with.
Each of the calls is written down by its number, and which is the one comes from the environment.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

VARIABLE = "STACKRUN_TEST_EXCHANGE"
TESTS = os.path.dirname(os.path.abspath(__file__))
_VERB = (
    "import gc, sys; gc.disable(); sys.path.append({root!r}); sys.path[:0] = [TESTS]; import exchanging; exchanging.install(); "
    "from stackrun.runtime.{module} import finish; finish(sys.argv[1:])"
).replace("TESTS", repr(TESTS))
CALLS = ("openat2", "move_mount", "open_tree", "mount_setattr")
AT_FDCWD, RENAME_EXCHANGE = -100, 2


def command(words: list[str]) -> list[str]:
    """The argument list of `stackrun-runtime WORDS`; run it with `environment`."""
    code = "import sys; sys.path[:0] = [TESTS]; import exchanging; exchanging.main()".replace("TESTS", repr(TESTS))
    return [sys.executable, "-c", code, *words]


def main() -> None:
    from stackrun.runtime import command as runtime
    from stackrun.runtime import interpreter

    install()
    interpreter._VERB = _VERB  # should it have to be executed again
    sys.exit(runtime.main())


def environment(folder: str, names: tuple[str, str], log: str, *, at: int, back: bool) -> dict[str, str]:
    """Exchange `names` in `folder` before call number `at` (from 0) of init; `back`: only for that one call."""
    return {**os.environ, VARIABLE: json.dumps([folder, *names, log, at, back])}


def run(words: list[str], folder: str, names: tuple[str, str], log: str, *, at: int = -1, back: bool = False) -> tuple[int, str, str]:
    """(exit code, output, errors) of `stackrun-runtime WORDS`; without `at` nothing is exchanged."""
    import subprocess

    done = subprocess.run(
        command(words), env=environment(folder, names, log, at=at, back=back), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def calls(log: str) -> list[str]:
    """What init has called, in order."""
    with open(log) as file:  # noqa: PTH123 - the runtime's interpreter loads this module, and pathlib is heavy
        return file.read().splitlines()


class _Exchange:
    def __init__(self, folder: str, first: str, second: str, log: str, at: int, back: bool) -> None:
        self.libc = ctypes.CDLL(None)
        self.folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.names = os.fsencode(first), os.fsencode(second)
        self.log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.at = at
        self.back = back
        self.count = 0

    def swap(self) -> None:
        first, second = self.names
        self.libc.renameat2(self.folder_fd, first, self.folder_fd, second, RENAME_EXCHANGE)


def install() -> None:
    from stackrun.kernel import process, syscalls

    exchange = _Exchange(*json.loads(os.environ[VARIABLE]))
    inside: list[int] = []
    set_name = process.set_name

    def named(name: str) -> None:
        set_name(name)
        if name == "stackrun-init":
            inside.append(1)

    def wrap(name: str) -> None:
        call = getattr(syscalls, name)

        def wrapped(*arguments: object, **options: object) -> object:
            if not inside:
                return call(*arguments, **options)
            number, exchange.count = exchange.count, exchange.count + 1
            os.write(exchange.log_fd, f"{name} {' '.join(str(one) for one in arguments)}\n".encode())
            if number == exchange.at:
                exchange.swap()
            try:
                return call(*arguments, **options)
            finally:
                if number == exchange.at and exchange.back:
                    exchange.swap()

        setattr(syscalls, name, wrapped)

    process.set_name = named
    for name in CALLS:
        wrap(name)
