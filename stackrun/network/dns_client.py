"""The daemon's side of the dns process: starts it, tells it about containers, notices its end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stackrun.errors import Unavailable

_NO_LINKS: Mapping[str, str] = MappingProxyType({})
_LISTENER_FD = 3
_MESSAGE_BYTES = 1 << 20
_TIMEOUT_S = 10.0
_FIRST_TIMEOUT_S = 60.0
"""Of one that has just been started: a slow machine takes its time to load it, and that it has ended is told at once by its socket."""
KNOWN_FOR_S = 5.0
"""What a process of an earlier version, which cannot be asked, told its clients to remember an answer for."""
_PROGRAM = "import sys; sys.path[:] = {path!r}; from stackrun.network.dns import main; main()"


@dataclass(frozen=True, slots=True)
class NetworkNames:
    """A container on one network: `domain` is the network's name, `names` what it is called there.

    The first name is the one that a question about `address` (PTR) is answered with.
    """

    network_id: str
    domain: str
    address: str
    names: tuple[str, ...]


class DnsClient:
    """One connection to the dns process of `run_dir`, usable from any thread."""

    def __init__(self, run_dir: str) -> None:
        self._run_dir = Path(run_dir)
        self._path = self._run_dir / "dns.sock"
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._children: set[int] = set()

    def ensure_running(self) -> bool:
        """Connects to the process, starting it when there is none.

        True when it was started: it knows nobody, so every running container has to be handed over again.
        """
        with self._lock:
            self._reap()
            if self._connection is not None and self._answers():
                return False
            self._disconnect()
            self._connection = self._connected()
            if self._connection is not None and self._answers():
                return False
            self._disconnect()
            self._connection = self._started()
            return True

    def set_container(
        self,
        container_id: str,
        sockets: Sequence[int] = (),
        *,
        networks: Sequence[NetworkNames],
        pid_fd: int = -1,
        upstreams: Sequence[str] = (),
        links: Mapping[str, str] = _NO_LINKS,
    ) -> None:
        """Replaces what is known of a container.

        `sockets` are its (udp, tcp) descriptors from inside its namespace, copied here, or none to keep those
        handed over before; `pid_fd` its init's: the process forgets the container when that ends.  Without
        `upstreams`, names that are not ours are answered with SERVFAIL.  Raises Unavailable.
        """
        request = {
            "op": "set",
            "container": container_id,
            "networks": [[one.network_id, one.domain, one.address, one.names] for one in networks],
            "links": dict(links),
            "upstreams": list(upstreams),
            "sockets": len(sockets),
            "pid_fd": pid_fd >= 0,
        }
        self._call(request, [*sockets, *([pid_fd] if pid_fd >= 0 else [])])

    def drop_container(self, container_id: str) -> None:
        """Closes its sockets and forgets its names; it need not be known.  Raises Unavailable."""
        self._call({"op": "drop", "container": container_id})

    def known_for_s(self, container_id: str) -> float:
        """For how much longer somebody may go by an answer with its address.  Raises Unavailable."""
        return float(self._call({"op": "known", "container": container_id}).get("known_for_s", KNOWN_FOR_S))

    def containers(self) -> tuple[str, ...]:
        """Ids of everyone it serves."""
        return tuple(self._call({"op": "list"})["containers"])

    def fileno(self) -> int:
        """Hangs up (EPOLLRDHUP, poll(2)) when the process ends, and then `ensure_running` is due.

        It is readable besides whenever an answer is on its way to another thread.
        """
        if self._connection is None:
            raise Unavailable("the dns process is not running")
        return self._connection.fileno()

    def close(self) -> None:
        """The process goes on as long as it serves somebody."""
        with self._lock:
            self._disconnect()

    # --- inside --------------------------------------------------------------------------------

    def _call(self, request: dict[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
        with self._lock:
            if self._connection is None:
                raise Unavailable("the dns process is not running")
            try:
                socket.send_fds(self._connection, [json.dumps(request).encode()], fds)
                reply = self._connection.recv(_MESSAGE_BYTES)
                self._connection.settimeout(_TIMEOUT_S)
            except OSError as error:
                raise Unavailable(f"the dns process does not answer: {error}") from None
        if not reply:
            raise Unavailable("the dns process has ended")
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def _answers(self) -> bool:
        assert self._connection is not None
        try:
            self._connection.send(b'{"op": "list"}')
            return bool(self._connection.recv(_MESSAGE_BYTES))
        except OSError:
            return False

    def _connected(self) -> socket.socket | None:
        connection = _seqpacket()
        try:
            connection.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        return connection

    def _started(self) -> socket.socket:
        """Listens for it, so that the connection can be made before the process has even begun."""
        self._run_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._path.unlink(missing_ok=True)
        with _seqpacket() as listener:
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            listener.listen()
            self._children.add(_spawned(listener.fileno(), self._run_dir / "dns.log"))
        connection = self._connected()
        if connection is None:
            raise Unavailable("the dns process did not start", hint=f"see {self._run_dir / 'dns.log'}")
        connection.settimeout(_FIRST_TIMEOUT_S)
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._reap()

    def _reap(self) -> None:
        """Children that have ended; one that still runs has its next chance when we come by again."""
        for pid in tuple(self._children):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    continue
            self._children.discard(pid)


def host_upstreams(path: str = "/etc/resolv.conf") -> tuple[str, ...]:
    """The host's own resolvers, in their order (resolv.conf(5)); zone suffixes of link-local ones stay."""
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return ()
    words = [line.split() for line in lines]
    return tuple(one[1] for one in words if len(one) > 1 and one[0] == "nameserver")


def _seqpacket() -> socket.socket:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MESSAGE_BYTES)
    one.settimeout(_TIMEOUT_S)
    return one


def _spawned(listener_fd: int, log: Path) -> int:
    """A process of its own session with the listener as descriptor 3, without the site module: it starts in half the time."""
    path = [str(Path(__file__).parents[2]), *sys.path]
    argv = [sys.executable, "-I", "-S", "-c", _PROGRAM.format(path=path)]
    actions: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, listener_fd, _LISTENER_FD),
    ]
    return os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, setsid=True)
