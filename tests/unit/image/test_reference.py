from __future__ import annotations

import pytest

from stackrun.errors import InvalidArgument
from stackrun.image.reference import Reference, id_prefix, parse

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("nginx", "docker.io/library/nginx", "nginx"),
        ("nginx:1.25", "docker.io/library/nginx:1.25", "nginx:1.25"),
        ("shop/api", "docker.io/shop/api", "shop/api"),
        ("docker.io/nginx", "docker.io/library/nginx", "nginx"),
        ("index.docker.io/library/nginx:1", "docker.io/library/nginx:1", "nginx:1"),
        ("library/nginx", "docker.io/library/nginx", "nginx"),
        ("localhost/api", "localhost/api", "localhost/api"),
        ("localhost:5000/shop/api:2", "localhost:5000/shop/api:2", "localhost:5000/shop/api:2"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x", "127.0.0.1:5000/x"),
        ("[::1]:5000/x:y", "[::1]:5000/x:y", "[::1]:5000/x:y"),
        ("ghcr.io/a/b/c@" + DIGEST, f"ghcr.io/a/b/c@{DIGEST}", f"ghcr.io/a/b/c@{DIGEST}"),
        ("x:tag@" + DIGEST, f"docker.io/library/x:tag@{DIGEST}", f"x:tag@{DIGEST}"),
        ("a__b.c--d", "docker.io/library/a__b.c--d", "a__b.c--d"),
        ("Registry/x", "Registry/x", "Registry/x"),
    ],
)
def test_names(text: str, canonical: str, familiar: str) -> None:
    parsed = parse(text)
    assert (parsed.canonical, parsed.familiar) == (canonical, familiar)
    assert parse(parsed.canonical) == parsed == parse(parsed.familiar)


@pytest.mark.parametrize(
    "text", ["", "/x", "x/", "x//y", "-x", "x:", "x:-t", "x:" + "t" * 129, "x@sha256:12", "x y", "a/../b", "x@", ":t", "x:a:b"]
)
def test_what_no_registry_could_hold(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"invalid (reference format|checksum digest length)"):
        parse(text)


def test_upper_case_is_named_as_docker_names_it() -> None:
    with pytest.raises(InvalidArgument, match=r"^invalid reference format: repository name \(library/UPPER\) must be lowercase$"):
        parse("UPPER")


def test_an_id_is_no_name() -> None:
    with pytest.raises(InvalidArgument, match="cannot specify 64-byte hexadecimal strings"):
        parse("a" * 64)


def test_names_have_a_limit() -> None:
    with pytest.raises(InvalidArgument, match="must not be more than 255"):
        parse("a" * 256)


def test_default_tag() -> None:
    assert parse("x").with_default_tag() == Reference("docker.io", "library/x", "latest")
    assert parse(f"x@{DIGEST}").with_default_tag().tag == ""


@pytest.mark.parametrize(("text", "prefix"), [("abc123", "abc123"), (DIGEST, "ab" * 32), ("sha256:ab", "ab"), ("nginx", ""), ("ABC", "")])
def test_id_prefix(text: str, prefix: str) -> None:
    assert id_prefix(text) == prefix
