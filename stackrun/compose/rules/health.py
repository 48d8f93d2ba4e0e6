"""Healthchecks: whether they can pass, whether they can fail, and whether those who wait for one have one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stackrun.compose.rules.ports import container_ports
from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Service, Stack
from stackrun.errors import InvalidArgument
from stackrun.units import parse_duration

GROUP = Group("health")

GROUP.reported("healthcheck-form", "A healthcheck's test does not say how it is run.", stage="references")
GROUP.reported("disabled-healthcheck", "A service waits for the health of one whose healthcheck is disabled.", stage="references")
GROUP.reported("no-healthcheck", "A service waits for the health of one that has no healthcheck in the file.", "warning", "references")

_JOB_POLICIES = ("", "no", "on-failure")


def has_healthcheck(service: Service) -> bool:
    test = service.get("healthcheck", "test")
    return bool(test) and not is_disabled(service)


def is_disabled(service: Service) -> bool:
    return service.get("healthcheck", "disable") is True or service.text("healthcheck", "test", 0) == "NONE"


def seconds(service: Service, key: str, default: float) -> float:
    """A duration of the healthcheck; the default where it says none or something wrong."""
    try:
        found = parse_duration(service.text("healthcheck", key)) if service.text("healthcheck", key) else 0.0
    except InvalidArgument:
        found = 0.0
    return found or default


def _checked(stack: Stack) -> list[Service]:
    return stack.once(_find_checked)


def _find_checked(stack: Stack) -> list[Service]:
    return [service for service in stack.services if has_healthcheck(service)]


def _test(service: Service) -> tuple[str, list[str]]:
    """How a test is run, and its words; a command for the shell is one word."""
    words = [str(word) for word, _ in service.items("healthcheck", "test")]
    return (words[0], words[1:]) if words else ("", [])


@GROUP.rule("unchecked-dependency", "note", "Others depend on a service, and nobody checks whether it works.")
def unchecked_dependency(stack: Stack) -> Iterator[Found]:
    needed = {edge.target for edge in stack.edges if edge.reason == "depends_on" and edge.condition == "service_started"}
    for service in stack.services:
        if service.name in needed and "healthcheck" not in service and not service.get("build"):
            message = f'others depend on service "{service.name}", which has no healthcheck'
            yield Found(service.place, message, "give it a healthcheck, and wait for it with condition: service_healthy")


@GROUP.rule("timeout-over-interval", "note", "A healthcheck may take longer than the time between two of them.")
def timeout_over_interval(stack: Stack) -> Iterator[Found]:
    for service in _checked(stack):
        if "timeout" not in service.map("healthcheck"):
            continue
        interval, timeout = seconds(service, "interval", 30.0), seconds(service, "timeout", 30.0)
        if timeout > interval:
            message = f'service "{service.name}" waits {service.text("healthcheck", "timeout")} for a check that is due every {interval:g}s'
            yield Found(service.at("healthcheck", "timeout"), message, "a timeout shorter than the interval")


@GROUP.rule("zero-retries", "note", "A healthcheck with no retries gets the default number of them.")
def zero_retries(stack: Stack) -> Iterator[Found]:
    for service in _checked(stack):
        if service.get("healthcheck", "retries") == 0:
            message = f'service "{service.name}": retries of 0 mean the default, 3'
            yield Found(service.at("healthcheck", "retries"), message, "retries: 1, for a verdict after the first failure")


@GROUP.rule("start-interval-without-period", "warning", "A healthcheck has an interval for a start-up time that it does not have.")
def start_interval_without_period(stack: Stack) -> Iterator[Found]:
    for service in _checked(stack):
        if service.text("healthcheck", "start_interval") and not seconds(service, "start_period", 0.0):
            message = f'service "{service.name}": start_interval counts within start_period, and there is none'
            yield Found(service.at("healthcheck", "start_interval"), message, "start_period: the time that it needs to start")


@GROUP.rule("start-interval-over-period", "warning", "A start-up time is over before its first healthcheck.")
def start_interval_over_period(stack: Stack) -> Iterator[Found]:
    for service in _checked(stack):
        interval, period = seconds(service, "start_interval", 0.0), seconds(service, "start_period", 0.0)
        if interval > period > 0:
            message = f'service "{service.name}": the first check comes after {interval:g}s, start_period ends after {period:g}s'
            yield Found(service.at("healthcheck", "start_interval"), message, "a start_interval shorter than start_period")


@GROUP.rule("test-in-pieces", "warning", "A shell runs only the first word of a healthcheck.")
def pieces_of_test(stack: Stack) -> Iterator[Found]:
    for service in _checked(stack):
        how, words = _test(service)
        if how == "CMD-SHELL" and len(words) > 1:
            message = f'service "{service.name}": the shell takes {words[0]!r} for the whole command'
            yield Found(service.at("healthcheck", "test"), message, "write the command as one string, or begin the list with CMD")


@GROUP.rule("shell-words-without-shell", "warning", "A healthcheck has words for a shell, and none reads them.")
def shell_words_without_shell(stack: Stack) -> Iterator[Found]:
    for service in _checked(stack):
        how, words = _test(service)
        lost = next((word for word in words[1:] if word in ("||", "&&", "|", ";", ">", ">>", "2>&1")), "")
        if how == "CMD" and (lost or (len(words) == 1 and re.search(r"\s", words[0]))):
            said = f"{lost!r} is an argument like any other" if lost else "a program of that name is looked for"
            message = f'service "{service.name}": no shell reads the test, so {said}'
            yield Found(service.at("healthcheck", "test"), message, "write the test as one string, or begin it with CMD-SHELL")


_PASSES = re.compile(r"(?:\|\||;)\s*(?:true|:|exit\s+0)\s*$")


@GROUP.rule("healthcheck-cannot-fail", "warning", "A healthcheck passes whatever it finds.")
def healthcheck_cannot_fail(stack: Stack) -> Iterator[Found]:
    for service in _checked(stack):
        text = " ".join(_test(service)[1])
        if _PASSES.search(text) or text.split() in (["true"], ["exit", "0"], ["/bin/true"]):
            message = f'service "{service.name}" is healthy whatever happens'
            yield Found(service.at("healthcheck", "test"), message, "end the test with || exit 1")


_CURL = re.compile(r"(?:^|[\s;&|(/])curl\s")
_FAILS = re.compile(r"\s(?:-[a-zA-Z]*f[a-zA-Z]*|--fail\S*)(?=\s|$)")


@GROUP.rule("curl-without-fail", "warning", "A healthcheck with curl passes for a page that says error.")
def curl_without_fail(stack: Stack) -> Iterator[Found]:
    for service in _checked(stack):
        text = " ".join(_test(service)[1]) + " "
        piped = re.search(r"curl\b[^|]*\|(?!\|)", text) or "http_code" in text or "telnet://" in text or "grep" in text
        if _CURL.search(text) and "http" in text and not _FAILS.search(text) and not piped:
            message = f'service "{service.name}" is healthy for curl even when the answer is an error'
            yield Found(service.at("healthcheck", "test"), message, "curl -f")


_PROBED = re.compile(r"(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\]):([0-9]{2,5})(?![0-9])")


@GROUP.rule("unknown-probe-port", "note", "A healthcheck asks a port that nothing else in the file names.")
def unknown_probe_port(stack: Stack) -> Iterator[Found]:
    for service in _checked(stack):
        ports = container_ports(stack, service)
        found = _PROBED.search(" ".join(_test(service)[1]))
        if found and ports and int(found[1]) not in ports and not _named(service, found[1]):
            message = f'service "{service.name}" is probed at port {found[1]}, and declares {", ".join(map(str, sorted(ports)[:3]))}'
            yield Found(service.at("healthcheck", "test"), message, f"expose: [{found[1]}], if it listens there")


def _named(service: Service, port: str) -> bool:
    words = [str(value) for _, value, _ in service.pairs("environment")]
    words += [str(word) for key in ("command", "entrypoint") for word, _ in service.items(key)]
    return any(port in word for word in words)
