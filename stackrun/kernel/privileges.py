"""How much of root's power this process has: all of the machine's, or that of a user namespace's root.

Everything that differs without root asks here, and nowhere else.  Light: on a container's start path.
"""

from __future__ import annotations

import os

from stackrun.kernel.cgroup_files import read_or_empty

ALL_IDS = 4294967295
"""What the machine's own user namespace maps (user_namespaces(7))."""


class Privileges:
    """`rootless`: not the machine's root; `ids`: how many user ids can be told apart, 1 without subordinate ones."""

    __slots__ = ("ids", "rootless")

    def __init__(self, *, rootless: bool = False, ids: int = ALL_IDS) -> None:
        self.rootless = rootless
        self.ids = ids

    @property
    def single_id(self) -> bool:
        """Files cannot be given to anybody else."""
        return self.ids == 1

    @property
    def overlay_options(self) -> tuple[str, ...]:
        """overlayfs keeps its marks in `trusted.` attributes, which are for the machine's root, or in `user.` ones (Linux 5.11)."""
        return ("userxattr",) if self.rootless else ()

    @property
    def overlay_opaque(self) -> str:
        return "user.overlay.opaque" if self.rootless else "trusted.overlay.opaque"


_FOUND: list[Privileges] = []


def current() -> Privileges:
    """Of this process as it was when first asked: nobody changes his user namespace after that."""
    if not _FOUND:
        _FOUND.append(parse(read_or_empty("/proc/self/uid_map"), os.geteuid()))
    return _FOUND[0]


def parse(uid_map: str, euid: int) -> Privileges:
    """From the text of /proc/self/uid_map; an ordinary user outside of any namespace has his one id."""
    extents = [line.split() for line in uid_map.splitlines()]
    if not extents or extents == [["0", "0", str(ALL_IDS)]]:
        return Privileges(rootless=euid != 0, ids=ALL_IDS if euid == 0 else 1)
    return Privileges(rootless=True, ids=sum(int(extent[2]) for extent in extents))
