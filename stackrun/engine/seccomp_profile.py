"""The system calls a container may make unless it is told otherwise: the same reach as Docker's default profile.

An allow-list. What is not in it fails with EPERM; see `seccomp.json` for the names by purpose.  Four
calls depend on their arguments or on the capabilities of the container:

- `clone` without CAP_SYS_ADMIN may not make namespaces; `clone3` hides its flags behind a pointer, which
  a filter cannot follow, so it answers ENOSYS and libraries fall back to `clone`.
- `socket` refuses families that reach around the container's network namespace (AF_VSOCK) or that are
  mostly attack surface (AF_ALG and dead protocols).
- `personality` takes the values that programs need (linux32, no randomisation), no others.
- io_uring is left out: it runs operations that no filter sees.
"""

from __future__ import annotations

import errno
import functools
import json
import os
from collections.abc import Iterable
from importlib import resources
from typing import Any

_CLONE_NEW_NAMESPACES = 0x7E020000
"""NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET of clone(2)."""


@functools.cache
def default_profile(capabilities: frozenset[str], machine: str = os.uname().machine) -> dict[str, Any]:
    """OCI `linux.seccomp` for a container with these bounding `capabilities` (`CAP_…` names). Not to be changed: it is shared."""
    table = _table()
    names = {name for group in table["always"].values() for name in group} | set(table["on_machine"].get(machine, ()))
    for capability, unlocked in table["with_capability"].items():
        if capability in capabilities:
            names.update(unlocked)
    rules = [_allow(sorted(names)), *_socket_rules(table["socket_families"])]
    rules += [_allow(["personality"], _argument(0, value, "SCMP_CMP_EQ")) for value in table["personalities"]]
    if "CAP_SYS_ADMIN" not in capabilities:
        rules += _clone_rules(machine)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": table["architectures"].get(machine, []),
        "syscalls": rules,
    }


@functools.cache
def _table() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(resources.files("stackrun.engine").joinpath("seccomp.json").read_text())
    return loaded


def _allow(names: list[str], *arguments: dict[str, Any]) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ALLOW", **({"args": list(arguments)} if arguments else {})}


def _argument(index: int, value: int, operator: str, second: int = 0) -> dict[str, Any]:
    return {"index": index, "value": value, "valueTwo": second, "op": operator}


def _socket_rules(families: Iterable[tuple[int, int]]) -> list[dict[str, Any]]:
    """A range from 0 is one comparison; the others are named one by one, as a rule compares an argument once."""
    rules = []
    for first, last in families:
        if first == 0:
            rules.append(_allow(["socket"], _argument(0, last + 1, "SCMP_CMP_LT")))
        else:
            rules += [_allow(["socket"], _argument(0, family, "SCMP_CMP_EQ")) for family in range(first, last + 1)]
    return rules


def _clone_rules(machine: str) -> list[dict[str, Any]]:
    flags_index = 1 if machine in ("s390", "s390x") else 0  # clone(2), "C library/kernel differences"
    return [
        _allow(["clone"], _argument(flags_index, _CLONE_NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ", 0)),
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
    ]
