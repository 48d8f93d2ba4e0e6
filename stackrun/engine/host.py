"""What this host and this engine are: `version` and `info`."""

from __future__ import annotations

import os
import platform

from stackrun.api.types import Info, Version
from stackrun.kernel import cgroup, privileges
from stackrun.kernel.probe import probe, probes

ENGINE_VERSION = "0.1.0"
API_VERSION = "1.47"
MIN_API_VERSION = "1.24"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}


def version() -> Version:
    """`arch` in Go's words, which is what Docker prints."""
    system = os.uname()
    return Version(
        version=ENGINE_VERSION,
        api_version=API_VERSION,
        min_api_version=MIN_API_VERSION,
        os="linux",
        arch=_ARCHITECTURES.get(system.machine, system.machine),
        kernel_version=system.release,
        python_version=platform.python_version(),
        rootless=privileges.current().rootless,
    )


def swap_accounting() -> bool:
    """Whether a limit on memory and swap together can be written. The first call takes a tenth of a second."""
    return probe("cgroup swap limit").available


def lacking() -> tuple[str, ...]:
    """What this kernel or this user cannot do, one line each. The first call takes a tenth of a second."""
    return tuple(f"{one.name} is not available: {one.reason}" for one in probes() if not one.available)


def info(
    *,
    engine_id: str,
    root: str,
    layout: cgroup.Layout,
    running: int,
    paused: int,
    stopped: int,
    images: int,
    warnings: tuple[str, ...],
) -> Info:
    system = os.uname()
    return Info(
        id=engine_id,
        name=system.nodename,
        server_version=ENGINE_VERSION,
        root_dir=root,
        containers_running=running,
        containers_paused=paused,
        containers_stopped=stopped,
        images=images,
        memory_total_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cpus=len(os.sched_getaffinity(0)),
        kernel_version=system.release,
        operating_system=_distribution(),
        architecture=system.machine,
        cgroup_version="2" if layout.mode == "v2" else "1",
        cgroup_driver="none" if layout.mode == cgroup.UNDELEGATED else "cgroupfs",
        security_options=("name=seccomp,profile=builtin", *(("name=rootless",) if privileges.current().rootless else ())),
        warnings=warnings,
    )


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
