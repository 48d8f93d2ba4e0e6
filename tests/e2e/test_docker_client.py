"""The real docker client, Docker Compose and docker-py on our engine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import docker
import pytest
from dockerd import COMPOSE
from machine import Machine


def test_run_rm_prints_the_output_and_leaves_nothing(machine: Machine, busybox: str) -> None:
    assert machine.docker("run", "--rm", busybox, "echo", "hello").stdout == "hello\n"
    assert not machine.containers()


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_run_passes_the_exit_code_on(machine: Machine, busybox: str, code: int) -> None:
    machine.docker("run", "--rm", busybox, "sh", "-c", f"exit {code}", code=code)


def test_run_keeps_stdout_and_stderr_apart(machine: Machine, busybox: str) -> None:
    done = machine.docker("run", "--rm", busybox, "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_run_i_reads_standard_input_to_its_end(machine: Machine, busybox: str) -> None:
    text = "line\n" * 20_000
    assert machine.docker("run", "--rm", "-i", busybox, "wc", "-c", stdin=text).stdout.strip() == str(len(text))


def test_large_output_arrives_whole(machine: Machine, busybox: str) -> None:
    done = machine.docker("run", "--rm", busybox, "sh", "-c", "seq 1 100000")
    assert done.stdout.splitlines() == [str(number) for number in range(1, 100_001)]


def test_a_missing_command_is_127(machine: Machine, busybox: str) -> None:
    done = machine.docker("run", "--rm", busybox, "/nope", code=127)
    assert "/nope" in done.stderr
    assert not machine.containers()


def test_ps_inspect_logs_exec_stop_rm(machine: Machine, busybox: str) -> None:
    machine.docker("run", "-d", "--name", "one", "--hostname", "here", busybox, "sh", "-c", "echo up; echo no >&2; exec sleep 100000")
    try:
        assert "one" in machine.docker("ps").stdout
        found = machine.inspect("one")
        assert found["Config"]["Hostname"] == "here" and found["State"]["Running"]
        logs = machine.docker("logs", "one")
        assert (logs.stdout, logs.stderr) == ("up\n", "no\n")
        assert machine.docker("exec", "one", "hostname").stdout == "here\n"
        machine.docker("exec", "one", "sh", "-c", "exit 9", code=9)
        assert machine.docker("exec", "-i", "one", "cat", stdin="through\n").stdout == "through\n"
        machine.docker("kill", "-s", "KILL", "one")
        assert machine.docker("wait", "one").stdout == "137\n"
    finally:
        machine.docker("rm", "-f", "one")


def test_a_terminal_is_a_terminal(machine: Machine, busybox: str) -> None:
    script = f"docker -H {machine.host} run --rm -t {busybox} sh -c 'test -t 1 && tty'"
    done = subprocess.run(["script", "-qec", script, "/dev/null"], capture_output=True, text=True, timeout=60, check=False)
    assert "/dev/pts/0" in done.stdout or "/dev/console" in done.stdout, done.stdout


def test_limits_reach_the_kernel(machine: Machine, busybox: str) -> None:
    v1, v2 = "memory/memory.limit_in_bytes pids/pids.max", "memory.max pids.max"
    read = f"cd /sys/fs/cgroup; cat {v1} 2>/dev/null || cat {v2}"
    done = machine.docker("run", "--rm", "-m", "64m", "--pids-limit", "77", busybox, "sh", "-c", read)
    assert done.stdout.split() == ["67108864", "77"]


def test_out_of_memory_is_told(machine: Machine, busybox: str) -> None:
    machine.docker("run", "--name", "hungry", "-m", "16m", busybox, "sh", "-c", "x=a; while :; do x=$x$x; done", code=137)
    try:
        assert machine.inspect("hungry")["State"]["OOMKilled"] is True
    finally:
        machine.docker("rm", "hungry")


def test_networks_and_volumes(machine: Machine, busybox: str) -> None:
    machine.docker("network", "create", "n1")
    machine.docker("volume", "create", "v1")
    machine.docker("run", "-d", "--name", "server", "--network", "n1", "-v", "v1:/v", busybox, "httpd", "-f", "-p", "80", "-h", "/v")
    try:
        machine.docker("exec", "server", "sh", "-c", "echo served > /v/f")
        assert machine.docker("run", "--rm", "--network", "n1", busybox, "wget", "-qO-", "http://server/f").stdout == "served\n"
        outside = machine.docker("run", "--rm", busybox, "timeout", "2", "wget", "-qO-", "http://server/f", code=None)
        assert outside.returncode != 0 and not outside.stdout, "the default network knows nothing of n1"
        assert machine.docker("network", "rm", "n1", code=1).stderr.count("active endpoints") == 1
    finally:
        machine.docker("rm", "-f", "server")
        machine.docker("network", "rm", "n1")
        machine.docker("volume", "rm", "v1")


def test_error_texts_are_dockers(machine: Machine, busybox: str) -> None:
    assert "No such container: nope" in machine.docker("logs", "nope", code=1).stderr
    assert "No such image: nope" in machine.docker("image", "inspect", "nope", code=1).stderr


def test_docker_py(machine: Machine, busybox: str) -> None:
    client = docker.DockerClient(base_url=machine.host, version="auto")
    try:
        assert client.containers.run(busybox, ["echo", "hello"], remove=True) == b"hello\n"
        container = client.containers.run(busybox, ["sleep", "100000"], detach=True, labels={"a": "b"})
        assert container.exec_run(["id", "-u"]).output == b"0\n"
        assert [one.id for one in client.containers.list(filters={"label": "a=b"})] == [container.id]
        container.remove(force=True)
        with pytest.raises(docker.errors.ImageNotFound):
            client.images.get("nope:1")
    finally:
        client.close()


def test_docker_compose_itself_runs_a_stack_here(machine: Machine, busybox: str) -> None:
    """Both tools keep the same labels, so each sees the other's stack."""
    text = "name: theirs\nservices:\n  a:\n    image: busybox:test\n    command: [sleep, '100000']\n    stop_grace_period: 0s\n"
    folder = machine.project("theirs", text)
    environment = {**os.environ, "DOCKER_HOST": machine.host}

    def compose(*args: str) -> str:
        done = subprocess.run([COMPOSE, *args], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    compose("up", "-d")
    assert json.loads(machine.run("ps", "--format", "json", cwd=folder).stdout)["Name"] == "theirs-a-1"
    assert "theirs-a-1" in compose("ps")
    compose("down", "-t", "0")
    assert not machine.containers()


def test_load_of_a_docker_archive(machine: Machine, busybox: str, tmp_path: Path) -> None:
    archive = tmp_path / "saved.tar"
    layout = f"oci:{tmp_path}/layout:test"
    tar = tmp_path / "rootfs.tar"
    tar.write_bytes((machine.root / "busybox.tar").read_bytes())
    oci = tmp_path / "layout"
    _oci_layout(oci, tar)
    subprocess.run(["skopeo", "copy", "-q", layout, f"docker-archive:{archive}:loaded:1"], check=True)
    assert "Loaded image: loaded:1" in machine.docker("load", "-i", str(archive)).stdout
    assert machine.docker("run", "--rm", "loaded:1", "/bin/busybox", "echo", "yes").stdout == "yes\n"
    machine.docker("rmi", "loaded:1")


def _oci_layout(folder: Path, layer: Path) -> None:
    """An OCI image layout of one uncompressed layer (image-spec, image-layout.md)."""
    import hashlib

    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    body = put(layer.read_bytes(), "application/vnd.oci.image.layer.v1.tar")
    rootfs = {"type": "layers", "diff_ids": [body["digest"]]}
    config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]}, "rootfs": rootfs}
    described = put(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": described, "layers": [body]}
    entry = put(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "test"}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
