"""One stackrun of a test's own on this machine: its state root, its daemon, its command line."""

from __future__ import annotations

import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).resolve().parent.parent
STACKRUN = Path(sys.executable).with_name("stackrun")
EXAMPLES = REPOSITORY / "examples"


class Machine:
    """`stackrun` with a root of its own. `close` takes every stack down, ends the daemon and removes the root."""

    def __init__(self, directory: Path = Path("/tmp")) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="srt-", dir=directory))
        self.state = self.root / "state"
        self.environment = {**os.environ, "STACKRUN_ROOT": str(self.state), "XDG_STATE_HOME": str(self.root / "user"), "NO_COLOR": "1"}
        self.environment.pop("STACKRUN_HOST", None)
        self._followers: list[subprocess.Popen[bytes]] = []

    @property
    def socket(self) -> Path:
        return self.state / "run" / "stackrun.sock"

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    def run(
        self, *args: str, cwd: Path | None = None, code: int | None = 0, env: Mapping[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run `stackrun ARGS`; `code` is the exit code it must have, None for any."""
        done = subprocess.run(
            [STACKRUN, *args], cwd=cwd or self.root, env={**self.environment, **(env or {})}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert code is None or done.returncode == code, f"stackrun {' '.join(args)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *args: str, cwd: Path | None = None, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [STACKRUN, *args], cwd=cwd or self.root, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, **options,
        )  # fmt: skip

    def start_to(self, output: IO[str], *args: str, cwd: Path | None = None) -> subprocess.Popen[bytes]:
        """The same with both outputs in one file; `close` ends it if a test that failed did not."""
        started = subprocess.Popen(
            [STACKRUN, *args], cwd=cwd or self.root, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        self._followers.append(started)
        return started

    def docker(self, *args: str, code: int | None = 0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """The real docker client on our engine."""
        command = ["docker", "-H", self.host, *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, input=stdin, check=False)
        assert code is None or done.returncode == code, f"docker {' '.join(args)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start_docker(self, *args: str) -> subprocess.Popen[str]:
        """The real docker client, going on by itself; both its outputs in one pipe."""
        command = ["docker", "-H", self.host, *args]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """A request to the engine without a client's checks before it: (status, body)."""
        with closing(UnixConnection(str(self.socket))) as connection:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"} if sent else {})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def containers(self, *, all: bool = True) -> list[dict[str, Any]]:
        text = self.docker("ps", "--no-trunc", "--format", "{{json .}}", *(["-a"] if all else [])).stdout
        return [json.loads(line) for line in text.splitlines()]

    @contextmanager
    def followed(self, *filters: str, since_s: float | None = None) -> Iterator[Iterator[dict[str, Any]]]:
        """The engine's events from now on, through the real client, each a dict; those before the client has connected are replayed."""
        arguments = [part for one in filters for part in ("--filter", one)]
        command = ["docker", "-H", self.host, "events", "--format", "{{json .}}", "--since", f"{since_s or time.time():.9f}", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
            assert client.stdout
            try:
                yield _events(client.stdout.fileno())
            finally:
                client.kill()

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker("inspect", name).stdout)[0]
        return found

    def project(self, name: str, compose: str, files: Mapping[str, str] | None = None) -> Path:
        """A folder with a compose.yaml and more files; returns its path."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        for path, text in {"compose.yaml": compose, **(files or {})}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return folder

    def daemon_pid(self) -> int:
        return int((self.state / "run" / "stackrun.pid").read_text())

    def kill_daemon(self) -> None:
        """kill -9 of the daemon alone, waited for."""
        pid_fd = os.pidfd_open(self.daemon_pid())
        signal.pidfd_send_signal(pid_fd, signal.SIGKILL)
        _wait_for_exit(pid_fd)

    def close(self) -> None:
        for one in self._followers:
            if one.poll() is None:
                one.kill()
                one.wait()
        try:
            self._take_down()
        finally:
            shutil.rmtree(self.root)

    def _take_down(self) -> None:
        if self.state.exists():
            listed = self.run("ls", "-a", "--format", "json", code=None)
            for stack in json.loads(listed.stdout or "[]"):
                self.run("-p", stack["Name"], "down", "-v", "-t", "0", code=None)
            for one in self.containers():
                self.docker("rm", "-f", "-v", one["ID"], code=None)
            for network in self.docker("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}", code=None).stdout.split():
                self.docker("network", "rm", network, code=None)
            self.run("daemon", "stop")


def _events(fd: int) -> Iterator[dict[str, Any]]:
    """One JSON object a line; each within 20 s."""
    held = b""
    while True:
        while b"\n" not in held:
            ready, _, _ = select.select([fd], [], [], 20)
            assert ready, "no event in 20 s"
            part = os.read(fd, 65536)
            assert part, "the events have ended"
            held += part
        line, _, held = held.partition(b"\n")
        yield json.loads(line)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


def _wait_for_exit(pid_fd: int) -> None:
    select.select([pid_fd], [], [], 10)
    os.close(pid_fd)


def http_get(url: str, *, data: bytes | None = None, timeout: float = 10) -> str:
    with urllib.request.urlopen(url, data=data, timeout=timeout) as answer:
        text: str = answer.read().decode()
        return text


def busybox_tar(folder: Path) -> Path:
    """A root file system of one static busybox with its links, as a tar for `stackrun import`."""
    path = folder / "busybox.tar"
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(path, "w") as archive:
        for name in ("bin", "etc", "tmp", "root", "var", "dev", "proc", "sys"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(entry)
        archive.add("/bin/busybox", "bin/busybox")
        for applet in applets:
            if applet != "busybox":
                entry = tarfile.TarInfo(f"bin/{applet}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(entry)
        _add_text(archive, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
        _add_text(archive, "etc/group", "root:x:0:\n")
    return path


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    import io

    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(text), 0o644
    archive.addfile(entry, io.BytesIO(text.encode()))
