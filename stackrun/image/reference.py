"""Image names as people write them (`nginx`, `localhost:5000/api:1.2@sha256:…`) and as registries want them.

The grammar and the defaults (docker.io, library/, latest) are those of github.com/distribution/reference;
the messages are its own, as clients look for them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from stackrun.errors import InvalidArgument

DEFAULT_DOMAIN = "docker.io"
_OFFICIAL = "library"
_LEGACY_DOMAINS = ("index.docker.io", "registry-1.docker.io")
_NAME_MAX = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_HOST = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*"
_DOMAIN = re.compile(rf"(?:{_HOST}|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_HEX_ID = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}")
_HINT = "write it as [registry[:port]/]name[:tag][@sha256:…], in lower case"


@dataclass(frozen=True, slots=True)
class Reference:
    """A full name: `domain` and `path` are never empty, `tag` and `digest` may be."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Without tag and digest: `docker.io/library/nginx`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """As Docker shows it: `nginx`, `shop/api`, `localhost:5000/api`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        owner, _, rest = self.path.partition("/")
        return rest if owner == _OFFICIAL and rest and "/" not in rest else self.path

    @property
    def familiar(self) -> str:
        return self.familiar_name + self._suffix

    @property
    def canonical(self) -> str:
        return self.name + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def with_default_tag(self) -> Reference:
        return self if self.tag or self.digest else replace(self, tag="latest")


def parse(text: str) -> Reference:
    """InvalidArgument "invalid reference format…" for what no registry could hold."""
    rest, _, digest = text.partition("@")
    if "@" in text and not _DIGEST.fullmatch(digest):
        raise _invalid(text)
    if digest.startswith("sha256:") and not _SHA256.fullmatch(digest):
        raise InvalidArgument("invalid checksum digest length", hint="a sha256 digest has 64 hexadecimal digits")
    domain, remainder = _split_domain(rest)
    path, colon, tag = remainder.partition(":")
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"{_OFFICIAL}/{path}"
    if path != path.lower():
        raise InvalidArgument(f"invalid reference format: repository name ({path}) must be lowercase", hint=_HINT)
    if not _PATH.fullmatch(path) or not _DOMAIN.fullmatch(domain) or (colon and not _TAG.fullmatch(tag)):
        raise _invalid(text)
    if re.fullmatch(r"[0-9a-f]{64}", text):
        raise InvalidArgument(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings", hint=_HINT)
    if len(domain) + 1 + len(path) > _NAME_MAX:
        raise InvalidArgument(f"repository name must not be more than {_NAME_MAX} characters")
    return Reference(domain, path, tag, digest)


def _split_domain(text: str) -> tuple[str, str]:
    """The part before the first slash is a host only if it looks like none of a user's name."""
    first, slash, rest = text.partition("/")
    if not slash or not (set(".:") & set(first) or first == "localhost" or first.lower() != first):
        return DEFAULT_DOMAIN, text
    return (DEFAULT_DOMAIN if first in _LEGACY_DOMAINS else first), rest


def _invalid(text: str) -> InvalidArgument:
    return InvalidArgument(f"invalid reference format: {text!r}" if text else "invalid reference format", hint=_HINT)


def id_prefix(text: str) -> str:
    """The hexadecimal digits when `text` may be an image's id or the start of one; else empty."""
    return text.removeprefix("sha256:") if _HEX_ID.fullmatch(text) else ""


def is_sha256(digest: str) -> bool:
    return bool(_SHA256.fullmatch(digest))
