"""The networks, volumes and images of the fake engine."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network

from fakes.world import World, now

from stackrun.api.filters import PREDEFINED_NETWORKS, image_is, select_images, select_networks, select_volumes
from stackrun.api.types import (
    NO_FILTERS,
    Created,
    EndpointSpec,
    Filters,
    Image,
    ImageConfig,
    ImageDeletion,
    IpamPool,
    Network,
    NetworkMember,
    NetworkSpec,
    Progress,
    RegistryAuth,
    Volume,
    VolumeSpec,
)
from stackrun.errors import Conflict, Forbidden, InvalidArgument, NotFound


class FakeNetworks(World):
    def __init__(self, images: tuple[str, ...] = ()) -> None:
        super().__init__(images)
        self._subnets = 0
        self._addresses = 1
        self._ports = 49152

    # --- networks

    def find_network(self, ref: str) -> Network:
        named = [one for one in self.networks_by_id.values() if ref in (one.name, one.id)]
        found = named or [one for one in self.networks_by_id.values() if ref and one.id.startswith(ref)]
        if not found:
            raise NotFound(f"network {ref} not found")
        return found[0]

    def _with_members(self, network: Network) -> Network:
        members = tuple(
            NetworkMember(box.id, box.name, box.id, "02:42:ac:00:00:01", f"{box.addresses[network.id]}/16")
            for box in self.boxes.values() if network.id in box.addresses
        )  # fmt: skip
        return replace(network, members=members)

    def new_address(self, network_id: str) -> str:
        pools = self.networks_by_id[network_id].spec.pools
        self._addresses += 1
        return str(ip_network(pools[0].subnet)[self._addresses]) if pools else f"172.17.0.{self._addresses}"

    def new_port(self) -> int:
        self._ports += 1
        return self._ports

    async def networks(self, *, filters: Filters = NO_FILTERS) -> tuple[Network, ...]:
        return select_networks(tuple(map(self._with_members, self.networks_by_id.values())), filters)

    async def network(self, ref: str) -> Network:
        return self._with_members(self.find_network(ref))

    async def create_network(self, spec: NetworkSpec) -> Created:
        await self.enter("create_network", spec.name)
        if any(one.name == spec.name for one in self.networks_by_id.values()):
            raise Conflict(f"network with name {spec.name} already exists")
        self._subnets += 1
        pools = spec.pools or (IpamPool(f"10.{200 + self._subnets}.0.0/16", gateway=f"10.{200 + self._subnets}.0.1"),)
        network = Network(self.new_id(), now(), replace(spec, pools=pools))
        self.networks_by_id[network.id] = network
        self.emit("network", "create", network.id, {"name": spec.name, "type": spec.driver})
        return Created(network.id)

    async def remove_network(self, ref: str) -> None:
        network = self.find_network(ref)
        await self.enter("remove_network", network.name)
        if network.name in PREDEFINED_NETWORKS:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        if self._with_members(network).members:
            raise Forbidden(f"error while removing network: network {network.name} id {network.id} has active endpoints")
        del self.networks_by_id[network.id]
        self.emit("network", "destroy", network.id, {"name": network.name, "type": network.spec.driver})

    async def connect_network(self, ref: str, container: str, endpoint: EndpointSpec) -> None:
        network, box = self.find_network(ref), self.box(container)
        await self.enter("connect_network", f"{network.name} {box.name}")
        if network.id in box.joined:
            raise Forbidden(f"endpoint with name {box.name} already exists in network {network.name}")
        box.joined[network.id] = endpoint
        if box.state.running:
            box.addresses[network.id] = self.new_address(network.id)
        self.emit("network", "connect", network.id, {"name": network.name, "container": box.id})

    async def disconnect_network(self, ref: str, container: str, *, force: bool = False) -> None:
        network, box = self.find_network(ref), self.box(container)
        await self.enter("disconnect_network", f"{network.name} {box.name}")
        if network.id not in box.joined:
            raise Forbidden(f"container {box.id} is not connected to network {network.name}")
        box.joined.pop(network.id)
        box.addresses.pop(network.id, None)
        self.emit("network", "disconnect", network.id, {"name": network.name, "container": box.id})

    # --- volumes

    async def volumes(self, *, filters: Filters = NO_FILTERS) -> tuple[Volume, ...]:
        used = frozenset(point.name for box in self.boxes.values() for point in box.mounts if point.name)
        return select_volumes(tuple(self.volumes_by_name.values()), filters, used=used)

    async def volume(self, name: str) -> Volume:
        if name not in self.volumes_by_name:
            raise NotFound(f"get {name}: no such volume")
        return self.volumes_by_name[name]

    async def create_volume(self, spec: VolumeSpec) -> Volume:
        await self.enter("create_volume", spec.name)
        name = spec.name or self.new_id()
        if name not in self.volumes_by_name:
            self.volumes_by_name[name] = Volume(name, f"/fake/volumes/{name}/_data", now(), spec.driver, spec.options, spec.labels)
            self.emit("volume", "create", name, {"driver": spec.driver})
        return self.volumes_by_name[name]

    async def remove_volume(self, name: str, *, force: bool = False) -> None:
        await self.enter("remove_volume", name)
        if name not in self.volumes_by_name:
            if force:
                return
            raise NotFound(f"get {name}: no such volume")
        users = [box.id for box in self.boxes.values() for point in box.mounts if point.name == name]
        if users:
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        del self.volumes_by_name[name]
        self.emit("volume", "destroy", name, {"driver": "local"})

    # --- images

    def image_named(self, ref: str) -> Image:
        found = [one for one in self.images_by_id.values() if image_is(one, ref) or image_is(one, _tagged(ref))]
        if not found:
            raise NotFound(f"No such image: {_tagged(ref)}")
        return found[0]

    async def images(self, *, all: bool = False, filters: Filters = NO_FILTERS) -> tuple[Image, ...]:
        return select_images(tuple(reversed(self.images_by_id.values())), filters)

    async def image(self, ref: str) -> Image:
        return self.image_named(ref)

    async def pull_image(self, ref: str, *, auth: RegistryAuth | None = None, platform: str = "") -> AsyncIterator[Progress]:
        tagged = _tagged(ref)
        await self.enter("pull_image", tagged)
        known = {_tagged(name): config for name, config in self.pullable.items()}
        if tagged not in known:
            raise NotFound(f"manifest for {tagged} not found: manifest unknown: manifest unknown")
        return self._pull(tagged, known[tagged])

    async def _pull(self, ref: str, config: ImageConfig) -> AsyncIterator[Progress]:
        layer = self.new_id()[:12]
        yield Progress(status=f"Pulling from {ref.rpartition(':')[0]}", id=ref.rpartition(":")[2])
        yield Progress(status="Downloading", id=layer, current=500_000, total=1_000_000)
        yield Progress(status="Pull complete", id=layer)
        image = self.add_image(ref, config)
        self.emit("image", "pull", ref, {"name": ref})
        yield Progress(status=f"Digest: {image.id}")
        yield Progress(status=f"Status: Downloaded newer image for {ref}")

    async def load_image(self, archive: AsyncIterator[bytes]) -> AsyncIterator[Progress]:
        return self._load(archive)

    async def _load(self, archive: AsyncIterator[bytes]) -> AsyncIterator[Progress]:
        content = b"".join([chunk async for chunk in archive])
        try:
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        except (tarfile.TarError, KeyError) as error:
            yield Progress(error=f"not an image archive: {error}")
            return
        for entry in manifest:
            for tag in entry["RepoTags"] or ():
                self.add_image(tag)
                yield Progress(stream=f"Loaded image: {tag}\n")

    async def import_image(
        self, archive: AsyncIterator[bytes], *, reference: str = "", message: str = "", changes: tuple[str, ...] = ()
    ) -> AsyncIterator[Progress]:
        return self._import(archive, reference)

    async def _import(self, archive: AsyncIterator[bytes], reference: str) -> AsyncIterator[Progress]:
        size = sum([len(chunk) async for chunk in archive])
        image = self.add_image(reference or self.new_id()[:12])
        self.images_by_id[image.id] = replace(image, size_bytes=size)
        yield Progress(status=image.id)

    async def tag_image(self, ref: str, reference: str) -> None:
        image = self.image_named(ref)
        repository = reference.rpartition(":")[0] or reference
        if repository != repository.lower():
            raise InvalidArgument(f"invalid reference format: repository name (library/{repository}) must be lowercase")
        await self.enter("tag_image", f"{ref} {reference}")
        for other in self.images_by_id.values():
            kept = tuple(tag for tag in other.repo_tags if tag != _tagged(reference))
            self.images_by_id[other.id] = replace(other, repo_tags=kept)
        tags = (*self.images_by_id[image.id].repo_tags, _tagged(reference))
        self.images_by_id[image.id] = replace(image, repo_tags=tags)
        self.emit("image", "tag", image.id, {"name": _tagged(reference)})

    async def remove_image(self, ref: str, *, force: bool = False) -> tuple[ImageDeletion, ...]:
        image = self.image_named(ref)
        await self.enter("remove_image", ref)
        tagged = _tagged(ref)
        if tagged in image.repo_tags and len(image.repo_tags) > 1:
            self.images_by_id[image.id] = replace(image, repo_tags=tuple(tag for tag in image.repo_tags if tag != tagged))
            return (ImageDeletion(untagged=tagged),)
        users = [box for box in self.boxes.values() if box.image_id == image.id]
        if users and not force:
            raise Conflict(
                f'conflict: unable to remove repository reference "{ref}" (must force) - container {users[0].id[:12]} '
                f"is using its referenced image {image.id.removeprefix('sha256:')[:12]}"
            )
        del self.images_by_id[image.id]
        return (*(ImageDeletion(untagged=tag) for tag in image.repo_tags), ImageDeletion(deleted=image.id))


def _tagged(ref: str) -> str:
    ref = ref.removeprefix("docker.io/").removeprefix("library/")
    return ref if ":" in ref.rpartition("/")[2] else f"{ref}:latest"
