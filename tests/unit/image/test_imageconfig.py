from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from stackrun.errors import InvalidArgument
from stackrun.image.dockerfile import parse_instruction
from stackrun.image.imageconfig import apply_instruction, exposed_ports, shell_of
from stackrun.image.substitution import expand

VARIABLES = {"A": "1", "P": "80 81"}


def applied(text: str, config: dict[str, Any] | None = None, *, has_command: bool = False) -> dict[str, Any]:
    found = config or {}
    assert apply_instruction(found, parse_instruction(text), partial(expand, variables=VARIABLES), has_command=has_command)
    return found


@pytest.mark.parametrize(
    ("text", "config", "expected"),
    [
        ("ENV A=2 B=$A", {"Env": ["A=1", "C="]}, {"Env": ["A=2", "C=", "B=1"]}),
        ("ENV A \"x  y\" z", {}, {"Env": ["A=x  y z"]}),
        ("LABEL a=\"$A\" '$A'=b", {"Labels": {"a": "0"}}, {"Labels": {"a": "1", "$A": "b"}}),
        ("LABEL a=b", {"Labels": None}, {"Labels": {"a": "b"}}),
        ("CMD echo $A", {}, {"Cmd": ["/bin/sh", "-c", "echo $A"]}),
        ("CMD x", {"Shell": ["/bin/bash", "-ec"]}, {"Shell": ["/bin/bash", "-ec"], "Cmd": ["/bin/bash", "-ec", "x"]}),
        ('CMD ["$A"]', {}, {"Cmd": ["$A"]}),
        ("CMD []", {"Cmd": ["x"]}, {"Cmd": []}),
        ('ENTRYPOINT ["e"]', {"Cmd": ["x"]}, {"Entrypoint": ["e"]}),
        ("ENTRYPOINT e", {}, {"Entrypoint": ["/bin/sh", "-c", "e"]}),
        ("ENTRYPOINT []", {"Entrypoint": ["x"]}, {}),
        ('SHELL ["a", "b"]', {}, {"Shell": ["a", "b"]}),
        ("EXPOSE $P", {"ExposedPorts": {"1/tcp": {}}}, {"ExposedPorts": {"1/tcp": {}, "80/tcp": {}, "81/tcp": {}}}),
        ("EXPOSE 8000-8001/UDP 5/udp", {}, {"ExposedPorts": {"8000/udp": {}, "8001/udp": {}, "5/udp": {}}}),
        ('VOLUME ["/$A"]', {"Volumes": {"/x": {}}}, {"Volumes": {"/x": {}, "/1": {}}}),
        ("USER $A:${A}2", {}, {"User": "1:12"}),
        ("WORKDIR b/../$A/", {"WorkingDir": "/a"}, {"WorkingDir": "/a/1"}),
        ("WORKDIR //x/", {"WorkingDir": "/a"}, {"WorkingDir": "/x"}),
        ("WORKDIR ../../..", {"WorkingDir": "/a"}, {"WorkingDir": "/"}),
        ("STOPSIGNAL sigint", {}, {"StopSignal": "sigint"}),
        ("STOPSIGNAL $A", {}, {"StopSignal": "1"}),
        ("STOPSIGNAL SIGRTMIN+3", {}, {"StopSignal": "SIGRTMIN+3"}),
        ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["CMD", "x"]}}, {"Healthcheck": {"Test": ["NONE"]}}),
        ("HEALTHCHECK CMD x $A", {}, {"Healthcheck": {"Test": ["CMD-SHELL", "x $A"]}}),
        (
            'HEALTHCHECK --interval=1.5s --timeout=2s --start-period=3s --start-interval=4s --retries=5 CMD ["x"]',
            {},
            {"Healthcheck": {"Test": ["CMD", "x"], "Interval": 1_500_000_000, "Timeout": 2_000_000_000, "StartPeriod": 3_000_000_000,
                             "StartInterval": 4_000_000_000, "Retries": 5}},
        ),
        ("ONBUILD ENV A=$A", {"OnBuild": ["RUN x"]}, {"OnBuild": ["RUN x", "ENV A=$A"]}),
    ],
)  # fmt: skip
def test_what_becomes_of_the_configuration(text: str, config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert applied(text, config) == expected


def test_an_entrypoint_keeps_the_command_of_its_own_stage() -> None:
    assert applied('ENTRYPOINT ["e"]', {"Cmd": ["x"]}, has_command=True) == {"Cmd": ["x"], "Entrypoint": ["e"]}


@pytest.mark.parametrize("text", ["RUN x", "COPY a b", "ADD a b", "ARG A", "MAINTAINER x"])
def test_others_leave_it_alone(text: str) -> None:
    config: dict[str, Any] = {"Env": ["A=1"]}
    assert not apply_instruction(config, parse_instruction(text), str)
    assert config == {"Env": ["A=1"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ENV $NONE=1", "ENV names can not be blank"),
        ("LABEL $NONE=1", "LABEL names can not be blank"),
        ("EXPOSE http", "invalid containerPort: http"),
        ("EXPOSE 70000", "invalid containerPort: 70000"),
        ("VOLUME $NONE", "VOLUME specified can not be an empty string"),
        ("WORKDIR $NONE", "cannot normalize nothing"),
        ("STOPSIGNAL SIGFOO", "invalid signal: SIGFOO"),
        ("STOPSIGNAL 0", "invalid signal: 0"),
        ("STOPSIGNAL 65", "invalid signal: 65"),
        ("STOPSIGNAL SIGRTMIN+99", "invalid signal: SIGRTMIN"),
        ("USER ${A", "missing '}'"),
    ],
)
def test_what_is_wrong_once_variables_are_put_in(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        applied(text)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", ["80/tcp"]),
        ("80/", ["80/tcp"]),
        ("1-3/sctp", ["1/sctp", "2/sctp", "3/sctp"]),
        ("127.0.0.1:8080:80/udp", ["80/udp"]),
        ("8080:80", ["80/tcp"]),
    ],
)
def test_exposed_ports(text: str, expected: list[str]) -> None:
    assert exposed_ports(text) == expected


@pytest.mark.parametrize("text", ["", "0", "2-1", "80/xyz", "-1", "1-", "80:", "²", "٣", "1-99999", "[::1]"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid containerPort"):
        exposed_ports(text)


def test_the_shell_of_an_image() -> None:
    assert shell_of({}) == ["/bin/sh", "-c"]
    assert shell_of({"Shell": ["x"]}) == ["x"]
