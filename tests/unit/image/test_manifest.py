from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from stackrun.errors import InvalidArgument, NotFound, Unsupported
from stackrun.image import manifest as m
from stackrun.image.manifest import Descriptor, Platform
from stackrun.image.record import Healthcheck

DIGEST = "sha256:" + "0" * 64


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def descriptor(**more: Any) -> dict[str, Any]:
    return {"mediaType": "x", "digest": DIGEST, "size": 3, **more}


@pytest.mark.parametrize("media_type", [m.OCI_MANIFEST, m.DOCKER_MANIFEST])
def test_both_kinds_of_manifest(media_type: str) -> None:
    parsed = m.parse_manifest(encoded({"mediaType": media_type, "config": descriptor(), "layers": [descriptor(size=9)]}), "x")
    assert (parsed.media_type, parsed.config.size, parsed.layers[0].size) == (media_type, 3, 9)


def test_a_manifest_need_not_say_what_it_is() -> None:
    assert m.parse_manifest(encoded({"config": descriptor(), "layers": []}), "x").media_type == m.OCI_MANIFEST
    assert m.media_type_of({"manifests": []}) == m.OCI_INDEX
    assert m.media_type_of({}, f"{m.DOCKER_INDEX}; charset=utf-8") == m.DOCKER_INDEX


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"{", InvalidArgument),
        (b"[]", InvalidArgument),
        (encoded({"config": descriptor()}), InvalidArgument),
        (encoded({"config": {"digest": "md5:1", "size": 1}, "layers": []}), InvalidArgument),
        (encoded({"config": descriptor(size=-1), "layers": []}), InvalidArgument),
        (encoded({"schemaVersion": 1, "config": descriptor(), "layers": []}), Unsupported),
        (encoded({"mediaType": "application/helm", "config": descriptor(), "layers": []}), Unsupported),
    ],
)
def test_unsound_manifests(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^the thing "):
        m.parse_manifest(data, "the thing")


def entries(*platforms: str) -> list[Descriptor]:
    found = []
    for index, text in enumerate(platforms):
        os_name, architecture, variant = (*text.split("/"), "", "")[:3]
        found.append(Descriptor("", f"sha256:{index:064x}", 1, Platform(os_name, architecture, variant)))
    return found


@pytest.mark.parametrize(
    ("platforms", "wanted", "chosen"),
    [
        (["linux/arm64/v8", "linux/amd64"], Platform("linux", "amd64"), 1),
        (["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], Platform("linux", "arm", "v7"), 2),
        (["linux/arm/v5", "linux/arm/v6"], Platform("linux", "arm", "v7"), 1),
        (["linux/arm64"], Platform("linux", "arm64", "v8"), 0),
        (["linux/arm64/v8"], Platform("linux", "arm64", ""), 0),
        (["unknown/unknown", "linux/amd64"], Platform("linux", "amd64"), 1),
        (["linux/amd64/v3", "linux/amd64"], Platform("linux", "amd64"), 1),
    ],
)
def test_platform_choice(platforms: list[str], wanted: Platform, chosen: int) -> None:
    assert m.select(entries(*platforms), wanted, "x").digest == f"sha256:{chosen:064x}"


@pytest.mark.parametrize(
    ("platforms", "wanted"), [(["windows/amd64"], Platform("linux", "amd64")), (["linux/arm/v7"], Platform("linux", "arm", "v6"))]
)
def test_no_fitting_platform_is_not_found(platforms: list[str], wanted: Platform) -> None:
    with pytest.raises(NotFound, match=f"no matching manifest for {wanted}"):
        m.select(entries(*platforms), wanted, "x")


def test_platform_texts() -> None:
    assert m.parse_platform("linux/arm/v7") == Platform("linux", "arm", "v7")
    assert m.parse_platform("arm64") == Platform("linux", "arm64")
    assert m.parse_platform("linux/x86_64").architecture == "amd64"
    assert m.parse_platform("") == m.this_platform()
    with pytest.raises(Unsupported):
        m.parse_platform("windows/amd64")
    with pytest.raises(InvalidArgument):
        m.parse_platform("linux//x")


def test_configuration() -> None:
    config = {
        "Cmd": ["a"], "Entrypoint": "/old/style", "Env": ["A=1"], "Labels": {"k": "v"}, "User": "u", "WorkingDir": "/w",
        "StopSignal": "SIGINT",        "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Volumes": {"/data": {}}, "Shell": None,
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_500_000_000, "Retries": 2},
    }  # fmt: skip
    data = encoded({"created": "2024-01-01T00:00:00Z", "architecture": "amd64", "config": config, "rootfs": {"diff_ids": [DIGEST]}})
    parsed = m.parse_configuration(data, "x")
    assert parsed.diff_ids == (DIGEST,)
    assert parsed.config.entrypoint == ("/old/style",)
    assert parsed.config.exposed_ports == ("53/udp", "80/tcp")
    assert parsed.config.healthcheck == Healthcheck(("CMD", "true"), interval_s=1.5, retries=2)
    assert parsed.os == "linux"


def test_configuration_may_be_nearly_empty() -> None:
    assert m.parse_configuration(b'{"config": null, "rootfs": {}}', "x").diff_ids == ()


def test_a_diff_id_must_be_a_digest() -> None:
    with pytest.raises(InvalidArgument, match="diff id"):
        m.parse_configuration(encoded({"rootfs": {"diff_ids": ["../../etc"]}}), "x")


def test_chain_ids_are_those_of_the_specification() -> None:
    a, b = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    chain = m.chain_ids([a, b])
    assert chain[0] == a
    assert chain[1] == "sha256:" + hashlib.sha256(f"{a} {b}".encode()).hexdigest()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000], ids=["arrays", "objects"])
@pytest.mark.parametrize("parse", [m.parse_configuration, m.parse_manifest, m.parse_index])
def test_nesting_without_end_is_refused(parse: Callable[[bytes, str], object], text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(text.encode(), "it")


@pytest.mark.parametrize(
    "config",
    [
        '{"Labels": [1]}', '{"Labels": 5}', '{"ExposedPorts": 5}', '{"Volumes": ["/proc"]}', '"x"', "[1]",
        '{"Healthcheck": {"Test": ["CMD"], "Interval": "abc"}}', '{"Healthcheck": {"Test": ["CMD"], "Interval": 1e999}}',
        '{"Healthcheck": {"Test": ["CMD"], "Retries": [1]}}',
    ],
)  # fmt: skip
def test_values_of_the_wrong_kind_are_refused(config: str) -> None:
    with pytest.raises(InvalidArgument):
        m.parse_configuration(f'{{"config": {config}, "rootfs": {{"diff_ids": []}}}}'.encode(), "it")


@pytest.mark.parametrize("ids", ["5", "[1]", '"sha256:00"', '{"a": 1}'])
def test_diff_ids_of_the_wrong_kind_are_refused(ids: str) -> None:
    with pytest.raises(InvalidArgument):
        m.parse_configuration(f'{{"rootfs": {{"diff_ids": {ids}}}}}'.encode(), "it")


def test_more_layers_than_can_be_stacked_are_refused() -> None:
    descriptor = {"digest": f"sha256:{'0' * 64}", "size": 1}
    with pytest.raises(InvalidArgument, match="can be stacked"):
        m.parse_manifest(json.dumps({"config": descriptor, "layers": [descriptor] * 501}).encode(), "it")
