"""An ordinary user without any set-up: his first command starts his own engine, and what needs root is refused by name."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from free_ports import free_port
from load import Load
from machine import EXAMPLES, busybox_tar, http_get
from ordinary_user import OrdinaryUser, why_not
from registry import Registry

from stackrun.kernel import cgroup

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "can")

STACK = """
name: mine
services:
  web:
    image: busybox:test
    command: [httpd, -f, -p, "8080", -h, /etc]
    ports: ["127.0.0.1:{port}:8080"]
    stop_grace_period: 0s
  other:
    image: busybox:test
    command: [sleep, "100000"]
    stop_grace_period: 0s
    mem_limit: 64m
    pids_limit: 50
  echo:
    image: host
    command:
      - python3
      - -c
      - "from socket import *; s = socket(type=SOCK_DGRAM); s.bind(('', 9000)); all(s.sendto(*s.recvfrom(99)) for _ in iter(int, 1))"
    ports: ["127.0.0.1:{port}:9000/udp"]
    stop_grace_period: 0s
"""


@pytest.fixture(scope="module")
def user(nothing_left_behind: None) -> Iterator[OrdinaryUser]:
    made = OrdinaryUser(f"srt{os.getpid()}")
    try:
        yield made
        assert not made.run("ls", "-q").stdout.strip()
        made.run("daemon", "stop")
        assert made.gone_within(10), made.processes()
    finally:
        made.close()


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def stack(user: OrdinaryUser, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = user.folder("mine", compose_yaml=STACK.format(port=port))
    image = busybox_tar(folder)
    user.run("import", str(image), "busybox:test")
    planned = user.run("plan", cwd=folder).stderr
    assert planned.count("limits left out (memory, pids)") == 1, planned
    said = user.run("up", "-d", cwd=folder).stderr
    assert said.count("limits left out (memory, pids)") == 1, said
    yield folder
    user.run("down", "-v", cwd=folder)


def test_it_says_that_it_is_rootless(user: OrdinaryUser, stack: Path) -> None:
    assert "rootless" in user.run("version").stdout
    told = json.loads(user.run("info", "--format", "json").stdout)
    assert "name=rootless" in told["SecurityOptions"] and told["DockerRootDir"] == f"{user.home}/.local/share/stackrun"


def test_a_published_port_is_reached_on_the_host(stack: Path, port: int) -> None:
    assert "root:x:0:0" in http_get(f"http://127.0.0.1:{port}/passwd")


def test_a_published_udp_port_answers(stack: Path, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"hello", ("127.0.0.1", port))
        assert client.recv(100) == b"hello"


def test_a_port_goes_from_one_container_to_the_next_without_a_gap(user: OrdinaryUser, stack: Path) -> None:
    port = free_port()
    text = """
