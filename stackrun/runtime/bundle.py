"""The modules of a command in one file, which is read at once.

Python looks each module up in every place, looks at its source, opens, reads and closes what it compiled of it: some thousand system
calls, a third of what loading costs.  The bundle lies beside these compiled files, is written by whoever may write there, and holds for
as long as no source has changed.  Nothing depends on it.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    Kept = dict[str, tuple[bool, str, bytes]]
    """By a module's name: is it a package, its source, its code; of one that is a library its file, and no code."""

_FORM = 2
_Spec = type(sys.__spec__)  # importlib.machinery itself takes 3 ms to import
_Library = sys.modules["_frozen_importlib_external"].ExtensionFileLoader


class Bundle:
    """A finder (PEP 451) of the modules that are in the file; for all others it says nothing."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._kept: Kept = _read(path)
        self._others = frozenset(sys.modules)
        if self._kept:
            sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        found = self._kept.get(name)
        if found is None:
            return None
        loader = self if found[2] else _Library(name, found[1])
        spec = _Spec(name, loader, origin=found[1], is_package=found[0])  # type: ignore[arg-type]
        spec.has_location = True
        if found[0]:
            spec.submodule_search_locations = [os.path.dirname(found[1])]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(marshal.loads(self._kept[module.__name__][2]), module.__dict__)

    def keep(self) -> None:
        """Write down what has been imported since, if that is not what the file says."""
        if self._kept:
            return
        kept: Kept = {}
        for name in sorted(set(sys.modules) - self._others):
            spec = sys.modules[name].__spec__
            get_code = getattr(spec.loader, "get_code", None) if spec else None
            if spec and isinstance(spec.loader, _Library):
                kept[name] = (False, str(spec.origin), b"")
            elif spec and spec.origin and spec.cached and get_code:
                kept[name] = (spec.submodule_search_locations is not None, spec.origin, marshal.dumps(get_code(name)))
        _write(self.path, kept)


def _key(kept: Kept) -> list[tuple[str, int, int]]:
    """What must not have changed; raises OSError for a source that is gone."""
    found = []
    for _, source, _ in kept.values():
        status = os.stat(source)
        found.append((source, status.st_mtime_ns, status.st_size))
    return found


def _read(path: str) -> Kept:
    """Empty when there is none, or another Python's, or one of other sources."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(fd, "rb", buffering=0) as file:
            form, key, kept = marshal.loads(file.readall())
        return kept if form == (_FORM, sys.version) and key == _key(kept) else {}
    except (OSError, EOFError, ValueError, TypeError):
        return {}


def _write(path: str, kept: Kept) -> None:
    """In one step; where the directory is not ours to write to, nothing happens."""
    temporary = f"{path}.{os.getpid()}"
    try:
        data = marshal.dumps(((_FORM, sys.version), _key(kept), kept))
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            os.rename(temporary, path)
        except OSError:
            os.unlink(temporary)
    except OSError:
        return
