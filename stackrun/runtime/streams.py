"""The standard streams of one process: pipes or a terminal on one side, a log and attached sockets on the other.

Attached sockets get Docker's stdcopy frames.  When one does not keep up, nothing more is read from the process until
it does, so no output is lost; one that takes nothing for `stall_s` seconds is cut off, so that a forgotten client
cannot hold a container up for ever.
"""

from __future__ import annotations

import os
import struct

from stackrun.kernel import sockets
from stackrun.runtime import loop as loops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from stackrun.runtime.logfile import JsonLog

STREAM_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2}
CHUNK_BYTES = 64 * 1024
BACKLOG_BYTES_MAX = 1024 * 1024
INPUT_BYTES_MAX = 64 * 1024
_HEADER = struct.Struct(">BxxxI")


class Attachment:
    """One attached socket.  `backlog` is what it has not taken yet."""

    __slots__ = ("backlog", "gives_input", "is_ending", "progressed", "sock", "wants")

    def __init__(self, sock: sockets.Socket, wants: frozenset[str], gives_input: bool) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.wants = wants
        self.gives_input = gives_input
        self.backlog = bytearray()
        self.progressed = True
        self.is_ending = False

    def push(self) -> None:
        """Send as much of the backlog as the socket takes.  OSError when the peer is gone."""
        while self.backlog:
            try:
                sent = self.sock.send(memoryview(self.backlog)[:CHUNK_BYTES])
            except BlockingIOError:
                return
            self.progressed = True
            del self.backlog[:sent]


