"""Passwords that a registry has sent elsewhere: by redirect, by a token realm, by another's challenge (CVE-2020-15157)."""

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
from evil_layers import file, tar
from evil_registry import EvilRegistry, evil_registry, reply
from machine import Machine

LAYER = tar([file("it", "here")])
PASSWORD = base64.b64encode(b"me:secret").decode()


@pytest.fixture
def thief() -> Iterator[EvilRegistry]:
    with evil_registry() as served:
        served.answer = lambda handler: reply(handler, 401, b"", {"WWW-Authenticate": f'Bearer realm="http://{served.address}/token"'})
        yield served


@pytest.fixture
def logged_in(machine: Machine, registry: EvilRegistry) -> Iterator[None]:
    """As `docker login` leaves it: the client sends the password along with each pull from that registry."""
    folder = machine.root / "docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": PASSWORD}}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_CONFIG", str(folder))
        yield
    (folder / "config.json").unlink()
    folder.rmdir()


def asks_for_password(handler: BaseHTTPRequestHandler) -> bool:
    return not handler.headers.get("Authorization") and reply(handler, 401, b"", {"WWW-Authenticate": 'Basic realm="x"'})


def test_a_redirect_takes_no_password_along(machine: Machine, registry: EvilRegistry, thief: EvilRegistry, logged_in: None) -> None:
    name = registry.image("1", LAYER)
    registry.answer = lambda handler: (
        asks_for_password(handler)
        or ("/blobs/" in handler.path and reply(handler, 307, b"", {"Location": f"http://{thief.address}{handler.path}"}))
    )
    machine.docker("pull", name, code=1)
    assert thief.requests and {authorization for _, authorization in thief.requests} == {""}
    assert f"Basic {PASSWORD}" in {authorization for _, authorization in registry.requests}, "the password is used where it belongs"


def test_whoever_is_redirected_to_does_not_say_who_gets_the_password(
    machine: Machine, registry: EvilRegistry, thief: EvilRegistry, logged_in: None
) -> None:
    """The thief's answer is a challenge that names the thief as token server."""
    name = registry.image("1", LAYER)
    registry.answer = lambda handler: (
        "/manifests/" in handler.path and reply(handler, 307, b"", {"Location": f"http://{thief.address}{handler.path}"})
    )
    assert "which answers 401" in machine.docker("pull", name, code=1).stderr
    assert thief.requests and not [path for path, _ in thief.requests if path.startswith("/token")]


@pytest.mark.parametrize("realm", ["file:///etc/shadow", "ftp://127.0.0.1/", "", "/token", "javascript:x"])
def test_a_realm_that_is_no_web_address_is_refused(machine: Machine, registry: EvilRegistry, logged_in: None, realm: str) -> None:
    registry.answer = lambda handler: reply(handler, 401, b"", {"WWW-Authenticate": f'Bearer realm="{realm}"'})
    assert "no web address" in machine.docker("pull", registry.image("1", LAYER), code=1).stderr
