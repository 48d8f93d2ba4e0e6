"""What the engine writes down about a container.

A container has two files, because they have two lives:

- `container.json` (`Definition`): what it *is*.  Written at creation and at rename, connect, update; synced, since a lost one is a lost
  container.
- `state.json` (`Situation`): what it is *doing*.  Written at each change without a sync: it can only be lost together with the machine,
  and then nothing that it said is true any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stackrun.api.types import ContainerSpec, ContainerState, Endpoint, MountPoint, PublishedPort


@dataclass(frozen=True, slots=True)
class Definition:
    """One container as it was asked for, with every default resolved.

    `lower` are the image's directories, top first; `image_mounts` what the image itself binds (the built-in `host`), with OCI's
    options as their `mode`; `anonymous_volumes` the volumes that were made for this container alone; `for_build` the build of which it
    is a step: it goes with that, and the engine removes what a build of an earlier one has left.
    """

    id: str
    name: str
    created: str
    path: str
    args: tuple[str, ...]
    image_id: str
    spec: ContainerSpec
    mounts: tuple[MountPoint, ...] = ()
    lower: tuple[str, ...] = ()
    image_mounts: tuple[MountPoint, ...] = ()
    anonymous_volumes: tuple[str, ...] = ()
    for_build: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """`stopped_by_user`: no restart policy may bring it back (Docker's HasBeenManuallyStopped).

    `interfaces`: how many network interfaces this run has been given; a number is not used twice.
    `waiting_ports`: host ports that it holds too and that lead to container `beside` until that one ends or hands them over;
    `nameless`: so do its aliases, and it is known on its networks by its own names alone.
    `ports_at`: when it took ports over last; of two records that claim a port the later one is right.
    """

    state: ContainerState = field(default_factory=ContainerState)
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    restart_count: int = 0
    stopped_by_user: bool = False
    interfaces: int = 0
    waiting_ports: tuple[PublishedPort, ...] = ()
    nameless: bool = False
    beside: str = ""
    ports_at: str = ""
