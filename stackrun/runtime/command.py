"""`stackrun-runtime`: the isolation core alone, with runc's verbs on OCI bundles and no daemon.

    stackrun-runtime [--root DIR] create|start|state|kill|delete|run|exec|pause|resume|ps|list|spec|features …

Exit codes as runc's: 1 for a failure of its own (255 for one of `exec`), else what the container's process ended with.
With --log FILE (--log-format json) a failure is written there as well, which is where callers of runc look for it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from datetime import UTC, datetime
from typing import Any

from stackrun.errors import Conflict, InvalidArgument, NotFound, StackrunError, Unavailable, Unsupported
from stackrun.kernel import cgroup, seccomp
from stackrun.runtime import container, defaults, foreground, spec
from stackrun.runtime.container import Handle
from stackrun.runtime.record import Record, all_records
from stackrun.runtime.zygote import Zygote

VERSION = "0.1.0"
DEFAULT_ROOT = "/run/stackrun-runtime"
EXEC_FAILED = 255
Arguments = argparse.Namespace


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.do(arguments) or 0
    except StackrunError as error:
        _report(arguments, error)
        return EXEC_FAILED if arguments.verb == "exec" else 1
    return code


def _report(arguments: Arguments, error: StackrunError) -> None:
    print(f"stackrun-runtime: {error}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    if arguments.log:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        line = json.dumps({"level": "error", "msg": str(error), "time": now}) if arguments.log_format == "json" else f"{now} {error}"
        fd = os.open(arguments.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(fd, f"{line}\n".encode())
        os.close(fd)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stackrun-runtime", description="run OCI bundles")
    parser.add_argument("--root", default=DEFAULT_ROOT, metavar="DIR", help="where the state is (%(default)s)")
    parser.add_argument("--log", metavar="FILE", help="write failures here too")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-v", "--version", action="version", version=f"stackrun-runtime version {VERSION}\nspec: 1.2.0")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_births(verbs)
    for name, do, text in (
        ("start", _start, "run the program of a created container"),
        ("state", _state, "print the OCI state"),
        ("pause", _pause, "freeze all processes"),
        ("resume", _resume, "thaw them"),
    ):
        _verb(verbs, name, do, text)
    kill = _verb(verbs, "kill", _kill, "send a signal (default TERM)")
    kill.add_argument("signal", nargs="?", default="TERM")
    kill.add_argument("-a", "--all", action="store_true", help="to every process")
    delete = _verb(verbs, "delete", _delete, "remove a container that has ended")
    delete.add_argument("-f", "--force", action="store_true", help="kill it first; fine when there is none")
    ps = _verb(verbs, "ps", _ps, "list processes")
    ps.add_argument("-f", "--format", choices=("table", "json"), default="table")
    listing = _verb(verbs, "list", _list, "list containers", takes_id=False)
    listing.add_argument("-f", "--format", choices=("table", "json"), default="table")
    listing.add_argument("-q", "--quiet", action="store_true", help="ids only")
    writing = _verb(verbs, "spec", _spec, "write an example config.json", takes_id=False)
    writing.add_argument("-b", "--bundle", default=".")
    _verb(verbs, "features", _features, "print what is supported", takes_id=False)
    return parser


def _verb(verbs: Any, name: str, do: Any, text: str, *, takes_id: bool = True) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    if takes_id:
        parser.add_argument("id", help="the container")
    parser.set_defaults(do=do)
    return parser


def _add_births(verbs: Any) -> None:
    for name, do, text in (("create", _create, "make a container, up to its program"), ("run", _run, "create, start, wait, delete")):
        parser = _verb(verbs, name, do, text)
        parser.add_argument("-b", "--bundle", default=".", help="directory with config.json")
        _add_process_options(parser)
        parser.add_argument("--no-pivot", action="store_true", help=argparse.SUPPRESS)
        parser.add_argument("--preserve-fds", type=int, default=0, help=argparse.SUPPRESS)
        if name == "run":
            parser.add_argument("-d", "--detach", action="store_true", help="do not wait")
            parser.add_argument("--keep", action="store_true", help="do not delete it when it ends")
    parser = _verb(verbs, "exec", _exec, "run another process inside")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    parser.add_argument("-p", "--process", metavar="FILE", help="OCI process object")
    parser.add_argument("-t", "--tty", action="store_true")
    parser.add_argument("-d", "--detach", action="store_true")
    parser.add_argument("-e", "--env", action="append", default=[])
    parser.add_argument("-u", "--user", default="", help="uid[:gid] or name")
    parser.add_argument("--cwd", default="")
    _add_process_options(parser)


def _add_process_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pid-file", metavar="FILE", default="")
    parser.add_argument("--console-socket", metavar="SOCKET", default="")


# --- births ---


def _create(arguments: Arguments) -> None:
    record = Record.reserve(arguments.root, arguments.id)
    try:
        handle = _bear(arguments, record, is_foreground=False)
    except BaseException:
        record.remove()
        raise
    handle.close()


def _run(arguments: Arguments) -> int:
    record = Record.reserve(arguments.root, arguments.id)
    is_kept = arguments.keep or arguments.detach
    try:
        handle = _bear(arguments, record, is_foreground=not arguments.detach)
        if arguments.detach:
            handle.start()
            handle.close()
            return 0
        code = _attend(handle, record)
    except BaseException:
        record.remove()
        raise
    if not is_kept:
        record.remove()
    return code


def _bear(arguments: Arguments, record: Record, *, is_foreground: bool) -> Handle:
    """Create and prepare the container of the bundle; the zygote is only needed for that."""
    if arguments.preserve_fds or arguments.no_pivot:
        raise Unsupported("--preserve-fds and --no-pivot are not supported")
    bundle = os.path.abspath(arguments.bundle)
    checked = spec.load(bundle)
    with open(f"{bundle}/config.json", encoding="utf-8") as file:  # noqa: PTH123
        config = json.load(file)
    if bool(arguments.console_socket) != (checked.terminal and not is_foreground):
        need = "cannot allocate tty without a console socket" if checked.terminal else "--console-socket needs process.terminal"
        raise InvalidArgument(need)
    cgroup_path = _cgroup_path(config, record.id)
    record.save(
        id=record.id,
        bundle=bundle,
        rootfs=checked.root,
        cgroup_path=cgroup_path,
        created=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        annotations=checked.annotations,
        pid=0,
    )
    console = _connected(arguments.console_socket)
    zygote = Zygote.launch(record.run_dir)
    try:
        handle = container.create(
            zygote,
            container_id=record.id,
            bundle=bundle,
            run_dir=record.run_dir,
            cgroup_path=cgroup_path,
            tty=checked.terminal,
            open_stdin=True,
            console_size=foreground.terminal_size() if is_foreground else None,
            stdio=() if checked.terminal else (0, 1, 2),
            console_socket=console.fileno() if console else -1,
            seccomp=_program(config),
            prepare=True,
        )
    finally:
        zygote.close()
        if console:
            console.close()
    for warning in handle.warnings:
        print(f"stackrun-runtime: warning: {warning}", file=sys.stderr)
    record.save(pid=handle.pid)
    _write_pid(arguments.pid_file, handle.pid)
    return handle


def _attend(handle: Handle, record: Record) -> int:
    """Start and stay until the end; the container's exit code."""
    output = handle.attach(stdin=True, stdout=True, stderr=True) if spec.load(record.values["bundle"]).terminal else None
    handle.start()
    with foreground.Signals(handle.signal, handle.resize) as signals:
        if output:
            with output:
                foreground.copy(output, signals)
        event = foreground.await_event(handle, signals, lambda event: event["event"] == "exit")
    handle.close()
    if event is None:
        raise Unavailable("the container's shim is gone")
    code: int = event["code"]
    return code


