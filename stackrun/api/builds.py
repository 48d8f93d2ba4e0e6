"""What a build of an image is told besides its context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stackrun.api.types import RegistryAuth


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """`POST /build` of Docker's API; `contexts` and `secrets` are ours alone, a Docker host refuses them.

    `tags`: names for the image; the id alone is kept without one.  `dockerfile`: path in the context.  `arguments`: value None takes
    the Dockerfile's own default.  `network`: "" or `default`, `none`, `host` or a network's name, for RUN.  `contexts`: named contexts
    (`COPY --from=NAME`, `FROM NAME`) → the image each stands for.  `secrets`: id → content, for `RUN --mount=type=secret`.
    `registries`: who we are, by registry.
    """

    tags: tuple[str, ...] = ()
    dockerfile: str = "Dockerfile"
    target: str = ""
    arguments: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    no_cache: bool = False
    pull: bool = False
    platform: str = ""
    network: str = ""
    extra_hosts: tuple[str, ...] = ()
    shm_size_bytes: int = 0
    contexts: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    registries: Mapping[str, RegistryAuth] = field(default_factory=dict, repr=False)
