"""The last form of every value: durations and sizes read, lists of NAME=VALUE made mappings, empty values dropped.

After this a tree is what `docker compose config --format json` prints, and what `bind` makes the model of.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from stackrun import units
from stackrun.compose.faults import Faults
from stackrun.compose.patterns import Pattern
from stackrun.compose.scalar import is_digits, is_true, text_of
from stackrun.compose.shortforms import ShortFormError, split_command
from stackrun.compose.tree import Map, Place, Seq
from stackrun.errors import InvalidArgument

Decoder = Callable[["_Decode", Any, Place], Any]

_DROP: Any = object()


def decode(root: Map, faults: Faults) -> None:
    """In place, on a canonical tree with absolute paths; a value that cannot be read is a fault and left out."""
    _Decode(faults).mapping(root, _TABLE)


class _Decode:
    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    def mapping(self, node: Map, known: Pattern[Decoder]) -> None:
        for key in list(node):
            inner = known.at(key)
            if inner is None:
                continue
            at = node.value_place(key)
            value = self.value(node[key], inner, at)
            if value is _DROP:
                del node[key]
            else:
                node[key] = value

    def sequence(self, node: Seq, known: Pattern[Decoder]) -> None:
        if known.any is None:
            return
        values = [self.value(item, known.any, node.item_place(index)) for index, item in enumerate(node)]
        kept = [index for index, value in enumerate(values) if value is not _DROP]
        places = [node.item_place(index) for index in kept]
        node[:] = [values[index] for index in kept]
        node.items_at = places

    def value(self, value: Any, known: Pattern[Decoder], at: Place) -> Any:
        if known.known in _SCALARS and isinstance(value, (Map, Seq)):
            return self.fault(at, f"must be one value, not a {'mapping' if isinstance(value, Map) else 'list'}", code="wrong-type")
        if known.known is not None:
            value = known.known(self, value, at)
        if isinstance(value, Map):
            self.mapping(value, known)
        elif isinstance(value, Seq):
            self.sequence(value, known)
        return value

    def fault(self, at: Place, message: str, hint: str = "", code: str = "invalid-value") -> Any:
        self.faults.error(at, message, hint=hint, code=code)
        return _DROP


# --- scalars --------------------------------------------------------------------------------------


def _text(_self: _Decode, value: Any, _at: Place) -> Any:
    return _DROP if value is None or value == "" else text_of(value)


def _text_kept(_self: _Decode, value: Any, _at: Place) -> Any:
    return text_of(value)


def _flag_or_none(self: _Decode, value: Any, at: Place) -> Any:
    if isinstance(value, str):
        truth = is_true(value)
        return self.fault(at, f"must be true or false, not {value!r}", code="wrong-type") if truth is None else truth
    return _DROP if value is None else value


def _flag(self: _Decode, value: Any, at: Place) -> Any:
    value = _flag_or_none(self, value, at)
    return value if value is True else _DROP


def _integer_kept(self: _Decode, value: Any, at: Place) -> Any:
    if value is None:
        return _DROP
    if isinstance(value, (int, float)) and math.isfinite(value):
        return int(value)
    hint = f"write {value} without quotes" if isinstance(value, str) and is_digits(value.lstrip("-")) else ""
    return self.fault(at, f"must be a whole number, not {value!r}", hint, code="wrong-type")


def _integer(self: _Decode, value: Any, at: Place) -> Any:
    value = _integer_kept(self, value, at)
    return value if value else _DROP


def _count_kept(self: _Decode, value: Any, at: Place) -> Any:
    """A whole number that is not negative."""
    value = _integer_kept(self, value, at)
    return self.fault(at, f"must not be negative, as {value} is") if value is not _DROP and value < 0 else value


def _count(self: _Decode, value: Any, at: Place) -> Any:
    value = _count_kept(self, value, at)
    return value if value else _DROP


def _digits_kept(self: _Decode, value: Any, at: Place) -> Any:
    """A whole number that may be written as a string."""
    text = value.removeprefix("-") if isinstance(value, str) else ""
    return _integer_kept(self, int(value) if is_digits(text) else value, at)


def _digits(self: _Decode, value: Any, at: Place) -> Any:
    value = _digits_kept(self, value, at)
    return value if value else _DROP


def _number(self: _Decode, value: Any, at: Place) -> Any:
    if value is None:
        return _DROP
    try:
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
    except (ValueError, OverflowError):
        return self.fault(at, f"must be a number, not {value!r}", code="wrong-type")
    return (int(number) if number.is_integer() else number) if number else _DROP


def _size(self: _Decode, value: Any, at: Place) -> Any:
    """Bytes as a string of digits, as Compose prints them; of those below zero it prints what it cannot read again."""
    if value is None:
        return _DROP
    if isinstance(value, str) and value.startswith("-") and is_digits(value[1:]):
        value = int(value)
    try:
        count = units.parse_bytes(int(value) if isinstance(value, (int, float)) and math.isfinite(value) else text_of(value))
    except InvalidArgument as error:
        return self.fault(at, error.message, error.hint)
    return str(count) if count else _DROP


def _duration(self: _Decode, value: Any, at: Place) -> Any:
    if value is None:
        return _DROP
    try:
        return units.format_duration(units.parse_duration(text_of(value)))
    except InvalidArgument as error:
        return self.fault(at, error.message, error.hint)


def _mode(self: _Decode, value: Any, at: Place) -> Any:
    """Permission bits as a string of octal digits."""
    if value is None:
        return _DROP
    try:
        bits = int(value, 8) if isinstance(value, str) else value
    except (ValueError, OverflowError):
        bits = -1
    if not isinstance(bits, int) or bits < 0:
        return self.fault(at, f"must be an octal number such as 0440, not {text_of(value)!r}")
    return f"0{bits:o}"


def _bits(self: _Decode, value: Any, at: Place) -> Any:
    if isinstance(value, str):
        return self.fault(at, f"must be a number such as 0755, not {value!r}", f"write {value} without quotes", code="wrong-type")
    text = _mode(self, value, at)
    return text if text is _DROP else int(text, 8) or _DROP


def _device_count(self: _Decode, value: Any, at: Place) -> Any:
    if value == "all":
        return -1
    if isinstance(value, int) or (isinstance(value, str) and is_digits(value.removeprefix("-"))):
        return int(value)
    return self.fault(at, f'must be a whole number or "all", not {text_of(value)!r}', code="wrong-type")


_SCALARS = frozenset((
    _text, _text_kept, _flag, _flag_or_none, _integer, _integer_kept, _count, _count_kept, _digits, _digits_kept, _number, _size,
    _duration, _mode, _bits, _device_count,
))  # fmt: skip


# --- collections ----------------------------------------------------------------------------------


def _pairs(value: Any, at: Place, missing: str | None) -> Map:
    """NAME=VALUE items as a mapping; values are text, `missing` stands for one without a value."""
    pairs = Map(place=value.place if isinstance(value, (Map, Seq)) else at)
    if isinstance(value, Map):
        for name, item in value.items():
            pairs.take(value, name, missing if item is None else text_of(item))
    elif isinstance(value, Seq):
        for index, item in enumerate(value):
            name, separator, text = text_of(item).partition("=")
            place = value.item_place(index)
            pairs.put(name, text if separator else missing, place, place)
    return pairs


def _mapping(_self: _Decode, value: Any, at: Place) -> Any:
    return _pairs(value, at, "") or _DROP


def _variables(_self: _Decode, value: Any, at: Place) -> Any:
    return _pairs(value, at, None) or _DROP


def _strings(self: _Decode, value: Any, at: Place) -> Any:
    if value is None:
        return _DROP
    items = value if isinstance(value, Seq) else Seq([value], at, [at])
    for index, item in enumerate(items):
        if isinstance(item, float):
            self.fault(items.item_place(index), f"must be a string or a whole number, not {text_of(item)}", code="wrong-type")
    items[:] = [text_of(item) for item in items]
    return items or _DROP


def _addresses(self: _Decode, value: Any, at: Place) -> Any:
    """A list in which an empty string, as an unset variable leaves it, is nothing when it stands alone."""
    items = _strings(self, value, at)
    return _DROP if items == [""] else items


def _texts(self: _Decode, value: Any, at: Place) -> Any:
    """A mapping of names to strings, which says so of anything else."""
    for name, item in value.items() if isinstance(value, Map) else ():
        if isinstance(item, (bool, float, Map, Seq)):
            self.fault(value.value_place(name), f"must be a string, not {text_of(item)}", "quote it", code="wrong-type")
    return _mapping(self, value, at)


def _present(_self: _Decode, value: Any, _at: Place) -> Any:
    return _DROP if value is None or value == {} or value == [] else value


def _not_null(_self: _Decode, value: Any, _at: Place) -> Any:
    return _DROP if value is None else value


def _command(self: _Decode, value: Any, at: Place) -> Any:
    if not isinstance(value, str):
        return value
    try:
        words, dropped = split_command(value)
    except ShortFormError as error:
        self.faults.error(at, error.message, hint=error.hint, code="unclosed-quote")
        return None
    if dropped:
        message = f"everything from {dropped[:12]!r} on is dropped, as Docker Compose does"
        hint = "a command is not run by a shell: write sh -c '…', or a list"
        self.faults.warning(at, message, hint=hint, code="command-dropped")
    return Seq(words, at, [at] * len(words))


def _test(_self: _Decode, value: Any, at: Place) -> Any:
    if isinstance(value, str):
        return Seq(["CMD-SHELL", value], at, [at, at])
    return value or _DROP


def _hosts(self: _Decode, value: Any, at: Place) -> Any:
    """`NAME=ADDRESS`, sorted by name."""
    found: list[tuple[str, str, Place]] = []
    if isinstance(value, Map):
        for name, addresses in value.items():
            place = value.key_place(name)
            found += [(name, text_of(one), place) for one in (addresses if isinstance(addresses, list) else [addresses])]
    elif isinstance(value, Seq):
        for index, item in enumerate(value):
            place = value.item_place(index)
            name, separator, address = _host(text_of(item))
            if not separator:
                self.fault(place, f"invalid extra host {item!r}", "write NAME=ADDRESS", code="invalid-extra-host")
            else:
                found.append((name, address, place))
    hosts = Seq(place=value.place if isinstance(value, (Map, Seq)) else at)
    for name, address, place in sorted(found, key=lambda one: one[:2]):
        hosts.add(f"{name}={address[1:-1] if address.startswith('[') and address.endswith(']') else address}", place)
    return hosts or _DROP


def _host(text: str) -> tuple[str, str, str]:
    return text.partition("=") if "=" in text else text.partition(":")


def _ulimit(self: _Decode, value: Any, at: Place) -> Any:
    if isinstance(value, Map) and {"soft", "hard"} <= value.keys():
        return value
    if isinstance(value, (Map, Seq, float)):
        return self.fault(at, "must be a whole number, or soft and hard", code="wrong-type")
    return _integer_kept(self, value, at)


def _ulimit_bound(self: _Decode, value: Any, at: Place) -> Any:
    if isinstance(value, float):
        return self.fault(at, f"must be a whole number, not {text_of(value)}", code="wrong-type")
    return _integer_kept(self, value, at)


def _contexts(self: _Decode, value: Any, at: Place) -> Any:
    """additional_contexts: each has a name and a path, URL, image or service."""
    for index, item in enumerate(value if isinstance(value, Seq) else ()):
        if "=" not in text_of(item):
            self.fault(value.item_place(index), f"the context {text_of(item)!r} has no name", "write NAME=PATH", code="short-form")
    for name, context in value.items() if isinstance(value, Map) else ():
        if not isinstance(context, str):
            self.fault(value.value_place(name), "a context is a path, a URL, an image or a service", code="wrong-type")
    return _mapping(self, value, at)


def _resource_spec(_self: _Decode, value: Any, at: Place) -> Any:
    if isinstance(value, Map):
        value.setdefault("kind", "")
        value.setdefault("value", 0)
    return value


def _ssh(self: _Decode, value: Any, at: Place) -> Any:
    for index, item in enumerate(value if isinstance(value, Seq) else ()):
        if item != "default" and "=" not in text_of(item):
            self.fault(value.item_place(index), f"invalid ssh key {item!r}", "write default, or NAME=PATH", code="short-form")
    pairs = _pairs(value, at, "")
    keys = Seq(place=pairs.place)
    for name in sorted(pairs):
        keys.add(f"{name}={pairs[name]}" if pairs[name] else name, pairs.key_place(name))
    return keys or _DROP


def _options(_self: _Decode, value: Any, at: Place) -> Any:
    """A provider's options: each is a list."""
    if not isinstance(value, Map):
        return _DROP
    for name, item in value.items():
        place = value.value_place(name)
        value[name] = Seq([text_of(one) for one in item], place) if isinstance(item, list) else Seq([text_of(item)], place, [place])
    return value or _DROP


