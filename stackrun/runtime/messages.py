"""One message between daemon, zygote, shim and init: a JSON object and descriptors in one SOCK_SEQPACKET packet.

A body that would not fit a packet travels in a memfd, sent as the first descriptor.  Failures cross a
process border as the `error` member (`pack_error`, `raise_error`), so that the class the caller sees is
the class that was raised where it happened.
"""

from __future__ import annotations

import os

from stackrun import errors
from stackrun.errors import StackrunError
from stackrun.kernel import sockets
from stackrun.runtime import jsontext

TYPE_CHECKING = False  # typing itself is too heavy for the start path; checkers take this name as true
if TYPE_CHECKING:
    from typing import Any

    from stackrun.kernel.sockets import Socket

    Message = dict[str, Any]

PACKET_BYTES_MAX = 96 * 1024
BODY_BYTES_MAX = 16 * 1024 * 1024
FDS_MAX = 250
"""Below SCM_MAX_FD (253), see unix(7)."""
_MEMFD = b"M"
_PLAIN = b"P"
_ANCILLARY_BYTES = sockets.CMSG_SPACE((FDS_MAX + 1) * sockets.FD_BYTES)


def pair() -> tuple[Socket, Socket]:
    return sockets.pair(sockets.SOCK_SEQPACKET)


def send(sock: Socket, message: Message, fds: list[int] | tuple[int, ...] = ()) -> None:
    """Send `message`; the descriptors stay open here.  Raises OSError as sendmsg(2) does (EPIPE: the peer is gone)."""
    body = jsontext.dumps(message).encode()
    if len(body) <= PACKET_BYTES_MAX:
        _sendmsg(sock, _PLAIN + body, fds)
        return
    carrier = os.memfd_create("message", os.MFD_CLOEXEC)
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(carrier, view) :]
        _sendmsg(sock, _MEMFD, (carrier, *fds))
    finally:
        os.close(carrier)


def _sendmsg(sock: Socket, packet: bytes, fds: list[int] | tuple[int, ...]) -> None:
    sockets.send_fds(sock, packet, fds)


def receive(sock: Socket) -> tuple[Message | None, list[int]]:
    """The next message with its descriptors (close-on-exec, the caller's to close); (None, []) when the peer is gone."""
    packet, ancillary, flags, _ = sock.recvmsg(PACKET_BYTES_MAX + 1, _ANCILLARY_BYTES, sockets.MSG_CMSG_CLOEXEC)
    descriptors: list[int] = []
    for level, kind, data in ancillary:
        if level == sockets.SOL_SOCKET and kind == sockets.SCM_RIGHTS:
            descriptors += sockets.unpack_fds(data)
    if flags & (sockets.MSG_TRUNC | sockets.MSG_CTRUNC):
        for fd in descriptors:
            os.close(fd)
        raise errors.InvalidArgument("message between stackrun's processes is too long")
    if not packet:
        return None, descriptors
    body = packet[1:] if packet[:1] == _PLAIN else _carried(descriptors.pop(0))
    message: Message = jsontext.loads(body)
    return message, descriptors


def _carried(carrier: int) -> bytes:
    try:
        size = os.fstat(carrier).st_size
        if size > BODY_BYTES_MAX:
            raise errors.InvalidArgument(f"message of {size} bytes between stackrun's processes is too long")
        return os.pread(carrier, size, 0)
    finally:
        os.close(carrier)


def pack_error(error: BaseException) -> Message:
    """The `error` member for `error`; anything that is no StackrunError keeps its type's name and is a bug on the other side."""
    if isinstance(error, errors.KernelError):
        return {"class": "KernelError", "call": error.call, "errno": error.errno, "hint": error.hint}
    if isinstance(error, StackrunError):
        return {"class": type(error).__name__, "message": error.message, "hint": error.hint}
    if isinstance(error, OSError) and error.errno:
        place = f" {error.filename}" if error.filename else ""
        return {"class": "KernelError", "call": f"{error.strerror or type(error).__name__}{place}", "errno": error.errno, "hint": ""}
    return {"class": "", "message": f"{type(error).__name__}: {error} ({_place(error)})", "hint": ""}


def _place(error: BaseException) -> str:
    """Where a bug was raised; no source is read for it, since the process may be inside a container already."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"


def unpack_error(packed: Message) -> Exception:
    if packed["class"] == "KernelError":
        return errors.KernelError(packed["call"], packed["errno"], hint=packed["hint"])
    if not packed["class"]:
        return RuntimeError(packed["message"])
    error: Exception = getattr(errors, packed["class"])(packed["message"], hint=packed["hint"])
    return error


def raise_error(message: Message) -> None:
    """Raise what `message["error"]` holds, if it holds one."""
    packed = message.get("error")
    if packed:
        raise unpack_error(packed)
