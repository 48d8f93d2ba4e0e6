"""`up`: the stack as its file has it; in the foreground with its logs, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from stackrun.cli import project
from stackrun.cli.engines import chosen, connect, transport
from stackrun.cli.operations import follow, operate
from stackrun.cli.options import add_services, add_timeout, seconds, source
from stackrun.cli.render import Display, colours, display
from stackrun.cli.saved_plan import SavedPlan
from stackrun.errors import EXIT_INTERRUPTED, InvalidArgument


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    stack_arguments(parser)
    parser.add_argument("--plan", metavar="FILE", help="carry out the plan that `plan --out` saved, if nothing has moved since")
    parser.add_argument("-w", "--watch", action="store_true", help="follow the stack's files and its develop.watch rules meanwhile")
    parser.add_argument("-y", "--yes", action="store_true", help="with --watch: also do what removes containers or loses data")


def stack_arguments(parser: argparse.ArgumentParser) -> None:
    """What `plan` understands as well, so that the one word is all that has to be changed."""
    add_services(parser)
    add_timeout(parser)
    flag = parser.add_argument
    flag("-d", "--detach", action="store_true", help="return once everything is started")
    flag("--wait", action="store_true", help="return once everything runs or is healthy; implies -d")
    flag("--wait-timeout", type=seconds, metavar="SECONDS", help="give --wait up after this long")
    flag("--atomic", action="store_true", help="return to the last revision when it fails, or remove what it made; implies --wait")
    flag("--force-recreate", action="store_true", help="recreate containers though nothing changed")
    flag("--no-recreate", action="store_true", help="leave containers alone though something changed")
    flag("--no-deps", action="store_true", help="leave the services' dependencies alone")
    flag("--no-start", action="store_true", help="create, but start nothing")
    flag("--remove-orphans", action="store_true", help="remove containers of services the file no longer has")
    flag("-V", "--renew-anon-volumes", action="store_true", help="new anonymous volumes instead of the previous containers'")
    flag("--scale", action="append", type=_scale, default=[], metavar="SERVICE=N", help="run N containers of a service")
    flag("--no-keep", action="store_true", help="do not bring back afterwards what stops or vanishes")
    flag("--pull", choices=("always", "missing", "never"), help="when to pull images")
    flag("--build", action="store_true", help="build images though they are there and right")
    flag("--no-build", action="store_true", help="build nothing: refuse when an image is missing")
    flag("--no-log-prefix", action="store_true", help="logs without the containers' names")
    flag("--timestamps", action="store_true", help="logs with their times")


def run(options: argparse.Namespace) -> int:
    request = saved_request(options) if options.plan else stack_request(options)
    asked = request["options"]
    if options.watch and (options.plan or options.detach or asked["wait"] or asked["no_start"]):
        raise InvalidArgument("--watch stays in the foreground: not with --detach, --wait, --no-start or --plan", hint="stackrun watch")
    if options.detach or asked["wait"] or asked["no_start"]:
        return _detached(options, request)
    return _Foreground(options, request).run()


def _detached(options: argparse.Namespace, request: dict[str, Any]) -> int:
    try:
        follow(operate(options, "up", request), display(options, "up"), "up")
        return 0
    except KeyboardInterrupt:
        if not request["options"]["atomic"]:
            raise
        from stackrun.cli.returning import take_back

        take_back(options, request)
        return EXIT_INTERRUPTED


def _scale(text: str) -> tuple[str, int]:
    service, separator, count = text.partition("=")
    if not service or not separator or not count.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not SERVICE=NUMBER")
    return service, int(count)


def stack_request(options: argparse.Namespace) -> dict[str, Any]:
    """The body of `up` and of `plan`: api.stacks.StackSource and UpOptions by their field names."""
    if options.force_recreate and options.no_recreate:
        raise InvalidArgument("--force-recreate and --no-recreate contradict each other")
    if options.build and options.no_build:
        raise InvalidArgument("--build and --no-build contradict each other")
    if options.atomic and options.no_start:
        raise InvalidArgument("--atomic and --no-start contradict each other", hint="what does not start cannot fail")
    return {"source": source(options), "options": _options(options)}


def saved_request(options: argparse.Namespace) -> dict[str, Any]:
    """The one that a plan was made for, sealed; `options` then name the same stack, and the working directory is the plan's."""
    if _options(options) != _options(_parsed_nothing()) or any(getattr(options, name) for name in _STACK_OPTIONS):
        hint = "give -d, --timestamps or --no-log-prefix; all else is in the file"
        raise InvalidArgument("a saved plan has its services and options already", hint=hint)
    saved = SavedPlan.read(options.plan)
    saved.require_engine(chosen(options).host)
    saved.enter()
    for name in _STACK_OPTIONS:
        setattr(options, name, saved.source.get(name))
    options.services = list(saved.options["services"])
    options.timeout = saved.options["timeout_s"]
    return {"source": source(options), "options": {**saved.options, "seal": saved.seal}}


