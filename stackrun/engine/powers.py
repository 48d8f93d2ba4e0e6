"""What an engine without root cannot give its containers: left out with a warning where they run all the same, refused where not.

As Docker's rootless mode: a limit that nothing can hold is said once, when the container is made.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stackrun.api.types import ContainerSpec, DeviceMapping
from stackrun.errors import Unsupported
from stackrun.kernel import cgroup, privileges
from stackrun.kernel.cgroup_limits import DELEGATE, DELEGATE_MORE

_CPUSET_FIELDS = frozenset({"cpus", "mems"})
_SECTIONS = {"memory": "memory", "pids": "pids", "blockIO": "io"}
"""Of OCI linux.resources → the controller that holds them; `cpu` is split between two."""
CONTROLLERS = frozenset({*_SECTIONS.values(), "cpu", "cpuset"})


@dataclass(frozen=True, slots=True)
class Powers:
    """`single_id`: files cannot be given to anybody else; `missing`: the cgroup controllers that limits are left out for want of."""

    rootless: bool = False
    single_id: bool = False
    missing: frozenset[str] = frozenset()

    def held(self, resources: Mapping[str, Any]) -> dict[str, Any]:
        """OCI linux.resources without what needs a missing controller."""
        found = {name: value for name, value in resources.items() if _SECTIONS.get(name) not in self.missing}
        if "cpu" in found:
            found["cpu"] = {name: value for name, value in found["cpu"].items() if _cpu_controller(name) not in self.missing}
        return {name: value for name, value in found.items() if value}

    def left_out(self, resources: Mapping[str, Any]) -> tuple[str, ...]:
        """One line for all limits that are not held."""
        names = [name for name in resources if _SECTIONS.get(name) in self.missing]
        names += ["cpu"] if any(_cpu_controller(name) in self.missing for name in resources.get("cpu", ())) else []
        if not names:
            return ()
        return (f"limits left out ({', '.join(sorted(names))}): {self._why()}",)

    def _why(self) -> str:
        if self.missing >= CONTROLLERS:
            return f"no cgroup that could hold them is delegated to this user; {DELEGATE}"
        return f"what is delegated to this user is without the cgroup controllers {', '.join(sorted(self.missing))}; {DELEGATE_MORE}"


def _cpu_controller(name: str) -> str:
    return "cpuset" if name in _CPUSET_FIELDS else "cpu"


@functools.cache
def current() -> Powers:
    """This engine's. None of root's are missing: what his kernel lacks, that says itself."""
    mine = privileges.current()
    if not mine.rootless:
        return Powers()
    return Powers(True, mine.single_id, CONTROLLERS - cgroup.detect().controllers)


def check(spec: ContainerSpec) -> None:
    """Unsupported for what an ordinary user's engine has no way to do."""
    if not current().rootless:
        return
    if spec.pid_mode == "host" and not cgroup.detect().mount_points:
        raise Unsupported("pid mode host: without a cgroup of its own nobody would find the container's processes again", hint=DELEGATE)
    _check_devices(spec.resources.devices)
    if spec.resources.device_cgroup_rules:
        raise Unsupported("device cgroup rules need root", hint="an ordinary user's containers may open what the user may open")


def _check_devices(mappings: Iterable[DeviceMapping]) -> None:
    for one in mappings:
        if os.path.exists(one.host_path) and not os.access(one.host_path, os.R_OK | os.W_OK):
            raise Unsupported(f"device {one.host_path}: this user may not open it", hint="as root: chmod, or an ACL for the user (setfacl)")


def warnings(spec: ContainerSpec) -> tuple[str, ...]:
    if current().rootless and spec.network_mode == "host":
        return ("network mode host is that of this user's engine, not the machine's: its ports are not reachable from outside",)
    return ()
