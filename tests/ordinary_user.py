"""A user of this machine who is not root, made for one test: his home, his commands, his engine."""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from machine import REPOSITORY, STACKRUN

TUN = Path("/dev/net/tun")
_FIRST_ID = 100_000_000


@functools.cache
def why_not(*, way_out: bool = True) -> str:
    """Why an ordinary user can have no engine, with a way out, here; empty: he can."""
    for program, package in (("newuidmap", "uidmap"), ("useradd", "passwd"), *([("slirp4netns", "slirp4netns")] if way_out else [])):
        if not shutil.which(program):
            return f"{program} is not installed (Debian: {package})"
    if way_out and not TUN.exists():
        return f"there is no {TUN}"
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*nobody, "unshare", "--user", "true"], capture_output=True, check=False).returncode:
        return "ordinary users may not make user namespaces here"
    if subprocess.run([*nobody, "test", "-r", str(REPOSITORY / "pyproject.toml")], check=False).returncode:
        return f"ordinary users may not read {REPOSITORY}"
    return ""


class OrdinaryUser:
    """`subordinate_ids`: whether he has a range of them, from `first_id`; `cgroup`: where his commands are to run.

    `close` removes him and all that is his.
    """

    def __init__(self, name: str, *, subordinate_ids: bool = True) -> None:
        self.name = name
        # Not the next free number: usermod refuses one that a process of its last owner still has.
        self.uid = 40_000 + secrets.randbelow(20_000)
        none = ["-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0"]
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", "--uid", str(self.uid), *none, name], check=True)
        self.home = Path("/home", name)
        self.run_dir = Path(f"/tmp/stackrun-{self.uid}")
        self.cgroup: Path | None = None
        self.first_id = _FIRST_ID + 65_536 * secrets.randbelow(1000)
        self._ids = range(self.first_id, self.first_id + 65_536) if subordinate_ids else range(0)
        if self._ids:
            extent = f"{self._ids[0]}-{self._ids[-1]}"
            subprocess.run(["usermod", "--add-subuids", extent, "--add-subgids", extent, name], check=True)
        self._tun_mode = stat.S_IMODE(TUN.stat().st_mode) if TUN.exists() else 0
        if self._tun_mode:
            TUN.chmod(0o666)  # as udev's rules have it

    def run(
        self, *args: str, cwd: Path | None = None, code: int | None = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`stackrun ARGS` as this user; `code` as `Machine.run` has it."""
        done = self.command(str(STACKRUN), *args, cwd=cwd, env=env)
        assert code is None or done.returncode == code, f"stackrun {' '.join(args)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def command(self, *argv: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        entered = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.cgroup / "cgroup.procs")] if self.cgroup else []
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "NO_COLOR": "1", **(env or {})}
        return subprocess.run(
            [*entered, "setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--init-groups", *argv],
            cwd=cwd or self.home, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def folder(self, name: str, source: Path | None = None, **files: str) -> Path:
        """One in his home, with a copy of `source`, and files: `compose_yaml="…"` is compose.yaml."""
        made = self.home / name
        if source is not None:
            shutil.copytree(source, made, ignore=shutil.ignore_patterns("__pycache__"))
        made.mkdir(exist_ok=True)
        for file, text in files.items():
            (made / file.replace("_", ".")).write_text(text)
        subprocess.run(["chown", "-R", f"{self.uid}:{self.uid}", made], check=True)
        return made

    def processes(self) -> dict[int, str]:
        """What lives with his id or one of his subordinate ones: pid → its command line."""
        found = {}
        for entry in filter(lambda one: one.name.isdigit(), Path("/proc").iterdir()):
            try:
                uid = int((entry / "status").read_text().partition("\nUid:")[2].split()[0])
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if (uid == self.uid or uid in self._ids) and state != "Z":
                    found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ").strip()
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def pid_of(self, name: str) -> int:
        (pid,) = (pid for pid, command in self.processes().items() if name in command.split()[:6])
        return pid

    def gone_within(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.processes()

    def close(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.gone_within(10)
        if self._tun_mode:
            TUN.chmod(self._tun_mode)
        for directory in (self.run_dir, f"/tmp/stackrun-runtime-{self.uid}"):
            shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(self.home)
        subprocess.run(["userdel", "--force", self.name], check=True, capture_output=True)  # zombies may bear his number