def _cgroup_path(config: dict[str, Any], container_id: str) -> str:
    """`linux.cgroupsPath` below each hierarchy's root; without one, a group of our own."""
    path: str = ((config.get("linux") or {}).get("cgroupsPath") or "").strip("/")
    if path.count(":") == 2:
        raise Unsupported(f"linux.cgroupsPath {path!r}: systemd's slices are not supported", hint="use a plain path")
    return path or f"stackrun-runtime/{container_id}"


def _program(config: dict[str, Any]) -> bytes:
    profile = (config.get("linux") or {}).get("seccomp")
    return seccomp.compile_filter(profile) if profile else b""


def _connected(path: str) -> socket.socket | None:
    if not path:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise InvalidArgument(f"--console-socket {path}: {error.strerror}") from error
    return sock


def _write_pid(path: str, pid: int) -> None:
    if path:
        temporary = f"{path}.new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(fd, str(pid).encode())
        os.close(fd)
        os.rename(temporary, path)


# --- one container ---


def _start(arguments: Arguments) -> None:
    record = Record.load(arguments.root, arguments.id)
    handle = record.handle()
    if handle.status() != "created":
        raise Conflict(f"cannot start a container in the {handle.status()} state")
    handle.start()
    handle.close()


def _state(arguments: Arguments) -> None:
    print(json.dumps(Record.load(arguments.root, arguments.id).state(), indent=2))


