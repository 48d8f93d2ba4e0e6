"""A user of this machine who is not root, made for one test: his home, his commands, his engine."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from machine import REPOSITORY, STACKRUN

TUN = Path("/dev/net/tun")
FIRST_ID = 100_000_000


def why_not() -> str:
    """Why an ordinary user can have no engine with a way out here; empty: he can."""
    for program, package in (("newuidmap", "uidmap"), ("slirp4netns", "slirp4netns"), ("useradd", "passwd")):
        if not shutil.which(program):
            return f"{program} is not installed (Debian: {package})"
    if not TUN.exists():
        return f"there is no {TUN}"
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*nobody, "unshare", "--user", "true"], capture_output=True, check=False).returncode:
        return "ordinary users may not make user namespaces here"
    if subprocess.run([*nobody, "test", "-r", str(REPOSITORY / "pyproject.toml")], check=False).returncode:
        return f"ordinary users may not read {REPOSITORY}"
    return ""


class OrdinaryUser:
    """`subordinate_ids`: whether he has a range of them; `cgroup`: where his commands are to run. `close` removes all that is his."""

    def __init__(self, name: str, *, subordinate_ids: bool = True) -> None:
        self.name = name
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", name], check=True)
        self.uid = pwd.getpwnam(name).pw_uid
        self.home = Path("/home", name)
        self.run_dir = Path(f"/tmp/stackrun-{self.uid}")
        self._ids = range(FIRST_ID, FIRST_ID + 65_536) if subordinate_ids else range(0)
        self._set_ids(f"{self._ids[0]}-{self._ids[-1]}" if self._ids else "")
        self.cgroup: Path | None = None
        self._tun_mode = stat.S_IMODE(TUN.stat().st_mode)
        TUN.chmod(0o666)  # as udev's rules have it

    def _set_ids(self, wanted: str) -> None:
        for kind in ("uid", "gid"):
            lines = Path(f"/etc/sub{kind}").read_text().splitlines() if Path(f"/etc/sub{kind}").exists() else []
            for start, count in (line.split(":")[1:] for line in lines if line.split(":")[0] == self.name):
                last = int(start) + int(count) - 1
                subprocess.run(["usermod", f"--del-sub{kind}s", f"{start}-{last}", self.name], check=True)
            if wanted:
                subprocess.run(["usermod", f"--add-sub{kind}s", wanted, self.name], check=True)

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
        TUN.chmod(self._tun_mode)
        shutil.rmtree(self.run_dir, ignore_errors=True)
        shutil.rmtree(self.home)
        subprocess.run(["userdel", self.name], check=True)
