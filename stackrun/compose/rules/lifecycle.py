"""Start, limits, update and end of a service's containers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from stackrun.compose.check import SIGNALS
from stackrun.compose.origins import Note
from stackrun.compose.rules.health import has_healthcheck
from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Service, Stack
from stackrun.compose.scalar import signal_name
from stackrun.compose.tree import Place
from stackrun.errors import InvalidArgument
from stackrun.units import parse_bytes, parse_duration

GROUP = Group("lifecycle")

GROUP.reported("limits-conflict", "A limit is given in two places, which disagree.", stage="references")
GROUP.reported("invalid-restart-policy", "A restart policy is none that there is.", stage="references")
GROUP.reported("job-always-restarted", "A job is started again whenever it ends, so it is never done.", stage="references")

_LEAST_MEMORY = 6 << 20
_LONG_S = 300
_SHELLS = re.compile(r"(?:.*/)?(?:sh|bash|ash|dash|zsh)")
_SEVERAL = re.compile(r"[;&|\n]")
"""More than one command: a lone one takes the shell's place by itself."""
_REPLACES_SHELL = re.compile(r"(?:^|[;&|\n]|\bthen\b|\bdo\b)\s*exec\s|\btrap\s|&\s*\n?\s*wait\b|tail -f /dev/null|\bsleep infinity\b")


def _size(service: Service, *path: str) -> int:
    """Bytes; 0 where nothing is said, or -1 or something wrong."""
    try:
        return max(0, int(parse_bytes(service.text(*path)))) if service.text(*path) else 0
    except InvalidArgument:
        return 0


def _duration(service: Service, *path: str) -> float | None:
    try:
        return parse_duration(service.text(*path)) if service.text(*path) else None
    except InvalidArgument:
        return None


def _number(service: Service, *path: str) -> float:
    try:
        return float(service.text(*path) or 0)
    except ValueError:
        return 0.0


def _first(service: Service, *paths: tuple[str, ...]) -> tuple[str, ...]:
    """The first path that says something, else the first of them."""
    return next((path for path in paths if service.text(*path)), paths[0])


# --- restarts -------------------------------------------------------------------------------------


@GROUP.rule("no-restart-policy", "note", "A service stays down after a crash or a restart of the machine.")
def no_restart_policy(stack: Stack) -> Iterator[Found]:
    awaited = {edge.target for edge in stack.edges if edge.condition == "service_completed_successfully"}
    for service in stack.services:
        said = "restart" in service or service.get("deploy", "restart_policy") is not None
        one_off = service.name in awaited or service.text("x-stackrun", "kind") == "job" or bool(service.seq("profiles"))
        if not said and not one_off and (service.seq("ports") or has_healthcheck(service)):
            yield Found(service.place, f'service "{service.name}" stays down when it fails', "restart: unless-stopped")


@GROUP.rule("restart-policies-differ", "warning", "Two restart policies are given, and only one counts.")
def restart_policies_differ(stack: Stack) -> Iterator[Found]:
    meaning = {"no": "none", "always": "any", "unless-stopped": "any", "on-failure": "on-failure"}
    for service in stack.services:
        old, new = service.text("restart").partition(":")[0], service.text("deploy", "restart_policy", "condition")
        if old and new and meaning.get(old, new) != new:
            message = f'service "{service.name}": restart is {old}, deploy.restart_policy.condition is {new}, which counts'
            notes = (Note(service.at("deploy", "restart_policy", "condition"), "the one that counts"),)
            yield Found(service.at("restart"), message, "write one of them", notes)


# --- the end --------------------------------------------------------------------------------------


