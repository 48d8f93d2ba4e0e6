"""The modules of a command in one file, which are made all at once.

Python looks each module up in every place, looks at its source, opens, reads and closes what it compiled of it: some thousand system
calls, a third of what loading costs.  Another third is its machinery, which asks who loads a module, and locks it, and memory that is
touched for the first time; so modules are made here in the order in which they had been ready, a piece of the file at a time.

The bundle lies beside what Python compiles, is written by whoever may write there, and holds for as long as no source has changed.
Nothing depends on it.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    Kept = tuple[str, bool, str, CodeType | None]
    """A module's name, is it a package, its source and code; of one that is a library its file, and no code."""

_FORM = 3
_PIECE_BYTES = 65536
"""Read into memory that the C library gives out again (mallopt(3), M_MMAP_THRESHOLD), rather than into pages that are new each time."""
_HEAD_BYTES = 4
_Module = type(sys)
_Spec = type(sys.__spec__)  # importlib.machinery itself takes 3 ms to import
_Library = sys.modules["_frozen_importlib_external"].ExtensionFileLoader
_Search = sys.modules["_frozen_importlib_external"].PathFinder


class Bundle:
    """Makes the modules of the file, if it holds; else it writes down what is imported until `keep`.

    `package` is the one whose modules do not import each other in circles: they are made without anybody asking for them.  All others
    are found by whoever imports them (PEP 451).
    """

    def __init__(self, path: str, package: str) -> None:
        self._path = path
        self._package = package
        self._found: dict[str, Kept] = {}
        self._ready: list[str] = []
        sys.meta_path.insert(sys.meta_path.index(_Search), self)  # what is built in goes before files
        self.is_read = self._read()
        if self.is_read:
            sys.meta_path.remove(self)

    # --- to find, and to load ---

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name in self._found:
            return self._spec(self._found[name])
        found: ModuleSpec | None = None if self._found else _Search.find_spec(name, path)
        if found and found.loader and found.has_location:
            found.loader.exec_module = self._noting(found.loader.exec_module)  # type: ignore[assignment, method-assign]
        return found

    def _spec(self, kept: Kept) -> ModuleSpec:
        name, is_package, source, code = kept
        spec = _Spec(name, self if code else _Library(name, source), origin=source, is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(source)]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        code = self._found[module.__name__][3]
        assert code
        exec(code, module.__dict__)

    def _noting(self, execute: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
        def noted(module: ModuleType) -> None:
            execute(module)
            self._ready.append(module.__name__)

        return noted

    def _make(self, kept: Kept) -> None:
        """What an import does, with nobody else about: the module, what it knows of itself, its place in its package, its code."""
        name, is_package, source, code = kept
        spec = self._spec(kept)
        module = sys.modules[name] = _Module(name)
        package, _, last = name.rpartition(".")
        known = module.__dict__
        known.update(__file__=source, __spec__=spec, __loader__=self, __package__=name if is_package else package)
        if is_package:
            known["__path__"] = spec.submodule_search_locations
        try:
            exec(code, known)  # type: ignore[arg-type]  # a module of ours is no library
        except BaseException:
            del sys.modules[name]
            raise
        if package:
            setattr(sys.modules[package], last, module)

    # --- the file: the size of its head, the head (who wrote it, what must not have changed, the sizes of the pieces), the pieces ---

    def _read(self) -> bool:
        """False when there is none, or another Python's, or one of other sources, or a broken one."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            form, key, sizes = marshal.loads(os.read(fd, int.from_bytes(os.read(fd, _HEAD_BYTES), "little")))
            if form != _form() or key != _key([source for source, _, _ in key]) or os.fstat(fd).st_size != os.lseek(fd, 0, 1) + sum(sizes):
                return False
            for size in sizes:
                self._take(marshal.loads(os.read(fd, size)))
            return True
        except (OSError, EOFError, ValueError, TypeError):
            return False
        finally:
            os.close(fd)

    def _take(self, piece: list[Kept]) -> None:
        for kept in piece:
            self._found[kept[0]] = kept
        for kept in piece:
            if kept[0].partition(".")[0] == self._package and kept[0] not in sys.modules:
                self._make(kept)

    def keep(self) -> None:
        """Write down what has been imported, if that is not what the file says."""
        if self.is_read:
            return
        sys.meta_path.remove(self)
        if self._found:
            _forget(self._path)  # it broke off in the middle: the next one writes down everything
            return
        kept = [one for one in map(_kept, self._ready) if one]
        kept.sort(key=lambda one: one[0].partition(".")[0] == self._package)  # what others ask for comes first
        pieces: list[list[Kept]] = [[]]
        room = _PIECE_BYTES
        for one in kept:
            room -= len(marshal.dumps(one))
            if room < 0 and pieces[-1]:
                pieces.append([])
                room = _PIECE_BYTES
            pieces[-1].append(one)
        _write(self._path, [source for _, _, source, _ in kept], [marshal.dumps(piece) for piece in pieces])


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def _kept(name: str) -> Kept | None:
    spec = sys.modules[name].__spec__
    if spec is None or spec.loader is None or spec.origin is None:
        return None
    if isinstance(spec.loader, _Library):
        return name, False, spec.origin, None
    get_code = getattr(spec.loader, "get_code", None)
    code = get_code(name) if get_code and spec.cached else None
    return (name, spec.submodule_search_locations is not None, spec.origin, code) if code else None


def _form() -> tuple[int, str, str]:
    """Of the file; one that was copied along with all modules tells of those that it was copied from."""
    return _FORM, sys.version, __file__


def _key(sources: list[str]) -> list[tuple[str, int, int]]:
    """What must not have changed; raises OSError for a source that is gone."""
    found = []
    for source in sources:
        status = os.stat(source)
        found.append((source, status.st_mtime_ns, status.st_size))
    return found


def _write(path: str, sources: list[str], pieces: list[bytes]) -> None:
    """In one step; where the directory is not ours to write to, nothing happens."""
    temporary = f"{path}.{os.getpid()}"
    try:
        head = marshal.dumps((_form(), _key(sources), [len(piece) for piece in pieces]))
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(b"".join((len(head).to_bytes(_HEAD_BYTES, "little"), head, *pieces)))
            os.rename(temporary, path)
        except OSError:
            os.unlink(temporary)
    except OSError:
        return
