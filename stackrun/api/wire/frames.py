"""Docker's stdcopy framing: `[stream, 0, 0, 0, length as 32 bit big endian]` before each piece of output.

Used on attach, exec and logs when the container has no tty.  Imports nothing heavy: a command line that only follows logs needs it.
Source: moby api/types `container attach` documentation, "Stream format".
"""

from __future__ import annotations

import struct

STDIN, STDOUT, STDERR, SYSTEM_ERROR = 0, 1, 2, 3
"""SYSTEM_ERROR carries a failure of the stream itself; clients print it as an error from the daemon."""

_HEADER = struct.Struct(">BxxxL")
FRAME_LIMIT_BYTES = 16 << 20
"""No engine sends frames near this; more means that the bytes are not framed."""


def frame(stream: int, data: bytes) -> bytes:
    return _HEADER.pack(stream, len(data)) + data


class Frames:
    """Splits a byte stream into frames, however it was cut up on the way."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that `data` completes.  ValueError when it cannot be framed output."""
        buffer = self._buffer
        buffer += data
        frames, position = [], 0
        while len(buffer) - position >= _HEADER.size:
            stream, length = _HEADER.unpack_from(buffer, position)
            if stream > SYSTEM_ERROR or length > FRAME_LIMIT_BYTES:
                raise ValueError(f"not a stdcopy frame: stream {stream}, {length} bytes")
            end = position + _HEADER.size + length
            if len(buffer) < end:
                break
            frames.append((stream, bytes(buffer[position + _HEADER.size : end])))
            position = end
        del buffer[:position]
        return frames
