"""`/containers/{id}/archive`: files in and out of containers."""

from __future__ import annotations

from stackrun.api.engine import Engine
from stackrun.api.wire import archives
from stackrun.api.wire.fields import members
from stackrun.errors import InvalidArgument
from stackrun.server.http import Reply, Request, Response, Streaming
from stackrun.server.streams import closer

_TAR = "application/x-tar"


class Archives:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def stat_path(self, request: Request) -> Reply:
        found = await self._engine.path_stat(request.variables["id"], request.query.get("path", ""))
        return Response(headers=((archives.HEADER, archives.to_header(found)),))

    async def get_archive(self, request: Request) -> Reply:
        found, pieces = await self._engine.get_archive(request.variables["id"], request.query.get("path", ""))
        return Streaming(pieces, _TAR, closer(pieces), ((archives.HEADER, archives.to_header(found)),))

    async def put_archive(self, request: Request) -> Reply:
        await self._engine.put_archive(
            request.variables["id"], request.query.get("path", ""), request.stream(),
            same_kind=request.flag("noOverwriteDirNonDir"), to_user=request.flag("copyUIDGID"),
        )  # fmt: skip
        return Response()

    async def remove_files(self, request: Request) -> Reply:
        """Ours: `{"paths": […]}`."""
        paths = members(await request.json(), "the body").get("paths")
        if not isinstance(paths, list) or not all(isinstance(one, str) for one in paths):
            raise InvalidArgument("paths must be a list of texts")
        await self._engine.remove_files(request.variables["id"], tuple(paths))
        return Response(204)
