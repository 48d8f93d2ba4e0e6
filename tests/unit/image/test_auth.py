from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from stackrun.errors import RegistryError
from stackrun.image.auth import Challenge, basic, parse_challenge, stored_credentials, token_request
from stackrun.image.record import Credentials


def test_challenges() -> None:
    header = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull"'
    assert parse_challenge(header) == Challenge("bearer", "https://auth.docker.io/token", "registry.docker.io", "repository:library/x:pull")
    assert parse_challenge('BASIC realm="a \\"b\\", c"') == Challenge("basic", 'a "b", c')
    assert parse_challenge("Bearer realm=https://x/y , service=s") == Challenge("bearer", "https://x/y", "s")
    assert parse_challenge("") == Challenge("")


def test_token_requests() -> None:
    challenge = Challenge("bearer", "https://auth/token", "svc")
    plain = token_request(challenge, "repository:x:pull", None)
    assert (plain.url, plain.form, plain.authorization) == ("https://auth/token?service=svc&scope=repository%3Ax%3Apull", None, "")
    named = token_request(challenge, "s", Credentials("u", "p"))
    assert named.authorization == basic(Credentials("u", "p")) == "Basic " + base64.b64encode(b"u:p").decode()
    token = token_request(challenge, "s", Credentials(identity_token="t"))
    assert token.form is not None
    assert b"grant_type=refresh_token" in token.form
    assert token.authorization == ""


@pytest.mark.parametrize("realm", ["", "file:///etc/passwd", "ftp://x"])
def test_a_registry_cannot_send_us_anywhere_but_the_web(realm: str) -> None:
    with pytest.raises(RegistryError, match="no web address"):
        token_request(Challenge("bearer", realm), "s", None)


def config(directory: Path, auths: object) -> Path:
    (directory / "config.json").write_text(json.dumps({"auths": auths}))
    return directory


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_stored_credentials(tmp_path: Path) -> None:
    directory = config(
        tmp_path,
        {
            "https://index.docker.io/v1/": {"auth": encoded("hub:secret")},
            "localhost:5000": {"auth": encoded("me:a:b")},
            "https://ghcr.io": {"identitytoken": "tok", "auth": encoded("00000000-0000-0000-0000-000000000000:")},
            "empty.example": {},
            "broken.example": {"auth": "%%%"},
        },
    )
    assert stored_credentials("docker.io", directory) == Credentials("hub", "secret", "", "https://index.docker.io/v1/")
    local = stored_credentials("localhost:5000", directory)
    assert local and (local.username, local.password) == ("me", "a:b")
    token = stored_credentials("ghcr.io", directory)
    assert token and token.identity_token == "tok"
    for domain in ("empty.example", "broken.example", "other.example"):
        assert stored_credentials(domain, directory) is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"auths": []}', '{"auths": {"x": 1}}'])
def test_a_broken_file_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert stored_credentials("x", tmp_path) is None
    assert stored_credentials("x", tmp_path / "missing") is None


def test_secrets_are_not_printed() -> None:
    assert "hush" not in repr(Credentials("u", "hush", "hush"))
