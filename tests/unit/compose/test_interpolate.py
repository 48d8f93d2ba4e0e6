"""Variables in a whole file: where they come from, where they count, and the types they end up as."""

from __future__ import annotations

import pytest
from unit.compose.stack_files import Stack


def test_values_come_from_the_caller_then_from_dot_env(stack: Stack) -> None:
    stack.write({".env": "A=file\nB=file\nC=${A}+\n"})
    stack.environment["A"] = "caller"
    project = stack.load("services: {a: {image: 'x:$A-$B-$C', environment: [A, B, D=$A, E]}}")
    assert project.services["a"].image == "x:caller-file-caller+"
    assert project.services["a"].environment == {"A": "caller", "B": "file", "D": "caller", "E": None}


def test_keys_are_left_as_they_are(stack: Stack) -> None:
    assert stack.load("services: {a: {image: x, environment: {$HOME: $HOME}}}").services["a"].environment == {"$HOME": "/home/user"}


def test_strings_become_what_the_specification_wants(stack: Stack) -> None:
    stack.environment |= {"N": "2", "YES": "true", "F": "0.5"}
    service = stack.load(
        "services: {a: {image: x, tty: '$YES', init: 'off', cpus: $F, deploy: {replicas: $N}, ulimits: {nofile: '$N'},"
        " healthcheck: {retries: $N}, ports: [{target: $N}], volumes: [{type: volume, target: /x, read_only: $YES}]}}"
    ).services["a"]
    assert (service.tty, service.init, service.cpus, service.replicas) == (True, False, 0.5, 2)
    assert (service.ulimits[0].soft, service.ports[0].target, service.volumes[0].read_only) == (2, 2, True)
    assert service.healthcheck is not None and service.healthcheck.retries == 2


@pytest.mark.parametrize(
    ("value", "finding"),
    [
        ("image: '${TAG:?choose one}'", "3:10: required variable TAG is not set: choose one"),
        ("image: '${TAG:1}'", "3:10: invalid variable in '${TAG:1}'"),
        ("tty: maybe", "3:8: must be true or false, not 'maybe'"),
        ("scale: ' 2'", "3:10: must be a whole number, not ' 2'"),
        ("cpus: lots", "3:9: must be a number, not 'lots'"),
        ("ports: ['${P:?}:80']", "3:11: required variable P is not set"),
    ],
)
def test_a_fault_has_its_place_and_hides_what_follows_from_it(stack: Stack, value: str, finding: str) -> None:
    image = "" if value.startswith("image") else "\n  image: x"
    assert stack.findings(f"services:\n a:\n  {value}{image}\n") == [finding]


def test_an_unset_variable_is_a_warning(stack: Stack) -> None:
    assert stack.findings("services: {a: {image: 'x$TAG'}}") == ["1:23: variable TAG is not set, an empty string is taken"]
    assert stack.load("services: {a: {image: 'x$TAG'}}").warnings[0].level == "warning"


def test_the_projects_name_is_a_variable(stack: Stack) -> None:
    assert stack.load("services: {a: {image: 'x:$COMPOSE_PROJECT_NAME'}}").services["a"].image == "x:shop"
