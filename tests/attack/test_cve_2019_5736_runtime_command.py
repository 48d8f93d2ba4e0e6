"""CVE-2019-5736 against stackrun-runtime itself, which is a Python that takes another executable file while it runs.

A process of the container with the right to trace takes hold of the executable of whatever enters, waits until that has ended, since
nobody writes to a file that runs, and then opens it for writing.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
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
    exec 3< $one/exe || continue
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


class Trap:
    """A container in which the watcher runs; `enter` is anything that sends processes in."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        (runtime.bundle / "rootfs/tmp").mkdir(exist_ok=True)
        runtime.configure("sh", "-c", WATCHER)
        runtime.change(may_trace)
        command = runtime.command("run", "--bundle", str(runtime.bundle), "trap")
        self._watcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._watcher.stdout and self._watcher.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        pid = self._runtime.state("trap")["pid"]
        assert isinstance(pid, int)
        return pid

    def seen(self) -> list[str]:
        (self._runtime.bundle / "rootfs/tmp/over").touch()
        return self._watcher.communicate(timeout=60)[0].splitlines()


def digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def test_what_enters_cannot_be_written_afterwards(runtime: Runtime) -> None:
    interpreter = Path(sys.executable).resolve()
    before = digest(interpreter)
    trap = Trap(runtime)
    for _ in range(15):
        subprocess.run(runtime.command("exec", "trap", "/proc/self/exe", "--version"), capture_output=True, check=False, timeout=60)
        runtime.run("exec", "trap", "/bin/true")
    found = trap.seen()
    assert found[-1] == "over"
    assert any("python" in line for line in found), f"the watcher was too slow: {found}"
    assert not [line for line in found if "WRITABLE" in line], found
    assert digest(interpreter) == before


def test_the_attempt_works_on_a_file_of_the_host(runtime: Runtime, short_tmp: Path) -> None:
    """One that enters the container's pid namespace as it is: a copy of the interpreter."""
    copy = short_tmp / "python3-copy"
    copy.write_bytes(Path(sys.executable).resolve().read_bytes())
    copy.chmod(0o755)
    trap = Trap(runtime)
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
