"""Work done inside another process's namespaces, by a thread of its own that enters them and ends there.

Namespaces belong to threads (setns(2)), so no other thread of this process ever leaves its own.  Those of network, ipc, uts and cgroup
can be entered so; a mount or user namespace only by a process with one thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from stackrun.kernel import namespaces

T = TypeVar("T")


def inside(pid: int, kinds: Sequence[str], work: Callable[[], T], check: Callable[[], None] = lambda: None) -> T:
    """What `work` gives in these namespaces of a process (OCI's words).  Raises what it raises; KernelError when the process is gone.

    `check` is called once all of them are open and before any is entered: whether the process is still who it was.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def visit() -> None:
        try:
            with ExitStack() as opened:
                fds = []
                for kind in kinds:
                    fds.append(namespaces.open_namespace(f"/proc/{pid}/ns/{namespaces.FILES[kind]}"))
                    opened.callback(os.close, fds[-1])
                check()
                for fd, kind in zip(fds, kinds, strict=True):
                    namespaces.join(fd, kind)
            outcome.append(work())
        except BaseException as error:  # carried to the caller's thread, raised there
            failure.append(error)

    thread = threading.Thread(target=visit, name="visit")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
