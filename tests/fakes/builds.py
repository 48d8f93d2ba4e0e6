"""Images that the fake engine builds: an image with the tags and labels asked for, and a record of what it was given."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from fakes.archives import FakeArchives

from stackrun.api.builds import BuildSpec
from stackrun.api.history import HistoryEntry
from stackrun.api.types import ImageConfig, Progress
from stackrun.errors import InvalidArgument


@dataclass(frozen=True)
class Build:
    """`files`: the members of the context by name, in its order."""

    spec: BuildSpec
    files: dict[str, bytes]


class FakeBuilds(FakeArchives):
    def __init__(self, images: tuple[str, ...] = ()) -> None:
        super().__init__(images)
        self.builds: list[Build] = []
        self.built_config = ImageConfig(command=("sh",))
        """What the next builds give, besides the labels asked for."""

    async def build_image(self, context: AsyncIterator[bytes], spec: BuildSpec) -> AsyncIterator[Progress]:
        """Fails where `fail("build_image", …)` says so, for the first tag; the context must hold the Dockerfile."""
        files = _files(b"".join([piece async for piece in context]))
        self.builds.append(Build(spec, files))
        await self.enter("build_image", spec.tags[0] if spec.tags else "")
        if spec.dockerfile not in files:
            raise InvalidArgument(f"Cannot locate specified Dockerfile: {spec.dockerfile}")
        return self._build(spec)

    async def _build(self, spec: BuildSpec) -> AsyncIterator[Progress]:
        yield Progress(stream="Step 1/1 : FROM scratch\n")
        reference = spec.tags[0] if spec.tags else f"built-{self.new_id()[:12]}"
        for tag in spec.tags:
            self._take_tag(tag)
        image = self.add_image(reference, replace(self.built_config, labels={**self.built_config.labels, **spec.labels}))
        # A rebuild under the same name is another image, as it is with a real builder.
        del self.images_by_id[image.id]
        image = replace(image, id=f"sha256:{self.new_id()}", repo_tags=() if not spec.tags else image.repo_tags)
        self.images_by_id[image.id] = image
        for tag in spec.tags[1:]:
            await self.tag_image(image.id, tag)
        yield Progress(aux={"ID": image.id})
        yield Progress(stream=f"Successfully built {image.id[7:19]}\n")
        for tag in spec.tags:
            yield Progress(stream=f"Successfully tagged {tag}\n")

    async def image_history(self, ref: str) -> tuple[HistoryEntry, ...]:
        image = self.image_named(ref)
        return (HistoryEntry(image.created, "CMD", "", image.size_bytes, image.id, image.repo_tags), HistoryEntry(image.created, "made up"))

    async def prune_builds(self) -> int:
        return 0

    def _take_tag(self, reference: str) -> None:
        tagged = reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
        for one in self.images_by_id.values():
            self.images_by_id[one.id] = replace(one, repo_tags=tuple(tag for tag in one.repo_tags if tag != tagged))


def _files(archive: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            found[member.name.removeprefix("./")] = content.read() if content else b""
    return found
