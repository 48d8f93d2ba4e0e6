"""The process outside: an ordinary user's, with nothing but his rights, in the host's own namespaces.

It makes the namespaces that his engine lives in, runs the way out of them (`uplink`), and binds host ports, which nobody
inside can.  It ends once no daemon is connected and nobody lives there any more.  When it is killed, its successor finds
the namespaces by the usher's record:

    <run>/gate.sock      a daemon's requests, as JSON (`words`)
    <run>/house.json     the usher's pid and start time, and what is lacking
    <run>/resolv.conf    seen inside as /etc/resolv.conf, while there is an uplink
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import traceback

from stackrun.errors import KernelError, StackrunError, Unavailable
from stackrun.kernel import namespaces, netlink, process, syscalls
from stackrun.network import ports
from stackrun.network.reactor import Reactor
from stackrun.rootless import idmap, uplink, usher, words
from stackrun.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackrun.rootless.words import Message

KINDS = ("user", "mount", "network")
"""The namespaces of the house, in the order they are to be entered."""
LOOK_AGAIN_S = 1.0
MEND_S = 2.0
_REFUSAL_S = 10.0
_RESOLV_CONF = "/etc/resolv.conf"
_TUN = "/dev/net/tun"
_NO_WAY_OUT = "containers have no way out of this machine"


def main(fd: int, run_dir: str) -> None:
    """Serve the listening socket `fd` until the house is empty."""
    process.set_name("stackrun-gate")
    listener = socket.socket(fileno=fd)
    house = House(run_dir)
    try:
        house.open()
    except Exception as error:
        traceback.print_exc()
        _refuse(listener, error)
        house.close()
        sys.exit(1)
    Gate(house, listener, Reactor()).run()


def _refuse(listener: socket.socket, error: Exception) -> None:
    """Whoever has started us waits for an answer to his first request."""
    listener.settimeout(_REFUSAL_S)
    connection, _ = listener.accept()
    with connection, contextlib.suppress(ConnectionError):
        words.receive(connection)
        words.send_failure(connection, error)


class House:
    """The namespaces, the usher in them, and the way out."""

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self.fds: dict[str, int] = {}
        self.usher_pid = 0
        self.usher_pid_fd = -1
        self.uplink_pid = 0
        self.lacking: list[str] = []

    def open(self) -> None:
        """Finds the house that an earlier gate has made, or makes one."""
        record = state.read(f"{self.run_dir}/house.json") or {}
        if record and state.is_alive(record["usher"], record["ticks"]):
            self._adopt(record)
            return
        self._write_resolver()
        self._make_usher()
        self.mend_uplink()
        self.record()

    def _adopt(self, record: Message) -> None:
        self.usher_pid, self.lacking = record["usher"], record["lacking"]
        self.usher_pid_fd = syscalls.pidfd_open(self.usher_pid)
        self.fds = {kind: namespaces.open_namespace(f"/proc/{self.usher_pid}/ns/{namespaces.FILES[kind]}") for kind in KINDS}
        if record["uplink"] and state.is_alive(record["uplink"], record["uplink_ticks"]):
            self.uplink_pid = record["uplink"]
        else:
            self.mend_uplink()
            self.record()

    def record(self) -> None:
        state.write(
            f"{self.run_dir}/house.json",
            {
                "usher": self.usher_pid,
                "ticks": state.start_ticks(self.usher_pid),
                "uplink": self.uplink_pid,
                "uplink_ticks": state.start_ticks(self.uplink_pid) if self.uplink_pid else 0,
                "lacking": self.lacking,
            },
        )

    def mend_uplink(self) -> None:
        """Without a way out the rest works all the same, published ports too."""
        self.lacking = [line for line in self.lacking if not line.startswith(_NO_WAY_OUT)]
        self.uplink_pid = 0
        try:
            if not os.access(_TUN, os.R_OK | os.W_OK):
                raise Unavailable(f"{_TUN} is not open to this user (udev's rules give it mode 0666)")
            self.uplink_pid = uplink.start(self.usher_pid, f"{self.run_dir}/uplink.log")
        except (StackrunError, OSError) as error:
            self.lacking.append(f"{_NO_WAY_OUT}: {error}")

    def mend_usher(self) -> None:
        """Another one in the same namespaces; the daemon, or the next one, opens what is published again."""
        os.close(self.usher_pid_fd)
        self._make_usher()
        self.record()

    def _write_resolver(self) -> None:
        """The host's resolver by the uplink's address of it; what else its file says stays."""
        path = f"{self.run_dir}/resolv.conf"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        if not uplink.is_installed():
            return
        try:
            with open(_RESOLV_CONF, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                kept = [line for line in file.read().splitlines() if line.split()[:1] in (["search"], ["options"], ["domain"])]
        except OSError:
            kept = []
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write("\n".join([f"nameserver {uplink.RESOLVER}", *kept, ""]))

    def _make_usher(self) -> None:
        path = f"{self.run_dir}/usher.sock"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener = words.listener(path)
        ours, theirs = words.pair()
        pid = os.fork()
        if not pid:
            ours.close()
            self._be_usher(theirs, listener)
        theirs.close()
        listener.close()
        with ours:
            self._bring_up(pid, ours)
        self.usher_pid, self.usher_pid_fd = pid, syscalls.pidfd_open(pid)
        if not self.fds:
            self.fds = {kind: namespaces.open_namespace(f"/proc/{pid}/ns/{namespaces.FILES[kind]}") for kind in KINDS}

    def _bring_up(self, pid: int, sock: socket.socket) -> None:
        try:
            if not self.fds:
                _hear(sock)
                problem = idmap.write(pid)
                if problem:
                    self.lacking.append(f"one user id alone, so containers run as root only: {problem}")
                words.send(sock, {})
            _hear(sock)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    def _be_usher(self, sock: socket.socket, listener: socket.socket) -> None:
        """The child's half; never returns."""
        try:
            os.setsid()
            _close_all_but({sock.fileno(), listener.fileno(), *self.fds.values()})
            if self.fds:
                for kind in KINDS:
                    namespaces.join(self.fds[kind], kind)
                namespaces.become_root()
            else:
                _make_namespaces(sock)
            resolver = f"{self.run_dir}/resolv.conf"
            words.send(sock, {})
            sock.close()
            for fd in self.fds.values():
                os.close(fd)
            usher.main(listener, resolver if os.path.exists(resolver) and os.path.exists(_RESOLV_CONF) else "")
        except Exception as error:
            traceback.print_exc()
            with contextlib.suppress(OSError):
                words.send_failure(sock, error)
        finally:
            os._exit(1)

    def is_empty(self) -> bool:
        """Whether nobody lives in the user namespace but the usher and what serves it."""
        own = os.fstat(self.fds["user"])
        servants = {self.usher_pid, self.uplink_pid}
        for name in filter(str.isdecimal, os.listdir("/proc")):
            try:
                there = os.stat(f"/proc/{name}/ns/user")
            except OSError:
                continue  # gone, or somebody else's
            if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino) and int(name) not in servants and not _is_zombie(name):
                return False
        return True

    def close(self) -> None:
        """Ends everybody who serves here, and leaves nothing; the socket goes last, since without it another gate may begin."""
        for pid in (self.uplink_pid, self.usher_pid):
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for name in ("house.json", "usher.sock", "resolv.conf", "gate.sock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.run_dir}/{name}")


