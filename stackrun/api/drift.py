"""Drift: what is declared against what the kernel says, field by field, and who can tell and repair it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Repair(StrEnum):
    """What it takes to bring a field back."""

    IN_PLACE = "repaired in place"
    """The container goes on and notices nothing."""
    RESTART = "restart"
    RECREATE = "recreate"
    START = "start"
    """Also of what is missing altogether: made and started."""
    REMOVE = "remove"
    """It is surplus."""
    NONE = "none"
    """Not by itself: an orphan is removed by `up --remove-orphans` alone."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One field that is not as declared."""

    resource: str
    """As in StackEvent: "Container shop-db-1", "Network shop_default", "Volume shop_data"; "Firewall" is what all stacks share."""
    field: str
    """`memory.limit`, `mounts./data`, `namespaces.net`, `interface.eth0.address`, `ports.80/tcp`, `nft.chain.forward`, `state` …"""
    declared: str
    actual: str
    repair: Repair = Repair.NONE


@dataclass(frozen=True, slots=True)
class DriftOptions:
    services: tuple[str, ...] = ()
    """Empty: all."""
    repair: bool = False
    timeout_s: float | None = None
    """Of a container's stop, where it takes a restart."""


@dataclass(frozen=True, slots=True)
class DriftReport:
    project: str
    found: tuple[Drift, ...] = ()
    left: tuple[Drift, ...] = ()
    """What is there after a repair; without one what was found."""
    repaired: bool = False
    """Whether a repair was asked for."""
    kernel: bool = True
    """False: the engine is somebody else's, so its kernel was not looked at, only what its API shows."""
    failures: tuple[str, ...] = ()
    """What a repair could not do, and why."""


class KernelTruth(Protocol):
    """An engine that can compare its records with its kernel. Containers and networks by id or name; what is gone is left out."""

    async def drift(self, containers: tuple[str, ...], networks: tuple[str, ...]) -> tuple[Drift, ...]: ...
    async def repair(self, containers: tuple[str, ...], networks: tuple[str, ...]) -> tuple[Drift, ...]:
        """Repairs in place what can be; gives what is left."""
        ...
