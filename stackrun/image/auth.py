"""Who we are for a registry: credentials from the caller or from Docker's own file, and its challenges answered.

Sources: distribution spec "Token Authentication Specification" and "Oauth2", RFC 7235 (challenges), RFC 7617 (basic).
"""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from stackrun.errors import RegistryError
from stackrun.image.record import Credentials
from stackrun.image.reference import DEFAULT_DOMAIN

_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_PARAMETER = re.compile(r'([a-zA-Z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
CLIENT_ID = "stackrun"


@dataclass(frozen=True, slots=True)
class Challenge:
    """One WWW-Authenticate header: `scheme` in lower case and its parameters."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def parse_challenge(header: str) -> Challenge:
    scheme, _, rest = header.strip().partition(" ")
    found = {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in _PARAMETER.findall(rest)}
    return Challenge(scheme.lower(), found.get("realm", ""), found.get("service", ""), found.get("scope", ""))


def basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """How to ask for a bearer token: GET `url`, or POST `form` to it when there is one."""

    url: str
    form: bytes | None
    authorization: str


def token_request(challenge: Challenge, scope: str, credentials: Credentials | None) -> TokenRequest:
    """RegistryError for a realm that is no web address: it comes from the registry and is not to be trusted."""
    if urlsplit(challenge.realm).scheme not in ("http", "https"):
        raise RegistryError(f"the registry asks for a token from {challenge.realm!r}, which is no web address")
    fields = {"service": challenge.service, "scope": challenge.scope or scope}
    fields = {name: value for name, value in fields.items() if value}
    if credentials and credentials.identity_token:
        fields |= {"grant_type": "refresh_token", "refresh_token": credentials.identity_token, "client_id": CLIENT_ID}
        return TokenRequest(challenge.realm, urlencode(fields).encode(), "")
    separator = "&" if urlsplit(challenge.realm).query else "?"
    return TokenRequest(f"{challenge.realm}{separator}{urlencode(fields)}", None, basic(credentials) if credentials else "")


def stored_credentials(domain: str, directory: Path | None = None) -> Credentials | None:
    """What `docker login` or `podman login` left in config.json for this registry; None when there is nothing usable.

    A file that cannot be read counts as none: the pull may well need no credentials.
    """
    try:
        file = (directory or _docker_directory()) / "config.json"
        entries = json.loads(file.read_bytes()).get("auths")
    except (OSError, ValueError, AttributeError, RuntimeError):
        return None
    if not isinstance(entries, dict):
        return None
    for key in _keys(domain):
        entry = entries.get(key)
        if isinstance(entry, dict) and (found := _decode(entry, key)):
            return found
    return None


def _docker_directory() -> Path:
    configured = os.environ.get("DOCKER_CONFIG")
    return Path(configured) if configured else Path.home() / ".docker"


def _keys(domain: str) -> tuple[str, ...]:
    if domain == DEFAULT_DOMAIN:
        return (_DOCKER_HUB_KEY, "docker.io", "index.docker.io", "https://registry-1.docker.io/v2/")
    return (domain, f"https://{domain}", f"http://{domain}", f"https://{domain}/v1/", f"https://{domain}/v2/")


def _decode(entry: dict[str, object], key: str) -> Credentials | None:
    try:
        username, _, password = base64.b64decode(str(entry.get("auth") or "")).decode().partition(":")
    except ValueError:
        return None
    token = str(entry.get("identitytoken") or "")
    if not username and not token:
        return None
    return Credentials(username, password.rstrip("\0"), token, key)