def _make_namespaces(sock: socket.socket) -> None:
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
    except KernelError as error:
        hint = "this host may forbid user namespaces: see sysctl user.max_user_namespaces and kernel.unprivileged_userns_clone"
        raise KernelError("make a user namespace", error.errno, hint=hint) from None
    words.send(sock, {})
    _hear(sock)
    namespaces.become_root()
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
    route = netlink.Connection(netlink.ROUTE)
    route.send([netlink.set_loopback_up()])
    route.close()


def _hear(sock: socket.socket) -> None:
    try:
        words.receive(sock)
    except ConnectionError:
        raise Unavailable("the process that makes the namespaces has ended early") from None


def _close_all_but(kept: set[int]) -> None:
    """Who comes to the gate is not to find the usher at its socket, once it is gone."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2 and fd not in kept:
            with contextlib.suppress(OSError):
                os.close(fd)


def _is_zombie(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True


class Gate:
    """Serves daemons, and sees to the house."""

    def __init__(self, house: House, listener: socket.socket, reactor: Reactor) -> None:
        self._house = house
        self._listener = listener
        self._reactor = reactor
        self._connections: set[socket.socket] = set()

    def run(self) -> None:
        self._reactor.watch(self._listener.fileno(), self._accept)
        self._watch_usher()
        self._watch_uplink()
        self._reactor.after(LOOK_AGAIN_S, self._look)
        self._reactor.run()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        self._connections.add(connection)
        self._reactor.watch(connection.fileno(), lambda: self._serve(connection))

    def _serve(self, connection: socket.socket) -> None:
        try:
            self._reply(connection, words.receive(connection)[0])
            return
        except ConnectionError:
            pass  # whoever it was is gone
        self._reactor.forget(connection.fileno())
        self._connections.discard(connection)
        connection.close()
        self._reactor.after(0.1, self._look)

    def _reply(self, connection: socket.socket, request: Message) -> None:
        try:
            if request["request"] == "house":
                words.send(connection, {"lacking": self._house.lacking}, [self._house.fds[kind] for kind in KINDS])
                return
            reserved = ports.reserve([ports.PortRequest(*one) for one in request["ports"]])
        except Exception as error:
            words.send_failure(connection, error)
            return
        try:
            words.send(connection, {"ports": [one.host_port for one in reserved]}, [one.fd for one in reserved])
        finally:
            ports.close(reserved)

    # --- the house ---

    def _look(self) -> None:
        """Without a daemon, whoever lives here decides."""
        if self._connections:
            return
        if self._house.is_empty() and not select.select([self._listener], [], [], 0)[0]:
            self._house.close()
            self._listener.close()
            self._reactor.stop()
            return
        self._reactor.after(LOOK_AGAIN_S, self._look)

    def _watch_usher(self) -> None:
        self._reactor.watch(self._house.usher_pid_fd, self._usher_ended)

    def _usher_ended(self) -> None:
        self._reactor.forget(self._house.usher_pid_fd)
        _reap(self._house.usher_pid)
        self._house.mend_usher()
        self._watch_usher()

    def _watch_uplink(self) -> None:
        if self._house.uplink_pid:
            fd = syscalls.pidfd_open(self._house.uplink_pid)
            self._reactor.watch(fd, lambda: self._uplink_ended(fd))

    def _uplink_ended(self, fd: int) -> None:
        self._reactor.forget(fd)
        os.close(fd)
        _reap(self._house.uplink_pid)
        self._reactor.after(MEND_S, self._mend_uplink)

    def _mend_uplink(self) -> None:
        self._house.mend_uplink()
        self._house.record()
        self._watch_uplink()
        if not self._house.uplink_pid:
            self._reactor.after(MEND_S, self._mend_uplink)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # an earlier gate's child
        os.waitpid(pid, 0)