@GROUP.rule("shell-as-first-process", "note", "A shell is the first process, and passes on no signal that asks to stop.")
def shell_as_first_process(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.get("init") is True:
            continue
        key = "entrypoint" if service.seq("entrypoint") else "command"
        words = [str(word) for word, _ in service.items(key)]
        shell = len(words) > 2 and _SHELLS.fullmatch(words[0]) and re.fullmatch(r"-[a-z]*c", words[1])
        if shell and _SEVERAL.search(words[2].strip()) and not _REPLACES_SHELL.search(words[2]):
            message = f'service "{service.name}": a shell gets the signal to stop, and the program in it does not'
            yield Found(service.at(key), message, "exec before the last program, or init: true")


@GROUP.rule("unknown-stop-signal", "error", "The signal that stops a service is none.", "references")
def unknown_stop_signal(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        text = service.text("stop_signal")
        if not text or text.isdigit() or signal_name(text) in SIGNALS or re.fullmatch(r"(?i)(?:SIG)?RTM(?:IN\+|AX-)\d+", text):
            continue
        known = [name.removeprefix("SIG") for name in SIGNALS]
        hint = stack.near(text.upper().removeprefix("SIG"), known) or "SIGTERM, SIGINT, SIGQUIT, …"
        yield Found(service.at("stop_signal"), f'service "{service.name}": there is no signal {text}', hint)


@GROUP.rule("killing-stop-signal", "warning", "A service is stopped by a signal that lets it finish nothing.")
def killing_stop_signal(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.text("stop_signal").upper().removeprefix("SIG") in ("KILL", "9"):
            message = f'service "{service.name}" is killed, and cannot write what it has in memory'
            yield Found(service.at("stop_signal"), message, "SIGTERM, and a short stop_grace_period if it does not listen")


@GROUP.rule("no-time-to-stop", "warning", "A service is killed at once when it is to stop.")
def no_time_to_stop(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if _duration(service, "stop_grace_period") == 0:
            message = f'service "{service.name}" is killed right after it was asked to stop'
            yield Found(service.at("stop_grace_period"), message, "a second or more; the default is 10s")


@GROUP.rule("long-time-to-stop", "note", "A service may keep `down` waiting for many minutes.")
def long_time_to_stop(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        grace = _duration(service, "stop_grace_period")
        if grace is not None and grace > _LONG_S:
            message = f'service "{service.name}" may take {service.text("stop_grace_period")} to stop'
            yield Found(service.at("stop_grace_period"), message, "as long as it takes to finish what it does, and no longer")


# --- limits ---------------------------------------------------------------------------------------

_MEMORY = (("deploy", "resources", "limits", "memory"), ("mem_limit",))
_RESERVED = (("deploy", "resources", "reservations", "memory"), ("mem_reservation",))


@GROUP.rule("reservation-over-limit", "error", "A service reserves more than its limit allows.", "references")
def reservation_over_limit(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        limit, reserved = _first(service, *_MEMORY), _first(service, *_RESERVED)
        if 0 < _size(service, *limit) < _size(service, *reserved):
            message = f'service "{service.name}" reserves more memory than its limit allows'
            yield Found(service.at(*reserved), message, "a reservation up to the limit", (Note(service.at(*limit), "the limit"),))


@GROUP.rule("cpus-over-limit", "warning", "A service reserves more processors than its limit allows.")
def cpus_over_limit(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        limit = _first(service, ("deploy", "resources", "limits", "cpus"), ("cpus",))
        reserved = ("deploy", "resources", "reservations", "cpus")
        if 0 < _number(service, *limit) < _number(service, *reserved):
            message = f'service "{service.name}" reserves {service.text(*reserved)} cpus, and may use {service.text(*limit)}'
            yield Found(service.at(*reserved), message, "a reservation up to the limit", (Note(service.at(*limit), "the limit"),))


@GROUP.rule("too-little-memory", "error", "A service is given less memory than a container needs.", "references")
def too_little_memory(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        limit = _first(service, *_MEMORY)
        if 0 < _size(service, *limit) < _LEAST_MEMORY:
            message = f'service "{service.name}" is given {service.text(*limit)} bytes of memory, and none starts with less than 6m'
            yield Found(service.at(*limit), message, "is the unit missing? 512m")


@GROUP.rule("swap-below-memory", "error", "Memory and swap together are limited to less than memory alone.", "references")
def swap_below_memory(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        limit, swap = _first(service, *_MEMORY), _size(service, "memswap_limit")
        if 0 < swap < _size(service, *limit) or (swap and not service.text(*limit)):
            message = f'service "{service.name}": memswap_limit is memory and swap together, so at least the limit of memory'
            yield Found(service.at("memswap_limit"), message, "memswap_limit: twice mem_limit, or as much for no swap at all")


# --- updates --------------------------------------------------------------------------------------


@GROUP.rule("start-first-on-host-network", "warning", "The new container would listen on the ports that the old one still has.")
def start_first_on_host_network(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        order = service.text("deploy", "update_config", "order") if service.get("deploy") else ""
        if order == "start-first" and service.text("network_mode") == "host":
            message = f'service "{service.name}" starts the new container first, and the old one still has its ports of the host'
            note = Note(service.at("network_mode"), "published ports are handed over, ports of its own are not")
            yield Found(service.at("deploy", "update_config", "order"), message, "order: stop-first", (note,))


@GROUP.rule("update-without-healthcheck", "note", "An update goes on although nobody knows whether the new containers work.")
def update_without_healthcheck(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.map("deploy", "update_config") and not has_healthcheck(service) and not service.get("build"):
            message = f'service "{service.name}" is updated step by step, and no healthcheck tells whether a step worked'
            yield Found(service.key_at("deploy", "update_config"), message, "give it a healthcheck")


@GROUP.rule("links", "note", "A service is linked to another, which networks have made needless.")
def links(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.seq("links"):
            hint = "depends_on for the order; for another name an alias on the network"
            yield Found(service.key_at("links"), f'service "{service.name}" has links, which are a thing of the past', hint)


# --- watching -------------------------------------------------------------------------------------


def _watched(stack: Stack) -> Iterator[tuple[Service, str, Place]]:
    for service in stack.services:
        for rule in service.nodes("develop", "watch"):
            path = rule.text("path")
            if path.startswith("/") and "\0" not in path:
                yield service, os.path.normpath(path), rule.at("path")


def _shown(stack: Stack, path: str) -> str:
    return os.path.relpath(path, stack.directory) if path.startswith(stack.directory.rstrip("/") + "/") else path


@GROUP.rule("watched-path-missing", "warning", "What is to be watched is not there.")
def watched_path_missing(stack: Stack) -> Iterator[Found]:
    for service, path, place in _watched(stack):
        if not os.path.lexists(path):
            yield Found(place, f'service "{service.name}" watches {_shown(stack, path)}, which is not there', "correct the path")


@GROUP.rule("watched-outside-context", "warning", "A change outside the folder that is built leads to a build of the same.")
def watched_outside_context(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        context = service.text("build", "context").rstrip("/")
        for rule in service.nodes("develop", "watch"):
            path = os.path.normpath(rule.text("path"))
            inside = path == context or path.startswith(context + "/")
            elsewhere = [str(one) for _, one, _ in service.pairs("build", "additional_contexts")]
            if context.startswith("/") and path.startswith("/") and not inside and rule.text("action") == "rebuild" and not elsewhere:
                message = f'service "{service.name}" is built anew when {_shown(stack, path)} changes, which no build sees'
                yield Found(rule.at("path"), message, f"watch something in {_shown(stack, context)}")


@GROUP.rule("watched-and-mounted", "warning", "A folder is copied into the container and mounted there, too.")
def watched_and_mounted(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        rules = list(service.nodes("develop", "watch"))
        mounted = {mount.text("target"): mount for mount in service.nodes("volumes") if mount.text("type") == "bind"} if rules else {}
        for rule in rules:
            mount = mounted.get(rule.text("target").rstrip("/"))
            if mount is not None and rule.text("action").startswith("sync"):
                message = f'service "{service.name}" has {rule.text("target")} mounted already, so nothing is left to copy'
                yield Found(rule.at("target"), message, "either the mount or the watch rule", (Note(mount.place, "the mount"),))
