"""Anonymous volumes that are to go with a container although its engine does not take them along: those it has from its predecessor.

    <state>/.owed/<project>.json      their names, written before the container is removed and cleared once they are gone

Between a container's end and theirs nothing else ties them to their stack: whoever is killed there leaves the next `down -v` this.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from stackrun.errors import KernelError
from stackrun.stack import naming
from stackrun.stack.content import discard_unfinished, write_whole
from stackrun.stack.facts import is_anonymous
from stackrun.stack.plan import Plan, RemoveVolume

_FOLDER = ".owed"
"""No project's name begins with a dot."""


def anonymous_removals(plan: Plan) -> dict[int, str]:
    """The plan's volumes that nobody named and that are removed by their names, by node."""
    return {one.number: one.action.name for one in plan.nodes if isinstance(one.action, RemoveVolume) and is_anonymous(one.action.name)}


class Owed:
    """Of every stack of one engine. Every method blocks on the file system."""

    def __init__(self, state_dir: str) -> None:
        self._folder = Path(state_dir, _FOLDER)

    def volumes(self, project: str) -> frozenset[str]:
        """Nothing when there is no such note, or none that can be read."""
        try:
            found = json.loads(self._path(project).read_bytes())
        except (OSError, ValueError, RecursionError):
            return frozenset()
        return frozenset(one for one in found if isinstance(one, str)) if isinstance(found, list) else frozenset()

    def note(self, project: str, volumes: Iterable[str]) -> None:
        """These too. KernelError when it cannot be written."""
        self._write(project, self.volumes(project).union(volumes))

    def settle(self, project: str, volumes: Iterable[str]) -> None:
        """These are gone, or somebody else's. That it cannot be written costs nothing: what is gone is not asked for again."""
        if before := self.volumes(project):
            with suppress(KernelError):
                self._write(project, before.difference(volumes))

    def _write(self, project: str, volumes: frozenset[str]) -> None:
        path = self._path(project)
        try:
            if volumes:
                write_whole(path, json.dumps(sorted(volumes)).encode())
            else:
                path.unlink(missing_ok=True)
                discard_unfinished(path)
        except OSError as error:
            raise KernelError(f"write {path}", error.errno or 0) from None

    def _path(self, project: str) -> Path:
        return self._folder / f"{naming.checked(project)}.json"
