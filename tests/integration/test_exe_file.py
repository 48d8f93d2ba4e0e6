"""A Python that goes on by another executable file, while it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = str(Path(__file__).resolve().parents[2])
PYTHON = os.path.realpath(sys.executable)
BEGIN = f"""
import gc, json, os, sys
sys.path.append({ROOT!r})
from stackrun.runtime import interpreter
def told(**values):
    print(json.dumps(values), flush=True)
def maps():
    return [line.split()[-1] for line in open("/proc/self/maps") if "python3" in line]
before = {{number: str(number) for number in range(1000)}}
"""


def python(program: str, *options: str, **environment: str) -> Any:
    command = [PYTHON, "-I", "-S", *options, "-c", BEGIN + program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nothing_of_the_hosts_file_is_left() -> None:
    found = python(
        f"""
fd = interpreter.sealed()
was = interpreter.is_sealed()
changed = interpreter._goes_on_by(fd)
os.close(fd)
try:
    os.close(os.open("/proc/self/exe", os.O_WRONLY))
    error = 0
except OSError as trouble:
    error = trouble.errno
host = os.stat({PYTHON!r})
mapped = [line for line in open("/proc/self/maps") if line.rstrip().endswith({PYTHON!r})]
device = f"{{os.major(host.st_dev):02x}}:{{os.minor(host.st_dev):02x}}"
same = [line for line in open("/proc/self/maps") if line.split()[3:5] == [device, str(host.st_ino)]]
told(was=was, changed=changed, sealed=interpreter.is_sealed(), error=error, mapped=mapped, same=same, left=os.listdir("/proc/self/fd"))
"""
    )
    assert (found["was"], found["changed"], found["sealed"]) == (False, True, True)
    assert found["error"] == 30  # EROFS
    assert found["mapped"] == found["same"] == []
    assert len(found["left"]) == 4  # the streams, and the directory that was listed


def test_the_interpreter_is_whole_afterwards() -> None:
    """Its own data is a copy now: objects, memory pools, interned words, exceptions, new modules, children."""
    found = python(
        """
assert interpreter._goes_on_by(interpreter.sealed())
assert before == {number: str(number) for number in range(1000)}
pile = [{str(number): [number] * 3} for number in range(200000)]
assert sum(len(one) for one in pile) == 200000
del pile
gc.collect()
import asyncio, decimal, re, subprocess, threading
assert re.fullmatch("a+b", "aaab") and decimal.Decimal("0.1") * 3 == decimal.Decimal("0.3")
try:
    int("no number")
except ValueError as error:
    said = str(error)
thread = threading.Thread(target=lambda: before.clear())
thread.start(); thread.join()
pid = os.fork()
if not pid:
    import fractions
    os._exit(7 if interpreter.is_sealed() else 1)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
text = subprocess.run(["echo", "through"], capture_output=True, text=True).stdout
asyncio.run(asyncio.sleep(0))
told(said=said, code=code, text=text, before=before)
"""
    )
    assert found == {"said": "invalid literal for int() with base 10: 'no number'", "code": 7, "text": "through\n", "before": {}}


def test_a_heap_that_grows_meanwhile_goes_on_growing() -> None:
    """PR_SET_MM_MAP is told the heap's end: what is allocated afterwards must not fall into it."""
    found = python(
        """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
assert interpreter._goes_on_by(interpreter.sealed())
end = libc.sbrk(0)
blocks = [libc.malloc(100000) for _ in range(100)]
for number, block in enumerate(blocks):
    ctypes.memset(block, number, 100000)
whole = all(ctypes.string_at(block, 100000) == bytes([number]) * 100000 for number, block in enumerate(blocks))
told(whole=whole, grown=libc.sbrk(0) > end)
"""
    )
    assert found == {"whole": True, "grown": True}


@pytest.mark.parametrize("what", ["another file", "not sealed", "other letters"])
def test_what_cannot_be_gone_on_by_is_executed(what: str, tmp_path: Path) -> None:
    prepare = {
        "another file": "fd = os.open('/bin/true', os.O_RDONLY); interpreter._python = lambda: '/bin/true'",
        "not sealed": f"fd = os.open({PYTHON!r}, os.O_RDONLY); interpreter.exe_file.replace = lambda fd: None",
        "other letters": "fd = interpreter.sealed(); sys.getfilesystemencoding = lambda: 'iso8859-1'",
    }[what]
    assert python(f"{prepare}\ntold(changed=interpreter._goes_on_by(fd))") == {"changed": False}
