"""What the image store gives away: images, progress, credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """`test` as the image says it: ("CMD", argv…), ("CMD-SHELL", line), ("NONE",); a 0 means the default."""

    test: tuple[str, ...] = ()
    interval_s: float = 0.0
    timeout_s: float = 0.0
    retries: int = 0
    start_period_s: float = 0.0
    start_interval_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What a container inherits: `config` of the OCI image configuration and Docker's additions to it."""

    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image. `id` is the digest of its configuration; `repo_tags` and `repo_digests` are familiar names (`busybox:latest`).

    `chain_ids` name its unpacked layers, bottom first (image-spec config.md "Layer ChainID").  `size_bytes`
    is what the layers take up unpacked.  `host`: the built-in image that shows the host's /usr.
    """

    id: str
    config: ImageConfig
    repo_tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    created: str = ""
    size_bytes: int = 0
    architecture: str = ""
    os: str = "linux"
    variant: str = ""
    author: str = ""
    diff_ids: tuple[str, ...] = ()
    parent: str = ""
    chain_ids: tuple[str, ...] = ()
    manifest_digest: str = ""
    host: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of a long operation; `id` names the part (a short layer digest), `current` and `total` are bytes."""

    status: str = ""
    id: str = ""
    current: int = 0
    total: int = 0
    stream: str = ""
    aux: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Credentials:
    """For one registry. An identity token is an OAuth2 refresh token that stands in for the password."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    server_address: str = ""


@dataclass(frozen=True, slots=True)
class BindMount:
    """A mount an image brings with it, in OCI's words: bind `source` of the host at `target`."""

    source: str
    target: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Removal:
    """One effect of removing an image: a name taken off, or an object deleted."""

    untagged: str = ""
    deleted: str = ""
