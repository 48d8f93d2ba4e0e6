"""How the images of a stack are built, and what they are built of: two builds of the same ingredients are one.

The digest of the ingredients is kept on the image by a label, so that a stack file, its Dockerfile or a file of the context that has
changed since is seen.  What git and editors keep beside the files is sent to the builder, too, but does not count.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from stackrun.api.stacks import FieldChange
from stackrun.compose import model
from stackrun.errors import ComposeError, Diagnostic, NotFound, StackrunError
from stackrun.stack.secrecy import HIDDEN, is_secret_name

LABEL = "stackrun.build"
"""Of an image: `shop-web sha256:…`, its name and the digest of what it was built of. What is built on it inherits the label."""
DOCKERFILE = "dockerfile"
"""The name of the Dockerfile among the words."""
_SERVICE = "service:"
_IMAGE = "docker-image://"
_SHOWN_MAX = 20
_NAMED_MAX = 2


@dataclass(frozen=True, slots=True)
class BuildSecret:
    """From `file`, or a `value` that is known already."""

    id: str
    file: str = ""
    value: bytes = field(default=b"", repr=False)

    def content(self) -> bytes:
        """NotFound when the file cannot be read."""
        if not self.file:
            return self.value
        try:
            return Path(self.file).read_bytes()
        except OSError as error:
            raise NotFound(f"secret {self.id}: {self.file}: {(error.strerror or '').lower()}") from None


@dataclass(frozen=True, slots=True)
class Build:
    """`build` of a service. `context` is an absolute folder, `dockerfile` an absolute path; `inline` instead of it, if not None.

    `shown` is what a person knows the Dockerfile as.  `contexts`: name → image; `needs`: those of them that are built here, too.
    `pullable`: the file names the image itself, so it may be in a registry.  `place`: where the file says it.
    """

    service: str
    image: str
    context: str
    dockerfile: str = ""
    inline: str | None = None
    shown: str = "Dockerfile"
    target: str = ""
    arguments: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    network: str = ""
    platform: str = ""
    extra_hosts: tuple[str, ...] = ()
    shm_size_bytes: int = 0
    contexts: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    secrets: tuple[BuildSecret, ...] = ()
    no_cache: bool = False
    pull: bool = False
    pullable: bool = False
    place: str = ""

    def words(self) -> dict[str, str]:
        """What the image depends on besides files, by where the service's definition says it."""
        told = {
            "target": self.target,
            "network": self.network,
            "platform": self.platform,
            "extra_hosts": " ".join(self.extra_hosts),
            "shm_size": str(self.shm_size_bytes or ""),
            "tags": " ".join(self.tags),
            "secrets": " ".join(one.id for one in self.secrets),
            **{f"args.{name}": value or "" for name, value in self.arguments.items()},
            **{f"labels.{name}": value for name, value in self.labels.items()},
            **{f"additional_contexts.{name}": image for name, image in self.contexts.items()},
        }
        return {name: text for name, text in told.items() if text or name.startswith(("args.", "labels."))}


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What an image is built of. `files`: path below the context → kind, mode and content; `signatures` tell which need no second look."""

    words: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    signatures: Mapping[str, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def digest(self) -> str:
        text = json.dumps([1, dict(self.words), dict(self.files)], sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Declared:
    """A build, what it would be made of now, and what the image that is here was made of (`then`: where that is still known).

    `built`: the digest that the image tells; empty: there is no image, or somebody else built it.  `fault`: why nothing can be built here,
    which matters only if it has to be.
    """

    build: Build
    now: Ingredients
    digest: str
    built: str = ""
    then: Ingredients | None = None
    fault: StackrunError | None = None

    @property
    def changed(self) -> bool:
        return bool(self.built) and self.built != self.digest and self.fault is None


def label(build: Build, digest: str) -> dict[str, str]:
    return {LABEL: f"{build.image} {digest}"}


def digest_of(image: str, labels: Mapping[str, str]) -> str:
    """What an image tells that it was built of; empty when we have not built it under that name."""
    name, _, digest = labels.get(LABEL, "").rpartition(" ")
    return digest if name == image else ""


# --- from the file


def builds_of(project: model.Project) -> dict[str, Build]:
    """By image, what others need first. Of two services that build the same image the first has its way.

    Raises ComposeError when they need each other.
    """
    found: dict[str, Build] = {}
    for name, service in project.services.items():
        if service.build is not None:
            found.setdefault(image_of(project, name), _build(project, service, service.build))
    return _ordered(project, found)


def image_of(project: model.Project, service: str) -> str:
    return project.services[service].image or f"{project.name}-{service}"


def _build(project: model.Project, service: model.Service, build: model.Build) -> Build:
    context = build.context.rstrip("/") or "/"
    inline = build.dockerfile_inline or None
    dockerfile = "" if inline is not None else os.path.normpath(os.path.join(context, build.dockerfile or "Dockerfile"))
    contexts, needs = _contexts(project, build)
    return Build(
        service=service.name,
        image=image_of(project, service.name),
        context=context,
        dockerfile=dockerfile,
        inline=inline,
        shown=_shown(project, service.name, dockerfile),
        target=build.target,
        arguments=build.args,
        labels=build.labels,
        tags=build.tags,
        network=build.network,
        platform=service.platform or (build.platforms[0] if len(build.platforms) == 1 else ""),
        extra_hosts=build.extra_hosts,
        shm_size_bytes=build.shm_size_bytes,
        contexts=contexts,
        needs=needs,
        secrets=tuple(_secret(project, one) for one in build.secrets),
        no_cache=build.no_cache,
        pull=build.pull,
        pullable=bool(service.image),
        place=str(project.place("services", service.name, "build")),
    )


def _shown(project: model.Project, service: str, dockerfile: str) -> str:
    if not dockerfile:
        place = project.place("services", service, "build", "dockerfile_inline")
        return f"the Dockerfile in {os.path.basename(str(place.path))}"
    below = project.working_dir.rstrip("/") + "/"
    return dockerfile.removeprefix(below)


def _contexts(project: model.Project, build: model.Build) -> tuple[dict[str, str], tuple[str, ...]]:
    contexts, needs = {}, []
    for name, source in build.additional_contexts.items():
        if source.startswith(_SERVICE) and (other := source.removeprefix(_SERVICE)) in project.services:
            contexts[name] = image_of(project, other)
            needs.append(contexts[name])
        else:
            contexts[name] = source.removeprefix(_IMAGE)
    return contexts, tuple(needs)


def _secret(project: model.Project, reference: model.FileReference) -> BuildSecret:
    definition = project.secrets[reference.source]
    id = reference.target or reference.source
    if definition.file:
        return BuildSecret(id, definition.file)
    value = definition.content if definition.content is not None else project.environment.get(definition.environment, "")
    return BuildSecret(id, value=value.encode(errors="surrogateescape"))


def _ordered(project: model.Project, builds: Mapping[str, Build]) -> dict[str, Build]:
    ordered: dict[str, Build] = {}

    def enter(image: str, way: tuple[str, ...]) -> None:
        if image in way:
            service = builds[image].service
            place = project.place("services", service, "build", "additional_contexts")
            names = " → ".join(builds[one].service for one in (*way[way.index(image) :], image))
            raise ComposeError([Diagnostic(place.path, place.line, place.column, f"builds need each other: {names}")])
        if image in builds and image not in ordered:
            for other in builds[image].needs:
                enter(other, (*way, image))
            ordered[image] = builds[image]

    for image in builds:
        enter(image, ())
    return ordered


def declared(builds: Mapping[str, Build], look: Callable[[Build], Ingredients]) -> dict[str, Declared]:
    """By image. `look` gives what a build is made of but for the other builds it needs. Blocks on the file system."""
    found: dict[str, Declared] = {}
    for image, build in builds.items():
        try:
            now = look(build)
        except StackrunError as error:
            found[image] = Declared(build, Ingredients(), "", fault=error)
            continue
        needed = {f"needs.{one}": found[one].digest for one in build.needs if one in found}
        now = replace(now, words={**now.words, **needed}) if needed else now
        found[image] = Declared(build, now, now.digest)
    return found


# --- what has changed


def cause(declared: Declared) -> str:
    """`build context changed (3 files: src/app.py, src/db.py, …)`, `Dockerfile changed`, `build.args.VERSION changed`."""
    then, now = declared.then, declared.now
    if then is None:
        return "build changed"
    told = []
    words = _differing(then.words, now.words)
    if DOCKERFILE in words:
        told.append("Dockerfile changed")
    told += [f"image {one.removeprefix('needs.')} is built anew" for one in words if one.startswith("needs.")]
    named = [f"build.{one}" for one in words if one != DOCKERFILE and not one.startswith("needs.")]
    told += [f"{_listed(named)} changed"] if named else []
    if files := _differing(then.files, now.files):
        told.append(f"build context changed ({len(files)} file{'' if len(files) == 1 else 's'}: {_listed(files)})")
    return ", ".join(told) or "build changed"


def _listed(names: list[str]) -> str:
    return ", ".join([*names[:_NAMED_MAX], *(["…"] if len(names) > _NAMED_MAX else [])])


def field_changes(declared: Declared, place: Callable[[Iterable[tuple[str, ...]]], str]) -> tuple[FieldChange, ...]:
    """One by one, but not endlessly. `place` gives where the first of some paths of the service's definition is written."""
    if declared.then is None:
        return ()
    then, now = declared.then, declared.now
    found = []
    for name in _differing(then.words, now.words):
        before, after = then.words.get(name), now.words.get(name)
        key = "build" if name.startswith("needs.") else f"build.{name}"
        if name == DOCKERFILE or name.startswith("needs."):
            before, after = _content(before), _content(after)
        elif is_secret_name(name):
            before, after = before and HIDDEN, after and HIDDEN
        found.append(FieldChange(key, before, after, place([("build", *name.split(".", 1)), ("build",)])))
    where = place([("build", "context"), ("build",)])
    for path in _differing(then.files, now.files)[:_SHOWN_MAX]:
        found.append(FieldChange(f"build.context {path}", _file(then.files.get(path)), _file(now.files.get(path)), where))
    return tuple(found)


def further_files(declared: Declared) -> int:
    """How many files that changed are not among the changes shown."""
    return max(0, len(_differing(declared.then.files, declared.now.files)) - _SHOWN_MAX) if declared.then else 0


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _content(digest: str | None) -> str | None:
    return digest and f"content {digest.removeprefix('sha256:')[:12]}"


def _file(entry: str | None) -> str | None:
    """`file 644 <digest>` → `mode 644, content 3f2a…`."""
    if entry is None:
        return None
    kind, mode, content = entry.split(" ", 2)
    words = {"file": f"content {content[:12]}", "link": f"link to {content}"}.get(kind, kind)
    return words if kind == "link" else f"{words}, mode {mode}"
