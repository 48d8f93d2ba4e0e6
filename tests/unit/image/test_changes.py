from __future__ import annotations

from typing import Any

import pytest

from stackrun.errors import InvalidArgument
from stackrun.image.changes import apply_changes


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('CMD ["a", "b c"]', {"Cmd": ["a", "b c"]}),
        ("CMD a b", {"Cmd": ["/bin/sh", "-c", "a b"]}),
        ('entrypoint ["/e"]', {"Entrypoint": ["/e"]}),
        ('ENV A=1 B="x y"', {"Env": ["A=1", "B=x y"]}),
        ("ENV A some words", {"Env": ["A=some words"]}),
        ("EXPOSE 80 53/udp 90-91", {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "90/tcp": {}, "91/tcp": {}}}),
        ("USER 1000:1000", {"User": "1000:1000"}),
        ('VOLUME ["/a", "/b"]', {"Volumes": {"/a": {}, "/b": {}}}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ("WORKDIR /w", {"WorkingDir": "/w"}),
        ("LABEL a=b c=d", {"Labels": {"a": "b", "c": "d"}}),
        ("STOPSIGNAL SIGINT", {"StopSignal": "SIGINT"}),
        ("HEALTHCHECK --interval=1m CMD true", {"Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 60_000_000_000}}),
        ("ONBUILD RUN make", {"OnBuild": ["RUN make"]}),
    ],
)
def test_each_instruction(change: str, expected: dict[str, Any]) -> None:
    config: dict[str, Any] = {}
    apply_changes(config, [change])
    assert config == expected


def test_later_ones_add_or_replace() -> None:
    config: dict[str, Any] = {"Env": ["A=1"]}
    apply_changes(config, ["ENV B=2", "ENV A=3", "CMD x", 'CMD ["y"]'])
    assert config == {"Env": ["A=3", "B=2"], "Cmd": ["y"]}


def test_variables_are_those_of_the_configuration() -> None:
    config: dict[str, Any] = {"Env": ["A=1"]}
    apply_changes(config, ["ENV B=$A", "LABEL b=${B:-2}", "WORKDIR /w", "WORKDIR $A"])
    assert config == {"Env": ["A=1", "B=1"], "Labels": {"b": "1"}, "WorkingDir": "/w/1"}


def test_an_entrypoint_takes_away_a_command_that_was_there_before_the_changes() -> None:
    config: dict[str, Any] = {"Cmd": ["old"]}
    apply_changes(config, ['ENTRYPOINT ["e"]'])
    assert config == {"Entrypoint": ["e"]}
    apply_changes(config, ['CMD ["new"]', 'ENTRYPOINT ["f"]'])
    assert config == {"Cmd": ["new"], "Entrypoint": ["f"]}


@pytest.mark.parametrize(
    "change",
    [
        "STOPSIGNAL SIGNONE",
        "RUN x",
        "FROM x",
        "ONBUILD FROM x",
        "WORKDIR $NONE",
        "USER a\nRUN x",
        "CMD",
        "",
        "ENV",
        "ENV A",
        "ENV A=1 B",
        "EXPOSE http",
        "EXPOSE 0",
        "EXPOSE 9-1",
        'LABEL a="b',
    ],
)
def test_others_are_refused(change: str) -> None:
    with pytest.raises(InvalidArgument):
        apply_changes({}, [change])
