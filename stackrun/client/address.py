"""Where an engine listens: `unix:///path`, `tcp://host:port` (2375, with TLS 2376), and a socket connected to it."""

from __future__ import annotations

import socket

from stackrun.errors import InvalidArgument, PermissionDenied, StackrunError, Unavailable

PLAIN_PORT, TLS_PORT = 2375, 2376


class TlsFiles:
    """Paths of PEM files: the authority that signed the server's certificate, our own certificate and key.  Empty: not given."""

    __slots__ = ("authority", "certificate", "key")

    def __init__(self, authority: str = "", certificate: str = "", key: str = "") -> None:
        self.authority = authority
        self.certificate = certificate
        self.key = key


class Address:
    """`path` for a unix socket, else `host` and `port`; `text` as the user wrote it."""

    __slots__ = ("host", "path", "port", "text", "tls")

    def __init__(self, text: str, tls: TlsFiles | None = None) -> None:
        scheme, separator, rest = text.partition("://")
        if scheme not in ("unix", "tcp", "http", "https") or not separator or not rest:
            raise InvalidArgument(f"invalid engine address: {text!r}", hint="write unix:///path/to.sock or tcp://host:port")
        self.text = text
        self.tls = tls if tls or scheme != "https" else TlsFiles()
        self.path = rest if scheme == "unix" else ""
        self.host, self.port = ("", 0) if scheme == "unix" else self._split(rest)

    def _split(self, rest: str) -> tuple[str, int]:
        from urllib.parse import urlsplit  # with ipaddress a tenth of a short command's start; our own engine needs none

        try:
            parts = urlsplit(f"//{rest}")
            return parts.hostname or "localhost", parts.port or (TLS_PORT if self.tls else PLAIN_PORT)
        except ValueError:
            raise InvalidArgument(f"invalid engine address: {self.text!r}", hint="write tcp://host:port") from None

    def connect(self, timeout_s: float | None = None) -> socket.socket:
        """A connected blocking socket.  Unavailable when nothing answers there, PermissionDenied when we may not ask."""
        try:
            if self.path:
                return _connect_unix(self.path, timeout_s)
            plain = socket.create_connection((self.host, self.port), timeout_s)
            return self._secured(plain) if self.tls else plain
        except OSError as error:
            raise self.unreachable(error) from error

    def _secured(self, plain: socket.socket) -> socket.socket:
        import ssl  # 15 ms, and few hosts are asked over TLS

        assert self.tls is not None
        try:
            context = ssl.create_default_context(cafile=self.tls.authority or None)
            if self.tls.certificate:
                context.load_cert_chain(self.tls.certificate, self.tls.key or None)
            return context.wrap_socket(plain, server_hostname=self.host)
        except OSError:
            plain.close()
            raise

    def unreachable(self, error: OSError) -> StackrunError:
        message = f"cannot reach the engine at {self.text}"
        if isinstance(error, PermissionError):
            return PermissionDenied(f"{message}: permission denied", hint="run this as root, or as a user who may write to that socket")
        nobody = isinstance(error, (FileNotFoundError, ConnectionRefusedError))
        reason = "no daemon listens there" if nobody else str(error.strerror or error)
        return Unavailable(f"{message}: {reason}", hint="start one with `stackrun daemon`, or choose another engine with -H")


def _connect_unix(path: str, timeout_s: float | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(timeout_s)
        connection.connect(path)
    except BaseException:  # an interrupt, too
        connection.close()
        raise
    return connection
