"""`config` in a directory of its own: its options, each beside what Docker Compose 2.40.3 prints for the same files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from stackrun.cli import main
from stackrun.errors import InvalidArgument, NotFound
from stackrun.image import registry

STACK = """
name: shop
services:
  web:
    image: nginx:${TAG:-1}
    build: {context: ./ctx, args: [A, B=1]}
    command: run ${X:?needed}
    ports: ["${PORT:-80}:80", "90"]
    env_file: web.env
    environment: [FOO, "BAR=$S"]
    volumes: ["${D-./d}:/d", "vol:/v"]
    depends_on: [db]
  db: {image: db, profiles: [p], hostname: "${H+other}"}
  alone: {build: ., models: [m]}
models: {m: {model: ai/small}}
networks: {unused: }
volumes: {vol: , gone: }
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "compose.yaml").write_text(STACK)
    (tmp_path / "web.env").write_text("WE=1\n")
    (tmp_path / ".env").write_text("X=from file\n")
    monkeypatch.chdir(tmp_path)
    for name in ("TAG", "PORT", "D", "H", "COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("S", "str")
    monkeypatch.setenv("FOO", "foo")
    return tmp_path


@pytest.fixture
def config(directory: Path, capsys: pytest.CaptureFixture[str]) -> object:
    def run(*words: str) -> str:
        assert main.run(["--profile", "p", "config", *words]) == 0
        return capsys.readouterr().out

    return run


def test_lists(config) -> None:  # type: ignore[no-untyped-def]
    assert config("--services").split() == ["alone", "db", "web"]
    assert config("--images").split() == ["shop-alone", "db", "nginx:1"]
    assert config("--volumes").split() == ["vol"]
    assert config("--networks").split() == ["default"]
    assert config("--profiles").split() == ["p"]
    assert config("--models").split() == ["ai/small"]
    assert config("--images", "-q") == ""


def test_the_environment_is_that_of_interpolation(config) -> None:  # type: ignore[no-untyped-def]
    lines = config("--environment").splitlines()
    assert lines == sorted(lines)
    assert {"COMPOSE_PROJECT_NAME=shop", "S=str", "X=from file"} <= set(lines)


def test_variables(config) -> None:  # type: ignore[no-untyped-def]
    assert config("--variables").splitlines()[:4] == [
        "NAME                REQUIRED            DEFAULT VALUE       ALTERNATE VALUE",
        "D                   false               ./d                 ",
        "H                   false                                   other",
        "PORT                false               80                  ",
    ]
    table = json.loads(config("--variables", "--format", "json"))
    assert sorted(table) == ["D", "H", "PORT", "S", "TAG", "X"]
    assert table["X"] == {"Name": "X", "DefaultValue": "", "PresenceValue": "", "Required": True}
    assert yaml.safe_load(config("--variables", "--format", "yaml"))["TAG"]["defaultvalue"] == "1"


def test_without_interpolation_everything_is_as_written(config) -> None:  # type: ignore[no-untyped-def]
    tree = json.loads(config("--no-interpolate", "--format", "json"))
    web = tree["services"]["web"]
    assert (web["image"], web["command"], web["ports"]) == ("nginx:${TAG:-1}", "run ${X:?needed}", ["${PORT:-80}:80", "90"])
    assert web["environment"] == ["FOO", "BAR=$S"]
    assert web["volumes"][0] == "${D-./d}:/d"
    assert sorted(tree["volumes"]) == ["gone", "vol"]


def test_without_one_phase(config, directory: Path) -> None:  # type: ignore[no-untyped-def]
    def web(*words: str) -> dict[str, object]:
        return json.loads(config("--format", "json", *words))["services"]["web"]  # type: ignore[no-any-return]

    assert "networks" in web() and "networks" not in web("--no-normalize")
    assert web("--no-path-resolution")["build"] == {"args": {"B": "1"}, "context": "./ctx", "dockerfile": "Dockerfile"}
    assert web("--no-path-resolution")["environment"] == web()["environment"] == {"BAR": "str", "FOO": "foo", "WE": "1"}
    assert web("--no-env-resolution")["env_file"] == [{"path": str(directory / "web.env"), "required": True}]
    (directory / "compose.yaml").write_text("services: {web: {image: x, networks: [none]}}")
    assert web("--no-consistency")["networks"] == {"none": None}


def test_services_and_what_they_depend_on(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is named is enabled whatever its profiles are."""
    assert main.run(["config", "--format", "json", "db"]) == 0
    assert list(json.loads(capsys.readouterr().out)["services"]) == ["db"]
    assert main.run(["--profile", "p", "config", "--services", "web"]) == 0
    assert capsys.readouterr().out.split() == ["db", "web"]
    with pytest.raises(NotFound, match="no such service: nope"):
        main.run(["--profile", "p", "config", "nope"])


def test_yaml_has_no_nulls_for_what_is_not_given(config) -> None:  # type: ignore[no-untyped-def]
    tree = yaml.safe_load(config())
    assert "command" not in tree["services"]["db"] and tree["networks"] == {"default": {"name": "shop_default"}}


def test_digests_are_asked_of_the_registry_once_an_image(config, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    asked: list[str] = []

    def manifest(client: registry.RegistryClient, tag: str) -> registry.Fetched:
        asked.append(f"{client.reference.name}:{tag}")
        return registry.Fetched(b"index", "application/vnd.oci.image.index.v1+json")

    monkeypatch.setattr(registry.RegistryClient, "manifest", manifest)
    digest = hashlib.sha256(b"index").hexdigest()
    (directory / "compose.yaml").write_text(
        f"services: {{a: {{image: x}}, b: {{image: x}}, c: {{image: 'r.io/y:2@sha256:{digest}'}}, d: {{build: .}}}}"
    )
    locked = yaml.safe_load(config("--lock-image-digests"))
    pinned = f"docker.io/library/x:latest@sha256:{digest}"
    assert locked == {"services": {"a": {"image": pinned}, "b": {"image": pinned}, "c": {"image": f"r.io/y@sha256:{digest}"}, "d": {}}}
    assert asked == ["docker.io/library/x:latest"]
    tree = json.loads(config("--resolve-image-digests", "--format", "json"))
    assert tree["services"]["a"]["image"] == pinned and tree["name"] == directory.name


def test_a_digest_of_a_variable_is_refused(config) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidArgument, match="has a variable"):
        config("--no-interpolate", "--resolve-image-digests", "web")


def test_output_goes_to_a_file(config, directory: Path) -> None:  # type: ignore[no-untyped-def]
    assert config("-o", "out.yaml") == ""
    assert yaml.safe_load((directory / "out.yaml").read_text())["name"] == "shop"
