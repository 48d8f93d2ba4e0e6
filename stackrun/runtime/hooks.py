"""Hooks: programs of others, run at six moments of a container's life (config.md, "POSIX-platform Hooks").

    prestart, createRuntime    create, outside, when the container's file system is made and before it is entered
    createContainer            create, in the container's namespaces, but still with the host's files
    startContainer             start, inside, as the container's user, right before its program
    poststart                  start, outside, when its program runs
    poststop                   delete, outside

Each gets the container's state as JSON on its input.  Light: the start path of a container that has hooks runs it.
"""

from __future__ import annotations

import os
import select

from stackrun.errors import DeadlineExceeded, ExecuteFailed, InvalidArgument, KernelError
from stackrun.kernel import signals, syscalls
from stackrun.runtime import jsontext, steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackrun.kernel import sockets
    from stackrun.runtime.messages import Message
    from stackrun.runtime.rootfs import Tree

NAMES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
OUTPUT_BYTES_MAX = 2048


class Hook:
    """One program.  `timeout_s` 0: it may take as long as it likes."""

    __slots__ = ("arguments", "environment", "path", "timeout_s", "where")

    def __init__(self, entry: Message, where: str) -> None:
        self.where = where
        path = entry.get("path")
        if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
            raise InvalidArgument(f"{where}.path: {path!r} is not an absolute path")
        self.path: str = path
        self.arguments = _texts(entry, "args", where) or [self.path]
        self.environment = dict(word.partition("=")[::2] for word in _texts(entry, "env", where))
        self.timeout_s = entry.get("timeout", 0)
        if not isinstance(self.timeout_s, int) or ("timeout" in entry and self.timeout_s <= 0):
            raise InvalidArgument(f"{where}.timeout: {self.timeout_s!r} is not a number of seconds above 0")

    def run(self, state: Message) -> None:
        """Raises ExecuteFailed or DeadlineExceeded, with what the program had to say."""
        given, said = _memory(jsontext.dumps(state).encode()), _memory(b"")
        try:
            self._await(self._spawn(given, said), said)
        finally:
            os.close(given)
            os.close(said)

    def _spawn(self, given: int, said: int) -> int:
        streams = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)]
        try:
            return os.posix_spawn(
                self.path, self.arguments, self.environment, file_actions=streams, setsigmask=(), setsigdef=(signals.SIGPIPE,)
            )
        except OSError as error:
            raise KernelError(f"{self.where}: execute {self.path}", error.errno or 0) from error

    def _await(self, pid: int, said: int) -> None:
        pid_fd = syscalls.pidfd_open(pid)
        try:
            poller = select.poll()
            poller.register(pid_fd, select.POLLIN)
            in_time = bool(poller.poll(self.timeout_s * 1000 if self.timeout_s else None))
            if not in_time:
                syscalls.pidfd_send_signal(pid_fd, signals.SIGKILL)
        finally:
            os.close(pid_fd)
        status = os.waitpid(pid, 0)[1]
        if not in_time:
            raise DeadlineExceeded(f"{self.where}: {self.path} took longer than {self.timeout_s} s")
        if status:
            end = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit status {os.WEXITSTATUS(status)}"
            text = os.pread(said, OUTPUT_BYTES_MAX, 0).decode(errors="replace").strip().replace("\n", "; ")
            raise ExecuteFailed(f"{self.where}: {self.path}: {end}" + (f": {text}" if text else ""))


def _memory(content: bytes) -> int:
    """A file in memory: neither a hook that does not read nor one that leaves a daemon behind can hold us up."""
    fd = os.memfd_create("hook", os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _texts(entry: Message, name: str, where: str) -> list[str]:
    values = entry.get(name) or []
    if not isinstance(values, list) or not all(isinstance(one, str) and "\0" not in one for one in values):
        raise InvalidArgument(f"{where}.{name}: it must be a list of texts")
    return values


class Hooks:
    """All of a configuration.  `sock` and `state` are given to init's copy, for those that it runs itself."""

    __slots__ = ("_by_name", "sock", "state")

    def __init__(self, section: Message) -> None:
        for name in section:
            if name not in NAMES:
                raise InvalidArgument(f"hooks.{name}: there is no such hook", hint=f"known are {', '.join(NAMES)}")
        self._by_name = {
            name: [Hook(entry, f"hooks.{name}[{index}]") for index, entry in enumerate(section.get(name) or ())] for name in NAMES
        }
        self.sock: sockets.Socket | None = None
        self.state: Message = {}

    def __bool__(self) -> bool:
        return any(self._by_name.values())

    def run(self, name: str, status: str, state: Message) -> None:
        """Each in turn; the first failure is raised and ends it."""
        for hook in self._by_name[name]:
            hook.run({**state, "status": status})

    def run_all(self, name: str, status: str, state: Message) -> list[str]:
        """Each, whatever becomes of the others; why some failed."""
        failures = []
        for hook in self._by_name[name]:
            try:
                hook.run({**state, "status": status})
            except (DeadlineExceeded, ExecuteFailed, KernelError) as error:
                failures.append(str(error))
        return failures

    # --- a step of the root file system's plan ---

    def describe(self) -> str:
        return "hooks"

    def execute(self, tree: Tree) -> None:
        """All is mounted and nothing is hidden yet: let those outside run, then ours."""
        assert self.sock
        steps.say(self.sock, steps.MOUNTED)
        steps.hear(self.sock, steps.HOOKED)
        os.fchdir(tree.root_fd)
        self.run("createContainer", "creating", {**self.state, "pid": os.getpid()})


NONE = Hooks({})
"""Of nearly every container, so that it costs none of them anything."""
