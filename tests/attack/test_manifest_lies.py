"""A registry's manifest that lies about what is behind it: digests, sizes, number of layers, kinds (distribution-spec, image-spec)."""

from collections.abc import Callable
from typing import Any

import pytest
from evil_layers import file, tar
from evil_registry import Document, EvilRegistry, descriptor
from machine import Machine

LAYER = tar([file("it", "here")])
OTHER = tar([file("it", "something else")])


def first_layer(document: Document, **fields: Any) -> None:
    document["layers"][0].update(fields)


LIES: dict[str, tuple[Callable[[Document], object], str]] = {
    "a layer's digest is another's": (lambda one: first_layer(one, digest=descriptor(OTHER)["digest"]), "unpacks to"),
    "a digest that is a path": (lambda one: first_layer(one, digest="sha256:../../../../etc/shadow"), "without a sha256 digest"),
    "a digest of another kind": (lambda one: first_layer(one, digest="md5:" + "0" * 32), "without a sha256 digest"),
    "smaller than it is": (lambda one: first_layer(one, size=5), "longer than the 5 bytes announced"),
    "a negative size": (lambda one: first_layer(one, size=-1), "without a sha256 digest and a size"),
    "a size that is no number": (lambda one: first_layer(one, size="1e9"), "without a sha256 digest and a size"),
    "more layers than can be stacked": (lambda one: one["layers"].extend(one["layers"] * 600), "can be stacked"),
    "layers that the configuration does not know": (lambda one: one["layers"].append(descriptor(OTHER)), "2 layers but 1 diff ids"),
    "a configuration of gigabytes": (lambda one: one["config"].update(size=1 << 32), "is larger than"),
    "another kind of thing": (lambda one: one.update(mediaType="application/vnd.cncf.helm.config.v1+json"), "no image manifest"),
    "layers that are none": (lambda one: one.update(layers={"a": 1}), "has no layers"),
}


@pytest.mark.parametrize("lie", LIES)
def test_it_is_found_out(machine: Machine, registry: EvilRegistry, lie: str) -> None:
    change, told = LIES[lie]
    registry.blobs[descriptor(OTHER)["digest"]] = OTHER
    done = machine.docker("pull", registry.image("1", LAYER, change=change), code=1)
    assert told in done.stderr, done.stderr
    assert machine.docker("images", "-q").stdout == ""


def test_wrong_bytes_under_a_digest_are_refused(machine: Machine, registry: EvilRegistry) -> None:
    name = registry.image("1", LAYER)
    registry.blobs[descriptor(LAYER)["digest"]] = OTHER[: len(LAYER)].ljust(len(LAYER), b"x")
    assert "has the digest" in machine.docker("pull", name, code=1).stderr


def test_another_manifest_than_the_one_asked_for_is_refused(machine: Machine, registry: EvilRegistry) -> None:
    registry.image("2", OTHER)
    wanted = descriptor(registry.manifests["2"])["digest"]
    registry.manifests[wanted] = registry.manifests[wanted] + b" "
    done = machine.docker("pull", f"{registry.address}/evil@{wanted}", code=1)
    assert "not the one asked for" in done.stderr


def test_the_address_of_a_foreign_layer_is_not_visited(machine: Machine, registry: EvilRegistry) -> None:
    """`urls` made some engines fetch from wherever the image said (CVE-2020-15157 leaked the password there)."""
    registry.requests.clear()

    def foreign(document: Document) -> None:
        kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        first_layer(document, mediaType=kind, urls=[f"http://{registry.address}/elsewhere"])

    machine.docker("pull", registry.image("1", LAYER, change=foreign))
    assert registry.requests and not [path for path, _ in registry.requests if "elsewhere" in path]
    machine.docker("rmi", f"{registry.address}/evil:1")


def test_the_truth_is_pulled(machine: Machine, registry: EvilRegistry) -> None:
    machine.docker("pull", registry.image("1", LAYER))
    assert machine.docker("images", "-q").stdout != ""
