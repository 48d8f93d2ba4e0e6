"""One HTTP/1.1 exchange without any input or output of its own: bytes to send come out, received bytes go in.

The blocking transport and the asynchronous one drive the same object, so the protocol is written once.
"""

from __future__ import annotations

import json

import h11

from stackrun.api.wire.failures import error_from_json
from stackrun.errors import StackrunError

HEADER_LIMIT_BYTES = 1 << 20
ERROR_LIMIT_BYTES = 1 << 20
SWITCHING_PROTOCOLS = 101
_NOT_MODIFIED, _FIRST_ERROR = 304, 400
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:@")
"""What a path may hold as it is (RFC 3986, 3.3)."""


class Head:
    """The beginning of an answer; `headers` by lower-case name."""

    __slots__ = ("headers", "status")

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers

    @property
    def is_error(self) -> bool:
        """304 too: an engine says by it that there was nothing to do, which is NotModified here."""
        return self.status >= _FIRST_ERROR or self.status == _NOT_MODIFIED

    def error(self, body: bytes) -> StackrunError:
        return error_from_json(self.status, body)


class Asked:
    """One request: what both transports take.

    `query` values: None is left out, a bool is 1 or 0, a dict or list is JSON, a tuple repeats the name, everything else its text.
    `payload` is sent as JSON; `body` as it stands, and its `length` in bytes is None when it is to be streamed in chunks.
    """

    __slots__ = ("headers", "length", "method", "path", "payload", "query")

    def __init__(
        self, method: str, path: str, query: dict[str, object] | None = None, payload: object = None,
        headers: tuple[tuple[str, str], ...] = (), length: int | None = 0,
    ) -> None:  # fmt: skip
        self.method = method
        self.path = path
        self.query = query or {}
        self.payload = b"" if payload is None else json.dumps(payload).encode()
        self.headers = headers
        self.length = len(self.payload) or length

    def target(self, api_version: str) -> str:
        prefix = f"/v{api_version}" if api_version and not self.path.startswith("/stackrun/") else ""
        repeated = [(key, value if isinstance(value, tuple) else (value,)) for key, value in self.query.items()]
        query = [(key, _text(one)) for key, values in repeated for one in values if one is not None]
        if not query and _PLAIN.issuperset(self.path):
            return prefix + self.path
        from urllib.parse import quote, urlencode  # with ipaddress a tenth of a short command's start

        return prefix + quote(self.path, safe="/:@") + (f"?{urlencode(query)}" if query else "")

    def all_headers(self) -> list[tuple[str, str]]:
        headers = [("Host", "engine"), ("User-Agent", "stackrun"), *self.headers]
        if self.payload:
            headers.append(("Content-Type", "application/json"))
        if self.length is None:
            headers.append(("Transfer-Encoding", "chunked"))
        elif self.length or self.method == "POST":
            headers.append(("Content-Length", str(self.length)))
        return headers


UPGRADE = (("Connection", "Upgrade"), ("Upgrade", "tcp"))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


class Exchange:
    """A connection's protocol state, for one exchange after another.  h11.RemoteProtocolError on what is no HTTP."""

    __slots__ = ("_connection", "_ended")

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_LIMIT_BYTES)
        self._ended = False

    def begin(self, asked: Asked, api_version: str) -> bytes:
        """The request's head and its payload; a streamed body goes through `chunk` and `end`."""
        self._ended = False
        request = h11.Request(method=asked.method, target=asked.target(api_version), headers=asked.all_headers())
        return self._send(request) + (self.chunk(asked.payload) if asked.payload else b"")

    def chunk(self, data: bytes) -> bytes:
        return self._send(h11.Data(data=data))

    def end(self) -> bytes:
        return self._send(h11.EndOfMessage())

    def _send(self, event: h11.Event) -> bytes:
        return self._connection.send(event) or b""

    def receive(self, data: bytes) -> None:
        """What came from the socket; b"" when it was closed."""
        self._connection.receive_data(data)

    def head(self) -> Head | None:
        """None: more must be received first."""
        while True:
            event = self._connection.next_event()
            if event is h11.NEED_DATA:
                return None
            if isinstance(event, h11.InformationalResponse) and event.status_code != SWITCHING_PROTOCOLS:
                continue
            if isinstance(event, h11.ConnectionClosed):
                raise h11.RemoteProtocolError("the connection was closed before the answer")
            assert isinstance(event, (h11.Response, h11.InformationalResponse))
            return Head(event.status_code, {name.decode(): value.decode("latin-1") for name, value in event.headers})

    def body(self) -> bytes | None:
        """The next piece of the body; b"" at its end; None: more must be received first."""
        if self._ended:
            return b""
        event = self._connection.next_event()
        if event is h11.NEED_DATA:
            return None
        if isinstance(event, h11.Data):
            return bytes(event.data)
        self._ended = True
        return b""

    def leftover(self) -> bytes:
        """What came after the answer's head once the protocol was switched."""
        return self._connection.trailing_data[0]

    def next_cycle(self) -> bool:
        """Whether the connection can carry another exchange; it is ready for it then."""
        if self._connection.our_state is not h11.DONE or self._connection.their_state is not h11.DONE:
            return False
        self._connection.start_next_cycle()
        return True
