"""Networks and volumes, both ways."""

from __future__ import annotations

from typing import Any

from stackrun.api.types import EndpointSpec, IpamPool, Network, NetworkMember, NetworkSpec, Volume, VolumeSpec
from stackrun.api.wire.fields import FLAG, PAIRS, TEXT, Field, Table, meaningful, members, read, records, text, write
from stackrun.api.wire.specs import endpoint_from_json, endpoint_to_json
from stackrun.errors import InvalidArgument

_POOL: Table = (
    Field("subnet", "Subnet", TEXT), Field("ip_range", "IPRange", TEXT), Field("gateway", "Gateway", TEXT),
    Field("auxiliary_addresses", "AuxiliaryAddresses", PAIRS),
)  # fmt: skip
_NETWORK: Table = (
    Field("name", "Name", TEXT), Field("driver", "Driver", TEXT), Field("internal", "Internal", FLAG),
    Field("attachable", "Attachable", FLAG), Field("enable_ipv6", "EnableIPv6", FLAG), Field("options", "Options", PAIRS),
    Field("labels", "Labels", PAIRS),
)  # fmt: skip
_IPAM: Table = (
    Field("ipam_driver", "Driver", TEXT), Field("ipam_options", "Options", PAIRS), Field("pools", "Config", records(_POOL, IpamPool)),
)  # fmt: skip
_MEMBER: Table = (
    Field("name", "Name", TEXT), Field("endpoint_id", "EndpointID", TEXT), Field("mac_address", "MacAddress", TEXT),
    Field("ipv4_address", "IPv4Address", TEXT), Field("ipv6_address", "IPv6Address", TEXT),
)  # fmt: skip
_LACKING = ("ConfigOnly", "ConfigFrom", "Ingress")


def network_spec_from_json(body: Any) -> tuple[NetworkSpec, tuple[str, ...]]:
    """The body of create → what is asked, and warnings for what is left out."""
    source = members(body, "the body")
    asked = read(_NETWORK, source)
    if not asked.get("name", "").strip():
        raise InvalidArgument("invalid name: name is empty")
    if source.get("ConfigFrom") == {"Network": ""}:
        source = {**source, "ConfigFrom": None}
    asked = {key: value for key, value in asked.items() if value or key != "driver"}
    ipam = {key: value for key, value in read(_IPAM, source.get("IPAM"), "IPAM").items() if value}
    warnings = tuple(f"{place} is not supported and was left out" for place in meaningful(source, _LACKING))
    return NetworkSpec(**asked, **ipam), warnings


def network_spec_to_json(spec: NetworkSpec) -> dict[str, Any]:
    pools = [{key: value for key, value in write(_POOL, one).items() if value} for one in spec.pools]
    return {**write(_NETWORK, spec), "CheckDuplicate": True, "IPAM": {**write(_IPAM, spec), "Config": pools}}


def network_to_json(network: Network, *, members: bool = True) -> dict[str, Any]:
    """`members` False: the list form, which names no containers."""
    body = network_spec_to_json(network.spec)
    del body["CheckDuplicate"]
    return body | {
        "Id": network.id,
        "Created": network.created,
        "Scope": network.scope,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {one.container_id: write(_MEMBER, one) for one in network.members} if members else {},
    }


def network_from_json(body: Any) -> Network:
    source = members(body, "the network")
    spec, _ = network_spec_from_json(source)
    listed = members(source.get("Containers"), "Containers")
    return Network(
        id=text(source.get("Id"), "Id"), created=str(source.get("Created") or ""), spec=spec, scope=str(source.get("Scope") or "local"),
        members=tuple(NetworkMember(container_id=key, **read(_MEMBER, one)) for key, one in listed.items()),
    )  # fmt: skip


def connect_from_json(network: str, body: Any) -> tuple[str, EndpointSpec]:
    """The body of connect → (container, how it joins)."""
    source = members(body, "the body")
    return text(source.get("Container") or "", "Container"), endpoint_from_json(network, source.get("EndpointConfig"))


def connect_to_json(container: str, endpoint: EndpointSpec) -> dict[str, Any]:
    return {"Container": container, "EndpointConfig": endpoint_to_json(endpoint)}


_VOLUME_SPEC: Table = (
    Field("name", "Name", TEXT), Field("driver", "Driver", TEXT), Field("options", "DriverOpts", PAIRS), Field("labels", "Labels", PAIRS),
)  # fmt: skip
_VOLUME: Table = (
    Field("name", "Name", TEXT), Field("mountpoint", "Mountpoint", TEXT), Field("created", "CreatedAt", TEXT),
    Field("driver", "Driver", TEXT), Field("options", "Options", PAIRS), Field("labels", "Labels", PAIRS), Field("scope", "Scope", TEXT),
)  # fmt: skip


def volume_spec_from_json(body: Any) -> VolumeSpec:
    asked = read(_VOLUME_SPEC, body)
    return VolumeSpec(**{key: value for key, value in asked.items() if value})


def volume_spec_to_json(spec: VolumeSpec) -> dict[str, Any]:
    return write(_VOLUME_SPEC, spec)


def volume_to_json(volume: Volume) -> dict[str, Any]:
    return write(_VOLUME, volume)


def volume_from_json(body: Any) -> Volume:
    return Volume(**{"mountpoint": "", "created": "", **read(_VOLUME, body)})
