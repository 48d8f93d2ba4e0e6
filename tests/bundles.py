"""Plain OCI bundles of one static busybox, run by stackrun-runtime as a caller of runc would run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BUSYBOX = "/usr/bin/busybox"
has_busybox = os.access(BUSYBOX, os.X_OK)
Config = dict[str, Any]


class Runtime:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.bundle = root / "bundle"
        (self.bundle / "rootfs/bin").mkdir(parents=True)
        shutil.copy(BUSYBOX, self.bundle / "rootfs/bin/busybox")
        applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
        for applet in set(applets) - {"busybox"}:
            (self.bundle / "rootfs/bin" / applet).symlink_to("busybox")

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "stackrun.runtime.command", "--root", str(self.root / "state"), *words]

    def run(self, *words: str, code: int = 0, given: str = "") -> str:
        done = subprocess.run(self.command(*words), input=given, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 or not done.stderr else done.stderr

    def configure(self, *arguments: str, **process: Any) -> None:
        (self.bundle / "config.json").unlink(missing_ok=True)
        self.run("spec", "--bundle", str(self.bundle))
        config = json.loads((self.bundle / "config.json").read_text())
        config["process"].update({"args": list(arguments), "terminal": False, "env": ["PATH=/bin"], **process})
        (self.bundle / "config.json").write_text(json.dumps(config))

    def create(self, name: str, *options: str) -> None:
        """Like `run`, but the container keeps the streams, so they must not be pipes that are read to their end."""
        command = self.command("create", "--bundle", str(self.bundle), *options, name)
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=60)

    def state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.run("state", name))
        return state

    def change(self, change: Callable[[Config], object]) -> None:
        path = self.bundle / "config.json"
        config = json.loads(path.read_text())
        change(config)
        path.write_text(json.dumps(config))

    def output(self, script: str, change: Callable[[Config], object] = lambda config: None, code: int = 0) -> list[str]:
        """The lines that a shell inside prints; its errors go where this process's do not."""
        self.configure("sh", "-c", script)
        self.change(change)
        return self._lines(self.command("run", "--bundle", str(self.bundle), "out"), code)

    def output_of_runc(self) -> list[str]:
        """The same bundle under Debian's runc."""
        return self._lines(["runc", "run", "--bundle", str(self.bundle), f"out-{self.root.name}"], 0)

    def _lines(self, command: list[str], code: int) -> list[str]:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, done.stderr
        return done.stdout.splitlines()

    def start(self, name: str, *arguments: str, **process: Any) -> None:
        self.configure(*arguments, **process)
        self.create(name)
        self.run("start", name)


@contextmanager
def runtime_in(root: Path) -> Iterator[Runtime]:
    """A runtime with a state of its own, in which nothing may be left in the end."""
    made = Runtime(root)
    yield made
    for name in made.run("list", "--quiet").split():
        made.run("delete", "--force", name)
    state = root / "state"
    assert not state.exists() or os.listdir(state) == []
