"""Docker's API and our own on listening sockets: from a request to the Engine or Stacks method that answers it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version

from stackrun.api import routes
from stackrun.api.engine import Engine
from stackrun.api.stacks import Stacks
from stackrun.errors import NotFound, Unavailable, Unsupported
from stackrun.server.archives import Archives
from stackrun.server.builds import Builds
from stackrun.server.containers import Containers
from stackrun.server.http import Reply, Request, listen
from stackrun.server.images import Images
from stackrun.server.networks import Networks, Volumes
from stackrun.server.system import StackRoutes, System


class App:
    """Finds the answer to a request by the names in api.routes."""

    def __init__(self, engine: Engine, stacks: Stacks, on_shutdown: Callable[[], None]) -> None:
        nouns = (
            System(engine),
            Containers(engine),
            Archives(engine),
            Images(engine),
            Builds(engine),
            Networks(engine),
            Volumes(engine),
            StackRoutes(stacks, on_shutdown),
        )
        self._handlers: dict[str, Callable[[Request], Awaitable[Reply]]] = {
            name: next(getattr(noun, name) for noun in nouns if hasattr(noun, name)) for _, _, name in routes.ROUTES
        }

    async def __call__(self, request: Request) -> Reply:
        request.version, path = routes.split_version(request.path)
        found = routes.match(request.method, path)
        if not found:
            raise _no_route(request.method, path)
        name, request.variables = found
        return await self._handlers[name](request)


def _no_route(method: str, path: str) -> Exception:
    if routes.SWARM.match(path):
        return Unavailable(routes.NO_SWARM)
    if purpose := routes.lacking(method, path):
        return Unsupported(f"this version of stackrun does not support {purpose} ({method} {path})")
    return NotFound("page not found")


async def serve(engine: Engine, stacks: Stacks, sockets: Sequence[socket.socket], *, on_shutdown: Callable[[], None]) -> None:
    """Answers on the listening `sockets` (unix or TCP), which it takes over and closes, until it is cancelled.

    `on_shutdown` is called once a client has asked the daemon to stop and has its answer; the caller then cancels.
    """
    await listen(sockets, App(engine, stacks, on_shutdown), _headers())


def _headers() -> tuple[tuple[str, str], ...]:
    return (
        ("Api-Version", routes.API_VERSION),
        ("Docker-Experimental", "false"),
        ("Ostype", "linux"),
        ("Server", f"stackrun/{version('stackrun')} (linux)"),
    )
