"""One container's keeper: parent of its init, owner of its streams, the one who knows how it ended.

Forked by the zygote, it outlives the daemon.  Requests come as JSON messages ({"serial", "request", operands}) over any
number of SOCK_SEQPACKET connections: the one it was launched with, and those to `shim.sock`.  The reply has the same
serial.  A connection that says `subscribe` gets events instead.  Single-threaded; a request is done before the next one.
"""

from __future__ import annotations

import binascii
import errno
import gc
import os
import time

from stackrun.errors import Conflict, InvalidArgument, KernelError, NotFound, StackrunError
from stackrun.kernel import process, signals, sockets, syscalls
from stackrun.runtime import entry, launching, messages, pipes, spec, state, streams, terminal, trace, wiring
from stackrun.runtime import order as orders
from stackrun.runtime.loop import READ, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from stackrun.runtime.messages import Message
    from stackrun.runtime.order import Order

    Answer = tuple[Message, list[int]]

STALL_S = 10.0
LINGER_S = 30.0
"""How long readers may take what is still in their backlog after the container has ended."""
REMEMBERED_EXECS_MAX = 256
BOTH = frozenset(("stdout", "stderr"))


def main(order: Order, requests_fd: int, events_fd: int) -> None:
    """Be the shim of `order`; never returns.  Launched by, and first answering to, the connection `requests_fd`."""
    try:
        _run(order, requests_fd, events_fd)
    except BaseException as error:
        _record_crash(order.request["run_dir"], error)
    finally:
        os._exit(0)


