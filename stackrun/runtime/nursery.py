"""The zygote itself: preloads what shims and inits need, then forks a shim for each request of its daemon.

Single-threaded, holds no state, ends when the daemon's connection does.  See `zygote` for the daemon's side.
"""

from __future__ import annotations

import encodings.ascii
import encodings.latin_1
import encodings.utf_8
import gc
import os
import select

from stackrun.errors import KernelError
from stackrun.kernel import cgroup, process, signals, sockets, syscalls
from stackrun.runtime import identity, interpreter, launching, messages, shim, trace
from stackrun.runtime import order as orders

PRELOADED = (encodings.ascii, encodings.latin_1, encodings.utf_8)
"""Codecs that Python would import at their first use, which may be after the container's root has become ours.

Not `idna`, which costs 0.4 MB: a socket address of ASCII characters does not go through it.
"""


def main(fd: int, trace_fd: int = -1) -> None:
    """Serve the connection `fd` until it ends; each request forks a shim, the reply is its pid and pidfd."""
    connection = sockets.Socket(fileno=fd)
    os.set_inheritable(fd, False)
    if trace_fd >= 0:
        os.set_inheritable(trace_fd, False)
        trace.begin("zygote", trace_fd)
    process.set_name("stackrun-zygote")
    process.forbid_dump()
    identity.present()
    layout = cgroup.detect()
    interpreter.forbid_imports()
    signals.pthread_sigmask(signals.SIG_BLOCK, (signals.SIGCHLD,))
    children_fd = syscalls.signalfd(frozenset((signals.SIGCHLD,)))
    gc.collect()
    process.release_free_memory()
    gc.freeze()
    gc.disable()
    messages.send(connection, {"pid": os.getpid()})
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    poller.register(children_fd, select.POLLIN)
    while True:
        ready = {number for number, _ in poller.poll()}
        if children_fd in ready:
            _reap(children_fd)
        try:
            if connection.fileno() in ready and not _serve(connection, children_fd, layout):
                return
        except ConnectionError:
            return  # whoever asked died before it could be answered


def _serve(connection: sockets.Socket, children_fd: int, layout: cgroup.Layout) -> bool:
    try:
        request, fds = messages.receive(connection)
    except ConnectionError:
        return False
    if request is None:
        return False
    trace.become("zygote", request["id"])
    trace.mark("hear the request")
    try:
        order = orders.lay_out(request, fds[2:], layout)
    except Exception as error:
        _refuse(connection, error, fds)
        return True
    try:
        pid = os.fork()
    except OSError as error:
        launching.forsake(order)
        _refuse(connection, KernelError("fork a shim", error.errno or 0), fds)
        return True
    if not pid:
        trace.become("shim")
        trace.mark("be forked")
        order.strangers = (connection.detach(), children_fd)
        _become_shim(order, fds[0], fds[1])
    trace.mark("fork a shim")
    os.sched_yield()  # to the shim, whose core this is as often as not
    order.close()
    order.furnish()
    _finish_group(order)
    for fd in fds[:2]:
        os.close(fd)
    pid_fd = syscalls.pidfd_open(pid)
    messages.send(connection, {"pid": pid}, [pid_fd])
    os.close(pid_fd)
    trace.mark("answer")
    return True


def _finish_group(order: orders.Order) -> None:
    """Before anybody is answered: who is, may clear away what there is of the container, and must find all of it."""
    try:
        order.finish_group()
    except Exception:
        return  # the shim has heard it, takes back what there is, and tells


def _refuse(connection: sockets.Socket, error: Exception, fds: list[int]) -> None:
    messages.send(connection, {"error": messages.pack_error(error)})
    for fd in fds:
        os.close(fd)


def _become_shim(order: orders.Order, requests_fd: int, events_fd: int) -> None:
    try:
        shim.main(order, requests_fd, events_fd)
    finally:
        os._exit(1)


def _reap(children_fd: int) -> None:
    """Shims that have ended.  One signal may stand for several of them."""
    os.read(children_fd, 128 * 64)
    while True:
        try:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return
