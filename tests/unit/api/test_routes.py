from __future__ import annotations

import pytest

from stackrun.api import routes
from stackrun.errors import InvalidArgument


@pytest.mark.parametrize(
    ("path", "version", "rest"),
    [
        ("/v1.41/info", "1.41", "/info"),
        ("/v1.24/containers/json", "1.24", "/containers/json"),
        ("/info", routes.API_VERSION, "/info"),
        ("/v1.41", routes.API_VERSION, "/v1.41"),
    ],
)
def test_a_version_prefixes_the_path(path: str, version: str, rest: str) -> None:
    assert routes.split_version(path) == (version, rest)


def test_versions_out_of_range_are_refused_in_dockers_words() -> None:
    with pytest.raises(InvalidArgument, match=r"client version 1.99 is too new. Maximum supported API version is 1.47$"):
        routes.split_version("/v1.99/info")
    with pytest.raises(InvalidArgument, match=r"client version 1.5 is too old. Minimum supported API version is 1.24, please upgrade"):
        routes.split_version("/v1.5/info")


@pytest.mark.parametrize(
    ("method", "path", "name", "variables"),
    [
        ("GET", "/containers/json", "list_containers", {}),
        ("GET", "/containers/web/json", "inspect_container", {"id": "web"}),
        ("GET", "/images/localhost:5000/a/b:1/json", "inspect_image", {"name": "localhost:5000/a/b:1"}),
        ("DELETE", "/images/a/b@sha256:c", "remove_image", {"name": "a/b@sha256:c"}),
        ("POST", "/stackrun/v1/stacks/up", "operate_stack", {"operation": "up"}),
    ],
)
def test_routes_are_found(method: str, path: str, name: str, variables: dict[str, str]) -> None:
    assert routes.match(method, path) == (name, variables)


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/containers/json"), ("GET", "/nope"), ("GET", "/containers/a/b/json"), ("POST", "/")]
)
def test_a_wrong_path_or_method_is_no_route(method: str, path: str) -> None:
    assert routes.match(method, path) is None
    assert routes.lacking(method, path) == ""


def test_what_docker_has_and_we_lack_is_known_by_its_purpose() -> None:
    assert routes.lacking("POST", "/grpc") == "building images with BuildKit"
    assert routes.lacking("GET", "/containers/x/stats") == "statistics"
    assert routes.lacking("POST", "/plugins/x/enable") == "plugins"
    assert not any(routes.match(method, path.replace("{id}", "x")) for method, path, _ in routes.LACKING if "*" not in path)
