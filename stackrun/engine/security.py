"""What a container may do: capability sets, security options and the paths of /proc and /sys that stay closed.

Sources: moby oci/caps/defaults.go, oci/defaults.go and daemon/oci_linux.go for what Docker grants; capabilities(7).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stackrun.api.types import ContainerSpec
from stackrun.errors import InvalidArgument, Unsupported
from stackrun.kernel import caps

DEFAULT_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
MASKED_PATHS = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """`seccomp`: None for our default profile, {} for unconfined, else an OCI seccomp object."""

    no_new_privileges: bool = False
    open_system_paths: bool = False
    seccomp: Mapping[str, Any] | None = None


def capabilities(spec: ContainerSpec) -> tuple[str, ...]:
    """The bounding set, in the kernel's order. ALL may be added or dropped; a name given alone wins over ALL, as with dockerd."""
    return caps.NAMES if spec.privileged else _granted(spec.cap_add, spec.cap_drop)


@functools.lru_cache(maxsize=64)
def _granted(add: tuple[str, ...], drop: tuple[str, ...]) -> tuple[str, ...]:
    """Kept, since a start asks twice."""
    added = {_capability(name) for name in add}
    dropped = {_capability(name) for name in drop}
    if "ALL" in added:
        wanted = set(caps.NAMES) - dropped
    elif "ALL" in dropped:
        wanted = added
    else:
        wanted = (set(DEFAULT_CAPABILITIES) - dropped) | added
    return tuple(name for name in caps.NAMES if name in wanted)


def _capability(name: str) -> str:
    upper = name.upper()
    if upper == "ALL":
        return upper
    full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    if full not in caps.NAMES:
        raise InvalidArgument(f'unknown capability: "{full}"', hint="capabilities(7) lists them")
    return full


def security_options(spec: ContainerSpec) -> SecurityOptions:
    """InvalidArgument for an option nobody knows; Unsupported for profiles of AppArmor and SELinux, which this engine does not load."""
    no_new_privileges, open_paths = False, False
    seccomp: Mapping[str, Any] | None = {} if spec.privileged else None
    for option in spec.security_opt:
        key, separator, value = _split_option(option)
        if key == "no-new-privileges":
            no_new_privileges = _truth(value) if separator else True
        elif key == "seccomp":
            seccomp = _seccomp(value)
        elif option in ("systempaths=unconfined", "systempaths:unconfined"):
            open_paths = True
        elif key in ("apparmor", "label"):
            if value not in ("unconfined", "disable"):
                raise Unsupported(f"security option {option!r}: this engine loads no AppArmor or SELinux policy")
        else:
            raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
    return SecurityOptions(no_new_privileges, open_paths, seccomp)


def _split_option(option: str) -> tuple[str, str, str]:
    """`key=value`, or Docker's older `key:value`."""
    separator = "=" if "=" in option else ":"
    return option.partition(separator)


def _truth(value: str) -> bool:
    if value.lower() not in ("true", "false", "1", "0"):
        raise InvalidArgument(f'invalid --security-opt: "no-new-privileges={value}"')
    return value.lower() in ("true", "1")


def _seccomp(value: str) -> Mapping[str, Any] | None:
    if value in ("builtin", ""):
        return None
    if value == "unconfined":
        return {}
    try:
        profile = json.loads(value)
    except ValueError as error:
        raise InvalidArgument(f"decoding seccomp profile failed: {error}") from error
    if not isinstance(profile, dict):
        raise InvalidArgument("decoding seccomp profile failed: not a JSON object")
    return profile


def masked_paths(spec: ContainerSpec, options: SecurityOptions) -> tuple[str, ...]:
    if spec.masked_paths is not None:
        return spec.masked_paths
    return () if spec.privileged or options.open_system_paths else MASKED_PATHS


def readonly_paths(spec: ContainerSpec, options: SecurityOptions) -> tuple[str, ...]:
    if spec.readonly_paths is not None:
        return spec.readonly_paths
    return () if spec.privileged or options.open_system_paths else READONLY_PATHS