name: turn
services:
  web:
    image: busybox:test
    init: true
    command: [sh, -c, "mkdir /www; echo {version} > /www/index.html; exec httpd -f -p 80 -h /www"]
    ports: ["127.0.0.1:{port}:80"]
    healthcheck: {{test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1/"], interval: 100ms, timeout: 2s}}
    deploy: {{update_config: {{order: start-first}}}}
"""
    folder = user.folder("turn", compose_yaml=text.format(version="one", port=port))
    user.run("up", "-d", "--wait", cwd=folder)
    user.folder("turn", compose_yaml=text.format(version="two", port=port))
    load = Load(port, ("127.0.0.1",))
    with load.running():
        load.wait_for(("127.0.0.1", "one"))
        user.run("up", "-d", cwd=folder)
        load.wait_for(("127.0.0.1", "two"))
    user.run("down", cwd=folder)
    assert load.failures == [] and {text for _, text in load.answers} == {"one", "two"}


def test_services_find_each_other_by_name(user: OrdinaryUser, stack: Path) -> None:
    assert "root:x:0:0" in user.run("exec", "-T", "other", "wget", "-qO-", "http://web:8080/passwd", cwd=stack).stdout


def test_containers_get_out_but_not_onto_the_hosts_loopback(user: OrdinaryUser, stack: Path) -> None:
    with _served("0.0.0.0") as everywhere, _served("127.0.0.1") as inward:
        fetch = ["exec", "-T", "other", "timeout", "3", "wget", "-qO-"]
        assert user.run(*fetch, f"http://{_own_address()}:{everywhere}/", cwd=stack).stdout == "out"
        refused = user.run(*fetch, f"http://10.0.2.2:{inward}/", cwd=stack, code=None)
        assert refused.returncode and "out" not in refused.stdout


@contextlib.contextmanager
def _served(address: str) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"out")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        address: str = probe.getsockname()[0]
        return address


def test_root_inside_is_the_user_outside(user: OrdinaryUser, stack: Path) -> None:
    assert user.run("exec", "-T", "other", "id", "-u", cwd=stack).stdout == "0\n"
    assert user.uid in {os.stat(f"/proc/{pid}").st_uid for pid, command in user.processes().items() if command.startswith("sleep")}


def test_what_takes_root_is_refused_by_name(user: OrdinaryUser, stack: Path) -> None:
    for key, value, words in (
        ("ports", '["127.0.0.1:81:80"]', "ports below 1024 need root"),
        ("devices", '["/dev/kmsg:/dev/kmsg"]', "device /dev/kmsg: this user may not open it"),
        ("pid", "host", "pid mode host"),
    ):
        folder = user.folder("refused", compose_yaml=f"services: {{one: {{image: 'busybox:test', command: [sleep, '9'], {key}: {value}}}}}")
        said = user.run("up", "-d", cwd=folder, code=None)
        user.run("down", cwd=folder)
        assert said.returncode and words in said.stderr, said.stderr


def test_containers_outlive_the_daemon_and_the_gate(user: OrdinaryUser, stack: Path, port: int) -> None:
    before = user.run("ps", "-q", cwd=stack).stdout
    for name in ("stackrun-gate", "stackrun.cli.daemon"):
        os.kill(user.pid_of(name), signal.SIGKILL)
    assert "root:x:0:0" in http_get(f"http://127.0.0.1:{port}/passwd")
    assert user.run("ps", "-q", cwd=stack).stdout == before
    assert "root:x:0:0" in http_get(f"http://127.0.0.1:{port}/passwd")
    user.run("restart", "web", cwd=stack)
    assert "root:x:0:0" in http_get(f"http://127.0.0.1:{port}/passwd")


def answers_within(port: int, timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return http_get(f"http://127.0.0.1:{port}/passwd", timeout=2)
        except OSError:
            assert time.monotonic() < deadline, "the published port does not answer"
            time.sleep(0.05)


def test_published_ports_come_back_when_who_leads_them_is_killed(user: OrdinaryUser, stack: Path, port: int) -> None:
    for _ in range(2):
        os.kill(user.pid_of("stackrun-usher"), signal.SIGKILL)
        assert "root:x:0:0" in answers_within(port, 20)


def test_a_gate_that_is_killed_is_made_again_by_the_next_command(user: OrdinaryUser, stack: Path, port: int) -> None:
    os.kill(user.pid_of("stackrun-gate"), signal.SIGKILL)
    assert "root:x:0:0" in http_get(f"http://127.0.0.1:{port}/passwd")
    own = free_port()
    text = f"services: {{one: {{image: 'busybox:test', command: [httpd, -f, -p, '80', -h, /etc], ports: ['127.0.0.1:{own}:80']}}}}"
    folder = user.folder("new", compose_yaml=text)
    user.run("ps", cwd=folder)
    user.run("up", "-d", cwd=folder)
    assert "root:x:0:0" in answers_within(own, 20)
    os.kill(user.pid_of("stackrun-usher"), signal.SIGKILL)
    assert "root:x:0:0" in answers_within(own, 20) and "root:x:0:0" in answers_within(port, 20)
    user.run("down", "-t", "0", cwd=folder)


def test_the_shop(user: OrdinaryUser) -> None:
    folder, port = user.folder("shop", EXAMPLES / "shop"), free_port()
    env = {"SHOP_PORT": str(port)}
    user.run("up", "-d", "--wait", cwd=folder, env=env)
    hosts = {json.loads(http_get(f"http://127.0.0.1:{port}/"))["host"] for _ in range(20)}
    assert len(hosts) == 2
    user.run("down", "-v", "-t", "1", cwd=folder, env=env)


@pytest.mark.skipif(not cgroup.detect().v2, reason="nothing can be delegated without cgroup v2")
def test_a_delegated_cgroup_holds_the_containers() -> None:
    delegated = Path(cgroup.detect().v2, f"srd{os.getpid()}")
    owner = OrdinaryUser(delegated.name)
    try:
        (delegated / "shell").mkdir(parents=True)
        for path in (delegated, delegated / "shell"):
            for name in (".", "cgroup.procs", "cgroup.subtree_control"):
                os.chown(path / name, owner.uid, owner.uid)
        owner.cgroup = delegated / "shell"
        folder = owner.folder("one", compose_yaml="services: {one: {image: host, command: [sleep, '99'], stop_grace_period: 0s}}")
        owner.run("up", "-d", cwd=folder)
        docker = ["docker", "-H", f"unix://{owner.run_dir}/stackrun.sock"]
        assert owner.command(*docker, "pause", "one-one-1").returncode == 0
        (group,) = (delegated / "stackrun").glob("*/cgroup.freeze")
        assert group.read_text() == "1\n"
        assert owner.command(*docker, "unpause", "one-one-1").returncode == 0
        owner.run("down", cwd=folder)
        owner.run("daemon", "stop")
        assert owner.gone_within(10), owner.processes()
    finally:
        owner.close()
        for name in ("stackrun", "shell", "."):
            with contextlib.suppress(FileNotFoundError):
                (delegated / name).rmdir()


def own_address() -> str:
    """Of this machine, and not its loopback's, which a user's engine has one of its own of."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 9))  # nothing is sent
        address: str = one.getsockname()[0]
    return address


def made_image(folder: Path) -> Path:
    """What `docker save` writes of an image of one layer, a static busybox."""
    layer = busybox_tar(folder).read_bytes()
    config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]}}
    config["rootfs"] = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
    manifest = [{"Config": "config.json", "RepoTags": ["app:1"], "Layers": ["layer.tar"]}]
    saved = folder / "saved.tar"
    with tarfile.open(saved, "w") as archive:
        for name, data in (("config.json", json.dumps(config)), ("manifest.json", json.dumps(manifest)), ("layer.tar", layer)):
            content = data.encode() if isinstance(data, str) else data
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return saved


