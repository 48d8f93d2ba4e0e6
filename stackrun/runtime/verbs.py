"""`stackrun-runtime`: the isolation core alone, with runc's verbs on OCI bundles and no daemon.

    stackrun-runtime [global options] create|start|state|kill|delete|run|exec|pause|resume|ps|list|events|update|spec|features …

Exit codes as runc's: 1 for a failure of its own (255 for one of `exec`), else what the container's process ended with.
With --log FILE (--log-format json) a failure is written there as well, which is where callers of runc look for it.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time

from stackrun.errors import Conflict, InvalidArgument, KernelError, NotFound, PermissionDenied, StackrunError, Unsupported
from stackrun.kernel import cgroup_devices
from stackrun.runtime import jsontext, options, trace
from stackrun.runtime.options import FLAG, LIST, NUMBER, VALUE, Option
from stackrun.runtime.record import SPEC_VERSION, Record, all_records

VERSION = "0.1.0"
NAME = "stackrun-runtime"
EXEC_FAILED = 255

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Arguments = Any

_GLOBAL = (
    Option("root", VALUE, "where the state is", metavar="DIR"),
    Option("log", VALUE, "write failures to this file too", metavar="FILE"),
    Option("log-format", VALUE, "text or json", default="text"),
    Option("debug", FLAG, "say in the log what is done"),
    Option("trace", FLAG, "print how long each step took"),
    Option("systemd-cgroup", FLAG, "accepted for containers whose cgroupsPath is a plain path"),
    Option("criu", VALUE),
    Option("rootless", VALUE),
    Option("version v", FLAG, "print the version"),
)
_BIRTH = (
    Option("bundle b", VALUE, "directory with config.json", default=".", metavar="DIR"),
    Option("console-socket", VALUE, "send the terminal's master here", metavar="SOCKET"),
    Option("pid-file", VALUE, "write the process's pid here", metavar="FILE"),
    Option("no-pivot", FLAG, "for a root on an initramfs: chroot instead of pivot_root"),
    Option("no-new-keyring", FLAG, "keep the caller's session keyring"),
    Option("preserve-fds", NUMBER, "descriptors to pass on, from 3", metavar="N"),
)


_SPEC = (
    Option("bundle b", VALUE, "where", default=".", metavar="DIR"),
    Option("rootless", FLAG, "for an ordinary user, who is root in its user namespace"),
)


class Verb:
    """`later` gives the table of a verb whose many options no other one is to wait for."""

    __slots__ = ("_later", "_table", "do", "operands", "text")

    def __init__(
        self,
        do: Callable[[Arguments], int | None],
        operands: str,
        text: str,
        *table: Option,
        later: Callable[[], tuple[Option, ...]] | None = None,
    ) -> None:
        self.do = do
        self.operands = operands
        self.text = text
        self._table = table
        self._later = later

    @property
    def options(self) -> tuple[Option, ...]:
        return self._later() if self._later else self._table


def finish(words: list[str]) -> None:
    """`run`, and the end of the process: an interpreter that took itself apart in peace would be waited for, 3 ms."""
    code = run(words)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or 1  # whoever reads has gone
    os._exit(code)


def run(words: list[str]) -> int:
    log = _Log("", "text")
    name = ""
    try:
        given: Arguments = options.parse(_GLOBAL, words)
        log = _Log(given.log, given.log_format)
        name = given.words[0] if given.words else "help"
        if given.version:
            print(f"stackrun-runtime version {VERSION}\nspec: {SPEC_VERSION}")
            return 0
        if given.trace:
            trace.to_memory("command", given.words[1:][-1] if given.words[1:] else "")
        return _do(name, given, log)
    except StackrunError as error:
        log.fail(error)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        log.fail(KernelError(f"{name}{place}", error.errno or errno.EIO))
    finally:
        if trace.fd >= 0:
            print(trace.table(trace.remembered()), file=sys.stderr)
    return EXEC_FAILED if name == "exec" else 1


def _do(name: str, given: Arguments, log: _Log) -> int:
    if name in ("help", "h"):
        print(_usage())
        return 0
    if name in ("checkpoint", "restore"):
        raise Unsupported(f"{name}: containers are not checkpointed here")
    verb = VERBS.get(name)
    if verb is None:
        raise InvalidArgument(f"no such command: {name}", hint="stackrun-runtime help lists them")
    arguments: Arguments = options.parse(verb.options, given.words[1:])
    if arguments.words[:1] == ["help"]:
        print(_verb_usage(name, verb))
        return 0
    arguments.root, arguments.log = os.path.abspath(given.root or _default_root()), log
    if given.debug:
        log.write("debug", f"{name} {' '.join(arguments.words)}")
    if verb.operands.startswith("ID"):
        if not arguments.words:
            raise InvalidArgument(f'"{name}" requires a minimum of 1 argument', hint=f"stackrun-runtime {name} {verb.operands}")
        arguments.id = arguments.words[0]
    return verb.do(arguments) or 0


def _default_root() -> str:
    """Root's, or in an ordinary user's own directory of his login (as runc)."""
    if os.geteuid() == 0:
        return f"/run/{NAME}"
    directory = os.environ.get("XDG_RUNTIME_DIR", "")
    if directory.startswith("/"):
        return f"{directory}/{NAME}"
    own = f"/tmp/{NAME}-{os.geteuid()}"
    try:
        os.mkdir(own, 0o700)
    except FileExistsError:
        status = os.lstat(own)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionDenied(f"{own} is no directory that only this user can write to", hint="name another --root") from None
    return own


class _Log:
    """runc's log: a file of logrus lines, or of JSON objects, one a line."""

    def __init__(self, path: str, form: str) -> None:
        if form not in ("text", "json"):
            raise InvalidArgument(f'invalid log-format: "{form}"')
        self._path = path
        self._form = form

    def write(self, level: str, text: str) -> None:
        if not self._path:
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = f'time="{now}" level={level} msg={jsontext.dumps(text)}'
        if self._form == "json":
            line = jsontext.dumps({"level": level, "msg": text, "time": now})
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, f"{line}\n".encode())
        finally:
            os.close(fd)

    def warn(self, texts: list[str], *, is_foreground: bool = True) -> None:
        """To the log; without one to the error stream, unless that has been given away to a container in the background."""
        for text in texts:
            if self._path:
                self.write("warning", text)
            elif is_foreground:
                print(f"stackrun-runtime: warning: {text}", file=sys.stderr)

    def fail(self, error: StackrunError) -> None:
        print(f"stackrun-runtime: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        try:
            self.write("error", str(error))
        except OSError as trouble:
            print(f"stackrun-runtime: --log {self._path}: {trouble.strerror}", file=sys.stderr)


def _usage() -> str:
    lines = ["usage: stackrun-runtime [options] VERB [options] [ID …]", ""]
    lines += [f"  {name:<10} {verb.text}" for name, verb in VERBS.items()]
    return "\n".join([*lines, "", *(option.line() for option in _GLOBAL if option.text)])


def _verb_usage(name: str, verb: Verb) -> str:
    lines = [f"usage: stackrun-runtime {name} [options] {verb.operands}".rstrip(), "", verb.text, ""]
    return "\n".join([*lines, *(option.line() for option in verb.options if option.text)])


# --- births ---


def _create(arguments: Arguments) -> None:
    from stackrun.runtime import birth

    wishes = _wishes(arguments)
    record = Record.reserve(arguments.root, arguments.id)
    with record.lock, _undone(arguments, record):
        made = birth.create(record, os.path.abspath(arguments.bundle), wishes)
    arguments.log.warn(made.warnings, is_foreground=False)


def _run_container(arguments: Arguments) -> int:
    from stackrun.runtime import birth, foreground

    wishes = _wishes(arguments)
    wishes.is_foreground = not arguments.detach
    if wishes.is_foreground:
        foreground.adopt_orphans()
    record = Record.reserve(arguments.root, arguments.id)
    with _undone(arguments, record):
        with record.lock:
            made = birth.create(record, os.path.abspath(arguments.bundle), wishes)
        arguments.log.warn(made.warnings, is_foreground=wishes.is_foreground)
        if not wishes.is_foreground:
            with record.lock:
                birth.start(record)
            return 0
        with foreground.Signals(made) as signals:
            foreground.follow_size(made.console_fd)
            with record.lock:
                birth.start(record)
            trace.mark("see execve happen")
            code = foreground.attend(made, signals)
            trace.mark("wait for its end")
    if not arguments.keep:
        arguments.log.warn(record.remove())
        trace.mark("remove cgroups and record")
    return code


class _undone:  # noqa: N801 - a context manager, named as it reads
    """Nothing is left of a container that did not come to be."""

    def __init__(self, arguments: Arguments, record: Record) -> None:
        self._log = arguments.log
        self._record = record

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._log.warn(self._record.remove())


def _wishes(arguments: Arguments) -> Any:
    from stackrun.runtime import birth, interpreter

    if not interpreter.is_sealed():
        raise Unsupported("this interpreter could be overwritten from inside the container", hint="run stackrun-runtime itself")
    if arguments.preserve_fds < 0:
        raise InvalidArgument(f"--preserve-fds {arguments.preserve_fds}: it cannot be negative")
    wishes = birth.Wishes(
        console_socket=arguments.console_socket,
        pid_file=arguments.pid_file,
        preserve_fds=arguments.preserve_fds,
    )
    wishes.joins_keyring = not getattr(arguments, "no_new_keyring", False)
    wishes.pivots = not getattr(arguments, "no_pivot", False)
    return wishes


def _start(arguments: Arguments) -> None:
    from stackrun.runtime import birth

    record = Record.load(arguments.root, arguments.id)
    with record.lock:
        birth.start(record)


# --- one container ---


def _state(arguments: Arguments) -> None:
    print(jsontext.pretty(Record.load(arguments.root, arguments.id).state()))


def _pause(arguments: Arguments) -> None:
    record = Record.load(arguments.root, arguments.id)
    with record.lock:
        if record.status() not in ("created", "running"):
            raise Conflict(f"container not running or created: {record.status()}")
        record.group().freeze()


def _resume(arguments: Arguments) -> None:
    record = Record.load(arguments.root, arguments.id)
    with record.lock:
        if not record.is_alive() or not record.group().is_frozen():
            raise Conflict("container not paused")
        record.group().thaw()


def _kill(arguments: Arguments) -> None:
    from stackrun.runtime import spec

    record = Record.load(arguments.root, arguments.id)
    words = arguments.words[1:] or ["TERM"]
    record.signal(spec.signal_number(words[0]), all_processes=arguments.all)


def _delete(arguments: Arguments) -> None:
    try:
        record = Record.load(arguments.root, arguments.id)
        with record.lock:
            status = record.status()
            if status not in ("created", "stopped") and not arguments.force:
                raise Conflict(f"cannot delete container {record.id} that is not stopped: {status}")
            arguments.log.warn(record.remove())
    except NotFound:
        if not arguments.force:
            raise
        Record(arguments.root, arguments.id).forget()


def _exec(arguments: Arguments) -> int:
    from stackrun.runtime import birth, foreground

    wishes = _wishes(arguments)
    record = Record.load(arguments.root, arguments.id)
    status = record.status()
    if status == "paused" and not arguments.ignore_paused:
        raise Conflict("cannot exec in a paused container (use --ignore-paused to override)")
    if status not in ("created", "running", "paused"):
        raise Conflict(f"cannot exec in a {status} container")
    process = _process(arguments, record)
    wishes.is_foreground = not arguments.detach
    if not wishes.is_foreground:
        arguments.log.warn(birth.enter(record, process, wishes, arguments.cgroup).warnings, is_foreground=False)
        return 0
    foreground.adopt_orphans()
    made = birth.enter(record, process, wishes, arguments.cgroup)
    arguments.log.warn(made.warnings)
    with foreground.Signals(made) as signals:
        foreground.follow_size(made.console_fd)
        return foreground.attend(made, signals)


def _process(arguments: Arguments, record: Record) -> dict[str, Any]:
    """The process object of --process, or the container's own with what the options change."""
    for name in ("process_label", "apparmor"):
        if getattr(arguments, name):
            raise Unsupported(f"--{name.replace('_', '-')}: labels and profiles are not supported")
    path = arguments.process or f"{record.values['bundle']}/config.json"
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            process: dict[str, Any] = jsontext.loads(file.read())
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{path}: {error}") from error
    if not isinstance(process, dict):
        raise InvalidArgument(f"{path}: it holds no JSON object")
    if arguments.process:
        return process
    process = process["process"]
    if not arguments.words[1:]:
        raise InvalidArgument("process args cannot be empty", hint="stackrun-runtime exec ID COMMAND …")
    process.update(args=arguments.words[1:], terminal=arguments.tty, env=[*process.get("env", []), *arguments.env])
    if arguments.cwd:
        process["cwd"] = arguments.cwd
    if arguments.user:
        process["stackrunUser"] = arguments.user
    if arguments.additional_gids:
        process["stackrunGroups"] = arguments.additional_gids
    if arguments.no_new_privs:
        process["noNewPrivileges"] = True
    if arguments.cap:
        sets = dict(process.get("capabilities") or {})
        process["capabilities"] = sets | {
            name: [*(sets.get(name) or []), *arguments.cap] for name in ("bounding", "effective", "permitted")
        }
    return process


def _ps(arguments: Arguments) -> None:
    record = Record.load(arguments.root, arguments.id)
    pids = record.members()
    if arguments.format == "json":
        print(jsontext.dumps(pids))
        return
    if arguments.format != "table":
        raise InvalidArgument("invalid format option")
    import subprocess

    done = subprocess.run(["ps", *(arguments.words[1:] or ["-ef"])], stdout=subprocess.PIPE, text=True, check=False)
    title, *lines = done.stdout.splitlines() or [""]
    try:
        column = title.split().index("PID")
    except ValueError:
        raise InvalidArgument("couldn't find PID field in ps output") from None
    wanted = {str(pid) for pid in pids}
    print("\n".join([title, *(line for line in lines if line.split()[column : column + 1][0] in wanted)]))


def _events(arguments: Arguments) -> None:
    from stackrun.runtime import events

    record = Record.load(arguments.root, arguments.id)
    interval_s = events.seconds(arguments.interval)
    if not record.is_alive():
        raise Conflict(f"container with id {record.id} is not running")
    if arguments.stats:
        events.say(record, "stats", events.sample(record.group()))
    else:
        events.follow(record, interval_s)


def _update_options() -> tuple[Option, ...]:
    from stackrun.runtime import update

    return update.OPTIONS


def _update(arguments: Arguments) -> None:
    from stackrun.runtime import update

    record = Record.load(arguments.root, arguments.id)
    wanted = update.resources(arguments)
    with record.lock:
        if not record.is_alive():
            raise Conflict("container not running")
        if wanted.get("devices"):
            wanted["devices"] = cgroup_devices.with_defaults(wanted["devices"])
        record.group().apply(wanted)


# --- the rest ---


def _list(arguments: Arguments) -> None:
    states = [record.state() for record in all_records(arguments.root)]
    if arguments.quiet:
        print("".join(f"{one['id']}\n" for one in states), end="")
    elif arguments.format == "json":
        print(jsontext.dumps(states))
    elif arguments.format == "table":
        rows = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
        rows += [(one["id"], str(one["pid"]), one["status"], one["bundle"], one["created"], one["owner"]) for one in states]
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        for row in rows:
            print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    else:
        raise InvalidArgument("invalid format option")


def _spec(arguments: Arguments) -> None:
    from stackrun.runtime import defaults

    path = f"{arguments.bundle}/config.json"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise Conflict(f"file {path} exists, remove it first") from None
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(jsontext.pretty(defaults.rootless_config() if arguments.rootless else defaults.config()))


def _trace(arguments: Arguments) -> None:
    if len(arguments.words) != 1:
        raise InvalidArgument('"trace" requires exactly 1 argument', hint="stackrun-runtime trace FILE")
    with open(arguments.words[0], encoding="utf-8") as file:  # noqa: PTH123
        print(trace.table(file.read().splitlines()))


def _features(_: Arguments) -> None:
    from stackrun.runtime import defaults

    print(jsontext.pretty(defaults.features()))


_FORMAT = Option("format f", VALUE, "table or json", default="table")
VERBS = {
    "create": Verb(_create, "ID", "make a container, up to its program", *_BIRTH),
    "start": Verb(_start, "ID", "run the program of a created container"),
    "state": Verb(_state, "ID", "print the OCI state"),
    "kill": Verb(_kill, "ID [SIGNAL]", "send a signal (default TERM)", Option("all a", FLAG, "to every process")),
    "delete": Verb(_delete, "ID", "remove a container that has ended", Option("force f", FLAG, "kill it first; fine when there is none")),
    "run": Verb(
        _run_container,
        "ID",
        "create, start, wait, delete",
        *_BIRTH,
        Option("detach d", FLAG, "do not wait"),
        Option("keep", FLAG, "do not delete it when it ends"),
        Option("no-subreaper", FLAG),
    ),
    "exec": Verb(
        _exec,
        "ID COMMAND …",
        "run another process inside",
        *(one for one in _BIRTH if one.names[0] in ("console-socket", "pid-file", "preserve-fds")),
        Option("process p", VALUE, "OCI process object", metavar="FILE"),
        Option("tty t", FLAG, "give it a terminal"),
        Option("detach d", FLAG, "do not wait"),
        Option("env e", LIST, "NAME=value, once more for another"),
        Option("user u", VALUE, "uid[:gid] or name"),
        Option("additional-gids g", LIST, "a group, once more for another"),
        Option("cwd", VALUE, "working directory"),
        Option("no-new-privs", FLAG, "set no_new_privs"),
        Option("cap c", LIST, "a capability more, as CAP_NAME"),
        Option("cgroup", VALUE, "a cgroup below the container's", metavar="PATH"),
        Option("ignore-paused", FLAG, "also in a paused container"),
        Option("process-label", VALUE),
        Option("apparmor", VALUE),
    ),
    "pause": Verb(_pause, "ID", "freeze all processes"),
    "resume": Verb(_resume, "ID", "thaw them"),
    "ps": Verb(_ps, "ID [ps options]", "list processes", _FORMAT),
    "list": Verb(_list, "", "list containers", _FORMAT, Option("quiet q", FLAG, "ids only")),
    "events": Verb(
        _events,
        "ID",
        "print usage and want of memory as JSON lines",
        Option("interval", VALUE, "between two samples", default="5s"),
        Option("stats", FLAG, "one sample, no waiting"),
    ),
    "update": Verb(_update, "ID", "change limits", later=_update_options),
    "spec": Verb(_spec, "", "write an example config.json", *_SPEC),
    "trace": Verb(_trace, "FILE", "print the steps that `stackrun daemon --trace FILE` wrote down"),
    "features": Verb(_features, "", "print what is supported"),
}