_STACK_OPTIONS = ("files", "project_name", "project_directory", "env_files", "profiles")


def _parsed_nothing() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    stack_arguments(parser)
    return parser.parse_args([])


def _options(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "services": list(options.services),
        "force_recreate": options.force_recreate,
        "no_recreate": options.no_recreate,
        "no_deps": options.no_deps,
        "no_start": options.no_start,
        "remove_orphans": options.remove_orphans,
        "renew_anonymous_volumes": options.renew_anon_volumes,
        "pull": options.pull or "",
        "build": "always" if options.build else "never" if options.no_build else "",
        "scale": dict(options.scale),
        "timeout_s": options.timeout,
        "atomic": options.atomic,
        "wait": options.wait or options.atomic,
        "wait_timeout_s": options.wait_timeout,
        "keep": not options.no_keep,
    }


class _Foreground:
    """Logs from the first moment on; Ctrl-C stops the stack, a second one kills it."""

    def __init__(self, options: argparse.Namespace, request: dict[str, Any]) -> None:
        from stackrun.cli.logs import Follower, Prefixes

        self._options = options
        self._request = request
        self._display: Display = display(options, "up")
        connect(options)
        stack = project.load(options)
        shown = Prefixes(coloured=colours(options), shown=not options.no_log_prefix, timestamps=options.timestamps)
        shown.make_room(f"{name}-{service.replicas}" for name, service in stack.services.items())
        engine = chosen(options)
        self._follower = Follower(lambda: transport(engine), stack.name, shown, self._show, tuple(options.services))

    def run(self) -> int:
        try:
            self._follower.watch({"since": f"{time.time():.9f}"}, exits=True)
            if self._options.watch:
                self._watch()
            else:
                follow(operate(self._options, "up", self._request), self._display, "up")
                self._follower.wait()
        except KeyboardInterrupt:
            self._end()
            return EXIT_INTERRUPTED
        return 0

    def _watch(self) -> None:
        """Until Ctrl-C, also when every container has exited: the next change may be what mends it."""
        from stackrun.cli.watching import Watcher

        request = lambda: stack_request(self._options)  # noqa: E731
        with Watcher(self._options, request, self._renewed_display, lambda text: self._show(text, True)) as watcher:
            watcher.start(end="Ctrl-C stops the stack")
            watcher.loop()

    def _renewed_display(self) -> Display:
        self._display = display(self._options, "up")
        return self._display

    def _show(self, text: str, error: bool) -> None:
        self._display.line(text, error=error)

    def _end(self) -> None:
        asked = {"source": self._request["source"], "services": self._options.services}
        try:
            print("Gracefully stopping... (press Ctrl+C again to force)", file=sys.stderr, flush=True)
            self._operate("stop", {**asked, "timeout_s": self._options.timeout})
            self._follower.wait()
        except KeyboardInterrupt:
            self._operate("kill", {**asked, "signal": "SIGKILL"})

    def _operate(self, verb: str, request: dict[str, Any]) -> None:
        self._display = display(self._options, verb)
        follow(operate(self._options, verb, request), self._display, verb)
