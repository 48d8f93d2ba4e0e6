"""One message between daemon, gate and usher: a JSON object and descriptors in one SOCK_SEQPACKET packet."""

from __future__ import annotations

import json
import socket

from stackrun.runtime import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Message = dict[str, Any]

PACKET_BYTES_MAX = 1 << 16
FDS_MAX = 250
"""Below SCM_MAX_FD (253), see unix(7)."""


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def listener(path: str) -> socket.socket:
    """For this user alone; `path` must be free."""
    made = seqpacket()
    made.bind(path)
    made.listen(8)
    return made


def seqpacket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    socket.send_fds(sock, [json.dumps(message).encode()], list(fds))


def send_failure(sock: socket.socket, error: BaseException) -> None:
    """`receive` raises it there."""
    send(sock, {"error": messages.pack_error(error)})


def receive(sock: socket.socket) -> tuple[Message, list[int]]:
    """The next message with its descriptors, the caller's to close; ConnectionError when the peer is gone."""
    packet, fds, _, _ = socket.recv_fds(sock, PACKET_BYTES_MAX, FDS_MAX, socket.MSG_CMSG_CLOEXEC)
    if not packet:
        raise ConnectionResetError
    message: Message = json.loads(packet)
    messages.raise_error(message)
    return message, list(fds)
