"""Files → one merged model in long form, with absolute paths.

For each document of each file, in Docker Compose's order: parse, replace variables, apply `extends`, drop what it
resets, apply `include`, lay it over what came before, check it against the schema, bring it to long form.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

from stackrun.compose.canonical import canonicalize
from stackrun.compose.document import Document, Path, parse
from stackrun.compose.faults import Faults, did_you_mean
from stackrun.compose.interpolate import interpolate
from stackrun.compose.merge import merge, merge_service, unique
from stackrun.compose.normalize import resolve_environment, set_defaults
from stackrun.compose.paths import absolute, is_remote, resolve_paths
from stackrun.compose.phases import WHOLE, Phases
from stackrun.compose.schema import prune, validate
from stackrun.compose.source import STDIN, read_env, shown
from stackrun.compose.textfile import Unreadable, contents, decoded
from stackrun.compose.tree import Map, Place, Seq, copy, size

SECTIONS = ("services", "volumes", "networks", "secrets", "configs", "models")
MAX_SERVICES = 5_000
MAX_CHAIN = 100
"""Services that extend, or files that include, one the other."""
Chain = tuple[tuple[str, str], ...]


class Scope(NamedTuple):
    """Where relative paths start and where variables are looked up; an include has its own."""

    directory: str
    environment: Mapping[str, str]


class Reader:
    """Reads stack files; what it learns on the way is in `inputs`, `broken` and `incomplete`."""

    def __init__(
        self, working_dir: str, faults: Faults, stdin: str | None = None, phases: Phases = WHOLE, unsaved: Mapping[str, str] | None = None
    ) -> None:
        self.working_dir, self.faults, self.stdin, self.phases = working_dir, faults, stdin, phases
        self.unsaved = unsaved or {}
        """Path as shown → text that stands for what the file has."""
        self.inputs: list[str] = []
        """Every file that was read."""
        self.awaited: list[str] = []
        """Files that would have been read if they were there."""
        self.texts: dict[str, str] = {}
        """Path as shown → content of every stack file."""
        self.broken: set[tuple[str | int, ...]] = set()
        """Key paths that the schema refused and that were taken out."""
        self.incomplete = False
        """A file is missing or unreadable, so that what refers to it cannot be judged."""
        self._documents: dict[str, tuple[Document, ...]] = {}
        self._bases: dict[tuple[str, int], tuple[Map, tuple[Path, ...], Mapping[str, str]]] = {}
        """File and identity of an environment → what is extended there; the environment is kept so that its identity stays its own."""

    def model(self, files: tuple[str, ...], scope: Scope, at: Place, including: tuple[str, ...] = ()) -> Map:
        """The files merged; `including` are the files that led here by `include`."""
        model = Map()
        for file in files:
            model = self._file(model, file, scope, at, including)
        if not model and not self.incomplete and not self.faults:
            place = Place(shown(files[0], self.working_dir), 1, 1)
            self.faults.error(place, "the file is empty", hint="a stack file has at least a service", code="empty-file")
        set_defaults(model)
        if self.phases.paths:
            resolve_paths(model, scope.directory, scope.environment.get("HOME", ""))
        if self.phases.interpolate:
            resolve_environment(model, scope.environment.get)
        return model

    def _interpolated(self, root: Map, scope: Scope) -> Map:
        return interpolate(root, scope.environment.get, self.faults) if self.phases.interpolate else copy(root)

    # --- one file ---------------------------------------------------------------------------------

    def documents(self, file: str, at: Place) -> tuple[Document, ...]:
        """A file's documents, read once; a file that cannot be read is a fault at `at` (or of the file, when nothing names it)."""
        if file not in self._documents:
            self._documents[file] = self._parsed(file, at)
        return self._documents[file]

    def _parsed(self, file: str, at: Place) -> tuple[Document, ...]:
        name = shown(file, self.working_dir)
        try:
            data = self.unsaved.get(name) or (self.stdin or "" if file == STDIN else contents(file))
        except Unreadable as error:
            self.faults.error(at if at.line else Place(name), f"cannot read {name}: {error.message}", hint=error.hint, code=error.code)
            self.incomplete = True
            self.awaited.append(file)
            return ()
        self.inputs.append(file)
        self.texts[name] = decoded(data)[0] if isinstance(data, bytes) else data
        documents = parse(data, name, self.faults)
        self.incomplete |= self.faults.unreadable
        return self._mappings(documents)

    def _mappings(self, documents: tuple[Document, ...]) -> tuple[Document, ...]:
        filled = [document for document in documents if document.root is not None]
        if len(documents) > 1:
            for document in documents:
                if document.root is None:
                    self.faults.error(document.place, "an empty document", hint="remove the --- that begins it", code="empty-document")
        for document in filled:
            if not isinstance(document.root, Map):
                self.faults.error(
                    document.place, "a stack file must be a mapping at the top level", hint="start with services:", code="no-mapping"
                )
                self.incomplete = True
            else:
                self._count_services(document.root)
        return tuple(document for document in filled if isinstance(document.root, Map))

    def _count_services(self, root: Map) -> None:
        services = root.get("services")
        if isinstance(services, Map) and len(services) > MAX_SERVICES:
            at = services.key_place(next(islice(services, MAX_SERVICES, None)))
            self.faults.stop(at, f"more than {MAX_SERVICES:,} services in one stack", hint="make it several stacks")

    def _file(self, model: Map, file: str, scope: Scope, at: Place, including: tuple[str, ...]) -> Map:
        laid = 0
        for document in self.documents(file, at):
            laid += document.nodes
            self.faults.spend("values", laid, document.place)
            self.faults.next_phase()
            root = self._interpolated(document.root, scope)
            self._extend_all(root, file, scope, document.resets)
            drop(model, document.resets)
            self._include_all(root, scope, (*including, file))
            self.faults.next_phase()
            model = merge(model, root, self.faults)
            unique(model)
            self._count_services(model)
            refused = validate(model, self.faults)
            self.faults.stop_if_full()
            self.broken.update(refused)
            prune(model, refused)
            self._drop_version(model)
            self.faults.next_phase()
            canonicalize(model, self.faults, keep=not self.phases.interpolate)
            unique(model)
        return model

    def _drop_version(self, model: Map) -> None:
        if "version" in model:
            hint = "remove it: every file is read as the current Compose Specification"
            self.faults.warning(model.key_place("version"), "version is obsolete and ignored", hint=hint, code="obsolete-version")
            del model["version"]

    # --- extends ----------------------------------------------------------------------------------

    def _extend_all(self, root: Map, file: str, scope: Scope, resets: tuple[Path, ...]) -> None:
        services = root.get("services")
        if isinstance(services, Map):
            for name in services:
                services[name] = self._extended(name, services, file, scope, resets, ())

    def _extended(self, name: str, services: Map, file: str, scope: Scope, resets: tuple[Path, ...], chain: Chain) -> Any:
        """A service over the one it extends; unchanged when it extends none or what it says makes no sense."""
        service = services[name]
        reference = _extends(service)
        if reference is None:
            return service
        base_name, base_file = reference
        at = service.value_place("extends")
        if (file, name) in chain or len(chain) >= MAX_CHAIN:
            self._circle(name, file, at, chain)
            return self._unextended(service, (*chain, (file, name)))
        chain = (*chain, (file, name))
        base = None
        if base_file is not None and is_remote(base_file):
            self._remote(base_file, at)
        elif base_file is not None:
            base = self._from_file(base_name, absolute(base_file, scope.directory, scope.environment.get("HOME", "")), scope, at, chain)
        else:
            base = self._from_here(base_name, services, file, scope, resets, chain, at)
        if not isinstance(base, Map):
            return self._unextended(service, (*chain, (file, name)))
        self.faults.spend("values", size(base) + len(resets), at)
        base = copy(base)
        drop(Map({"services": Map({name: base})}), resets)
        return _without(merge_service(base, service, self.faults), "extends")

    def _circle(self, name: str, file: str, at: Place, chain: Chain) -> None:
        if (file, name) in chain:
            path = " → ".join(link[1] for link in (*chain[chain.index((file, name)) :], (file, name)))
            self.faults.error(at, f"services extend each other in a circle: {path}", code="extends-cycle")
        else:
            self.faults.error(at, f"more than {MAX_CHAIN} services extend each other", code="extends-cycle")

    def _unextended(self, service: Map, chain: Chain) -> Map:
        """The service alone; none of the chain can be judged by what it lacks."""
        self.broken.update(("services", name, "extends") for _, name in chain)
        return _without(service, "extends")

    def _from_here(self, name: str, services: Map, file: str, scope: Scope, resets: tuple[Path, ...], chain: Chain, at: Place) -> Any:
        if name not in services:
            return self._not_extendable(name, shown(file, self.working_dir), services, at)
        services[name] = self._extended(name, services, file, scope, resets, chain)
        return services[name]

    def _from_file(self, name: str, file: str, scope: Scope, at: Place, chain: Chain) -> Any:
        inner = Scope(os.path.dirname(file), scope.environment)
        self._reached(file, at, "extended")
        documents = self.documents(file, at)
        found, resets = self._extendable(file, documents, scope)
        if not documents or name not in found:
            return self._not_extendable(name, shown(file, self.working_dir), found, at) if documents else None
        services = Map(found, found.place)
        services.keys_at, services.values_at = found.keys_at, found.values_at
        for one in _in_one_file(name, services):
            services[one] = copy(services[one])
            self._canonicalize_base(one, services[one], inner)
        base = self._extended(name, services, file, inner, resets, chain)
        return copy(base) if isinstance(base, Map) else None

    def _extendable(self, file: str, documents: tuple[Document, ...], scope: Scope) -> tuple[Map, tuple[Path, ...]]:
        """A file's services as its documents give them together, and what they reset; put together once, and not to be changed."""
        key = (file, id(scope.environment))
        if key not in self._bases:
            root, resets = Map(), list[Path]()
            for document in documents:
                self.faults.spend("values", document.nodes, document.place)
                root = merge(root, self._interpolated(document.root, scope), self.faults)
                resets.extend(document.resets)
            services = root.get("services")
            self._bases[key] = (services if isinstance(services, Map) else Map(), tuple(resets), scope.environment)
        return self._bases[key][:2]

    def _canonicalize_base(self, name: str, service: Map, scope: Scope) -> None:
        """Long forms and absolute paths, before anything is laid over: a service that it extends gets its defaults, too. In place."""
        refused = _take_refused(name, service)
        alone = Map({"services": Map({name: service})})
        unique(alone)
        canonicalize(alone, self.faults, keep=not self.phases.interpolate)
        if self.phases.paths:
            resolve_paths(alone, scope.directory, scope.environment.get("HOME", ""))
        for key, value in refused.items():
            service.take(refused, key, value)

    def _reached(self, file: str, at: Place, how: str) -> None:
        name = shown(file, self.working_dir)
        if name != at.path:
            self.faults.origins.reached.setdefault(name, (at, how))

    def _not_extendable(self, name: str, file: str, known: Any, at: Place) -> None:
        self.faults.error(at, f'service "{name}" to extend is not in {file}', hint=did_you_mean(name, known), code="undefined-base")
        self.incomplete = True

    def _remote(self, file: str, at: Place) -> None:
        self.faults.error(at, f"{file} is a remote file", hint="fetch it first, and name it where it is then", code="remote-file")
        self.incomplete = True

    # --- include ----------------------------------------------------------------------------------

    def _include_all(self, root: Map, scope: Scope, including: tuple[str, ...]) -> None:
        entries = root.get("include")
        if entries is None:
            root.pop("include", None)
        if not isinstance(entries, Seq):
            return
        refused = [index for index, entry in enumerate(entries) if not _is_include(entry)]
        for index, entry in enumerate(entries):
            if index not in refused and (paths := _paths(entry)):
                self._include(root, entry, paths, scope, including, entries.item_place(index))
        if refused:  # the schema says what is wrong with them
            left = Seq([entries[index] for index in refused], entries.place, [entries.item_place(index) for index in refused])
            root["include"] = left
        else:
            del root["include"]

    def _include(self, root: Map, entry: Any, paths: list[str], scope: Scope, including: tuple[str, ...], at: Place) -> None:
        self.faults.spend("includes", len(paths), at)
        home = scope.environment.get("HOME", "")
        remote = next((path for path in paths if is_remote(path)), "")
        if remote:
            self._remote(remote, at)
            return
        files = tuple(absolute(path, scope.directory, home) for path in paths)
        if files[0] in including:
            circle = " → ".join(shown(file, self.working_dir) for file in (*including[including.index(files[0]) :], files[0]))
            self.faults.error(at, f"files include each other in a circle: {circle}", code="include-cycle")
            return
        if len(including) >= MAX_CHAIN:
            self.faults.error(at, f"more than {MAX_CHAIN} files include each other", code="include-cycle")
            return
        for file in files:
            self._reached(file, at, "included")
        given = entry.get("project_directory") if isinstance(entry, Map) else None
        directory = absolute(given, scope.directory, home) if given else files[0]
        if not os.path.isdir(directory):
            directory = os.path.dirname(directory)
        inner = Scope(directory, self._include_environment(entry, scope, directory, at))
        self._import(root, self.model(files, inner, at, including), files, at)

    def _include_environment(self, entry: Any, scope: Scope, directory: str, at: Place) -> dict[str, str]:
        listed = entry.get("env_file") if isinstance(entry, Map) else None
        names = [listed] if isinstance(listed, str) else list(listed or ())
        files = [absolute(name, scope.directory, scope.environment.get("HOME", "")) for name in names]
        if not names:
            own = os.path.join(directory, ".env")
            files = [own] if os.path.isfile(own) else []
            self.awaited.append(own)
        added: dict[str, str] = {}
        for file in files:
            self.inputs.append(file)
            added.update(read_env(file, shown(file, self.working_dir), self.faults, scope.environment, added))
        return added | dict(scope.environment)

    def _import(self, root: Map, imported: Map, files: tuple[str, ...], at: Place) -> None:
        """Add what an include defines; the same name with another meaning is a fault."""
        for section in SECTIONS:
            found = imported.get(section)
            if not isinstance(found, Map):
                continue
            if not isinstance(root.get(section), Map):
                root.put(section, Map(place=found.place), imported.key_place(section), imported.value_place(section))
            target = root[section]
            for name, value in found.items():
                if name in target and target[name] != value:
                    message = f"{section}.{name} is defined here and in {shown(files[0], self.working_dir)}"
                    place = target.key_place(name)
                    self.faults.error(place, message, hint=f"the include is at {at}: rename one of them", code="include-conflict")
                elif name not in target:
                    target.take(found, name, value)


