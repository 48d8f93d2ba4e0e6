"""What a build is told goes through a query and headers and comes out the same; what Docker could ask besides is refused by its name."""

from __future__ import annotations

import pytest

from stackrun.api.builds import BuildSpec
from stackrun.api.types import RegistryAuth
from stackrun.api.wire import builds
from stackrun.client.exchange import Asked
from stackrun.errors import BuildFailed, InvalidArgument, NotFound, StackrunError, Unsupported

FULL = BuildSpec(
    tags=("shop/web:1", "shop/web:2"), dockerfile="docker/Dockerfile", target="prod", arguments={"A": "1", "B": None},
    labels={"a": "b"}, no_cache=True, pull=True, platform="linux/amd64", network="none", extra_hosts=("db:10.0.0.1", "x:::1"),
    shm_size_bytes=1 << 20, contexts={"assets": "shop/assets:1"}, secrets={"token": b"\0\xff"},
    registries={"registry.example": RegistryAuth("me", "secret")},
)  # fmt: skip


def _carried(spec: BuildSpec) -> BuildSpec:
    from urllib.parse import parse_qsl

    pairs = parse_qsl(Asked("POST", "/build", builds.spec_to_query(spec)).target("").partition("?")[2], keep_blank_values=True)
    headers = {name.lower(): value for name, value in builds.spec_to_headers(spec)}
    return builds.spec_from_request(dict(pairs), lambda name: tuple(value for key, value in pairs if key == name), headers)


@pytest.mark.parametrize("spec", [BuildSpec(), FULL])
def test_a_spec_survives_the_way(spec: BuildSpec) -> None:
    assert _carried(spec) == spec


def test_what_is_not_dockers_travels_in_a_header_of_ours_alone() -> None:
    assert [name for name, _ in builds.spec_to_headers(FULL)] == [builds.REGISTRIES, builds.OWN]
    assert builds.spec_to_headers(BuildSpec(tags=("x",))) == ()
    assert "secret" not in repr(FULL)


CLASSIC = {
    "buildargs": "{}", "cachefrom": "[]", "cgroupparent": "", "cpuperiod": "0", "cpuquota": "0", "cpusetcpus": "", "cpusetmems": "",
    "cpushares": "0", "dockerfile": "Dockerfile", "labels": "{}", "memory": "0", "memswap": "0", "networkmode": "default", "rm": "1",
    "shmsize": "0", "t": "x", "target": "", "ulimits": "null", "version": "1",
}  # fmt: skip


def _read(**changes: str) -> BuildSpec:
    query = {**CLASSIC, **changes}
    return builds.spec_from_request(query, lambda name: (query[name],) if name in query else (), {})


def test_what_the_docker_client_sends_by_itself_asks_for_nothing_special() -> None:
    assert _read() == BuildSpec(tags=("x",), network="default")


@pytest.mark.parametrize(
    ("name", "value"),
    [("memory", "5000000"), ("remote", "https://x/y.git"), ("squash", "1"), ("ulimits", '[{"Name":"nofile"}]'), ("cpuquota", "50"),
     ("session", "abc")],
)  # fmt: skip
def test_what_is_not_carried_out_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(Unsupported, match=rf"\({name}\) is not supported"):
        _read(**{name: value})


def test_buildkits_build_is_refused_with_the_way_out() -> None:
    with pytest.raises(Unsupported) as caught:
        _read(version="2")
    assert "DOCKER_BUILDKIT=0" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"buildargs": "["}, "invalid value for buildargs"), ({"buildargs": '{"A":1}'}, r"buildargs\.A must be a string"),
     ({"labels": "[]"}, "labels must be an object"), ({"shmsize": "x"}, "shmsize")],
)  # fmt: skip
def test_malformed_parameters_are_told(changes: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        _read(**changes)


@pytest.mark.parametrize("header", ["***", "bm90IGpzb24="])
def test_malformed_headers_are_told(header: str) -> None:
    with pytest.raises(InvalidArgument, match=builds.OWN):
        builds.spec_from_request({}, lambda _: (), {builds.OWN.lower(): header})


@pytest.mark.parametrize(
    "error",
    [BuildFailed("The command '/bin/sh -c false' returned a non-zero code: 7", 7), NotFound("x", hint="y"), InvalidArgument("z")],
)
def test_a_failure_keeps_its_class_hint_and_code(error: StackrunError) -> None:
    told = builds.failure_from_json(builds.failure_to_json(error))
    assert (type(told), told and told.message, told and told.hint) == (type(error), error.message, error.hint)
    assert getattr(told, "code", 0) == getattr(error, "code", 0)


def test_dockers_failure_is_one_too_and_a_line_of_output_is_none() -> None:
    told = builds.failure_from_json({"errorDetail": {"code": 3, "message": "m"}, "error": "m"})
    assert isinstance(told, BuildFailed) and told.code == 3
    assert builds.failure_from_json({"stream": "x\n"}) is None
