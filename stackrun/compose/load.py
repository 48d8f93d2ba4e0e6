"""From a StackSource to a Project: the phases in their order, and every fault of all of them at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from stackrun.api.stack_source import StackSource
from stackrun.compose.check import Edge, check_project, edges
from stackrun.compose.decode import decode
from stackrun.compose.envfiles import resolve_env_files
from stackrun.compose.faults import Faults, Stop
from stackrun.compose.normalize import normalize, services_of
from stackrun.compose.phases import WHOLE, Phases
from stackrun.compose.read import Reader, Scope
from stackrun.compose.scalar import text_of
from stackrun.compose.source import Inputs, checked_name, discover, normalized_name, resolve
from stackrun.compose.support import check_support
from stackrun.compose.template import TemplateError, substitute
from stackrun.compose.tree import NOWHERE, Map
from stackrun.errors import Diagnostic, InvalidArgument

if TYPE_CHECKING:
    from stackrun.compose.model import Project

__all__ = ["GraphFaults", "check", "discover", "load"]

GraphFaults = Callable[[Sequence[Edge]], Iterable[Diagnostic]]
"""What is wrong with the dependencies as a whole. Whoever knows graphs says it, in the same run as everything else."""


def _no_faults(_: Sequence[Edge]) -> Iterable[Diagnostic]:
    return ()


def load(source: StackSource, *, for_up: bool = True, graph_faults: GraphFaults = _no_faults) -> Project:
    """The project a source describes.

    `for_up` also refuses what this engine cannot do; without it the project is as Docker Compose's `config` sees it.
    Raises ComposeError with every error of the files, NoStackFile when there is none, InvalidArgument for a bad
    project name.  `Project.warnings` has what is not an error.
    """
    faults = Faults()
    project = _load(source, faults, graph_faults, for_up=for_up)
    faults.raise_errors()
    assert project is not None
    return project


def check(source: StackSource, *, graph_faults: GraphFaults = _no_faults) -> tuple[Diagnostic, ...]:
    """Every error and warning, sorted by place; raises for nothing that stands in a file."""
    faults = Faults()
    _load(source, faults, graph_faults, for_up=True)
    return faults.all


class Loaded(NamedTuple):
    """A stack as far as it could be read: `root` has the enabled services, `disabled` those that no profile asked for enables."""

    root: Map
    disabled: Map
    inputs: Inputs
    environment: Mapping[str, str]
    reader: Reader


def read_stack(
    source: StackSource,
    faults: Faults,
    graph_faults: GraphFaults = _no_faults,
    phases: Phases = WHOLE,
    unsaved: Mapping[str, str] | None = None,
) -> Loaded:
    """Read, merge and check; what is declared and not used is still there.

    `unsaved` is path as shown → text to read instead of the file: a change that is tried out before it is written.
    """
    inputs = resolve(source, faults)
    reader = Reader(source.working_dir, faults, source.stdin, phases, unsaved)
    try:
        return _read_stack(inputs, reader, graph_faults, phases)
    except Stop:
        reader.incomplete = True
        return Loaded(Map({"services": Map()}), Map(), inputs, inputs.environment, reader)


def _read_stack(inputs: Inputs, reader: Reader, graph_faults: GraphFaults, phases: Phases) -> Loaded:
    faults = reader.faults
    name = _project_name(inputs, reader)
    environment = {"COMPOSE_PROJECT_NAME": name} | inputs.environment
    root = reader.model(inputs.files, Scope(inputs.directory, environment), NOWHERE)
    root["name"] = name
    root.setdefault("services", Map())
    if phases.normalize:
        normalize(root, name, environment.get, variables=phases.interpolate)
    for _, service in services_of(root):
        dependencies = service.get("depends_on")
        faults.spend("dependencies", len(dependencies) if isinstance(dependencies, dict) else 0, service.value_place("depends_on"))
    if not phases.interpolate:
        return Loaded(root, Map(), inputs, environment, reader)
    decode(root, faults)
    disabled = _split_profiles(root, inputs.profiles, phases.services)
    faults.next_phase()
    if phases.env_files:
        resolve_env_files(root, inputs.directory, environment, reader)
    if phases.consistency:
        check_project(root, disabled, reader)
        for found in graph_faults(edges(services_of(root))):
            faults.add(found)
    return Loaded(root, disabled, inputs, environment, reader)


def files_of(source: StackSource) -> tuple[str, ...]:
    """Every file that reading this stack touches, there or not, however broken it is: what must change for another outcome."""
    loaded = read_stack(source, Faults())
    inputs, reader = loaded.inputs, loaded.reader
    return (*reader.inputs, *reader.awaited, *inputs.files, *inputs.env_files)


def check_use(loaded: Loaded) -> None:
    """What this engine cannot do, of what the enabled services use. Drops the rest, as Docker Compose does."""
    if not loaded.reader.faults:
        keep_used(loaded.root)
    check_support(loaded.root, loaded.reader.faults)


def _load(source: StackSource, faults: Faults, graph_faults: GraphFaults, *, for_up: bool) -> Project | None:
    loaded = read_stack(source, faults, graph_faults)
    if for_up:
        check_use(loaded)
    elif not faults:
        keep_used(loaded.root)
    if faults:
        return None
    from stackrun.compose import bind  # the model's classes take 30 ms to make: not for who only checks

    inputs, reader = loaded.inputs, loaded.reader
    return bind.project(loaded.root, loaded.disabled, inputs, loaded.environment, faults.warnings, (*reader.inputs, *reader.awaited))


def _project_name(inputs: Inputs, reader: Reader) -> str:
    """Asked for, else the last file's `name`, else the directory's."""
    if inputs.project_name:
        return checked_name(inputs.project_name)
    found = ""
    for file in inputs.files:
        for document in reader.documents(file, NOWHERE):
            text = document.root.get("name")
            found = _substituted(text, inputs.environment) if isinstance(text, str) and text else found
    name = normalized_name(found or os.path.basename(inputs.directory))
    if not name and reader.faults:  # nothing of a file could be read, which is told
        return "unnamed"
    if not name:
        raise InvalidArgument("the project has no name", hint="give it one with -p, or with name: in the file")
    return name


def _substituted(text: str, environment: Mapping[str, str]) -> str:
    try:
        return substitute(text, environment.get)
    except TemplateError:  # reported, with its place, when the file is interpolated
        return ""


def _split_profiles(root: Map, active: tuple[str, ...], asked_for: tuple[str, ...]) -> Map:
    """Take the services that no active profile enables, and that nobody asked for by name, out of `root`."""
    disabled = Map()
    for name, service in list(services_of(root)):
        profiles = [text_of(profile) for profile in service.get("profiles") or ()]
        if profiles and name not in asked_for and "*" not in active and not set(profiles) & set(active):
            disabled.take(root["services"], name, service)
            del root["services"][name]
    return disabled


def keep_used(root: Map) -> None:
    """Drop what no enabled service uses, as Docker Compose does."""
    used: dict[str, set[str]] = {"networks": set(), "volumes": set(), "configs": set(), "secrets": set(), "models": set()}
    for _, service in services_of(root):
        used["networks"].update(service.get("networks") or ())
        used["models"].update(service.get("models") or ())
        used["volumes"].update(mount.get("source", "") for mount in service.get("volumes") or () if mount.get("type") == "volume")
        used["configs"].update(reference["source"] for reference in service.get("configs") or ())
        build = service.get("build") or {}
        used["secrets"].update(reference["source"] for reference in (*(service.get("secrets") or ()), *(build.get("secrets") or ())))
    for section, names in used.items():
        resources = root.get(section)
        if isinstance(resources, Map):
            for key in [key for key in resources if key not in names]:
                del resources[key]
            if not resources:
                del root[section]
