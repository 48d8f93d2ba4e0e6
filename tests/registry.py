"""A real registry of a test's own: Debian's docker-registry."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

READY = re.compile(r"listening on (\d+\.\d+\.\d+\.\d+:\d+)")

CONFIG = """version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: {storage}}}}}
http: {{addr: "{host}:0"{tls}}}
"""


class Registry:
    """Started on construction, on a port of the kernel's choice; `address` is host:port. `close` ends it and keeps what it stores.

    On loopback it speaks plain HTTP; `tls` are files of a certificate and its key.

    `folder` gets its config, its log, and its storage, which may be there already.
    """

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", tls: tuple[Path, Path] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log"
        config = folder / "config.yml"
        secured = f", tls: {{certificate: {tls[0]}, key: {tls[1]}}}" if tls else ""
        config.write_text(CONFIG.format(storage=folder / "storage", host=host, tls=secured))
        with self.log.open("wb") as log:
            command = ["docker-registry", "serve", str(config)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.address = self._wait_until_ready()

    def _wait_until_ready(self) -> str:
        """It tells the port in its log, and the log is a file: read until the line is there or the process has ended."""
        tail = ["tail", "-n", "+1", "-F", f"--pid={self.process.pid}", str(self.log)]
        with subprocess.Popen(tail, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as lines:
            assert lines.stdout
            found = next((found[1] for line in lines.stdout if (found := READY.search(line))), "")
            lines.kill()
        assert found, self.log.read_text()
        return found

    def requests(self, what: str) -> list[str]:
        """The lines of the access log so far that contain `what`, e.g. "GET /v2/shop/"."""
        return [line for line in self.log.read_text().splitlines() if what in line]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