def _pause(arguments: Arguments) -> None:
    _with_handle(arguments).pause()


def _resume(arguments: Arguments) -> None:
    _with_handle(arguments).resume()


def _with_handle(arguments: Arguments) -> Handle:
    return Record.load(arguments.root, arguments.id).handle()


def _kill(arguments: Arguments) -> None:
    _with_handle(arguments).signal(spec.signal_number(arguments.signal), all=arguments.all)


def _delete(arguments: Arguments) -> None:
    try:
        record = Record.load(arguments.root, arguments.id)
    except NotFound:
        if arguments.force:
            return
        raise
    handle = Handle.connect(record.id, record.run_dir)
    if handle is not None:
        status = handle.status()
        if status not in ("created", "stopped") and not arguments.force:
            raise Conflict(f"cannot delete container {record.id} that is not stopped: {status}")
        handle.delete()
        handle.close()
    record.remove()


def _exec(arguments: Arguments) -> int:
    record = Record.load(arguments.root, arguments.id)
    handle = record.handle()
    process = _process(arguments, record)
    tty = bool(process.get("terminal"))
    if tty and arguments.detach:
        raise Unsupported("exec --detach with a terminal is not supported", hint="leave one of them out")
    exec_id = f"{os.getpid()}-{os.urandom(4).hex()}"
    pid, sock = handle.exec(
        exec_id=exec_id,
        process=process,
        tty=tty,
        stdin=tty,
        console_size=foreground.terminal_size() if tty else None,
        stdio=() if tty else (0, 1, 2),
    )
    _write_pid(arguments.pid_file, pid)
    if arguments.detach:
        return 0
    signals = foreground.Signals(
        lambda signum: handle.signal_exec(exec_id, signum), lambda rows, columns: handle.resize_exec(exec_id, rows, columns)
    )
    with signals:
        if sock:
            with sock:
                foreground.copy(sock, signals)
        event = foreground.await_event(handle, signals, lambda event: event.get("id") == exec_id)
    handle.close()
    if event is None:
        raise Unavailable("the container has ended")
    code: int = event["code"]
    return code


def _process(arguments: Arguments, record: Record) -> dict[str, Any]:
    """The process object of --process, or the container's own with what the options change."""
    path = arguments.process or f"{record.values['bundle']}/config.json"
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        process: dict[str, Any] = json.load(file)
    if arguments.process:
        return process
    process = process["process"]
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    process.update(args=command, terminal=arguments.tty, env=[*process.get("env", []), *arguments.env])
    if arguments.cwd:
        process["cwd"] = arguments.cwd
    if arguments.user:
        process["stackrunUser"] = arguments.user
    return process


def _ps(arguments: Arguments) -> None:
    record = Record.load(arguments.root, arguments.id)
    pids = cgroup.Cgroup.load(cgroup.detect(), record.values["cgroup_path"]).pids()
    if arguments.format == "json":
        print(json.dumps(pids))
        return
    print(f"{'PID':>8} CMD")
    for pid in pids:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
                command = file.read().replace(b"\0", b" ").decode(errors="replace")
        except FileNotFoundError:
            continue
        print(f"{pid:>8} {command}")


# --- the rest ---


def _list(arguments: Arguments) -> None:
    states = [record.state() for record in all_records(arguments.root)]
    if arguments.quiet:
        print("".join(f"{one['id']}\n" for one in states), end="")
    elif arguments.format == "json":
        print(json.dumps(states))
    else:
        rows = [("ID", "PID", "STATUS", "BUNDLE", "CREATED")]
        rows += [(one["id"], str(one["pid"]), one["status"], one["bundle"], one["created"]) for one in states]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        for row in rows:
            print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _spec(arguments: Arguments) -> None:
    path = f"{arguments.bundle}/config.json"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise Conflict(f"file {path} exists, remove it first") from None
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(defaults.config(), file, indent=2)


def _features(_: Arguments) -> None:
    print(json.dumps(defaults.features(), indent=2))


if __name__ == "__main__":
    sys.exit(main())
