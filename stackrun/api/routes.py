"""Docker's paths and our own: which exist, what they are called here, and which API versions are spoken.

A route's name is the function that answers it.  `{x}` matches one path segment, `{x*}` several (image names contain slashes).
"""

from __future__ import annotations

import re

from stackrun.errors import InvalidArgument

API_VERSION, MIN_API_VERSION = "1.47", "1.24"

ROUTES: tuple[tuple[str, str, str], ...] = (
    ("GET", "/_ping", "ping"),
    ("HEAD", "/_ping", "ping"),
    ("GET", "/version", "version"),
    ("GET", "/info", "info"),
    ("GET", "/events", "events"),
    ("GET", "/containers/json", "list_containers"),
    ("POST", "/containers/create", "create_container"),
    ("GET", "/containers/{id}/json", "inspect_container"),
    ("POST", "/containers/{id}/start", "start_container"),
    ("POST", "/containers/{id}/stop", "stop_container"),
    ("POST", "/containers/{id}/restart", "restart_container"),
    ("POST", "/containers/{id}/kill", "kill_container"),
    ("POST", "/containers/{id}/pause", "pause_container"),
    ("POST", "/containers/{id}/unpause", "unpause_container"),
    ("POST", "/containers/{id}/rename", "rename_container"),
    ("POST", "/containers/{id}/update", "update_container"),
    ("POST", "/containers/{id}/wait", "wait_container"),
    ("POST", "/containers/{id}/resize", "resize_container"),
    ("POST", "/containers/{id}/attach", "attach_container"),
    ("GET", "/containers/{id}/logs", "container_logs"),
    ("GET", "/containers/{id}/top", "container_top"),
    ("HEAD", "/containers/{id}/archive", "stat_path"),
    ("GET", "/containers/{id}/archive", "get_archive"),
    ("PUT", "/containers/{id}/archive", "put_archive"),
    ("DELETE", "/containers/{id}", "remove_container"),
    ("POST", "/containers/{id}/exec", "create_exec"),
    ("POST", "/exec/{id}/start", "start_exec"),
    ("POST", "/exec/{id}/resize", "resize_exec"),
    ("GET", "/exec/{id}/json", "inspect_exec"),
    ("GET", "/images/json", "list_images"),
    ("POST", "/images/create", "create_image"),
    ("POST", "/images/load", "load_image"),
    ("GET", "/images/{name*}/json", "inspect_image"),
    ("GET", "/images/{name*}/history", "image_history"),
    ("POST", "/images/{name*}/tag", "tag_image"),
    ("DELETE", "/images/{name*}", "remove_image"),
    ("POST", "/build", "build_image"),
    ("POST", "/build/prune", "prune_builds"),
    ("GET", "/networks", "list_networks"),
    ("POST", "/networks/create", "create_network"),
    ("GET", "/networks/{id}", "inspect_network"),
    ("POST", "/networks/{id}/connect", "connect_network"),
    ("POST", "/networks/{id}/disconnect", "disconnect_network"),
    ("DELETE", "/networks/{id}", "remove_network"),
    ("GET", "/volumes", "list_volumes"),
    ("POST", "/volumes/create", "create_volume"),
    ("GET", "/volumes/{name}", "inspect_volume"),
    ("DELETE", "/volumes/{name}", "remove_volume"),
    ("POST", "/stackrun/v1/containers/{id}/removals", "remove_files"),
    ("GET", "/stackrun/v1/stacks", "list_stacks"),
    ("POST", "/stackrun/v1/stacks/{operation}", "operate_stack"),
    ("POST", "/stackrun/v1/shutdown", "shutdown"),
)

LACKING: tuple[tuple[str, str, str], ...] = (
    ("POST", "/auth", "logging in to a registry"),
    ("GET", "/system/df", "disk usage"),
    ("GET", "/containers/{id}/stats", "statistics"),
    ("GET", "/containers/{id}/changes", "listing the changes of a container"),
    ("GET", "/containers/{id}/export", "exporting a container"),
    ("GET", "/containers/{id}/attach/ws", "attaching over a web socket"),
    ("POST", "/containers/prune", "pruning containers"),
    ("POST", "/images/prune", "pruning images"),
    ("POST", "/networks/prune", "pruning networks"),
    ("POST", "/volumes/prune", "pruning volumes"),
    ("POST", "/commit", "making an image from a container"),
    ("GET", "/images/search", "searching a registry"),
    ("GET", "/images/get", "saving images"),
    ("GET", "/images/{name*}/get", "saving an image"),
    ("POST", "/images/{name*}/push", "pushing an image"),
    ("GET", "/distribution/{name*}/json", "asking a registry about an image"),
    ("PUT", "/volumes/{name}", "updating a volume"),
    ("POST", "/session", "building images with BuildKit"),
    ("POST", "/grpc", "building images with BuildKit"),
    *((method, path, "plugins") for method, path in (("GET", "/plugins"), ("POST", "/plugins/{rest*}"), ("DELETE", "/plugins/{rest*}"))),
)
"""Docker's routes that this version does not answer, with what they are for."""

SWARM = re.compile(r"/(swarm|nodes|services|tasks|secrets|configs)(/|$)")
NO_SWARM = 'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'

_VERSION = re.compile(r"/v(\d{1,3})\.(\d{1,3})(/.*)")


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)(\*?)\}", lambda match: f"(?P<{match[1]}>{'.+' if match[2] else '[^/]+'})", path))


_COMPILED = tuple((method, _pattern(path), name) for method, path, name in ROUTES)
_COMPILED_LACKING = tuple((method, _pattern(path), purpose) for method, path, purpose in LACKING)


def split_version(path: str) -> tuple[str, str]:
    """`/v1.41/info` → ("1.41", "/info"); an unversioned path speaks the newest."""
    match = _VERSION.fullmatch(path)
    if not match:
        return API_VERSION, path
    asked = f"{match[1]}.{match[2]}"
    if as_numbers(asked) > as_numbers(API_VERSION):
        raise InvalidArgument(f"client version {asked} is too new. Maximum supported API version is {API_VERSION}")
    if as_numbers(asked) < as_numbers(MIN_API_VERSION):
        raise InvalidArgument(
            f"client version {asked} is too old. Minimum supported API version is {MIN_API_VERSION}, "
            "please upgrade your client to a newer version"
        )
    return asked, match[3]


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def match(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """The route's name and the path's variables."""
    for wanted, pattern, name in _COMPILED:
        if wanted == method and (found := pattern.fullmatch(path)):
            return name, found.groupdict()
    return None


def lacking(method: str, path: str) -> str:
    """What a route of Docker's that we lack is for; empty when it is none."""
    return next((purpose for wanted, pattern, purpose in _COMPILED_LACKING if wanted == method and pattern.fullmatch(path)), "")
