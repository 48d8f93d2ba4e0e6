"""kill -9 at a chosen step: every `trace.mark` of daemon, zygote, shim, init and exec becomes a place where its process may end.

Nothing of this is in the program: a test puts `mark` in the place of `trace.mark`, in its own process and, by `ZYGOTE`, in the
zygote that it launches and so in all that come from that.  The trace file carries both ways: its first bytes name the step to
die at, once, and after them stands one line for each step that was reached.
"""

from __future__ import annotations

import fcntl
import os
import time

from stackrun.runtime import trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ZYGOTE = (
    "import sys; sys.path[:0] = [TESTS]; sys.path.append({root!r}); import faults; faults.install(); "
    "from stackrun.runtime.nursery import main; main({fd}{trace})"
).replace("TESTS", repr(os.path.dirname(os.path.abspath(__file__))))
"""Instead of `interpreter._ZYGOTE`."""
WAITS = b"init waits to be killed"
_HEAD_BYTES = 256
_ID_LENGTH = 64
_SIGKILL = 9


class Faults:
    """The file, for the test's side."""

    def __init__(self, path: str) -> None:
        self.path = path
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # one offset for all, so that each line follows the last
        self.fd = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, trace.INHERITED_FD + 1)
        os.close(opened)
        self.disarm()
        os.lseek(self.fd, _HEAD_BYTES, os.SEEK_SET)

    def arm(self, step: str) -> None:
        """`step` as in `reached`."""
        os.pwrite(self.fd, step.encode().ljust(_HEAD_BYTES), 0)

    def disarm(self) -> None:
        self.arm("")

    def init_waits(self) -> bool:
        return os.pread(self.fd, len(WAITS), 0) == WAITS

    def holders(self) -> Iterator[tuple[int, str]]:
        """(pid, name) of the living processes that have the file open: all of ours but the containers' own, and none else's."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if any(os.readlink(f"/proc/{pid}/fd/{fd}") == self.path for fd in os.listdir(f"/proc/{pid}/fd")):
                    with open(f"/proc/{pid}/comm") as name:  # noqa: PTH123 - the zygote loads this module, and pathlib is heavy
                        yield int(pid), name.read().strip()
            except OSError:
                continue  # it has ended, or is none of ours to look into

    def reached(self) -> list[str]:
        """ "process step" of all since the last call, in order."""
        end = os.lseek(self.fd, 0, os.SEEK_CUR)
        lines = os.pread(self.fd, end - _HEAD_BYTES, _HEAD_BYTES).decode().splitlines()
        os.lseek(self.fd, _HEAD_BYTES, os.SEEK_SET)
        return lines

    def close(self) -> None:
        os.close(self.fd)


def install() -> None:
    trace.mark = mark


def mark(step: str, container_id: str = "", at_ns: int = 0) -> None:
    if trace.fd < 0:
        return
    line = "/".join("ID" if len(part) == _ID_LENGTH else part for part in f"{trace._who[0]} {step}".split("/")).encode()
    os.write(trace.fd, line + b"\n")
    if os.pread(trace.fd, _HEAD_BYTES, 0).rstrip(b" ") == line:
        os.pwrite(trace.fd, (b" " if os.getpid() != 1 else WAITS).ljust(_HEAD_BYTES), 0)
        os.kill(os.getpid(), _SIGKILL)
        while True:
            time.sleep(1)  # the first process of a namespace cannot kill itself: the test does it from outside