def _record_crash(run_dir: str, error: BaseException) -> None:
    """The traceback without its source lines: module `traceback` would more than double what a shim has preloaded."""
    lines = [f"{type(error).__name__}: {error}"]
    trace = error.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        lines.append(f"  {code.co_filename}:{trace.tb_lineno} in {code.co_qualname}")
        trace = trace.tb_next
    fd = os.open(state.crash_path(run_dir), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.write(fd, ("\n".join(lines) + "\n").encode())
    os.close(fd)


def _run(order: Order, requests_fd: int, events_fd: int) -> None:
    try:
        shim = Shim(launching.bear(order, lambda: _settle_in(order)))
    except Exception as error:
        messages.send(sockets.Socket(fileno=requests_fd), {"serial": 0, "error": messages.pack_error(error)})
        return
    shim.open_for(sockets.Socket(fileno=requests_fd), sockets.Socket(fileno=events_fd))
    shim.loop_until_done()


def _settle_in(order: Order) -> None:
    """What only matters to the shim, and so is done when init is on its way."""
    for fd in order.strangers:
        os.close(fd)
    signals.pthread_sigmask(signals.SIG_UNBLOCK, (signals.SIGCHLD,))
    process.detach_standard_streams()
    process.set_name("stackrun-shim")
    os.setsid()
    gc.enable()


class Exec:
    """One process that runs beside init."""

    __slots__ = ("console_fd", "pid", "pid_fd", "streams")

    def __init__(self, entered: launching.Entered, its_streams: streams.Streams) -> None:
        self.pid = entered.pid
        self.pid_fd = entered.pid_fd
        self.console_fd = os.dup(entered.console) if entered.console >= 0 else -1
        self.streams = its_streams


class Shim:
    """The state of one container and the handlers of its requests (`_on_<request>`)."""

    def __init__(self, born: launching.Born) -> None:
        order = born.order
        self.container_id: str = order.request["id"]
        self.run_dir: str = order.request["run_dir"]
        self._request = order.request
        self._listener = order.listener
        self._born = born
        self._loop = Loop()
        self._log = order.log
        self._streams = streams.Streams(self._loop, self._log, STALL_S, self._warn)
        self._dns_fds: tuple[int, int] | None = None
        self._console_fd = -1
        self._clients: dict[int, sockets.Socket] = {}
        self._subscribers: list[sockets.Socket] = []
        self._execs: dict[str, Exec] = {}
        self._ended_execs: dict[str, Message] = {}
        self._lingering: list[streams.Streams] = []
        self._status = "created"
        self._is_done = False
        order.pipes.hand_over(self._streams, -1, ends_with_client=order.request["stdin_once"])
        for fd in order.attached:
            self._streams.attach(sockets.Socket(fileno=fd), BOTH, gives_input=order.request["open_stdin"])

    def open_for(self, connection: sockets.Socket, events: sockets.Socket) -> None:
        """Answer the launch, after what it asked for besides."""
        self._clients[connection.fileno()] = connection
        self._subscribe(events)
        self._loop.watch(connection.fileno(), READ, lambda _: self._serve(connection))
        self._loop.watch(self._listener.fileno(), READ, lambda _: self._accept())
        self._loop.watch(self._born.pid_fd, READ, lambda _: self._init_ended())
        self._record()
        try:
            if self._request["dns_sockets"]:
                self._on_dns({}, [])
            if self._request["prepare"]:
                self._on_prepare({}, [])
        except Exception as error:
            self._undo()
            self._reply(connection, {"serial": 0, "error": messages.pack_error(error)}, [])
            return
        trace.mark("write the record")
        self._reply(connection, *self._hello(0))
        trace.mark("answer")

    def loop_until_done(self) -> None:
        while not self._is_done:
            self._loop.turn()
        for connection in list(self._clients.values()):
            self._hang_up(connection)
        for subscriber in list(self._subscribers):
            self._unsubscribe(subscriber)
        self._linger()

    def _linger(self) -> None:
        """All is removed and everyone knows; only readers may still take what was printed before the end."""
        deadline = time.monotonic() + LINGER_S
        self._loop.after(LINGER_S, lambda: None)
        while any(not one.is_settled for one in self._lingering) and time.monotonic() < deadline:
            self._loop.turn()

    # --- connections ---

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        self._clients[connection.fileno()] = connection
        self._loop.watch(connection.fileno(), READ, lambda _: self._serve(connection))

    def _serve(self, connection: sockets.Socket) -> None:
        try:
            message, fds = messages.receive(connection)
        except (ConnectionError, StackrunError, ValueError):
            message, fds = None, []
        if message is None:
            self._hang_up(connection)
            return
        if message["request"] == "subscribe":
            self._loop.forget(connection.fileno())
            self._clients.pop(connection.fileno())
            self._subscribe(connection)
            return
        trace.mark(f"hear {message['request']}")
        self._reply(connection, *self._answered(message, fds))
        trace.mark(f"answer {message['request']}")

    def _answered(self, message: Message, fds: list[int]) -> Answer:
        """The handler's answer, or its failure as one; descriptors that came along are closed here."""
        try:
            # Looked up by name each time: a table of bound methods would touch, and so copy, every one of them.
            handler: Callable[[Message, list[int]], Answer] | None = getattr(self, f"_on_{message['request'].replace('-', '_')}", None)
            if not handler:
                raise InvalidArgument(f"the shim knows no request {message['request']!r}")
            reply, answer_fds = handler(message, fds)
            return {"serial": message["serial"], **reply}, answer_fds
        except Exception as error:
            if not isinstance(error, (StackrunError, OSError)):
                _record_crash(self.run_dir, error)
            return {"serial": message["serial"], "error": messages.pack_error(error)}, []
        finally:
            for fd in fds:
                os.close(fd)

    def _reply(self, connection: sockets.Socket, reply: Message, fds: list[int]) -> None:
        """A client that does not take its replies is hung up on rather than waited for."""
        try:
            connection.setblocking(False)
            messages.send(connection, reply, fds)
            connection.setblocking(True)
        except OSError:
            self._hang_up(connection)
        finally:
            for fd in fds:
                os.close(fd)

    def _hang_up(self, connection: sockets.Socket) -> None:
        self._loop.forget(connection.fileno())
        self._clients.pop(connection.fileno(), None)
        connection.close()

    def _subscribe(self, connection: sockets.Socket) -> None:
        connection.setblocking(False)
        self._subscribers.append(connection)
        self._loop.watch(connection.fileno(), READ, lambda _: self._unsubscribe(connection))

    def _unsubscribe(self, connection: sockets.Socket) -> None:
        """A subscriber has nothing to say, so readable means gone."""
        self._loop.forget(connection.fileno())
        self._subscribers.remove(connection)
        connection.close()

    def _publish(self, event: Message) -> None:
        for connection in list(self._subscribers):
            try:
                messages.send(connection, event)
            except OSError:
                self._unsubscribe(connection)

    def _warn(self, text: str) -> None:
        self._publish({"event": "warning", "text": text})

    # --- life ---

    def _hello(self, serial: int) -> Answer:
        reply = {
            "serial": serial,
            "pid": self._born.pid,
            "shim_pid": os.getpid(),
            "status": self._status,
            "warnings": self._born.warnings,
        }
        return reply, [os.dup(self._born.pid_fd), syscalls.pidfd_open(os.getpid())]

    def _record(self) -> None:
        """For whoever has to clean up after a shim that was killed; all else can be asked."""
        record = {
            "id": self.container_id,
            "pid": self._born.pid,
            "start_ticks": state.start_ticks(self._born.pid),
            "bundle": self._request["bundle"],
            "cgroup_path": self._request["cgroup_path"],
            "created_ns": time.time_ns(),
            "annotations": self._born.order.spec.annotations,
        }
        state.put(state.state_path(self.run_dir), record)

    def _init_ended(self) -> None:
        self._loop.forget(self._born.pid_fd)
        _, status = os.waitpid(self._born.pid, 0)
        trace.mark("reap init")
        code, signum = process.exit_code(status)
        oom = self._born.group.oom_kills() > 0
        # Without a pid namespace of its own, what init left behind still runs.
        self._born.group.kill(launching.KILL_TIMEOUT_S)
        for exec_id in list(self._execs):
            self._exec_ended(exec_id)
        self._end({"code": code, "signal": signum, "oom": oom, "at_ns": time.time_ns()})

    def _end(self, record: Message) -> None:
        """Everything read and recorded before anyone is told, and nothing held that another start may want; hanging up says that
        the rest has been removed as well."""
        self._streams.drain()
        if self._log:
            self._log.close()
        for fd in self._born.order.held:
            os.close(fd)
        state.end(self.run_dir, record)
        trace.mark("drain streams, write the exit down")
        self._publish({"event": "exit", **record})
        os.sched_yield()  # who has just been told may have been woken on this very core, and would wait for what follows
        trace.mark("tell the exit")
        os.close(self._born.mounts_fd)  # before anyone hears that all is removed: another start mounts the same directories
        self._born.group.delete()
        self._loop.forget(self._listener.fileno())
        orders.clear(self._listener, self.run_dir)
        trace.mark("remove the cgroups")
        self._lingering.append(self._streams)
        self._is_done = True

    def _undo(self) -> None:
        """After a failed launch: as if it had never been tried."""
        self._loop.forget(self._born.pid_fd)
        launching.kill(self._born)
        os.close(self._born.mounts_fd)
        self._streams.drain()
        if self._log:
            self._log.close()
        self._loop.forget(self._listener.fileno())
        for fd in self._born.order.held:
            os.close(fd)
        launching.forsake(self._born.order)
        self._lingering.append(self._streams)
        self._is_done = True

    # --- requests ---

    def _on_hello(self, message: Message, _: list[int]) -> Answer:
        return self._hello(message["serial"])

    def _on_status(self, _: Message, __: list[int]) -> Answer:
        return {"status": self._status}, []

    def _on_netns(self, _: Message, __: list[int]) -> Answer:
        return {}, [os.dup(self._born.netns_fd)]

    def _on_network(self, message: Message, _: list[int]) -> Answer:
        batches = [(protocol, binascii.a2b_base64(data)) for protocol, data in message["batches"]]
        wiring.configure(self._born.netns_fd, batches)
        return {}, []

    def _on_dns(self, _: Message, __: list[int]) -> Answer:
        if not self._dns_fds:
            self._dns_fds = wiring.open_dns_sockets(self._born.netns_fd)
        return {}, [os.dup(fd) for fd in self._dns_fds]

    def _on_ports(self, _: Message, __: list[int]) -> Answer:
        return {}, [os.dup(fd) for fd in self._born.order.held]

    def _on_prepare(self, _: Message, __: list[int]) -> Answer:
        self._require("prepare", "created")
        if not self._born.is_prepared:
            console = self._born.prepare()
            if console >= 0:
                self._take_console(console)
        return {"warnings": self._born.warnings}, []

    def _take_console(self, console: int) -> None:
        """Serve the terminal to attached clients, or send it to whoever asked for it (runc's --console-socket)."""
        if self._request["console_size"]:
            terminal.set_size(console, *self._request["console_size"])
        receiver = self._born.order.console_fd
        if receiver < 0:
            self._console_fd = os.dup(console)
            self._born.order.pipes.hand_over(self._streams, console, ends_with_client=False)
            return
        with sockets.Socket(fileno=receiver) as sock:
            sockets.send_fds(sock, f"/dev/pts of {self.container_id}".encode(), [console])
        os.close(console)

    def _on_start(self, message: Message, fds: list[int]) -> Answer:
        try:
            answer = self._on_prepare(message, fds)
            self._born.execute()
        except Exception:
            if self._status == "created":
                self._undo()
            raise
        self._status = "running"
        return answer

    def _on_signal(self, message: Message, _: list[int]) -> Answer:
        signum = message["signum"]
        if message["all"]:
            group = self._born.group
            for pid in group.pids() if group.directories else process.in_pid_namespace_of(self._born.pid):
                _send(pid, signum)
        else:
            self._signal(self._born.pid_fd, signum)
        return {}, []

    def _signal(self, pid_fd: int, signum: int) -> None:
        try:
            syscalls.pidfd_send_signal(pid_fd, signum)
        except KernelError as error:
            if error.errno == errno.ESRCH:
                raise NotFound(f"container {self.container_id} is not running") from error
            raise
        if signum == signals.SIGKILL and self._born.group.is_frozen():
            self._born.group.thaw()  # a frozen process of cgroup v1 does not even die

    def _on_delete(self, _: Message, __: list[int]) -> Answer:
        self._signal(self._born.pid_fd, signals.SIGKILL)
        return {}, []

    def _on_pause(self, _: Message, __: list[int]) -> Answer:
        self._require("pause", "running")
        self._born.group.freeze()
        self._status = "paused"
        return {}, []

    def _on_resume(self, _: Message, __: list[int]) -> Answer:
        self._require("resume", "paused")
        self._born.group.thaw()
        self._status = "running"
        return {}, []

    def _require(self, request: str, status: str) -> None:
        if self._status != status:
            raise Conflict(f"cannot {request}: container {self.container_id} is {self._status}")

    def _on_update(self, message: Message, _: list[int]) -> Answer:
        self._born.group.apply(message["resources"])
        return {}, []

    def _on_attach(self, message: Message, _: list[int]) -> Answer:
        return {}, [_attach(self._streams, message)]

    def _on_resize(self, message: Message, _: list[int]) -> Answer:
        if self._console_fd >= 0:
            terminal.set_size(self._console_fd, message["rows"], message["columns"])
        else:
            self._request["console_size"] = [message["rows"], message["columns"]]
        return {}, []

    # --- exec ---

    def _on_exec(self, message: Message, fds: list[int]) -> Answer:
        if self._status == "paused":
            raise Conflict(f"container {self.container_id} is paused, unpause the container before exec")
        self._require("exec", "running")
        exec_id = message["exec_id"]
        if exec_id in self._execs:
            raise Conflict(f"exec {exec_id} is in use")
        wanted = self._entry(message)
        its_pipes = pipes.Pipes(
            terminal=wanted.terminal, wants_input=message["stdin"], wants_output=message["want_output"], given=tuple(fds)
        )
        wanted.streams = its_pipes.inner
        try:
            entered = launching.enter(wanted, message["console_size"])
        except BaseException:
            its_pipes.close()
            raise
        its_pipes.close_inner()
        return {"pid": entered.pid, "warnings": entered.warnings}, self._add_exec(exec_id, entered, its_pipes, message)

    def _entry(self, message: Message) -> entry.Entry:
        kinds = frozenset(self._born.order.spec.namespaces)
        wanted = entry.Entry(
            self.container_id, spec.Process(message["process"]), self._born.group, (self._born.pid, self._born.pid_fd), kinds
        )
        wanted.seccomp = binascii.a2b_base64(message["seccomp"]) or self._born.order.seccomp
        wanted.process.personality = self._born.order.spec.process.personality
        wanted.terminal = message["tty"]
        return wanted

    def _add_exec(self, exec_id: str, entered: launching.Entered, its_pipes: pipes.Pipes, message: Message) -> list[int]:
        its_streams = streams.Streams(self._loop, None, 0, self._warn)
        running = Exec(entered, its_streams)
        self._execs[exec_id] = running
        self._loop.watch(running.pid_fd, READ, lambda _: self._exec_ended(exec_id))
        answer = []
        if not its_pipes.is_given and (message["stdin"] or message["want_output"]):
            answer = [_attach(its_streams, {"stdin": message["stdin"], "stdout": True, "stderr": True})]
        its_pipes.hand_over(its_streams, entered.console, ends_with_client=True)
        return answer

    def _exec_ended(self, exec_id: str) -> None:
        ended = self._execs.pop(exec_id)
        _, status = os.waitpid(ended.pid, 0)
        self._loop.forget(ended.pid_fd)
        os.close(ended.pid_fd)
        if ended.console_fd >= 0:
            os.close(ended.console_fd)
        ended.streams.drain()
        self._lingering = [one for one in self._lingering if not one.is_settled]
        self._lingering.append(ended.streams)
        code, signum = process.exit_code(status)
        event = {"event": "exec-exit", "id": exec_id, "code": code, "signal": signum}
        self._ended_execs[exec_id] = event
        if len(self._ended_execs) > REMEMBERED_EXECS_MAX:
            self._ended_execs.pop(next(iter(self._ended_execs)))
        self._publish(event)

    def _running_exec(self, message: Message) -> Exec:
        try:
            return self._execs[message["exec_id"]]
        except KeyError:
            raise NotFound(f"exec {message['exec_id']} is not running") from None

    def _on_exec_exit(self, message: Message, _: list[int]) -> Answer:
        return {"exit": self._ended_execs.get(message["exec_id"])}, []

    def _on_signal_exec(self, message: Message, _: list[int]) -> Answer:
        self._signal(self._running_exec(message).pid_fd, message["signum"])
        return {}, []

    def _on_resize_exec(self, message: Message, _: list[int]) -> Answer:
        running = self._running_exec(message)
        if running.console_fd >= 0:
            terminal.set_size(running.console_fd, message["rows"], message["columns"])
        return {}, []


def _attach(target: streams.Streams, message: Message) -> int:
    """Attach one end of a new pair to `target`; gives the other."""
    ours, theirs = sockets.pair(sockets.SOCK_STREAM)
    target.attach(ours, frozenset(one for one in ("stdout", "stderr") if message[one]), gives_input=message["stdin"])
    return theirs.detach()


def _send(pid: int, signum: int) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return
