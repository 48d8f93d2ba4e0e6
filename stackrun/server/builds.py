"""`/build`: Docker's classic builder, and its cache."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stackrun.api.engine import Engine
from stackrun.api.types import Progress
from stackrun.api.wire import builds, images
from stackrun.server.http import Reply, Request, Streaming, json_response
from stackrun.server.streams import closer, json_lines

_LINE_END = "\r\n"


class Builds:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def build_image(self, request: Request) -> Reply:
        """`rm` and `forcerm` make no difference: the containers of a build never stay."""
        spec = builds.spec_from_request(request.query, request.values, request.headers)
        lines = await self._engine.build_image(request.stream(), spec)
        shown = _quiet(lines) if request.flag("q") else lines
        return Streaming(json_lines(shown, images.progress_to_json, builds.failure_to_json, _LINE_END), close=closer(lines))

    async def prune_builds(self, request: Request) -> Reply:
        """All of it: which of its parts are dangling or old is for the engine to know."""
        return json_response({"CachesDeleted": [], "SpaceReclaimed": await self._engine.prune_builds()})


async def _quiet(lines: AsyncIterator[Progress]) -> AsyncIterator[Progress]:
    """The image's id alone; a failure tells itself."""
    async for line in lines:
        if image_id := line.aux.get("ID"):
            yield Progress(stream=f"{image_id}\n")
