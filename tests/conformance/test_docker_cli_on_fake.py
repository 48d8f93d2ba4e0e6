"""The real docker command line on our server, with the in-memory engine behind it: what is tested is the protocol."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.engine import Behaviour, FakeEngine
from fakes.served import served_in_thread

from stackrun.api.types import ImageConfig
from stackrun.errors import CommandNotFound

DOCKER = shutil.which("docker")
pytestmark = pytest.mark.skipif(DOCKER is None, reason="the docker command line is not installed")
LIMIT_S = 30


@dataclass
class Cli:
    host: str
    engine: FakeEngine
    config: Path

    def __call__(self, *args: str, stdin: str = "", code: int = 0) -> str:
        done = self.run(*args, stdin=stdin)
        assert done.returncode == code, f"{args}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def run(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*args), input=stdin, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    def command(self, *args: str) -> list[str]:
        assert DOCKER
        return [DOCKER, "--config", str(self.config), "-H", self.host, *args]


@pytest.fixture
def docker(short_tmp: Path) -> Iterator[Cli]:
    engine = FakeEngine(images=("shell:1", "cat:1", "once:1"))
    engine.behave("once:1", Behaviour(output=((1, b"out\n"), (2, b"err\n")), exit_code=3))
    engine.behave("cat:1", Behaviour(output=((1, b"ready\n"),), echo=True))
    engine.behave("shell:1", Behaviour(output=((1, b"hello\n"),)))
    with served_in_thread(engine, short_tmp) as host:
        yield Cli(host, engine, short_tmp)


def test_version_and_info_tell_the_engine(docker: Cli) -> None:
    told = json.loads(docker("version", "--format", "{{json .}}"))
    assert (told["Server"]["ApiVersion"], told["Server"]["Version"]) == ("1.47", "0.0-fake")
    assert docker("info", "--format", "{{.ServerVersion}} {{.NCPU}}") == "0.0-fake 2\n"


def test_run_in_the_foreground_gives_output_and_exit_code(docker: Cli) -> None:
    done = docker.run("run", "--rm", "--name", "once", "once:1")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)
    assert docker("ps", "-a", "-q") == ""


def test_run_forwards_stdin_and_its_end(docker: Cli) -> None:
    assert docker("run", "-i", "--rm", "cat:1", stdin="typed\n") == "ready\ntyped\n"


def test_run_pulls_what_is_missing(docker: Cli) -> None:
    docker.engine.pullable["fresh:1"] = ImageConfig(command=("sh",))
    assert "Status: Downloaded newer image for fresh:1" in docker("run", "-d", "fresh:1")
    assert "manifest for nope:latest not found" in docker("run", "nope", code=125)
    assert "Pull complete" in docker("pull", "fresh:1")


def test_a_detached_container_is_listed_inspected_and_read(docker: Cli) -> None:
    container = docker("run", "-d", "--name", "web", "-e", "A=1", "-l", "role=web", "-p", "8080:80", "-v", "data:/data", "shell:1").strip()
    listed = json.loads(docker("ps", "--format", "{{json .}}", "--no-trunc", "--filter", "label=role=web"))
    assert (listed["ID"], listed["Names"], listed["State"], listed["Ports"]) == (container, "web", "running", "0.0.0.0:8080->80/tcp")
    assert listed["Status"].startswith("Up ")
    (told,) = json.loads(docker("inspect", "web"))
    assert told["Config"]["Env"] == ["A=1"]
    assert told["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    assert [(one["Type"], one["Name"], one["Destination"]) for one in told["Mounts"]] == [("volume", "data", "/data")]
    assert docker("logs", "web") == "hello\n"
    assert docker("port", "web") == "80/tcp -> 0.0.0.0:8080\n"
    assert "sh" in docker("top", "web")


def test_a_containers_life(docker: Cli) -> None:
    docker("create", "--name", "web", "shell:1")
    for verb in ("start", "restart", "pause", "unpause", "stop", "start", "kill"):
        assert docker(verb, "web") == "web\n"
    docker("rename", "web", "old")
    assert docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "old") == "exited 137\n"
    docker("start", "old")
    assert "container is running" in docker("rm", "old", code=1)
    assert docker("rm", "-f", "old") == "old\n"
    assert "No such container: old" in docker("start", "old", code=1)
    assert "No such object: old" in docker("inspect", "old", code=1)


def test_exec_runs_a_command(docker: Cli) -> None:
    docker.engine.behave_exec(("hi",), Behaviour(output=((1, b"hi\n"),), exit_code=4))
    docker.engine.behave_exec(("cat",), Behaviour(echo=True))
    missing = CommandNotFound('exec failed: exec: "/nope": stat /nope: no such file or directory')
    docker.engine.behave_exec(("/nope",), Behaviour(start_error=missing))
    docker("run", "-d", "--name", "web", "shell:1")
    assert docker("exec", "web", "hi", code=4) == "hi\n"
    assert docker("exec", "-i", "web", "cat", stdin="typed\n") == "typed\n"
    assert docker("exec", "-d", "web", "hi") == ""
    assert "no such file or directory" in docker("exec", "web", "/nope", code=127)


def test_wait_blocks_until_the_exit(docker: Cli) -> None:
    docker("run", "-d", "--name", "web", "shell:1")
    with subprocess.Popen(docker.command("wait", "web"), stdout=subprocess.PIPE, text=True) as waiting:
        docker("kill", "web")
        assert waiting.communicate(timeout=LIMIT_S)[0] == "137\n"


def test_logs_are_followed_until_the_exit(docker: Cli) -> None:
    docker("run", "-d", "--name", "web", "shell:1")
    with subprocess.Popen(docker.command("logs", "-f", "-t", "web"), stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout
        assert following.stdout.readline().endswith("Z hello\n")
        docker("stop", "web")
        assert following.communicate(timeout=LIMIT_S)[0] == ""


def test_attach_and_stop(docker: Cli) -> None:
    docker("run", "-d", "-i", "--name", "web", "cat:1")
    with subprocess.Popen(docker.command("attach", "web"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as attached:
        assert attached.communicate("typed\n", timeout=LIMIT_S)[0] == "typed\n"


def test_a_terminal_can_be_left_by_the_detach_keys(docker: Cli) -> None:
    primary, secondary = pty.openpty()
    command = docker.command("run", "-it", "--name", "web", "cat:1")
    with subprocess.Popen(command, stdin=secondary, stdout=secondary, stderr=secondary, close_fds=True) as running:
        os.close(secondary)
        _read_until(primary, b"ready")
        os.write(primary, b"typed\r")
        _read_until(primary, b"typed")
        os.write(primary, b"\x10\x11")
        assert running.wait(LIMIT_S) == 0
    os.close(primary)
    assert docker("inspect", "-f", "{{.State.Status}}", "web") == "running\n"


def _read_until(fd: int, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        seen += os.read(fd, 1024)


def test_events_stream_as_they_happen(docker: Cli) -> None:
    command = docker.command("events", "--filter", "type=container", "--format", "{{.Action}} {{.Actor.Attributes.name}}")
    # An event of the past tells that the stream is open before the next one happens.
    docker("create", "--name", "early", "shell:1")
    with subprocess.Popen([*command, "--since", "1h"], stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout
        assert listening.stdout.readline() == "create early\n"
        docker("run", "--name", "web", "once:1", code=3)
        assert [listening.stdout.readline() for _ in range(3)] == ["create web\n", "start web\n", "die web\n"]
        listening.terminate()


def test_images(docker: Cli, tmp_path: Path) -> None:
    assert set(docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()) == {"shell:1", "cat:1", "once:1"}
    docker("tag", "shell:1", "me/shell:2")
    assert docker("image", "inspect", "-f", "{{json .RepoTags}}", "me/shell:2") == '["shell:1","me/shell:2"]\n'
    assert docker("rmi", "me/shell:2") == "Untagged: me/shell:2\n"
    (tmp_path / "root.tar").write_bytes(b"\0" * 10240)
    assert docker("import", str(tmp_path / "root.tar"), "made:1").startswith("sha256:")
    docker("image", "inspect", "made:1")
    assert "No such image: nope" in docker("image", "inspect", "nope", code=1)


def test_networks_and_volumes(docker: Cli) -> None:
    network = docker("network", "create", "--label", "a=b", "back").strip()
    docker("run", "-d", "--name", "web", "--network", "back", "--network-alias", "www", "shell:1")
    assert docker("network", "ls", "-q", "--no-trunc", "--filter", "label=a=b").strip() == network
    assert "web" in docker("network", "inspect", "back")
    assert "has active endpoints" in docker("network", "rm", "back", code=1)
    docker("network", "connect", "bridge", "web")
    docker("network", "disconnect", "back", "web")
    docker("network", "rm", "back")
    assert docker("volume", "create", "data") == "data\n"
    assert docker("volume", "ls", "-q") == "data\n"
    assert json.loads(docker("volume", "inspect", "data"))[0]["Driver"] == "local"
    docker("volume", "rm", "data")
    assert "no such volume" in docker("volume", "inspect", "data", code=1).lower()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("diff", "web"), "does not support listing the changes"),
        (("swarm", "ca"), "This node is not a swarm manager"),
        (("ps", "--filter", "foo=bar"), "invalid filter 'foo'"),
        (("run", "--name", "web", "shell:1"), "is already in use by container"),
        (("kill", "-s", "FOO", "web"), "invalid signal: FOO"),
        (("logs", "nope"), "No such container: nope"),
    ],
)
def test_refusals_reach_the_user(docker: Cli, command: tuple[str, ...], said: str) -> None:
    docker("create", "--name", "web", "shell:1")
    done = docker.run(*command)
    assert done.returncode != 0
    assert said in done.stderr


@pytest.fixture
def python_client(docker: Cli) -> Iterator[Callable[..., object]]:
    import docker as docker_py

    client = docker_py.DockerClient(base_url=docker.host.replace("unix://", "unix:"), version="auto")
    yield client
    client.close()


def test_docker_py_runs_lists_and_reads(docker: Cli, python_client) -> None:  # type: ignore[no-untyped-def]
    from docker.errors import ContainerError, ImageNotFound, NotFound

    assert python_client.ping()
    container = python_client.containers.run("shell:1", detach=True, name="web", labels={"a": "b"})
    assert [one.name for one in python_client.containers.list(filters={"label": ["a=b"]})] == ["web"]
    assert container.logs() == b"hello\n"
    docker.engine.behave_exec(("hi",), Behaviour(output=((1, b"hi\n"),), exit_code=4))
    assert container.exec_run(["hi"]) == (4, b"hi\n")
    container.stop()
    assert container.wait()["StatusCode"] == 143
    with pytest.raises(ContainerError) as failure:
        python_client.containers.run("once:1", remove=True)
    assert failure.value.exit_status == 3
    with pytest.raises(ImageNotFound):
        python_client.images.get("nope")
    with pytest.raises(NotFound):
        python_client.containers.get("nope")
