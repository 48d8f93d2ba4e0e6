"""What a shim and the process on its way into a container say to each other, over one SOCK_SEQPACKET pair.

    shim                                   init
      │ clone3, id maps, cgroup             │ waits
      │   (network is wired from outside)   │
      │ ───────────── prepare ────────────► │ cgroup namespace, root file system, pivot, terminal, limits, user
      │ ◄──── prepared, warnings, [pty] ─── │
      │ ───────────── execute ────────────► │ identity, seccomp, execve
      │ ◄──────── end of file ───────────── │ execve closed the socket: it runs

Where nothing is to be seen to before (`order.Order.waits`), `prepare` is left out.  An exec's helper says `prepared`, and then
`spawned` with the pid of the process proper, which waits for `execute`.  At any point the inner side may say `failed` with an
error, after which it ends.

Under `stackrun-runtime` the outer side is the command itself, and the socket ends with `prepared`: init listens at a door
then, where `start` knocks to say `execute`.  A container with hooks says `mounted` on its way and waits for `hooked`; a
filter that asks somebody else is told of as `filtered`, with its descriptor, right before execve.
"""

from __future__ import annotations

import errno
import os
import select

from stackrun.errors import DeadlineExceeded, KernelError
from stackrun.kernel import sockets
from stackrun.runtime import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackrun.runtime.messages import Message

PREPARE = "prepare"
PREPARED = "prepared"
EXECUTE = "execute"
SPAWNED = "spawned"
MOUNTED = "mounted"
HOOKED = "hooked"
FILTERED = "filtered"
FAILED = "failed"


def say(sock: sockets.Socket, step: str, fds: tuple[int, ...] = (), **operands: object) -> None:
    messages.send(sock, {"step": step, **operands}, fds)


def say_on(sock: sockets.Socket, step: str) -> None:
    """`say` to somebody who may have ended for a reason of his own: that he has said, and is heard next."""
    try:
        say(sock, step)
    except ConnectionError:
        return


def say_failed(sock: sockets.Socket, error: BaseException) -> None:
    """The last word of the inner side.  If even that cannot be said, the shim sees the end of file too early."""
    try:
        say(sock, FAILED, error=messages.pack_error(error))
    except OSError:
        return


def hear(sock: sockets.Socket, step: str) -> tuple[Message, list[int]]:
    """The message of `step`.  Raises what the other side failed with; KernelError ECONNRESET when it is gone."""
    message, fds = hear_any(sock, step)
    assert message["step"] == step, message
    return message, fds


def hear_any(sock: sockets.Socket, step: str) -> tuple[Message, list[int]]:
    """`hear` for when another step may come before `step`."""
    message, fds = _next(sock)
    if message is None:
        hint = "the process ended early; it may have been killed, for want of memory perhaps"
        raise KernelError(f"wait for the container's process to be {step}", errno.ECONNRESET, hint=hint)
    messages.raise_error(message)
    return message, fds


def hear_end(sock: sockets.Socket) -> None:
    """Wait for execve, which closes the other side's end.  Raises what it failed with instead."""
    fd = hear_filtered(sock)
    if fd >= 0:
        os.close(fd)


def hear_end_within(sock: sockets.Socket, timeout_s: float) -> None:
    """`hear_end` of a process that its neighbours can stop; DeadlineExceeded."""
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    if not poller.poll(timeout_s * 1000):
        hint = "a process inside may have stopped it on its way"
        raise DeadlineExceeded(f"wait for the container's process to be executed: {timeout_s:g} s were not enough", hint=hint)
    hear_end(sock)


def hear_hang_up(sock: sockets.Socket) -> None:
    """Wait until the other side has closed its end, whatever it says before."""
    try:
        while sock.recv(messages.PACKET_BYTES_MAX):
            pass
    except OSError:
        return


def hear_filtered(sock: sockets.Socket) -> int:
    """`hear_end` for when `filtered` may come first: its descriptor, or -1 when execve has happened."""
    message, fds = _next(sock)
    if message is None:
        return -1
    messages.raise_error(message)
    for fd in fds[1:]:
        os.close(fd)
    return fds[0] if fds else -1


def _next(sock: sockets.Socket) -> tuple[Message | None, list[int]]:
    try:
        return messages.receive(sock)
    except ConnectionResetError:
        pass
    # Told once, before what the other side has said: it ended without having heard all that was said to it (unix(7)).
    try:
        return messages.receive(sock)
    except ConnectionResetError:
        return None, []
