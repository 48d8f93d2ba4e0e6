"""What differs between two states that a stack is declared to be, field by field, and in one line.  Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from stackrun.api.stacks import FieldChange, ResourceChange, Symbol
from stackrun.api.stored import to_json
from stackrun.stack.desired import Desired, DesiredNetwork, DesiredService, DesiredVolume
from stackrun.stack.difference import Difference, compared, content_differences
from stackrun.stack.facts import OWN_LABELS, Context, Fact, Facts, facts, inheritable, is_removed
from stackrun.stack.places import Places
from stackrun.stack.secrecy import Secrecy

_ID_LENGTH = 12
_FIELDS_SHOWN_MAX = 3
_LINE_LENGTH_MAX = 160


@dataclass(frozen=True, slots=True)
class Side:
    desired: Desired
    images: Mapping[str, str] = field(default_factory=dict)
    """Service → id of its image, where that is known."""


NOTHING = Side(Desired("", {}))


def changes(before: Side, after: Side, secrecy: Secrecy, places: Places) -> tuple[ResourceChange, ...]:
    """By kind and name; `places` are of the file that `after` comes from. Secret values are hidden."""
    return (*_services(before, after, secrecy, places), *_networks(before, after, secrecy, places), *_volumes(before, after, secrecy))


def _services(before: Side, after: Side, secrecy: Secrecy, places: Places) -> Iterable[ResourceChange]:
    old, new = before.desired.services, after.desired.services
    for name in sorted(old.keys() | new.keys()):
        resource = f"Service {name}"
        if name not in new:
            yield ResourceChange(Symbol.REMOVE, resource)
            continue
        if name not in old:
            image = FieldChange("image", None, new[name].image, places.of_service(name, (("image",), ("build",))))
            yield ResourceChange(Symbol.CREATE, resource, (image,))
            continue
        found = service_differences(old[name], new[name], (before.images.get(name, ""), after.images.get(name, "")))
        told = tuple(_shown(one, secrecy, places.of_service(name, one.paths)) for one in found)
        if told:
            yield ResourceChange(Symbol.CHANGE, resource, told)


def _shown(one: Difference, secrecy: Secrecy, place: str) -> FieldChange:
    return FieldChange(one.field, secrecy.shown(one.field, one.before), secrecy.shown(one.field, one.after), place)


def service_differences(before: DesiredService, after: DesiredService, ids: tuple[str, str] = ("", "")) -> tuple[Difference, ...]:
    """`ids`: of their images; empty: not known. Sorted by field, the image first."""
    files = frozenset(one.target for one in (*before.file_mounts, *after.file_mounts))
    context = Context(files=files)
    differences = [
        *_image(before.image, after.image, ids),
        *compared(_declared(before, context), _declared(after, context)),
        *content_differences(before.spec, after.spec),
    ]
    if not differences and before.config_hash != after.config_hash:
        differences.append(Difference("configuration", f"hash {before.config_hash[:_ID_LENGTH]}", f"hash {after.config_hash[:_ID_LENGTH]}"))
    return tuple(sorted(differences, key=lambda one: (one.field != "image", one.field)))


def _image(before: str, after: str, ids: tuple[str, str]) -> Iterable[Difference]:
    paths = (("image",), ("build",))
    if before != after:
        yield Difference("image", before, after, paths)
    elif all(ids) and ids[0] != ids[1]:
        old, new = (f"{before} ({one.removeprefix('sha256:')[:_ID_LENGTH]})" for one in ids)
        yield Difference("image", old, new, paths)


def _declared(service: DesiredService, context: Context) -> Facts:
    """All of it but its image and its files: what the container is, and how many of them, after whom, and the rest."""
    found = facts(service.spec, context) | inheritable(service.spec)
    found = {key: Fact("(none)", one.paths) if is_removed(one) else one for key, one in found.items()}
    found["scale"] = Fact(str(service.replicas), (("scale",), ("deploy", "replicas")))
    for one in service.dependencies:
        words = [str(one.condition), *(["restart"] if one.restart else []), *([] if one.required else ["not required"])]
        found[f"depends_on.{one.service}"] = Fact(", ".join(words), (("depends_on", one.service), ("depends_on",)))
    for mount in service.file_mounts:
        section, _, key = mount.label.partition(" ")
        if mount.live:
            found[f"{section}s.{key}.on_change"] = Fact(mount.on_change.action, ((f"{section}s", key),))
    for plain in fields(service):
        value = getattr(service, plain.name)
        if plain.name not in _TOLD_OTHERWISE and value and value != plain.default:
            found[plain.name] = Fact(_words(value), ((plain.name,),))
    return found


_TOLD_OTHERWISE = frozenset({"name", "image", "spec", "config_hash", "replicas", "dependencies", "joins", "files", "file_mounts"})


def _words(value: object) -> str:
    """`true`, `always`; of something with parts, its JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(json.loads(to_json(value)), separators=(", ", ": "), sort_keys=True)