_UPDATE: dict[str, Decoder] = {
    "parallelism": _count_kept, "delay": _duration, "monitor": _duration, "max_failure_ratio": _number, "failure_action": _text,
    "order": _text,
}  # fmt: skip
_HOOK: dict[str, Decoder] = {"command": _command, "user": _text, "working_dir": _text, "privileged": _flag, "environment": _variables}
_DEVICES: dict[str, Decoder] = {
    "capabilities": _strings, "count": _device_count, "device_ids": _strings, "driver": _text, "options": _mapping,
}  # fmt: skip
_LIMITS: dict[str, Decoder] = {"cpus": _number, "memory": _size, "pids": _digits}
_REFERENCE: dict[str, Decoder] = {"mode": _mode, "uid": _text, "gid": _text, "target": _text}
_ULIMIT: dict[str, Decoder] = {"": _ulimit, "soft": _ulimit_bound, "hard": _ulimit_bound}


def _each(names: str, decoder: Decoder) -> dict[str, Decoder]:
    return dict.fromkeys(names.split(), decoder)


def _below(prefix: str, decoders: dict[str, Decoder]) -> dict[str, Decoder]:
    return {f"{prefix}.{key}".rstrip("."): decoder for key, decoder in decoders.items()}


_SERVICE: dict[str, Decoder] = (
    _each(
        "image container_name hostname domainname user working_dir network_mode ipc pid uts cgroup cgroup_parent userns_mode isolation"
        " runtime platform pull_policy restart stop_signal mac_address cpuset volume_driver pull_refresh_after",
        _text,
    )
    | _each("privileged read_only tty stdin_open oom_kill_disable use_api_socket", _flag)
    | _each("init attach", _flag_or_none)
    | _each("cpu_count cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares oom_score_adj pids_limit", _integer)
    | _each("scale", _integer_kept)
    | _each("cpus cpu_percent", _number)
    | _each("mem_limit mem_reservation mem_swappiness memswap_limit shm_size", _size)
    | _each("stop_grace_period", _duration)
    | _each("labels annotations sysctls", _mapping)
    | {"storage_opt": _texts}
    | _each("environment", _variables)
    | _each(
        "cap_add cap_drop device_cgroup_rules dns_opt dns_search expose external_links group_add links profiles security_opt tmpfs"
        " volumes_from",
        _strings,
    )
    | {"dns": _addresses}
    | _each("configs secrets devices ports volumes networks depends_on models ulimits gpus env_file label_file", _present)
    | _each("post_start pre_stop", _present)
    | _each("deploy develop healthcheck logging blkio_config credential_spec provider build", _not_null)
    | _each("command entrypoint", _command)
    | _each("extra_hosts build.extra_hosts", _hosts)
    | _below("healthcheck", {"test": _test, "retries": _count_kept, "disable": _flag})
    | _each("healthcheck.interval healthcheck.timeout healthcheck.start_period healthcheck.start_interval", _duration)
    | {"logging.driver": _text, "logging.options": _mapping, "provider.options": _options}
    | _below("depends_on.*", {"restart": _flag, "required": _flag_or_none})
    | _each("networks.*.aliases networks.*.link_local_ips", _strings)
    | _below("credential_spec", _each("config file registry", _text))
    | _below("networks.*", _each("ipv4_address ipv6_address mac_address interface_name", _text))
    | _below("networks.*", {"driver_opts": _mapping, "priority": _integer, "gw_priority": _integer})
    | _below("ports.*", _each("mode published protocol host_ip name app_protocol", _text))
    | _below("volumes.*", {"read_only": _flag, "source": _text, "consistency": _text})
    | _below("volumes.*", _each("bind volume tmpfs image", _not_null))
    | _below("volumes.*.bind", {"create_host_path": _flag, "propagation": _text, "selinux": _text, "recursive": _text})
    | _below("volumes.*.volume", {"nocopy": _flag, "subpath": _text, "labels": _mapping})
    | _below("devices.*", _each("source target permissions", _text))
    | {"volumes.*.image.subpath": _text}
    | _below("volumes.*.tmpfs", {"size": _size, "mode": _bits})
    | _below("configs.*", _REFERENCE)
    | _below("secrets.*", _REFERENCE)
    | _below("build.secrets.*", _REFERENCE)
    | _below("ulimits.*", _ULIMIT)
    | _below("build.ulimits.*", _ULIMIT)
    | _below("post_start.*", _HOOK)
    | _below("pre_stop.*", _HOOK)
    | _below("develop.watch.*.exec", _HOOK)
    | _below("develop.watch.*", {"initial_sync": _flag, "target": _text})
    | _below("gpus.*", _DEVICES)
    | _below("deploy", {"mode": _text, "endpoint_mode": _text, "replicas": _integer_kept, "labels": _mapping})
    | _below("deploy.resources.limits", _LIMITS)
    | _below("deploy.resources.reservations", _LIMITS)
    | _below("deploy.resources.reservations.devices.*", _DEVICES)
    | _below("deploy.resources.reservations.generic_resources.*.discrete_resource_spec", {"": _resource_spec, "value": _digits_kept})
    | _below("deploy.update_config", _UPDATE)
    | _below("deploy.rollback_config", _UPDATE)
    | _below("deploy.restart_policy", _each("delay window", _duration) | {"condition": _text, "max_attempts": _count_kept})
    | _below("deploy.placement", {"constraints": _strings, "preferences": _present, "preferences.*.spread": _text})
    | {"deploy.placement.max_replicas_per_node": _count}
    | _below("build", _each("context dockerfile dockerfile_inline isolation network target provenance sbom", _text))
    | _below("build", _each("no_cache pull privileged", _flag))
    | _below("build", _each("cache_from cache_to entitlements platforms tags", _strings))
    | _below("build", {"args": _variables, "labels": _mapping, "additional_contexts": _contexts, "shm_size": _size, "ssh": _ssh})
    | _below("build", _each("secrets ulimits", _present))
    | _below("blkio_config", {"weight": _count, "weight_device.*.weight": _count})
    | {f"blkio_config.device_{what}.*.rate": _size for what in ("read_bps", "read_iops", "write_bps", "write_iops")}
)  # fmt: skip

_TABLE: Pattern[Decoder] = Pattern.table(
    _below("services.*", _SERVICE)
    | _below("networks.*", _each("name driver", _text) | _each("external internal attachable", _flag))
    | _below("networks.*", _each("enable_ipv4 enable_ipv6", _flag_or_none) | _each("labels driver_opts", _mapping) | {"ipam": _not_null})
    | _below("networks.*.ipam", {"driver": _text, "options": _mapping, "config": _present})
    | _below("networks.*.ipam.config.*", _each("subnet gateway ip_range", _text) | {"aux_addresses": _mapping})
    | _below("volumes.*", {"name": _text, "driver": _text, "external": _flag, "labels": _mapping, "driver_opts": _mapping})
    | _below("configs.*", _each("name file environment template_driver", _text) | {"external": _flag, "labels": _mapping})
    | _below("secrets.*", _each("name file environment template_driver driver", _text) | {"external": _flag})
    | _below("secrets.*", _each("labels driver_opts", _mapping))
    | {"configs.*.content": _text_kept}
    | {"models.*.context_size": _integer, "models.*.runtime_flags": _strings, "models.*.name": _text}
)