@pytest.mark.skipif(not all(map(shutil.which, ("docker-registry", "skopeo", "openssl"))), reason="needs a registry, and what fills it")
def test_an_image_comes_from_a_registry_with_tls(tmp_path: Path) -> None:
    """Over the user's own way out of his namespaces; the certificate is one that he trusts, and nobody else."""
    address, certificate, key = own_address(), tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=registry", "-addext", f"subjectAltName=IP:{address}"]
    subprocess.run(["openssl", "req", "-x509", *made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    registry = Registry(tmp_path / "registry", host=address, tls=(certificate, key))
    owner = OrdinaryUser(f"srp{os.getpid()}")
    try:
        image = f"{registry.address}/team/app:1"
        filled = ["skopeo", "copy", "--dest-tls-verify=false", f"docker-archive:{made_image(tmp_path)}", f"docker://{image}"]
        subprocess.run(filled, check=True, capture_output=True)
        text = f"services: {{one: {{image: '{image}', command: [sleep, '99'], stop_grace_period: 0s}}}}"
        folder = owner.folder("one", compose_yaml=text, cert_pem=certificate.read_text())
        refused = owner.run("pull", cwd=folder, code=None)
        assert refused.returncode == 1 and "certificate" in refused.stderr, refused.stderr
        owner.run("daemon", "stop")
        trusting = {"SSL_CERT_FILE": str(folder / "cert.pem")}
        owner.run("up", "-d", cwd=folder, env=trusting)
        assert owner.run("exec", "-T", "one", "id", "-u", cwd=folder).stdout == "0\n"
        store = owner.home / ".local/share/stackrun"
        assert {one.stat().st_uid for one in store.rglob("busybox")} == {owner.uid}
        owner.run("down", cwd=folder)
        owner.run("daemon", "stop")
        assert owner.gone_within(10), owner.processes()
    finally:
        owner.close()
        registry.close()


def test_with_one_id_alone_containers_run_as_root_only() -> None:
    single = OrdinaryUser(f"srs{os.getpid()}", subordinate_ids=False)
    try:
        folder = single.folder("one", compose_yaml="services: {one: {image: host, command: [sleep, '9']}}")
        said = single.run("up", "-d", cwd=folder)
        refused = single.run("exec", "-T", "-u", "65534", "one", "id", cwd=folder, code=None)
        assert "not among the ids of this user namespace" in refused.stderr, said.stderr
        assert "one user id alone" in single.run("info").stdout
        single.run("down", "-t", "0", cwd=folder)
        single.run("daemon", "stop")
        assert single.gone_within(10), single.processes()
    finally:
        single.close()
