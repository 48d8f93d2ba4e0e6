"""Names and references with `..`, slashes and their encodings: no directory of the engine's may be left by way of one (CWE-22)."""

import os
from urllib.parse import quote

import pytest
from machine import Machine

NAMES = (
    "../evil",
    "a/../../evil",
    "..",
    ".",
    "/evil",
    "a%2f..%2fevil",
    "a\0b",
    "a\nb",
    "-x",
    "~root",
    "$(id)",
    "a;id",
    "a b",
    "é",
    "\u202eevil",
)


def listing(machine: Machine) -> list[str]:
    """All that lies around the state root and in it, a few levels deep."""
    found = []
    for parent, directories, files in os.walk(machine.root):
        found += [f"{parent}/{name}" for name in (*directories, *files)]
    return sorted(path for path in found if "evil" in path)


@pytest.mark.parametrize("name", NAMES)
def test_making_one_is_refused(machine: Machine, name: str) -> None:
    container = {"Image": "host", "Cmd": ["true"]}
    if not name.startswith("/"):  # which docker's own clients say, and which is not part of it
        assert machine.request("POST", f"/containers/create?name={quote(name, safe='')}", container)[0] == 400
    assert machine.request("POST", "/volumes/create", {"Name": name})[0] == 400
    assert machine.request("POST", "/networks/create", {"Name": name})[0] == 400
    mount = {"HostConfig": {"Mounts": [{"Type": "volume", "Source": name, "Target": "/data"}]}}
    if not name.startswith("/"):
        assert machine.request("POST", "/containers/create", {**container, **mount})[0] == 400
    assert listing(machine) == []


@pytest.mark.parametrize("name", ["..%2f..%2fetc", "%2e%2e", "%2e%2e%2f%2e%2e", "..", "a%00b", "%252e%252e"])
@pytest.mark.parametrize("kind", ["containers", "volumes", "networks", "images"])
def test_asking_for_one_finds_nothing(machine: Machine, kind: str, name: str) -> None:
    look = f"/{kind}/{name}" + ("/json" if kind in ("containers", "images") else "")
    assert machine.request("GET", look)[0] in (400, 404)
    assert machine.request("DELETE", f"/{kind}/{name}")[0] in (400, 404)
    assert (machine.state / "containers").is_dir() and (machine.state / "volumes").is_dir()


def test_a_cgroup_parent_of_dots_is_refused(machine: Machine) -> None:
    for parent in ("../../evil", "/../evil", "a/../../../evil", "."):
        body = {"Image": "host", "Cmd": ["true"], "HostConfig": {"CgroupParent": parent}}
        assert machine.request("POST", "/containers/create", body)[0] == 400


def test_an_honest_name_is_taken(machine: Machine) -> None:
    assert machine.request("POST", "/volumes/create", {"Name": "honest-1.2_3"})[0] == 201
    assert (machine.state / "volumes/honest-1.2_3/_data").is_dir()
    machine.docker("volume", "rm", "honest-1.2_3")
