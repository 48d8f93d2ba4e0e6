"""The process that brings one container, or one process of it, into the world for `stackrun-runtime`, and ends.

Like the zygote it runs through a sealed interpreter and imports nothing once it has begun.  What it bears is reparented
to the nearest subreaper when it ends: the runtime itself in the foreground, else who called it (conmon,
containerd-shim), who waits for the pid that was written to --pid-file.  One request, one reply, over the connection it is
started with.
"""

from __future__ import annotations

import binascii
import encodings.ascii
import encodings.latin_1
import encodings.utf_8
import fcntl
import gc
import os
import sys
from contextlib import ExitStack

from stackrun.kernel import cgroup, cgroup_devices, process, signals, sockets, syscalls
from stackrun.runtime import entry, identity, init, launching, membership, messages, pipes, spec, state, steps
from stackrun.runtime import order as orders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackrun.runtime.messages import Message

    Answer = tuple[Message, list[int]]

PRELOADED = (encodings.ascii, encodings.latin_1, encodings.utf_8)
"""See `nursery`."""


def main(fd: int) -> None:
    connection = sockets.Socket(fileno=fd)
    os.set_inheritable(fd, False)
    process.set_name("stackrun-runtime")
    process.forbid_dump()
    identity.present()
    layout = cgroup.detect()
    gc.disable()
    for place in (sys.path, sys.meta_path, sys.path_hooks, sys.path_importer_cache):
        place.clear()
    try:
        request, fds = messages.receive(connection)
    except ConnectionError:
        return
    if request is None:
        return  # whoever wanted something has found out meanwhile that it cannot be
    undo = ExitStack()
    try:
        connection, fds = _clear_low_numbers(connection, fds, request["preserved"])
        reply, answer = (_bear if request["verb"] == "bear" else _enter)(request, fds, layout, undo)
    except Exception as error:
        reply, answer = {"error": messages.pack_error(error)}, []
    try:
        messages.send(connection, reply, answer)
    except OSError:
        undo.close()  # who asked is gone, and may have been cleaned up after already
    os._exit(0)  # an interpreter that takes itself apart in peace would be waited for


def _clear_low_numbers(connection: sockets.Socket, fds: list[int], count: int) -> tuple[sockets.Socket, list[int]]:
    """Move everything away from 3 … 2+count, and keep those numbers taken: they are for --preserve-fds."""
    if not count:
        return connection, fds
    above = 3 + count
    moved = sockets.Socket(fileno=fcntl.fcntl(connection.detach(), fcntl.F_DUPFD_CLOEXEC, above))
    found = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for fd in fds]
    for fd in fds:
        os.close(fd)
    for number in range(3, above):
        os.dup2(found[0], number, inheritable=False)
    return moved, found


def _bear(request: Message, fds: list[int], layout: cgroup.Layout, undone: ExitStack) -> Answer:
    """The container, up to where its init waits to be told `prepare`: its pid, pidfd and the conversation with it."""
    order = orders.Order(request, fds)
    _belongs_to_caller(order.spec.process, request)
    order.spec.resources = {**order.spec.resources, "devices": cgroup_devices.with_defaults(order.spec.resources.get("devices"))}
    order.spec.hooks.state = request["state"]
    with ExitStack() as undo:
        door = state.listen(request["run_dir"])
        undo.callback(door.close)
        order.alone = init.Alone(door, tuple(fds[request["stdio"] :]), request["joins_keyring"], request["pivots"])
        with spec.Typed("linux.resources"):
            order.group = cgroup.create(layout, request["cgroup_path"], order.spec.resources)
        undo.callback(order.group.delete)
        order.pipes = pipes.Pipes(terminal=order.spec.terminal, wants_input=False, wants_output=False, given=order.given)
        born = launching.Born(order)
        launching.clone_init(born)
        undo.callback(launching.kill, born)
        launching.settle(born)
        undone.push(undo.pop_all())
    answer = {
        "pid": born.pid,
        "rootfs": order.spec.root,
        "kinds": sorted(order.spec.namespaces),
        "annotations": order.spec.annotations,
        "personality": order.spec.process.personality,
    }
    return answer, [born.pid_fd, born.sock.detach()]


def _belongs_to_caller(wanted: spec.Process, request: Message) -> None:
    wanted.dies_with_parent = False
    if request["listen_fds"]:
        wanted.environment.update(LISTEN_FDS=str(request["listen_fds"]), LISTEN_PID="1")


def _enter(request: Message, fds: list[int], layout: cgroup.Layout, _: ExitStack) -> Answer:
    """A further process: its pid and pidfd and the conversation with it."""
    init_pid_fd, *rest = fds
    group = cgroup.Cgroup.load(layout, request["cgroup_path"])
    wanted = entry.Entry(
        request["id"], spec.check_process(request["process"]), group, (request["pid"], init_pid_fd), frozenset(request["kinds"])
    )
    _belongs_to_caller(wanted.process, request)
    wanted.process.personality = request["personality"]
    wanted.seccomp = binascii.a2b_base64(request["seccomp"])
    wanted.terminal = request["tty"]
    wanted.streams = tuple(rest[: request["stdio"]])
    wanted.preserved = tuple(rest[request["stdio"] :])
    ours, theirs = messages.pair()
    helper, helper_fd = membership.clone(group, 0, signals.SIGCHLD, request["pid"])
    if not helper:
        ours.close()
        entry.run(wanted, theirs)
    theirs.close()
    os.close(helper_fd)
    try:
        pid = steps.hear(ours, steps.SPAWNED)[0]["pid"]
    finally:
        os.waitpid(helper, 0)
    return {"pid": pid}, [syscalls.pidfd_open(pid), ours.detach()]
