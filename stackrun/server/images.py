"""`/images`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stackrun.api import filters
from stackrun.api.engine import Engine
from stackrun.api.types import Progress
from stackrun.api.wire import images
from stackrun.errors import InvalidArgument, Unsupported
from stackrun.server.http import Reply, Request, Response, Streaming, json_response
from stackrun.server.streams import closer, json_lines, stream_failure

_LINE_END = "\r\n"
"""Docker's progress lines end so."""


class Images:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list_images(self, request: Request) -> Reply:
        found = await self._engine.images(all=request.flag("all"), filters=filters.parse(request.query.get("filters", "")))
        return json_response([images.image_summary_to_json(one) for one in found])

    async def inspect_image(self, request: Request) -> Reply:
        return json_response(images.image_to_json(await self._engine.image(request.variables["name"])))

    async def image_history(self, request: Request) -> Reply:
        return json_response(images.history_to_json(await self._engine.image_history(request.variables["name"])))

    async def create_image(self, request: Request) -> Reply:
        """A pull (`fromImage`) or an import (`fromSrc=-`)."""
        if request.query.get("fromImage"):
            return await self._pull(request)
        source = request.query.get("fromSrc", "")
        if not source:
            raise InvalidArgument("fromImage or fromSrc is needed")
        if source != "-":
            raise Unsupported("importing from a URL is not supported", hint="download it and import the file")
        reference = _reference(request.query.get("repo", ""), request.query.get("tag", ""))
        message, changes = request.query.get("message", ""), request.values("changes")
        return _progress(await self._engine.import_image(request.stream(), reference=reference, message=message, changes=changes))

    async def _pull(self, request: Request) -> Reply:
        auth = images.auth_from_header(request.headers.get("x-registry-auth", ""))
        reference = _reference(request.query["fromImage"], request.query.get("tag", ""))
        return _progress(await self._engine.pull_image(reference, auth=auth, platform=request.query.get("platform", "")))

    async def load_image(self, request: Request) -> Reply:
        return _progress(await self._engine.load_image(request.stream()))

    async def tag_image(self, request: Request) -> Reply:
        if not request.query.get("repo"):
            raise InvalidArgument("repo is needed")
        await self._engine.tag_image(request.variables["name"], _reference(request.query["repo"], request.query.get("tag", "")))
        return Response(201)

    async def remove_image(self, request: Request) -> Reply:
        return json_response(
            images.deletions_to_json(await self._engine.remove_image(request.variables["name"], force=request.flag("force")))
        )


def _progress(lines: AsyncIterator[Progress]) -> Streaming:
    return Streaming(json_lines(lines, images.progress_to_json, stream_failure, _LINE_END), close=closer(lines))


def _reference(repository: str, tag: str) -> str:
    """A tag is a tag or, when it has a colon, a digest."""
    if not tag:
        return repository
    return f"{repository}@{tag}" if ":" in tag else f"{repository}:{tag}"
