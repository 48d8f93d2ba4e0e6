"""What differs between a container that is and the one that is declared, field by field: why a hash is another one.  Pure.

What only the image changed is one difference, the image's: the variables, labels and the command that a container has from its image
are taken away on both sides first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stackrun.api.types import Container, ContainerSpec, ImageConfig, Network
from stackrun.stack.desired import CONTENTS, Desired, DesiredService, contents_of
from stackrun.stack.facts import OWN_LABELS, Context, Fact, Facts, Path, facts, inheritable, is_anonymous, is_removed

_ID_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Difference:
    """`before` None: it was not there; `after` None: it goes."""

    field: str
    before: str | None
    after: str | None
    paths: tuple[Path, ...] = ()
    """Where the service's definition may say it, likeliest first."""


@dataclass(frozen=True, slots=True)
class Images:
    """The configurations a container was made from and would be made from; None: that image is not here (any more)."""

    old: ImageConfig | None = None
    new: ImageConfig | None = None
    new_id: str = ""
    """Empty: not known before it is pulled or built."""
    rebuilt: bool = False
    """It will be another one."""


def container_differences(
    wanted: ContainerSpec, service: DesiredService, found: Container, images: Images, names: Mapping[str, str]
) -> tuple[Difference, ...]:
    """`found` as inspect shows it, `names`: container id → name. Sorted by field, the image first."""
    ids = (found.id, found.id[:_ID_LENGTH], found.spec.hostname, wanted.hostname)
    own = frozenset((*ids, found.name, service.name))
    files = contents_of(found.spec).keys() | {one.target for one in service.file_mounts}
    context = Context(names, own, found.id[:_ID_LENGTH], frozenset(files))
    before, after = facts(found.spec, context), facts(wanted, context)
    for target in _carried(found, wanted):
        before.pop(f"volumes.{target}", None)
        after.pop(f"volumes.{target}", None)
    differences = [
        *_image(found, wanted, images),
        *compared(before, after),
        *_inherited(inheritable(found.spec), inheritable(wanted), wanted, images),
        *_contents(found, wanted),
    ]
    return tuple(sorted(differences, key=lambda one: (one.field != "image", one.field)))


def _carried(found: Container, wanted: ContainerSpec) -> set[str]:
    """Where the anonymous volumes that go over are mounted."""
    names = {mount.source for mount in wanted.mounts}
    return {mount.target for mount in found.mounts if mount.name in names and is_anonymous(mount.name)}


def _image(found: Container, wanted: ContainerSpec, images: Images) -> Iterable[Difference]:
    other_id = bool(images.new_id and found.image_id and images.new_id != found.image_id)
    if found.spec.image == wanted.image and not other_id and not images.rebuilt:
        return
    old, new = found.spec.image, wanted.image
    if images.rebuilt:
        old, new = f"{old} ({_short(found.image_id)})", f"{new} (built anew)"
    if other_id:
        old, new = f"{old} ({_short(found.image_id)})", f"{new} ({_short(images.new_id)})"
    yield Difference("image", old, new, (("image",), ("build",)))


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:_ID_LENGTH]


def compared(before: Facts, after: Facts) -> Iterable[Difference]:
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if (old and old.text) != (new and new.text):
            yield _difference(key, old, new)


def _difference(key: str, old: Fact | None, new: Fact | None) -> Difference:
    told = new or old
    return Difference(key, old.text if old else None, new.text if new else None, told.paths if told else ())


def _inherited(before: Facts, asked: Facts, wanted: ContainerSpec, images: Images) -> Iterable[Difference]:
    """A field nobody asks for comes from the image: what it was and becomes by that alone is not told."""
    old_image = _of_image(images.old or images.new)
    new_image = _of_image(images.new or images.old)
    if wanted.entrypoint is not None:
        new_image.pop("command", None)  # as every engine has it: an entrypoint of one's own clears the image's command
    known = images.old is not None or images.new is not None
    for key in before.keys() | asked.keys():
        old, new = before.get(key), asked.get(key)
        if new is None:
            if not known or _same(old, old_image.get(key)):
                continue
            new = new_image.get(key)
        old, new = _present(old), _present(new)
        if not _same(old, new):
            yield _difference(key, old, new)


def _present(fact: Fact | None) -> Fact | None:
    return None if fact is None or is_removed(fact) else fact


def _same(one: Fact | None, other: Fact | None) -> bool:
    return (one.text if one else None) == (other.text if other else None)


def _of_image(config: ImageConfig | None) -> Facts:
    if config is None:
        return {}
    return inheritable(
        ContainerSpec(
            image="",
            command=config.command or None,
            entrypoint=config.entrypoint or None,
            environment=config.environment,
            labels=config.labels,
            user=config.user,
            working_dir=config.working_dir,
            exposed_ports=config.exposed_ports,
            stop_signal=config.stop_signal,
            healthcheck=config.healthcheck,
        )
    )


def _contents(found: Container, wanted: ContainerSpec) -> Iterable[Difference]:
    """Where the container says what it was made with."""
    if CONTENTS in found.spec.labels:
        yield from content_differences(found.spec, wanted)


def content_differences(old_spec: ContainerSpec, new_spec: ContainerSpec) -> Iterable[Difference]:
    """Configs and secrets by the digest of their content."""
    before, after = contents_of(old_spec), contents_of(new_spec)
    for target in before.keys() | after.keys():
        if before.get(target) != after.get(target):
            label, old = _held(before.get(target))
            label, new = _held(after.get(target)) if target in after else (label, None)
            section, _, key = label.partition(" ")
            yield Difference(f"{section}s.{key}", old, new, ((f"{section}s", key), ()))


def _held(text: str | None) -> tuple[str, str | None]:
    """`config nginx 3f2a` → (`config nginx`, `content 3f2a`)."""
    label, _, digest = (text or "").rpartition(" ")
    return label, f"content {digest}" if digest else None


def network_differences(found: Network, desired: Desired) -> tuple[Difference, ...]:
    wanted = desired.networks[found.name].spec
    before, after = _network(found, asked_pools=bool(wanted.pools)), _network(Network("", "", wanted), asked_pools=bool(wanted.pools))
    return tuple(sorted(compared(before, after), key=lambda one: one.field))


def _network(network: Network, *, asked_pools: bool) -> Facts:
    spec = network.spec
    found = {
        "driver": Fact(spec.driver, (("driver",),)),
        **{key: Fact("true", ((key,),)) for key in ("internal", "attachable", "enable_ipv6") if getattr(spec, key)},
        **{f"driver_opts.{key}": Fact(value, (("driver_opts", key),)) for key, value in spec.options.items()},
        **{f"labels.{key}": Fact(value, (("labels", key),)) for key, value in spec.labels.items() if not key.startswith(OWN_LABELS)},
    }
    if asked_pools and spec.pools:
        pools = ", ".join(" ".join(filter(None, (one.subnet, one.ip_range))) for one in spec.pools)
        found["ipam.config"] = Fact(pools, (("ipam", "config"),))
    return found
