"""Which ids an ordinary user may map into a namespace of his own: himself as 0, then his subordinate ones from 1 up.

Ranges come from /etc/subuid and /etc/subgid (subuid(5)) and are written by newuidmap(1) and newgidmap(1), which are
setuid.  Without either there is one id: his own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass

from stackrun.kernel import namespaces

_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Range:
    start: int
    count: int


def ranges(text: str, user: str, uid: int) -> tuple[Range, ...]:
    """Those of one user in the text of a subuid(5) file, which names him by name or by number; lines that are none are passed over."""
    found = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] in (user, str(uid)) and fields[1].isdecimal() and fields[2].isdecimal():
            found.append(Range(int(fields[1]), int(fields[2])))
    return tuple(one for one in found if one.count)


def extents(own: int, subordinate: tuple[Range, ...]) -> list[str]:
    """Arguments of newuidmap(1): inside, outside, count, for each extent."""
    words, inside = ["0", str(own), "1"], 1
    for one in subordinate:
        words += [str(inside), str(one.start), str(one.count)]
        inside += one.count
    return words


def write(pid: int) -> str:
    """Map the ids of a new user namespace that `pid` is in; empty, or why there is only one."""
    user, problem = _user(), ""
    uids, gids = (ranges(_read(file), user, os.getuid()) for file in ("/etc/subuid", "/etc/subgid"))
    if not uids or not gids:
        problem = f"{user} has no range in {'/etc/subgid' if uids else '/etc/subuid'}"
    elif not shutil.which("newuidmap") or not shutil.which("newgidmap"):
        problem = "newuidmap is not installed (Debian: uidmap)"
    else:
        problem = _run("newuidmap", pid, extents(os.getuid(), uids)) or _run("newgidmap", pid, extents(os.getgid(), gids))
    if problem and not _is_mapped(pid):
        namespaces.write_single_id(pid, os.getuid(), os.getgid())
    return problem


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _read(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:  # noqa: PTH123  # pathlib costs the process that stays 1 MB
            return opened.read()
    except OSError:
        return ""


def _run(program: str, pid: int, words: list[str]) -> str:
    done = subprocess.run([program, str(pid), *words], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    return f"{program} failed: {done.stderr.strip() or done.returncode}" if done.returncode else ""


def _is_mapped(pid: int) -> bool:
    return bool(_read(f"/proc/{pid}/uid_map"))
