"""A registry that redirects to where only the engine can look: local files, other protocols, itself without end (CWE-918)."""

import urllib.request
from pathlib import Path

import pytest
from evil_layers import file, tar
from evil_registry import EvilRegistry, reply
from machine import Machine

LAYER = tar([file("it", "here")])


def redirecting(registry: EvilRegistry, kind: str, target: str) -> str:
    name = registry.image("1", LAYER)
    registry.answer = lambda handler: f"/{kind}/" in handler.path and reply(handler, 307, b"", {"Location": target})
    return name


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
@pytest.mark.parametrize("target", ["file:///etc/shadow", "ftp://127.0.0.1/x", "data:application/json,{}", "unix:///run/docker.sock"])
def test_only_the_web_is_followed(machine: Machine, registry: EvilRegistry, kind: str, target: str) -> None:
    done = machine.docker("pull", redirecting(registry, kind, target), code=1)
    assert ("redirects from http to" in done.stderr or "is not allowed" in done.stderr) and "root:" not in done.stderr, done.stderr


def test_a_circle_ends(machine: Machine, registry: EvilRegistry) -> None:
    done = machine.docker("pull", redirecting(registry, "manifests", "/v2/evil/manifests/1"), code=1)
    assert "redirect" in done.stderr or "307" in done.stderr


def test_the_attempt_works_with_an_opener_that_knows_files(registry: EvilRegistry, tmp_path: Path) -> None:
    """What urllib does unless it is told otherwise: it opens file: when asked for it, and goes on to ftp: by itself when redirected."""
    (tmp_path / "secret").write_text("read")
    with urllib.request.urlopen((tmp_path / "secret").as_uri()) as answer:
        assert answer.read() == b"read"
    redirecting(registry, "manifests", "ftp://127.0.0.1:1/x")
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://{registry.address}/v2/evil/manifests/1")
