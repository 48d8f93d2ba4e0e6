"""The real docker client and docker-py build on our engine; clients that leave and a daemon that is killed leave nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import docker
import pytest
from machine import Machine

CLASSIC = {**os.environ, "DOCKER_BUILDKIT": "0"}


def folder(machine: Machine, name: str, files: Mapping[str, str]) -> Path:
    path = machine.root / name
    for one, text in files.items():
        (path / one).parent.mkdir(parents=True, exist_ok=True)
        (path / one).write_text(text)
    return path


def build(machine: Machine, context: Path, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = ["docker", "-H", machine.host, "build", "--network=none", *options, str(context)]
    done = subprocess.run(command, env=CLASSIC, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture
def begun(machine: Machine, busybox: str) -> Iterator[subprocess.Popen[str]]:
    """The client of a build whose command is running."""
    context = folder(machine, "endless", {"Dockerfile": f"FROM {busybox}\nRUN echo be''gun; sleep 100000\n"})
    command = ["docker", "-H", machine.host, "build", "--network=none", str(context)]
    with subprocess.Popen(command, env=CLASSIC, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        assert client.stdout
        assert any(line == "begun\n" for line in client.stdout)
        yield client
        client.kill()


def assert_nothing_left(machine: Machine) -> None:
    """In ten seconds: that the client has gone is heard of by the engine on its own time."""
    deadline = time.monotonic() + 10
    while (left := _left(machine)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def _left(machine: Machine) -> list[str]:
    found = [one["ID"] for one in machine.containers()]
    found += [str(path) for path in (machine.state / "containers").iterdir()]
    found += [str(path) for path in (machine.state / "builds").glob("new-*")]
    found += [str(path) for path in (machine.state / "run" / "b").glob("*")]
    return found


def test_docker_build_and_run(machine: Machine, busybox: str) -> None:
    files = {
        "docker/Dockerfile": f"FROM {busybox} AS made\nARG WHO\nRUN echo hello $WHO > /greeting\nFROM {busybox}\n"
        'COPY --from=made /greeting /\nCOPY . /all/\nCMD ["cat", "/greeting"]\n',
        "file": "x", "left-out/file": "y", ".dockerignore": "left-out\ndocker\n",
    }  # fmt: skip
    context = folder(machine, "plain", files)
    arguments = ["-f", str(context / "docker/Dockerfile"), "-t", "me/plain:1", "-t", "me/plain:2", "--build-arg=WHO=you", "--label=a=b"]
    done = build(machine, context, *arguments)
    assert "Successfully tagged me/plain:1\nSuccessfully tagged me/plain:2\n" in done.stdout
    assert machine.docker("run", "--rm", "me/plain:2").stdout == "hello you\n"
    assert machine.docker("run", "--rm", "me/plain:1", "ls", "-A", "/all").stdout.split() == [".dockerignore", "file"]
    assert machine.inspect("me/plain:1")["Config"]["Labels"] == {"a": "b"}
    quiet = build(machine, context, *arguments, "-q").stdout.strip()
    assert quiet == machine.inspect("me/plain:1")["Id"]
    assert build(machine, context, *arguments).stdout.count("Using cache") == 6
    assert_nothing_left(machine)


def test_a_failing_command_is_the_clients_failure(machine: Machine, busybox: str) -> None:
    context = folder(machine, "failing", {"Dockerfile": f"FROM {busybox}\nRUN exit 3\n"})
    assert "The command '/bin/sh -c exit 3' returned a non-zero code: 3" in build(machine, context, code=3).stderr
    context = folder(machine, "wrong", {"Dockerfile": "FRM x\nFROM y\nCOPY z\n"})
    said = build(machine, context, code=1).stderr
    assert "Dockerfile:1: unknown instruction: FRM" in said and "Dockerfile:3:" in said
    assert_nothing_left(machine)


def test_buildkit_is_refused_with_the_way_out(machine: Machine, busybox: str) -> None:
    status, body = machine.request("POST", "/build?version=2")
    assert status == 501 and "DOCKER_BUILDKIT=0" in json.loads(body)["hint"]


def test_prune_empties_the_cache(machine: Machine, busybox: str) -> None:
    context = folder(machine, "pruned", {"Dockerfile": f"FROM {busybox}\nRUN echo x > /x\n"})
    build(machine, context)
    assert json.loads(machine.request("POST", "/build/prune")[1]).keys() == {"CachesDeleted", "SpaceReclaimed"}
    assert "Using cache" not in build(machine, context).stdout


def test_docker_py_builds(machine: Machine, busybox: str) -> None:
    context = folder(machine, "py", {"Dockerfile": f"FROM {busybox}\nARG A\nRUN echo $A > /a\n"})
    with closing(docker.DockerClient(base_url=machine.host)) as client:
        image, lines = client.images.build(path=str(context), tag="me/py:1", buildargs={"A": "1"}, network_mode="none", rm=True)
        assert image.tags == ["me/py:1"]
        assert any("Successfully built" in line.get("stream", "") for line in lines)
        assert client.containers.run("me/py:1", "cat /a", remove=True) == b"1\n"
        with pytest.raises(docker.errors.BuildError, match="returned a non-zero code: 4"):
            (context / "Dockerfile").write_text(f"FROM {busybox}\nRUN exit 4\n")
            client.images.build(path=str(context), network_mode="none")
    assert_nothing_left(machine)


def test_a_client_that_leaves_ends_its_build(machine: Machine, begun: subprocess.Popen[str]) -> None:
    assert len(machine.containers()) == 1
    begun.send_signal(signal.SIGKILL)
    assert_nothing_left(machine)


def test_a_daemon_that_is_killed_while_a_command_runs_leaves_nothing(machine: Machine, begun: subprocess.Popen[str]) -> None:
    machine.kill_daemon()
    assert begun.wait(20) != 0
    machine.run("info")
    assert_nothing_left(machine)


def test_a_daemon_that_is_killed_while_files_are_copied_leaves_nothing(machine: Machine, busybox: str) -> None:
    context = folder(machine, "large", {"Dockerfile": f"FROM {busybox}\nCOPY . /all/\n"})
    with tarfile.open(context / "many.tar", "w") as archive:
        archive.add("/usr/lib/python3", "python3", recursive=False)
    for number in range(2000):
        (context / str(number)).write_bytes(b"x" * 5000)
    command = ["docker", "-H", machine.host, "build", "--network=none", str(context)]
    with subprocess.Popen(command, env=CLASSIC, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        assert client.stdout
        assert any(line.startswith("Step 2/2") for line in client.stdout)
        machine.kill_daemon()
        assert client.wait(20) != 0
    assert list((machine.state / "builds").glob("new-*")), "it was killed too late"
    machine.run("info")
    assert_nothing_left(machine)
    layers = machine.state / "image" / "layers"
    assert not list(layers.glob("new-*"))
    assert "Successfully built" in build(machine, context).stdout
    assert_nothing_left(machine)


def test_docker_history(machine: Machine, busybox: str) -> None:
    context = folder(machine, "told", {"Dockerfile": f"FROM {busybox}\nRUN echo 12345 > /x\nENV A=1\n"})
    build(machine, context, "-t", "told:1")
    told = ["history", "--no-trunc", "--human=false", "--format", "{{.ID}} {{.Size}} {{.CreatedBy}}"]
    lines = machine.docker(*told, "told:1").stdout.splitlines()
    assert lines[0] == f"{machine.inspect('told:1')['Id']} 0 /bin/sh -c #(nop)  ENV A=1"
    assert lines[1] == "<missing> 6 /bin/sh -c echo 12345 > /x"
    assert len(lines) == 3 and int(lines[2].split()[1]) > 100_000
    assert "No such image: none:1" in machine.docker("history", "none:1", code=1).stderr


def test_a_client_that_leaves_while_it_sends_the_context_leaves_nothing(machine: Machine, busybox: str) -> None:
    head = b"POST /build?version=1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nContent-Length: 1000000\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(machine.socket))
        client.sendall(head + bytes(5000))
        deadline = time.monotonic() + 10
        while not list((machine.state / "builds").glob("new-*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert list((machine.state / "builds").glob("new-*")), "the build has not begun"
    assert_nothing_left(machine)
    machine.run("info")
