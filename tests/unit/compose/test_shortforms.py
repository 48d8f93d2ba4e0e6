"""Ports, volumes, devices and command lines in their short forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackrun.compose.shortforms import ShortFormError, parse_device, parse_ports, parse_volume, split_command


def shown(text: str) -> list[str]:
    return [f"{port.get('host_ip', '')}|{port.get('published', '')}|{port['target']}/{port['protocol']}" for port in parse_ports(text)]


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", ["||80/tcp"]), ("8080:80", ["|8080|80/tcp"]), ("8080:80/udp", ["|8080|80/udp"]), ("80/TCP", ["||80/tcp"]),
        ("127.0.0.1:8080:80", ["127.0.0.1|8080|80/tcp"]), ("127.0.0.1::80", ["127.0.0.1||80/tcp"]), (":80", ["||80/tcp"]),
        ("[::1]:8080:80", ["::1|8080|80/tcp"]), ("::1:8080:80", ["::1|8080|80/tcp"]), ("90-91:80-81", ["|90|80/tcp", "|91|81/tcp"]),
        ("80-81", ["||80/tcp", "||81/tcp"]), ("8000-8010:80", ["|8000-8010|80/tcp"]), ("0:80", ["|0|80/tcp"]),
        ("8-11:8-11", ["|10|10/tcp", "|11|11/tcp", "|8|8/tcp", "|9|9/tcp"]),
    ],
)  # fmt: skip
def test_ports(text: str, ports: list[str]) -> None:
    assert shown(text) == ports


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no container port"), ("80:", "no container port"), ("localhost:80:80", "'localhost' is not an IP address"),
        ("80000:80", "invalid published port"),
        ("a:80", "invalid published port"), ("80:b", "invalid container port"), ("80-79", "invalid container port"),
        ("80:90-91", "differ in length"),
        ("80/foo", "unknown protocol 'foo'"), ("1.2.3.4:80", "invalid published port"), ("80:80 ", "invalid container port"),
    ],
)  # fmt: skip
def test_bad_ports(text: str, message: str) -> None:
    with pytest.raises(ShortFormError) as caught:
        parse_ports(text)
    assert message in caught.value.message
    assert caught.value.hint


@given(st.integers(1, 65535), st.integers(1, 65535), st.sampled_from(["tcp", "udp", "sctp"]))
def test_a_port_comes_back(published: int, target: int, protocol: str) -> None:
    assert shown(f"{published}:{target}/{protocol}") == [f"|{published}|{target}/{protocol}"]


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("/anon", {"type": "volume", "target": "/anon", "volume": {}}),
        ("data:/d", {"type": "volume", "source": "data", "target": "/d", "volume": {}}),
        ("data:/d:ro,nocopy", {"type": "volume", "source": "data", "target": "/d", "read_only": True, "volume": {"nocopy": True}}),
        ("./a:/d", {"type": "bind", "source": "./a", "target": "/d", "bind": {"create_host_path": True}}),
        ("~/a:/d:rw", {"type": "bind", "source": "~/a", "target": "/d", "bind": {"create_host_path": True}}),
        ("/a:/d:ro,z,rshared", {"type": "bind", "source": "/a", "target": "/d", "read_only": True,
                                "bind": {"selinux": "z", "propagation": "rshared", "create_host_path": True}}),
        ("C:\\a:/d", {"type": "bind", "source": "C:\\a", "target": "/d", "bind": {"create_host_path": True}}),
        ("/a:/d:cached", {"type": "bind", "source": "/a", "target": "/d", "bind": {"create_host_path": True}}),
    ],
)  # fmt: skip
def test_volumes(text: str, volume: dict[str, object]) -> None:
    assert parse_volume(text) == volume


@pytest.mark.parametrize(
    ("text", "message"), [("", "empty volume"), (":/d", "an empty part"), ("data:", "an empty part"), ("/a:/b:/c:ro", "too many colons")]
)
def test_bad_volumes(text: str, message: str) -> None:
    with pytest.raises(ShortFormError) as caught:
        parse_volume(text)
    assert message in caught.value.message


def test_devices() -> None:
    assert parse_device("/dev/a") == {"source": "/dev/a", "target": "/dev/a", "permissions": "rwm"}
    assert parse_device("/dev/a:/dev/b:r") == {"source": "/dev/a", "target": "/dev/b", "permissions": "r"}
    with pytest.raises(ShortFormError):
        parse_device("a:b:c:d")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("echo a  b", ["echo", "a", "b"]), ('sh -c "a && b"', ["sh", "-c", "a && b"]), ("echo 'a b' \"c d\"", ["echo", "a b", "c d"]),
        ("a x\\ y \\\"q\\\"", ["a", "x y", '"q"']), ("a ''", ["a", ""]), ("a 'x\\n' \"x\\\\n\"", ["a", "x\\n", "x\\n"]), ("", []),
        ("echo $(ls -l) `x y`", ["echo", "$(ls -l)", "`x y`"]), ("a # b", ["a", "#", "b"]), ("echo 'a'\\''b'", ["echo", "a'b"]),
    ],
)  # fmt: skip
def test_commands(line: str, words: list[str]) -> None:
    assert split_command(line) == (words, "")


def test_an_operator_ends_the_command() -> None:
    assert split_command("a b; c | d") == (["a", "b"], "; c | d")
    assert split_command("a 2> err") == (["a"], "> err")


@pytest.mark.parametrize("line", ['a "b', "a 'b", "a \\", "echo (x)", "echo $(x"])
def test_bad_commands(line: str) -> None:
    with pytest.raises(ShortFormError):
        split_command(line)