def _networks(before: Side, after: Side, secrecy: Secrecy, places: Places) -> Iterable[ResourceChange]:
    old, new = before.desired.networks, after.desired.networks
    for name in sorted(old.keys() | new.keys()):
        if name in old and name in new:
            found = tuple(
                _shown(one, secrecy, places.of_network(name, one.paths)) for one in compared(_network(old[name]), _network(new[name]))
            )
            yield from (ResourceChange(Symbol.CHANGE, f"Network {name}", found),) if found else ()
        else:
            yield ResourceChange(Symbol.CREATE if name in new else Symbol.REMOVE, f"Network {name}")


def _network(network: DesiredNetwork) -> Facts:
    spec = network.spec
    pools = ", ".join(" ".join(filter(None, (one.subnet, one.ip_range, one.gateway))) for one in spec.pools)
    found = {
        "driver": spec.driver,
        "external": "true" if network.external else "",
        **{key: "true" if getattr(spec, key) else "" for key in ("internal", "attachable", "enable_ipv6")},
        "ipam.config": pools,
        "ipam.driver": "" if spec.ipam_driver == "default" else spec.ipam_driver,
        **{f"driver_opts.{key}": value for key, value in spec.options.items()},
    }
    return _named(found, spec.labels)


def _volumes(before: Side, after: Side, secrecy: Secrecy) -> Iterable[ResourceChange]:
    old, new = before.desired.volumes, after.desired.volumes
    for name in sorted(old.keys() | new.keys()):
        if name in old and name in new:
            found = tuple(_shown(one, secrecy, "") for one in compared(_volume(old[name]), _volume(new[name])))
            yield from (ResourceChange(Symbol.CHANGE, f"Volume {name}", found),) if found else ()
        else:
            yield ResourceChange(Symbol.CREATE if name in new else Symbol.REMOVE, f"Volume {name}")


def _volume(volume: DesiredVolume) -> Facts:
    spec = volume.spec
    found = {"driver": spec.driver, "external": "true" if volume.external else ""}
    return _named({**found, **{f"driver_opts.{key}": value for key, value in spec.options.items()}}, spec.labels)


def _named(found: Mapping[str, str], own: Mapping[str, str]) -> Facts:
    told = {f"labels.{key}": value for key, value in own.items() if not key.startswith(OWN_LABELS)}
    return {key: Fact(value, (tuple(key.split(".", 1)),)) for key, value in {**found, **told}.items() if value}


# --- in one line


def summary(found: Iterable[ResourceChange]) -> str:
    """`web image 1 → 2, +cache`; networks and volumes alone when no service changes."""
    told = list(found)
    services = [one for one in told if one.resource.startswith("Service ")]
    line = ", ".join(_in_words(one) for one in services or told)
    return line if len(line) <= _LINE_LENGTH_MAX else f"{line[: _LINE_LENGTH_MAX - 1]}…"


def _in_words(one: ResourceChange) -> str:
    kind, _, name = one.resource.partition(" ")
    name = name if kind == "Service" else f"{kind.lower()} {name}"
    if one.symbol is not Symbol.CHANGE:
        return f"{one.symbol}{name}"
    words = [_field_words(change) for change in one.changes[:_FIELDS_SHOWN_MAX]]
    more = len(one.changes) - len(words)
    return f"{name} {' and '.join(words)}{f' and {more} more' if more else ''}"


def _field_words(change: FieldChange) -> str:
    if change.field in ("image", "scale") and change.before and change.after:
        before, after = _without_the_common_part(change.before, change.after)
        return f"{change.field} {before} → {after}"
    return change.field


def _without_the_common_part(before: str, after: str) -> tuple[str, str]:
    """Of references that differ in their tags alone, the tags."""
    (old_name, _, old_tag), (new_name, _, new_tag) = before.rpartition(":"), after.rpartition(":")
    same = old_name == new_name and old_name and "/" not in old_tag + new_tag and not old_name.endswith("sha256")
    return (old_tag, new_tag) if same else (before, after)