class Streams:
    """`sources` are read, `log` (or None) and attachments are written; `stall_s` 0 never cuts a reader off.

    `on_trouble(text)` is told when the log cannot be written.
    """

    def __init__(self, loop: loops.Loop, log: JsonLog | None, stall_s: float, on_trouble: Callable[[str], None]) -> None:
        self._loop = loop
        self._log = log
        self._stall_s = stall_s
        self._on_trouble = on_trouble
        self._sources: dict[int, str] = {}
        self._attachments: list[Attachment] = []
        self._is_held = False
        self._watches_stall = False
        self._told_failure = ""
        self._input_fd = -1
        self._input = bytearray()
        self._input_ends = False
        self._input_is_open = False

    @property
    def is_settled(self) -> bool:
        """Nothing is left to be read, and every attached reader has had it all."""
        return not self._sources and not self._attachments

    def add_source(self, fd: int, stream: str) -> None:
        """Take over the reading end `fd` of the process's stream (`stdout`, `stderr`)."""
        os.set_blocking(fd, False)
        self._sources[fd] = stream
        self._watch_source(fd)

    def set_input(self, fd: int, ends_with_client: bool) -> None:
        """Take over the writing end of the process's input; `ends_with_client` closes it when an attached client ends."""
        os.set_blocking(fd, False)
        self._input_fd = fd
        self._input_is_open = True
        self._input_ends = ends_with_client

    def attach(self, sock: sockets.Socket, wants: frozenset[str], gives_input: bool) -> None:
        attachment = Attachment(sock, wants, gives_input)
        self._attachments.append(attachment)
        self._watch_attachment(attachment)

    # --- output ---

    def _watch_source(self, fd: int) -> None:
        def ready(_: int) -> None:
            self._read(fd)

        self._loop.watch(fd, loops.READ, ready)

    def _read(self, fd: int) -> bool:
        """One read of a source; False when there is nothing (more)."""
        try:
            data = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # EIO: the last holder of the terminal has closed it
        if not data:
            self._end_source(fd)
            return False
        self._deliver(self._sources[fd], data)
        return True

    def _deliver(self, stream: str, data: bytes) -> None:
        if self._log:
            self._log.write(stream, data)
            if self._log.failure != self._told_failure:
                self._told_failure = self._log.failure
                if self._told_failure:
                    self._on_trouble(self._told_failure)
        for attachment in [one for one in self._attachments if stream in one.wants]:
            attachment.backlog += _HEADER.pack(STREAM_NUMBERS[stream], len(data)) + data
            self._push(attachment)
        self._hold_or_go_on()

    def _end_source(self, fd: int) -> None:
        self._loop.forget(fd)
        stream = self._sources.pop(fd)
        os.close(fd)
        if self._log:
            self._log.flush(stream)
        if not self._sources:
            self.close_input()
            for attachment in list(self._attachments):
                attachment.is_ending = True
                self._push(attachment)

    def drain(self) -> None:
        """The process has ended: read what is in the pipes now and close them, whoever else may still hold them."""
        for fd in list(self._sources):
            while self._read(fd):
                pass
            if fd in self._sources:
                self._end_source(fd)

    def _push(self, attachment: Attachment) -> None:
        try:
            attachment.push()
        except OSError:
            self._drop(attachment)
            return
        if attachment.is_ending and not attachment.backlog:
            self._drop(attachment)
        else:
            self._watch_attachment(attachment)

    def _watch_attachment(self, attachment: Attachment) -> None:
        events = loops.WRITE if attachment.backlog else 0
        if attachment.gives_input and len(self._input) < INPUT_BYTES_MAX:
            events |= loops.READ
        self._loop.watch(attachment.sock.fileno(), events, lambda ready: self._attachment_ready(attachment, ready))

    def _attachment_ready(self, attachment: Attachment, ready: int) -> None:
        if ready & loops.READ and attachment.gives_input:
            self._take_input(attachment)
        elif ready & ~(loops.READ | loops.WRITE):
            self._drop(attachment)  # both directions are shut: the client is gone
        if ready & loops.WRITE and attachment in self._attachments:
            self._push(attachment)
        self._hold_or_go_on()

    def _drop(self, attachment: Attachment) -> None:
        if attachment in self._attachments:
            self._attachments.remove(attachment)
            self._loop.forget(attachment.sock.fileno())
            attachment.sock.close()

    def _hold_or_go_on(self) -> None:
        held = any(len(one.backlog) > BACKLOG_BYTES_MAX for one in self._attachments)
        if held != self._is_held:
            self._is_held = held
            for fd in self._sources:
                if held:
                    self._loop.forget(fd)
                else:
                    self._watch_source(fd)
        if self._stall_s and not self._watches_stall and any(one.backlog for one in self._attachments):
            self._watches_stall = True
            self._loop.after(self._stall_s, self._cut_stalled)

    def _cut_stalled(self) -> None:
        self._watches_stall = False
        for attachment in [one for one in self._attachments if one.backlog and not one.progressed]:
            self._drop(attachment)
        for attachment in self._attachments:
            attachment.progressed = False
        self._hold_or_go_on()

    # --- input ---

    def _take_input(self, attachment: Attachment) -> None:
        try:
            data = attachment.sock.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._drop(attachment)
            return
        if not data:
            attachment.gives_input = False
            if self._input_ends:
                self._input_is_open = False
        self._input += data
        self._feed()
        if attachment in self._attachments:
            self._watch_attachment(attachment)

    def _feed(self) -> None:
        """Give the process what it takes; the rest waits for POLLOUT, and the clients with it."""
        if self._input_fd < 0:
            self._input.clear()
            return
        try:
            while self._input:
                del self._input[: os.write(self._input_fd, memoryview(self._input)[:CHUNK_BYTES].tobytes())]
        except BlockingIOError:
            self._loop.watch(self._input_fd, loops.WRITE, lambda _: self._feed_more())
            return
        except OSError:
            self.close_input()  # EPIPE: the process does not read any more
            return
        self._loop.forget(self._input_fd)
        if not self._input_is_open:
            self.close_input()

    def _feed_more(self) -> None:
        self._feed()
        for attachment in self._attachments:
            self._watch_attachment(attachment)

    def close_input(self) -> None:
        self._input.clear()
        if self._input_fd >= 0:
            self._loop.forget(self._input_fd)
            os.close(self._input_fd)
            self._input_fd = -1

    def close(self) -> None:
        """Cut every reader off; the log has been written already."""
        for attachment in list(self._attachments):
            self._drop(attachment)
        self.close_input()
