"""The daemon's hold on one container: `create` launches it, `Handle` speaks with its shim.

    create ──► Handle (init is in its new namespaces; wire the network from the host by handle.pid)
               configure_network, dns_sockets, attach …
               start ──► (root file system, pivot are made by now) drop, execve; or all is undone and the failed step raised
               events ──► exit, exec-exit …, then EOF: the shim is gone and only exit.json is left

Every method blocks, but briefly, and may be called from any thread; calls on one handle take turns.  The
descriptors `pid_fd` and `events` are for the caller's event loop.  A restart uses the same `run_dir` again
once the exit event has been read and `await_removal` has returned (or EOF was read).

Run directory (`run_dir`, mode 0700, one a container; a unix socket path is limited to 107 bytes)::

    shim.sock    SOCK_SEQPACKET, requests and events, root only
    state.json   {"id","pid","start_ticks","bundle","cgroup_path","created_ns","annotations"}
    exit.json    {"code","signal","oom","at_ns"}, written before anyone is told
    shim.err     traceback of a shim that had a bug
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from stackrun.errors import DeadlineExceeded, KernelError, NotFound, Unavailable
from stackrun.kernel import cgroup, syscalls
from stackrun.runtime import messages, state
from stackrun.runtime.zygote import Zygote

__all__ = ["Handle", "cleanup", "create", "is_littered", "read_exit", "remove"]

REQUEST_TIMEOUT_S = 60.0
START_TIMEOUT_S = 120.0
SHIM_EXIT_TIMEOUT_S = 10.0

Event = dict[str, Any]


def create(
    zygote: Zygote,
    *,
    container_id: str,
    bundle: str,
    run_dir: str,
    cgroup_path: str,
    overlay: dict[str, Any] | None = None,
    log: dict[str, Any] | None = None,
    tty: bool = False,
    open_stdin: bool = False,
    stdin_once: bool = False,
    console_size: tuple[int, int] | None = None,
    held_fds: Sequence[int] = (),
    init: bool = False,
    seccomp: bytes = b"",
    dns_sockets: bool = False,
    attach_stdio: Sequence[int] = (),
    stdio: Sequence[int] = (),
    console_socket: int = -1,
    prepare: bool = False,
    config: dict[str, Any] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Handle:
    """Launch a shim, and by it the container's init, which does not go beyond execve until `Handle.start`.

    `bundle` holds config.json (an OCI runtime configuration; `root.path` relative to it or absolute).
    `overlay` is {"lower": [directories, top first], "upper": dir, "work": dir, "target": dir}, mounted inside the
    container's own mount namespace; its target is the root file system instead of `root.path`, and upper, work and
    target are made when missing.  `log` is {"path", "max_bytes" (0: no rotation), "max_files"}; None keeps no log.
    `tty` gives a pseudo-terminal of `console_size` (rows, columns).  Without `open_stdin` stdin is /dev/null; with
    `stdin_once` the first attached stdin's end is the process's end of input, else it is only a detach.
    `held_fds` (reserved port sockets) are kept open by the shim until the container has exited.  `init` runs a tiny
    reaping, signal-forwarding pid 1.  `seccomp` is a compiled program (`kernel.seccomp.compile_filter`).
    `attach_stdio` are connected stream sockets attached from the start as `Handle.attach` would.  `stdio` are three
    descriptors the process gets as its own instead of pipes, a log and attaching; to `console_socket`, a connected stream
    socket, the master of a `tty` is sent instead of being served by `attach` (runc's --console-socket).  Descriptors passed in stay the
    caller's to close.  `dns_sockets` opens the sockets of `Handle.dns_sockets` at once.  `prepare` waits until the
    container is complete short of execve, as OCI's create does (else `start` waits for it).

    `config` is the configuration instead of `bundle`'s config.json.  `meanwhile` is called while others work; what it raises is
    raised here, after all has been undone.

    Mount sources must exist already, and may from here on change in place only: init makes its root file system while
    the caller sees to the network.  What goes wrong there is raised by `start`.  Besides the OCI fields, the configuration may hold
    `process.stackrunUser` ("name|uid[:group|gid]") and `process.stackrunGroups` (names or gids beside that user's own),
    resolved in the container's own /etc/passwd and /etc/group.  HOME is set from there when `env` has none.

    Raises InvalidArgument (a field of config.json, named), Unsupported, KernelError; nothing is left then.
    """
    request = {
        "id": container_id,
        "bundle": bundle,
        "run_dir": run_dir,
        "cgroup_path": cgroup_path,
        "overlay": overlay,
        "log": log,
        "tty": tty,
        "open_stdin": open_stdin,
        "stdin_once": stdin_once,
        "console_size": list(console_size) if console_size else None,
        "init": init,
        "seccomp": base64.b64encode(seccomp).decode(),
        "dns_sockets": dns_sockets,
        "prepare": prepare,
        "config": config,
        "held": len(held_fds),
        "attached": len(attach_stdio),
        "stdio": len(stdio),
        "console": console_socket >= 0,
    }
    fds = [*held_fds, *attach_stdio, *stdio, *([console_socket] if console_socket >= 0 else [])]
    return _launch(zygote, request, fds, meanwhile)


def _launch(zygote: Zygote, request: dict[str, Any], fds: list[int], meanwhile: Callable[[], None] | None) -> Handle:
    requests, shim_requests = messages.pair()
    events, shim_events = messages.pair()
    with shim_requests, shim_events:
        try:
            shim_pid, shim_pid_fd = zygote.spawn(request, [shim_requests.fileno(), shim_events.fileno(), *fds])
        except BaseException:
            requests.close()
            events.close()
            raise
    handle = Handle(request["id"], request["run_dir"], requests, events, shim_pid_fd)
    handle.shim_pid = shim_pid
    failure = _failure_of(meanwhile) if meanwhile else None
    try:
        handle._hello("created", START_TIMEOUT_S)
    except BaseException:
        handle._abandon()
        raise
    if failure:
        handle.delete()
        handle.close()
        raise failure
    return handle


def _failure_of(work: Callable[[], None]) -> BaseException | None:
    try:
        work()
    except BaseException as error:
        return error
    return None


class Handle:
    """One running (or created) container.

    `pid` and `pid_fd` are those of the container's init in the host's pid namespace, `shim_pid` the shim's.
    `events` is a non-blocking SOCK_SEQPACKET socket: readable when `read_event` has something or the shim is gone.
    `warnings` are what had to be left out so far (capabilities, rlimits beyond the caller's own …).
    """

    def __init__(self, container_id: str, run_dir: str, requests: socket.socket, events: socket.socket, shim_pid_fd: int) -> None:
        self.container_id = container_id
        self.run_dir = run_dir
        self.pid = 0
        self.pid_fd = -1
        self.shim_pid = 0
        self.warnings: tuple[str, ...] = ()
        self.events = events
        self._requests = requests
        self._shim_pid_fd = shim_pid_fd
        self._lock = threading.Lock()
        self._serial = 0
        events.setblocking(False)

    @classmethod
    def connect(cls, container_id: str, run_dir: str) -> Handle | None:
        """Adopt a container whose shim was launched by an earlier daemon; None when the shim is gone.

        Then `read_exit(run_dir)` tells how the container ended, or it died with its shim; `cleanup` removes the rest.
        """
        path = state.socket_path(run_dir)
        opened: list[socket.socket] = []
        try:
            for _ in range(2):
                opened.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                opened[-1].connect(path)
            requests, events = opened
            messages.send(events, {"serial": 0, "request": "subscribe"})
            handle = cls(container_id, run_dir, requests, events, -1)
            handle._adopt()
        except (FileNotFoundError, ConnectionError, Unavailable):
            for sock in opened:
                sock.close()
            return None
        return handle

    def read_event(self) -> Event | None:
        """The next event, or None when the shim is gone.  Raises BlockingIOError when there is none yet.

        {"event": "exit", "code": int, "signal": int, "oom": bool, "at_ns": int}: the container ended and exit.json is written;
        `await_removal` waits for its cgroup and run state to be gone too.  code is 128+signal for a signal.
        {"event": "exec-exit", "id": exec_id, "code": int, "signal": int}
        {"event": "warning", "text": str}: for instance that the log could not be written.
        """
        try:
            message, _ = messages.receive(self.events)
        except ConnectionResetError:
            return None
        return message

    def netns_fd(self) -> int:
        """A descriptor of the container's network namespace, the caller's to close."""
        return self._request("netns")[1][0]

    def configure_network(self, netlink_batches: Sequence[tuple[int, bytes]]) -> None:
        """Send each (protocol, bytes) batch from a netlink socket inside the container's network namespace, in order.

        protocol is 0 (NETLINK_ROUTE) or 12 (NETLINK_NETFILTER).  One acknowledgement is awaited for every message
        that asks for one (NLM_F_ACK).  Raises KernelError for the first negative one.
        """
        batches = [[protocol, base64.b64encode(data).decode()] for protocol, data in netlink_batches]
        self._request("network", batches=batches)

    def dns_sockets(self) -> list[int]:
        """[udp, tcp (listening)] descriptors bound at 127.0.0.11:61053 inside the network namespace, the caller's to close.

        They may be asked for at any time, again too; the shim keeps its own copies while it lives.
        """
        return self._request("dns")[1]

    def port_sockets(self) -> list[int]:
        """Descriptors of the `held_fds` it was launched with, the caller's to close: for who is to hold the same ports."""
        return self._request("ports")[1]

    def prepare(self) -> None:
        """Wait for all of `start` but execve.  `start` does so by itself."""
        reply, _ = self._request("prepare", timeout_s=START_TIMEOUT_S)
        self.warnings = tuple(reply["warnings"])

    def start(self) -> None:
        """Wait for the root file system, pivot, drop privileges, execve; return once execve has happened.

        Raises CommandNotFound, CommandNotExecutable, or KernelError naming the call that failed.  After a failure
        nothing is left of the container but the bundle.
        """
        try:
            reply, _ = self._request("start", timeout_s=START_TIMEOUT_S)
        except BaseException:
            self._abandon()
            raise
        self.warnings = tuple(reply["warnings"])

    def signal(self, signum: int, all: bool = False) -> None:
        """Send `signum` to init, or with `all` to every process of the container.  NotFound when it is gone."""
        self._request("signal", signum=int(signum), all=all)

    def pause(self) -> None:
        self._request("pause")

    def resume(self) -> None:
        self._request("resume")

    def attach(self, *, stdin: bool, stdout: bool, stderr: bool) -> socket.socket:
        """A connected AF_UNIX stream socket to the container's standard streams; also between create and start.

        It yields Docker's stdcopy frames [stream, 0, 0, 0, length as 4 bytes big-endian] + data: stream 1 stdout,
        2 stderr; a terminal's output is stream 1.  With `stdin`, what is written to it goes to the process, and
        shutdown(SHUT_WR) ends the process's input when the container has stdin_once, else detaches.  EOF from it
        means no more output will come.  A reader that takes nothing for 10 s while data waits is cut off.
        """
        _, fds = self._request("attach", stdin=stdin, stdout=stdout, stderr=stderr)
        return socket.socket(fileno=fds[0])

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size.  No effect on a container without one."""
        self._request("resize", rows=rows, columns=columns)

    def exec(
        self,
        *,
        exec_id: str,
        process: dict[str, Any],
        tty: bool = False,
        stdin: bool = False,
        want_output: bool = True,
        seccomp: bytes = b"",
        console_size: tuple[int, int] | None = None,
        stdio: Sequence[int] = (),
    ) -> tuple[int, socket.socket | None]:
        """Run `process` (an OCI process object, stackrunUser too) inside the container: (pid, socket).

        The socket is as `attach` gives it, except that shutdown(SHUT_WR) always ends the process's input, that the
        process is held up rather than the reader cut off, and that it is None when neither stdin nor output is wanted
        (or `stdio` gives the process its three descriptors).  `seccomp` empty means the container's own program.
        Raises CommandNotFound, CommandNotExecutable, Conflict (id in use).  Its end is the event `exec-exit`.
        """
        reply, fds = self._request(
            "exec",
            fds=list(stdio),
            exec_id=exec_id,
            process=process,
            tty=tty,
            stdin=stdin,
            want_output=want_output,
            seccomp=base64.b64encode(seccomp).decode(),
            console_size=list(console_size) if console_size else None,
            timeout_s=START_TIMEOUT_S,
        )
        return reply["pid"], socket.socket(fileno=fds[0]) if fds else None

    def signal_exec(self, exec_id: str, signum: int) -> None:
        self._request("signal-exec", exec_id=exec_id, signum=int(signum))

    def resize_exec(self, exec_id: str, rows: int, columns: int) -> None:
        self._request("resize-exec", exec_id=exec_id, rows=rows, columns=columns)

    def exec_exit(self, exec_id: str) -> Event | None:
        """The `exec-exit` event of an exec that ended (the shim remembers the last 256), else None."""
        event: Event | None = self._request("exec-exit", exec_id=exec_id)[0]["exit"]
        return event

    def update(self, resources: dict[str, Any]) -> None:
        """Change the cgroup's limits (OCI linux.resources); what is not named stays."""
        self._request("update", resources=resources)

    def status(self) -> str:
        """`created`, `running`, `paused` or `stopped`."""
        status: str = self._request("status")[0]["status"]
        return status

    def delete(self) -> None:
        """Kill the container, whatever its state, and wait until the shim has removed everything."""
        try:
            self._request("delete")
        except (Unavailable, NotFound):
            pass  # it ended by itself meanwhile, which is what was asked for
        self.await_removal()

    def close(self) -> None:
        """Let go: the container stays as it is, and `connect` takes hold of it again."""
        self._requests.close()
        self.events.close()
        for name in ("pid_fd", "_shim_pid_fd"):
            fd = getattr(self, name)
            if fd >= 0:
                setattr(self, name, -1)
                os.close(fd)

    def _adopt(self) -> None:
        self._serial += 1
        messages.send(self._requests, {"serial": self._serial, "request": "hello"})
        self._hello("hello", REQUEST_TIMEOUT_S)

    def _hello(self, what: str, timeout_s: float) -> None:
        reply, fds = self._await_reply(self._serial, what, timeout_s)
        self.pid, self.pid_fd = reply["pid"], fds[0]
        self.shim_pid = reply["shim_pid"]
        self.warnings = tuple(reply["warnings"])
        if self._shim_pid_fd < 0:
            self._shim_pid_fd = fds[1]
        else:
            os.close(fds[1])

    def _request(
        self, request: str, *, fds: Sequence[int] = (), timeout_s: float = REQUEST_TIMEOUT_S, **operands: Any
    ) -> tuple[Event, list[int]]:
        with self._lock:
            self._serial += 1
            try:
                messages.send(self._requests, {"serial": self._serial, "request": request, **operands}, list(fds))
                return self._await_reply(self._serial, request, timeout_s)
            except (ConnectionError, OSError) as error:
                if isinstance(error, TimeoutError):
                    raise DeadlineExceeded(f"{request}: no answer from the shim within {timeout_s:g} s") from None
                raise Unavailable(f"{request}: the container's shim is gone") from None

    def _await_reply(self, serial: int, request: str, timeout_s: float) -> tuple[Event, list[int]]:
        """Replies to requests that timed out earlier come first, and are dropped by their serial."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._requests.settimeout(max(deadline - time.monotonic(), 0.001))
            reply, fds = messages.receive(self._requests)
            if reply is None:
                raise Unavailable(f"{request}: the container's shim is gone")
            if reply["serial"] == serial:
                messages.raise_error(reply)
                return reply, fds
            for fd in fds:
                os.close(fd)

    def await_removal(self) -> None:
        """After the exit event: the shim hangs up when it has removed everything (it may go on for a moment to serve slow readers)."""
        deadline = time.monotonic() + SHIM_EXIT_TIMEOUT_S
        with self._lock:
            try:
                while True:
                    self._requests.settimeout(max(deadline - time.monotonic(), 0.001))
                    reply, fds = messages.receive(self._requests)
                    if reply is None:
                        return
                    for fd in fds:
                        os.close(fd)
            except ConnectionError:
                return
            except TimeoutError:
                raise DeadlineExceeded(f"shim {self.shim_pid} did not end within {SHIM_EXIT_TIMEOUT_S:g} s") from None

    def _abandon(self) -> None:
        """After a failed launch: the shim undoes everything and ends; one that hangs is killed, and undone from here."""
        record = state.read(state.state_path(self.run_dir))
        try:
            self.await_removal()
        except DeadlineExceeded:
            syscalls.pidfd_send_signal(self._shim_pid_fd, signal.SIGKILL)
            cleanup(self.run_dir, record["cgroup_path"] if record else "")
        finally:
            self.close()


def read_exit(run_dir: str) -> Event | None:
    """How the container ended, {"code", "signal", "oom", "at_ns"}; None when it did not, or when its shim was killed."""
    return state.read(state.exit_path(run_dir))


def is_alive(run_dir: str) -> bool:
    """Whether the init recorded there lives, so that its pid is its own."""
    record = state.read(state.state_path(run_dir))
    return record is not None and state.is_alive(record["pid"], record["start_ticks"])


def is_littered(run_dir: str) -> bool:
    """Whether a shim that was killed has left something for `cleanup`: of one that has ended by itself only exit.json may stay."""
    return any(os.path.lexists(path) for path in (state.socket_path(run_dir), state.state_path(run_dir)))


def remove(container_id: str, run_dir: str, cgroup_path: str) -> None:
    """End what there is of a container, whether its shim lives or not.  Idempotent."""
    handle = Handle.connect(container_id, run_dir)
    if handle is not None:
        handle.delete()
        handle.close()
    cleanup(run_dir, cgroup_path)


def cleanup(run_dir: str, cgroup_path: str) -> None:
    """Remove what a dead shim left: processes, cgroup, mounts and the run directory.  Idempotent.

    Must not be called while the shim lives (`Handle.connect` gives None first).  An empty `cgroup_path` means that of the
    state record.
    """
    record = state.read(state.state_path(run_dir))
    if record:
        _kill(record)
    path = cgroup_path or (record or {}).get("cgroup_path", "")
    if path:
        left = cgroup.Cgroup.load(cgroup.detect(), path)
        left.kill(SHIM_EXIT_TIMEOUT_S)
        left.delete()
    shutil.rmtree(run_dir, ignore_errors=True)


def _kill(record: Event) -> None:
    """SIGKILL the recorded init if that pid is still the same process (its start time matches)."""
    try:
        pid_fd = syscalls.pidfd_open(record["pid"])
    except KernelError:
        return
    try:
        if state.start_ticks(record["pid"]) == record["start_ticks"]:
            syscalls.pidfd_send_signal(pid_fd, signal.SIGKILL)
    except KernelError:
        return
    finally:
        os.close(pid_fd)
