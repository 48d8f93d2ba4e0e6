"""CVE-2019-19921, CVE-2023-28642: /proc is exchanged at the right moment, so the masks miss it, and then the real one comes back."""

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import exchanging
import pytest
from bundles import Runtime, runtime_in
from evil_layers import folder, link
from machine import Machine

libc = ctypes.CDLL(None)
LOOK = """
cat /proc/1/stat > /dev/null 2>&1 || echo no proc
head -c 1 /proc/kcore | wc -c
(: >> /proc/sys/kernel/core_pattern) 2> /dev/null && echo WRITABLE
true
"""


def exchange(first: Path, second: Path) -> None:
    libc.renameat2(-100, os.fsencode(first), -100, os.fsencode(second), 2)


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_a_link_is_refused(machine: Machine, evil_image: Callable[..., str], name: str) -> None:
    image = evil_image(folder("volume"), folder("volume/it"), link(name, "/volume/it"))
    done = machine.docker("run", "--rm", "-v", "/volume", image, "true", code=None)
    assert done.returncode != 0 and f"/{name} is a link" in done.stderr, done.stderr


@pytest.fixture
def racing(short_tmp: Path) -> Iterator[Runtime]:
    """Somebody exchanges the /proc of a root that two containers share, as fast as it goes."""
    with runtime_in(short_tmp) as runtime:
        root = runtime.bundle / "rootfs"
        (root / "proc").mkdir()
        (root / "other").mkdir()
        over = threading.Event()

        def race() -> None:
            while not over.wait(0.0003):
                exchange(root / "proc", root / "other")

        thread = threading.Thread(target=race)
        thread.start()
        yield runtime
        over.set()
        thread.join()


def test_masks_hold_or_nothing_starts(racing: Runtime) -> None:
    racing.configure("sh", "-c", LOOK)
    told = []
    for number in range(6):
        command = racing.command("run", "--bundle", str(racing.bundle), f"r{number}")
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
        assert "WRITABLE" not in done.stdout
        told.append((done.returncode, done.stdout, done.stderr))
    # Whoever looks at /proc while it is exchanged sees nothing; the masks are on what was mounted all the same.
    assert all("1\n" not in out for _, out, _ in told), told


@pytest.mark.parametrize("back", [False, True], ids=["for good", "for one call"])
def test_masks_hold_at_whichever_step_it_is_exchanged(short_tmp: Path, back: bool) -> None:
    """Where what was /proc has gone to, it is masked and read-only just the same."""
    with runtime_in(short_tmp) as runtime:
        root, log = runtime.bundle / "rootfs", str(runtime.root / "calls")
        (root / "proc").mkdir()
        (root / "other").mkdir()
        runtime.configure("sh", "-c", LOOK + LOOK.replace("/proc/", "/other/"))
        words = ["--root", str(runtime.root / "state"), "run", "--bundle", str(runtime.bundle), "a"]
        assert exchanging.run(words, str(root), ("proc", "other"), log)[1].split()[:1] == ["0"]
        made = exchanging.calls(log)
        guarded = next(number for number, call in enumerate(made) if call.split()[2] == "bus")
        for step in (*range(1, 8), *range(guarded - 1, len(made))):
            if not (root / "other").is_dir() or not (root / "proc").is_dir():
                raise AssertionError("both stay directories")
            _, told, errors = exchanging.run(words, str(root), ("proc", "other"), log, at=step, back=back)
            assert "WRITABLE" not in told and "1" not in told.split(), (step, made[step], told, errors)


def test_the_attempt_works_on_masks_by_name(tmp_path: Path) -> None:
    """The kernel lets a directory be renamed that is a mount point in somebody else's namespace (renameat2(2), mount_namespaces(7))."""
    from stackrun.kernel import syscalls

    (tmp_path / "proc").mkdir()
    (tmp_path / "other").mkdir()
    (ours, theirs), (back, answer) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount("proc", str(tmp_path / "proc"), "proc", 0)
        os.write(answer, b"m")
        os.read(ours, 1)
        missed = not (tmp_path / "proc/sys/kernel/core_pattern").exists()
        os.write(answer, b"1" if missed else b"0")
        os.read(ours, 1)
        os.write(answer, b"1" if os.access(tmp_path / "proc/sys/kernel/core_pattern", os.W_OK) else b"0")
        os._exit(0)
    os.read(back, 1)
    exchange(tmp_path / "proc", tmp_path / "other")
    os.write(theirs, b"x")
    missed = os.read(back, 1)
    exchange(tmp_path / "proc", tmp_path / "other")
    os.write(theirs, b"x")
    writable = os.read(back, 1)
    os.waitpid(child, 0)
    for fd in (ours, theirs, back, answer):
        os.close(fd)
    assert (missed, writable) == (b"1", b"1")
