"""What was asked for, made whole: the image's defaults filled in, everything that can be refused refused.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import PurePosixPath

from stackrun.api.types import ContainerSpec, EndpointSpec, Healthcheck, ImageConfig, PublishedPort, Resources
from stackrun.engine import security
from stackrun.errors import InvalidArgument, Unsupported
from stackrun.runtime.spec import signal_number

MINIMUM_MEMORY_BYTES = 6 << 20
RESTART_POLICIES = ("", "no", "always", "on-failure", "unless-stopped")
LOG_DRIVERS = ("", "json-file", "local", "none")
_NO_WORD = re.compile(r"[\s\x00-\x20\x7f#]")
_EXPOSED = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?/(?:tcp|udp|sctp)")
_LOG_OPTIONS = frozenset({"max-size", "max-file", "compress", "labels", "env", "tag", "mode", "max-buffer-size"})


def completed(spec: ContainerSpec, image: ImageConfig) -> ContainerSpec:
    """`spec` with the image's configuration where it says nothing, as moby's config merge."""
    entrypoint, command = spec.entrypoint, spec.command
    if entrypoint is None:
        entrypoint = image.entrypoint or None
        command = image.command or None if command is None else command
    return replace(
        spec,
        entrypoint=tuple(one for one in entrypoint if one) or None if entrypoint else None,
        command=command,
        environment=_environment(spec.environment, image.environment),
        labels={**image.labels, **spec.labels},
        user=spec.user or image.user,
        working_dir=spec.working_dir or image.working_dir,
        exposed_ports=_exposed(spec, image),
        anonymous_volumes=tuple(dict.fromkeys((*spec.anonymous_volumes, *image.volumes))),
        stop_signal=spec.stop_signal or image.stop_signal,
        shell=spec.shell or image.shell,
        healthcheck=_healthcheck(spec.healthcheck, image.healthcheck),
    )


def _environment(asked: Iterable[str], image: Iterable[str]) -> tuple[str, ...]:
    """The asked-for first, then the image's that it does not name; a bare name only takes the image's away."""
    named = {one.partition("=")[0] for one in asked}
    return tuple(one for one in asked if "=" in one) + tuple(one for one in image if one.partition("=")[0] not in named)


def _exposed(spec: ContainerSpec, image: ImageConfig) -> tuple[str, ...]:
    published = [f"{one.container_port}/{one.protocol}" for one in spec.ports]
    return tuple(dict.fromkeys(_with_protocol(one) for one in (*spec.exposed_ports, *image.exposed_ports, *published)))


def _with_protocol(port: str) -> str:
    return port if "/" in port else f"{port}/tcp"


def _healthcheck(asked: Healthcheck | None, image: Healthcheck | None) -> Healthcheck | None:
    if asked is None or image is None:
        return asked or image
    if asked.test and asked.test[0] == "NONE":
        return asked
    return Healthcheck(
        test=asked.test or image.test,
        interval_s=asked.interval_s or image.interval_s,
        timeout_s=asked.timeout_s or image.timeout_s,
        retries=asked.retries or image.retries,
        start_period_s=asked.start_period_s or image.start_period_s,
        start_interval_s=asked.start_interval_s or image.start_interval_s,
    )


def command_line(spec: ContainerSpec) -> tuple[str, tuple[str, ...]]:
    """(path, arguments) of a completed spec; InvalidArgument "no command specified"."""
    words = (*(spec.entrypoint or ()), *(spec.command or ()))
    if not words or not words[0]:
        raise InvalidArgument("no command specified")
    return words[0], words[1:]


# --- what is refused ------------------------------------------------------------------------------


def check(spec: ContainerSpec) -> None:
    """Raises InvalidArgument or Unsupported for what no start could do; `spec` is completed."""
    if spec.working_dir and not spec.working_dir.startswith("/"):
        raise InvalidArgument(f"the working directory '{spec.working_dir}' is invalid, it needs to be an absolute path")
    if spec.stop_signal:
        signal_number(spec.stop_signal)
    security.capabilities(spec)
    security.security_options(spec)
    _check_restart(spec)
    _check_resources(spec)
    _check_healthcheck(spec.healthcheck)
    _check_log(spec)
    _check_modes(spec)
    _check_names(spec)
    _check_targets(spec)


def _check_restart(spec: ContainerSpec) -> None:
    policy = spec.restart_policy
    if policy.name not in RESTART_POLICIES:
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{policy.name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.maximum_retries and policy.name != "on-failure":
        raise InvalidArgument("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if policy.maximum_retries < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if spec.auto_remove and policy.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def _check_resources(spec: ContainerSpec) -> None:
    limits = spec.resources
    if 0 < limits.memory_bytes < MINIMUM_MEMORY_BYTES:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if limits.memory_swap_bytes > 0 and limits.memory_swap_bytes < limits.memory_bytes:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if limits.memory_swap_bytes > 0 and not limits.memory_bytes:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if limits.memory_bytes and limits.memory_reservation_bytes > limits.memory_bytes:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    if limits.nano_cpus and (limits.cpu_quota_us or limits.cpu_period_us):
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period/Quota cannot both be set")
    for one in limits.ulimits:
        if one.hard >= 0 and one.soft > one.hard:
            raise InvalidArgument(f"ulimit soft limit must be less than or equal to hard limit: {one.soft} > {one.hard}")


def _check_healthcheck(check: Healthcheck | None) -> None:
    if check is None:
        return
    if check.test and check.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidArgument(f"unknown type {check.test[0]!r} in healthcheck (expected 'CMD')")
    for name in ("interval_s", "timeout_s", "start_period_s", "start_interval_s"):
        value = getattr(check, name)
        if value < 0 or 0 < value < 0.001:
            raise InvalidArgument(f"{name[:-2].replace('_', ' ')} in healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidArgument("retries in healthcheck cannot be negative")


def _check_log(spec: ContainerSpec) -> None:
    if spec.log_config.driver not in LOG_DRIVERS:
        raise Unsupported(
            f"logger: no log driver named '{spec.log_config.driver}' is registered", hint="this engine has json-file, local and none"
        )
    unknown = sorted(set(spec.log_config.options) - _LOG_OPTIONS)
    if unknown:
        raise InvalidArgument(f"unknown log opt '{unknown[0]}' for {spec.log_config.driver or 'json-file'} log driver")


def _check_modes(spec: ContainerSpec) -> None:
    for name, value, words in (
        ("IPC", spec.ipc_mode, ("", "private", "shareable", "host", "none")),
        ("PID", spec.pid_mode, ("", "private", "host")),
        ("UTS", spec.uts_mode, ("", "private", "host")),
        ("cgroup namespace", spec.cgroupns_mode, ("", "private", "host")),
    ):
        joins = name in ("IPC", "PID") and value.startswith("container:")
        if value not in words and not joins:
            raise InvalidArgument(f"invalid {name} mode: {value}")
    if spec.userns_mode not in ("", "host"):
        raise Unsupported(f"user namespace mode {spec.userns_mode!r}: this engine does not remap users yet")
    if spec.runtime not in ("", "runc", "stackrun", "io.containerd.runc.v2"):
        raise InvalidArgument(f"unknown or invalid runtime name: {spec.runtime}")
    if spec.storage_options:
        raise Unsupported("storage options are not supported: overlayfs here has no quota")


def _check_names(spec: ContainerSpec) -> None:
    """What becomes words of /etc/hosts and /etc/resolv.conf, where a line's end would make entries of the rest; and the cgroup's path."""
    words = {
        "hostname": (spec.hostname,), "domain name": (spec.domainname,), "extra host": spec.extra_hosts, "name server": spec.dns,
        "search domain": spec.dns_search, "resolver option": spec.dns_options,
    }  # fmt: skip
    for what, values in words.items():
        for value in values:
            if _NO_WORD.search(value):
                raise InvalidArgument(f"invalid {what} {value!r}: it holds a space or a control character")
    for port in spec.exposed_ports:
        found = _EXPOSED.fullmatch(port)
        if not found or not all(0 < int(number) < 65536 for number in found.groups() if number):
            raise InvalidArgument(f"invalid exposed port {port[:64]!r}", hint="write 80/tcp, 53/udp or 8000-8010/tcp")
    if {".", ".."} & set(spec.cgroup_parent.split("/")):
        raise InvalidArgument(f"invalid cgroup parent {spec.cgroup_parent!r}: it is no clean path")


def _check_targets(spec: ContainerSpec) -> None:
    seen: set[str] = set()
    for target in (*(one.target for one in spec.mounts), *spec.tmpfs, *spec.anonymous_volumes):
        if not target.startswith("/"):
            raise InvalidArgument(f"invalid mount config: mount path must be absolute: {target!r}")
        if clean_path(target) == "/":
            raise InvalidArgument("invalid specification: destination can't be '/'")
    for target in (*(one.target for one in spec.mounts), *spec.tmpfs):
        clean = clean_path(target)
        if clean in seen:
            raise InvalidArgument(f"Duplicate mount point: {clean}")
        seen.add(clean)


def clean_path(path: str) -> str:
    """Without doubled slashes, dots and a trailing slash; `..` never leads above the root."""
    done: list[str] = []
    for part in PurePosixPath(path).parts[1:]:
        if part == "..":
            done = done[:-1]
        else:
            done.append(part)
    return "/" + "/".join(done)


def updated(now: Resources, asked: Resources) -> Resources:
    """The limits after `update`: what was not asked for stays."""
    blank = Resources()
    given = {one.name: value for one in fields(Resources) if (value := getattr(asked, one.name)) != getattr(blank, one.name)}
    return replace(now, **given)


# --- networks -------------------------------------------------------------------------------------


def endpoint_specs(spec: ContainerSpec) -> tuple[EndpointSpec, ...]:
    """The networks a container joins, its `network_mode` first; none for host, none and container:X."""
    mode = spec.network_mode
    if mode in ("host", "none") or mode.startswith("container:"):
        return ()
    primary = "bridge" if mode in ("", "default", "bridge") else mode
    if spec.endpoints and mode in ("", "default") and all(one.network not in ("default", "bridge") for one in spec.endpoints):
        return spec.endpoints
    named = [replace(one, network="bridge") if one.network == "default" else one for one in spec.endpoints]
    first = next((one for one in named if one.network == primary), None) or EndpointSpec(primary)
    return (first, *(one for one in named if one.network != primary))


def exposed_only(spec: ContainerSpec) -> tuple[PublishedPort, ...]:
    """The ports of a container that does not run."""
    ports = []
    for one in spec.exposed_ports:
        number, _, protocol = one.partition("/")
        ports.append(PublishedPort(int(number.partition("-")[0]), protocol or "tcp"))
    return tuple(ports)