def _extends(service: Any) -> tuple[str, str | None] | None:
    """(service, file or None for this one) that a service extends; None when it does not, or says so in a way the schema refuses."""
    extends = service.get("extends") if isinstance(service, Map) else None
    if isinstance(extends, str):
        return extends, None
    if isinstance(extends, Map) and isinstance(extends.get("service"), str) and isinstance(extends.get("file", ""), str):
        return extends["service"], extends.get("file")
    return None


def _in_one_file(name: str, services: Map) -> list[str]:
    """A service of a file and those of the same file that it extends, one after the other."""
    found: list[str] = []
    while name not in found and isinstance(services.get(name), Map):
        found.append(name)
        reference = _extends(services[name])
        if reference is None or reference[1] is not None:
            break
        name = reference[0]
    return found


def _take_refused(name: str, service: Map) -> Map:
    """Take out the keys whose values the schema refuses: the service over it may say something better, as Docker Compose has it."""
    taken = Map(place=service.place)
    for path in validate(Map({"services": Map({name: service})}), Faults()):
        key = str(path[2]) if len(path) > 2 else ""
        if key in service:
            taken.take(service, key, service.pop(key))
    return taken


def _without(service: Map, key: str) -> Map:
    service.pop(key, None)
    return service


def _is_include(entry: Any) -> bool:
    """Whether every key is of a kind that the schema takes; nothing at all is an include of nothing."""
    if not isinstance(entry, Map):
        return entry is None or isinstance(entry, str)
    known = entry.keys() <= {"path", "env_file", "project_directory"}
    lists = all(_is_text_or_texts(entry[key]) for key in ("path", "env_file") if key in entry)
    return known and lists and isinstance(entry.get("project_directory", ""), str)


def _is_text_or_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, Seq) and all(isinstance(item, str) for item in value))


def _paths(entry: Any) -> list[str]:
    found = entry.get("path") if isinstance(entry, Map) else entry
    return [found] if isinstance(found, str) else list(found or ())


def drop(root: Map, resets: tuple[Path, ...]) -> None:
    """Take out what a later file resets or overrides. In place."""
    for path in resets:
        node: Any = root
        for step in path[:-1]:
            node = node.get(step) if isinstance(node, Map) else None
        if path and isinstance(node, Map):
            node.pop(path[-1], None)
