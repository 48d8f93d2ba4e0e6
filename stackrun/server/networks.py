"""`/networks` and `/volumes`."""

from __future__ import annotations

from stackrun.api import filters
from stackrun.api.engine import Engine
from stackrun.api.wire import networks
from stackrun.api.wire.fields import members
from stackrun.server.http import Reply, Request, Response, json_response


class Networks:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list_networks(self, request: Request) -> Reply:
        found = await self._engine.networks(filters=filters.parse(request.query.get("filters", "")))
        return json_response([networks.network_to_json(one, members=False) for one in found])

    async def inspect_network(self, request: Request) -> Reply:
        return json_response(networks.network_to_json(await self._engine.network(request.variables["id"])))

    async def create_network(self, request: Request) -> Reply:
        spec, warnings = networks.network_spec_from_json(await request.json())
        created = await self._engine.create_network(spec)
        return json_response({"Id": created.id, "Warning": "; ".join((*warnings, *created.warnings))}, 201)

    async def connect_network(self, request: Request) -> Reply:
        network = request.variables["id"]
        container, endpoint = networks.connect_from_json(network, await request.json())
        await self._engine.connect_network(network, container, endpoint)
        return Response(200)

    async def disconnect_network(self, request: Request) -> Reply:
        asked = members(await request.json(), "the body")
        await self._engine.disconnect_network(request.variables["id"], str(asked.get("Container") or ""), force=bool(asked.get("Force")))
        return Response(200)

    async def remove_network(self, request: Request) -> Reply:
        await self._engine.remove_network(request.variables["id"])
        return Response(204)


class Volumes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list_volumes(self, request: Request) -> Reply:
        found = await self._engine.volumes(filters=filters.parse(request.query.get("filters", "")))
        return json_response({"Volumes": [networks.volume_to_json(one) for one in found], "Warnings": None})

    async def inspect_volume(self, request: Request) -> Reply:
        return json_response(networks.volume_to_json(await self._engine.volume(request.variables["name"])))

    async def create_volume(self, request: Request) -> Reply:
        spec = networks.volume_spec_from_json(await request.json())
        return json_response(networks.volume_to_json(await self._engine.create_volume(spec)), 201)

    async def remove_volume(self, request: Request) -> Reply:
        await self._engine.remove_volume(request.variables["name"], force=request.flag("force"))
        return Response(204)
