"""The two things the shop's services talk to: a cache that speaks RESP and a database that speaks SQL over HTTP."""

import json
import os
import socket
import urllib.request


class Cache:
    """A client of the Redis protocol (RESP2), as much of it as the shop needs."""

    def __init__(self, address: str = os.environ.get("CACHE", "cache:6379")) -> None:
        host, port = address.rsplit(":", 1)
        self._stream = socket.create_connection((host, int(port))).makefile("rwb")

    def __call__(self, *words: object):
        self._stream.write(b"*%d\r\n" % len(words))
        for word in words:
            data = str(word).encode()
            self._stream.write(b"$%d\r\n%s\r\n" % (len(data), data))
        self._stream.flush()
        return self._reply()

    def _reply(self):
        line = self._stream.readline()
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest.decode()
            case b":":
                return int(rest)
            case b"$":
                return None if rest == b"-1" else self._stream.read(int(rest) + 2)[:-2].decode()
            case b"*":
                return None if rest == b"-1" else [self._reply() for _ in range(int(rest))]
        raise ConnectionError(f"cache: {line.decode(errors='replace').strip() or 'connection closed'}")


def sql(statement: str, *values: object) -> list[list]:
    """Runs one statement in the database and returns its rows."""
    body = json.dumps({"statement": statement, "values": values}).encode()
    request = urllib.request.Request(os.environ.get("DATABASE", "http://db:5400") + "/query", body)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)
