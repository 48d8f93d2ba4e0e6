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


@pytest.mark.parametrize(
    "change", ["STOPSIGNAL SIGINT", "RUN x", "CMD", "", "ENV", "ENV A", "ENV A=1 B", "EXPOSE http", "EXPOSE 0", "EXPOSE 9-1", 'LABEL a="b']
)
def test_others_are_refused(change: str) -> None:
    with pytest.raises(InvalidArgument):
        apply_changes({}, [change])
