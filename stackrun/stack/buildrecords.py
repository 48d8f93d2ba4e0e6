"""What the images that we have built were built of, so that a change can be told file by file, and few files need to be read again.

    <state>/.builds/<project>/<digest of the image's name>.json      its owner's alone: arguments of builds are in it

A file that is missing or broken costs the words alone: whether an image is still right its own label tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stackrun.api.stored import from_json, to_json
from stackrun.errors import InvalidArgument, KernelError
from stackrun.stack import naming
from stackrun.stack.buildcontext import Looked, ingredients, signed
from stackrun.stack.builds import Build, Ingredients
from stackrun.stack.content import write_whole
from stackrun.stack.observed import Observed, with_builds

_FOLDER = ".builds"
"""No project's name begins with a dot."""
_REMEMBERED_MAX = 64


class BuildRecords:
    """Of the stacks of one engine. Every method blocks on the file system."""

    def __init__(self, state_dir: str) -> None:
        self._folder = Path(state_dir, _FOLDER)
        self._looked: dict[str, Ingredients] = {}
        """By record, the last looks of this process, the latest last."""

    def path(self, project: str, image: str) -> str:
        return str(self._folder / naming.checked(project) / f"{hashlib.sha256(image.encode()).hexdigest()[:16]}.json")

    def observed(self, observed: Observed, builds: Mapping[str, Build]) -> Observed:
        """And of what the images would be built now."""
        records = {image: self.path(observed.project, image) for image in builds}

        looked: Looked = {}

        def look(build: Build) -> Ingredients:
            return self._look(records[build.image], build, looked)

        def known(image: str, digest: str) -> Ingredients | None:
            return self._known(records[image], digest)

        return replace(with_builds(observed, builds, look, known), build_records=records) if builds else observed

    def _look(self, record: str, build: Build, looked: Looked) -> Ingredients:
        """What the image would be built of now; what was read before is read again only if it looks otherwise."""
        last = self._looked.pop(record, None) or read(record)
        now = ingredients(build, signed(last) if last else None, looked)
        self._looked[record] = now
        while len(self._looked) > _REMEMBERED_MAX:
            del self._looked[next(iter(self._looked))]
        return now

    def _known(self, record: str, digest: str) -> Ingredients | None:
        """What an image of this digest was built of; None when that is not known any more."""
        found = read(record)
        return found if found and found.digest == digest else None


def read(record: str) -> Ingredients | None:
    try:
        return from_json(Ingredients, Path(record).read_bytes())
    except (OSError, InvalidArgument):
        return None


def write(record: str, of: Ingredients) -> None:
    try:
        write_whole(Path(record), to_json(of))
    except OSError as error:
        raise KernelError(f"write down in {record} what was built", error.errno or 0) from None
