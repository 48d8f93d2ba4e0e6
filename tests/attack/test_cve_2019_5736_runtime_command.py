"""CVE-2019-5736 against stackrun-runtime itself, which is a Python that takes another executable file while it runs.

A process of the container with the right to trace takes hold of the executable of whatever enters, waits until that has ended, since
nobody writes to a file that runs, and then opens it for writing.  A filter that asks the test about each execve lets what enters stand
still, inside and a Python yet, until the watcher has hold of it.
"""

from __future__ import annotations

import array
import fcntl
import hashlib
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import Config, Runtime, has_busybox, runtime_in

pytestmark = pytest.mark.skipif(not has_busybox, reason="busybox-static is not installed")

WATCHER = """
echo ready
while ! [ -e /tmp/over ]; do
  for one in /proc/[0-9]*; do
    who=$(readlink $one/exe) || continue
    case $who in /bin/busybox) continue;; esac
    command exec 3< $one/exe || continue  # plain exec would end the shell
    : > /tmp/held
    while [ -e $one/exe ]; do :; done 2> /dev/null
    if (exec 4>> /proc/self/fd/3) 2> /dev/null; then echo $who WRITABLE; else echo $who refused; fi
    exec 3<&-
  done
done 2> /dev/null
echo over
"""


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    with runtime_in(short_tmp) as made:
        yield made


def may_trace(config: Config) -> None:
    for kind in ("bounding", "effective", "permitted"):
        config["process"]["capabilities"][kind] = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"]
    config["root"]["readonly"] = False


_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
"""seccomp_unotify(2): SECCOMP_IOCTL_NOTIF_RECV, _SEND, SECCOMP_USER_NOTIF_FLAG_CONTINUE."""


class Supervisor:
    """Answers for every execve of a container: go on; but a Python that enters it waits until `held` is there."""

    def __init__(self, path: Path, held: Path) -> None:
        self.path = path
        self._held = held
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            with connection:
                data, fds, _, _ = socket.recv_fds(connection, 65536, 4)
            enters = json.loads(data)["state"]["status"] == "running"
            threading.Thread(target=self._answer, args=(fds[0], enters), daemon=True).start()

    def _answer(self, fd: int, enters: bool) -> None:
        """Until nobody is left whom the filter holds for."""
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        while not poller.poll()[0][1] & select.POLLHUP:
            question = array.array("B", bytes(80))
            try:
                fcntl.ioctl(fd, _RECEIVE, question)
                number, pid = struct.unpack_from("=QI", question.tobytes())
                deadline = time.monotonic() + 20
                while enters and "python" in os.readlink(f"/proc/{pid}/exe") and not self._held.exists() and time.monotonic() < deadline:
                    time.sleep(0.001)
                fcntl.ioctl(fd, _SEND, array.array("B", struct.pack("=QqiI", number, 0, 0, _CONTINUE)))
            except OSError:
                continue  # who asked is gone
        os.close(fd)


class Trap:
    """A container in which the watcher runs; with a `supervisor`, each of what enters is met."""

    def __init__(self, runtime: Runtime, supervisor: Supervisor | None = None) -> None:
        self._runtime = runtime
        (runtime.bundle / "rootfs/tmp").mkdir(exist_ok=True)
        runtime.configure("sh", "-c", WATCHER)
        runtime.change(may_trace)
        if supervisor:
            asks = [{"names": ["execve"], "action": "SCMP_ACT_NOTIFY"}]
            profile = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(supervisor.path), "syscalls": asks}
            runtime.change(lambda config: config["linux"].update(seccomp=profile))
        command = runtime.command("run", "--bundle", str(runtime.bundle), "trap")
        self._watcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._watcher.stdout and self._watcher.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        pid = self._runtime.state("trap")["pid"]
        assert isinstance(pid, int)
        return pid

    def __enter__(self) -> Trap:
        return self

    def __exit__(self, *_: object) -> None:
        self._runtime.run("delete", "--force", "trap")
        self._watcher.wait(60)
        if self._watcher.stdout:
            self._watcher.stdout.close()

    def seen(self) -> list[str]:
        (self._runtime.bundle / "rootfs/tmp/over").touch()
        return self._watcher.communicate(timeout=60)[0].splitlines()


def digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def test_what_enters_cannot_be_written_afterwards(runtime: Runtime) -> None:
    interpreter = Path(sys.executable).resolve()
    before = digest(interpreter)
    held = runtime.bundle / "rootfs/tmp/held"
    supervisor = Supervisor(runtime.root / "listener", held)
    with Trap(runtime, supervisor) as trap:
        for _ in range(3):
            held.unlink(missing_ok=True)
            subprocess.run(runtime.command("exec", "trap", "/bin/true"), check=True, timeout=60)
            assert held.exists(), "the watcher did not take hold of what entered"
        found = trap.seen()
    supervisor.close()
    assert found[-1] == "over"
    assert ["python" in line and line.endswith("refused") for line in found[:-1]] == [True] * 3, found
    assert digest(interpreter) == before


def test_the_attempt_works_on_a_file_of_the_host(runtime: Runtime, short_tmp: Path) -> None:
    """One that enters the container's pid namespace as it is: a copy of the interpreter."""
    copy = short_tmp / "python3-copy"
    copy.write_bytes(Path(sys.executable).resolve().read_bytes())
    copy.chmod(0o755)
    with Trap(runtime) as trap:
        command = ["nsenter", f"--pid=/proc/{trap.pid}/ns/pid", str(copy), "-I", "-S", "-c", "import time; time.sleep(0.2)"]
        for _ in range(5):
            subprocess.run(command, check=True, timeout=60)
        found = trap.seen()
    assert [line for line in found if line.endswith("WRITABLE")], found


def test_a_command_that_is_the_runtime_itself_is_read_only(runtime: Runtime) -> None:
    """By name and as the interpreter of a script."""
    interpreter = Path(sys.executable).resolve()
    before = digest(interpreter)
    script = runtime.bundle / "rootfs/bin/script"
    script.write_text("#!/proc/self/exe\n")
    os.chmod(script, 0o755)
    for command in ("/proc/self/exe", "/bin/script"):
        runtime.configure(command, "-c", "open('/proc/self/exe', 'r+b').write(b'overwritten')")
        done = subprocess.run(
            runtime.command("run", "--bundle", str(runtime.bundle), "self"), capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode != 0
        runtime.run("delete", "--force", "self")
    assert digest(interpreter) == before
