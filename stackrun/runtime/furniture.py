"""What of a root file system belongs to no namespace, made while init is on its way there: the overlay, tmpfs and devpts, devices.

    zygote                    init
      │ makes detached mounts   │ is cloned into its namespaces
      │ ──── descriptors ─────► │ attaches them where its plan has them

Nothing depends on it: what does not come, because it could not be made, or because who makes it has ended, init makes for itself,
and meets and tells the failure.  A container sees its mounts in the order in which they were made (proc(5), mountinfo), and expects
its root to be the first: where that cannot be made ahead, nothing is.
"""

from __future__ import annotations

import os

from stackrun.errors import StackrunError
from stackrun.runtime import messages, rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackrun.runtime.rootfs import Filesystem, Step

_DEV = "/dev"
_OWN_PLACES = frozenset((_DEV, "/dev/pts", "/dev/shm", "/dev/mqueue"))


class Furniture:
    """`give` in one process; `take` in one forked from it, after `only_take`."""

    __slots__ = ("_giver", "_plan", "_taker")

    def __init__(self, plan: tuple[Step, ...]) -> None:
        self._plan = plan
        self._taker, self._giver = messages.pair()

    def give(self) -> None:
        """Make it and send it; closes this end."""
        made: dict[Step, int] = {}
        done: list[Step] = []
        try:
            _make(self._plan, made, done)
        except (StackrunError, OSError):
            pass  # init will meet it, too
        places = {step: index for index, step in enumerate(self._plan)}
        try:
            told = {"made": [places[step] for step in made], "done": [places[step] for step in done]}
            messages.send(self._giver, told, list(made.values()))
        except OSError:
            return  # nobody is left to take it
        finally:
            for fd in made.values():
                os.close(fd)
            self.close()

    def only_take(self) -> None:
        self._giver.close()

    def take(self, tree: rootfs.Tree) -> None:
        try:
            message, fds = messages.receive(self._taker)
        except ConnectionResetError:
            return
        if message:
            tree.ahead = {self._plan[index]: fd for index, fd in zip(message["made"], fds, strict=True)}
            tree.done = frozenset(self._plan[index] for index in message["done"])

    def close(self) -> None:
        self._giver.close()
        self._taker.close()


def _make(plan: tuple[Step, ...], made: dict[Step, int], done: list[Step]) -> None:
    for step in plan:
        if isinstance(step, (rootfs.Root, rootfs.Filesystem)):
            fd = step.make_ahead()
            if fd >= 0:
                made[step] = fd
            elif isinstance(step, rootfs.Root):
                return
    file_systems = [step for step in plan if isinstance(step, (rootfs.Filesystem, rootfs.Bind))]
    dev = next((step for step in file_systems if step.mount.destination == _DEV), None)
    if dev not in made or any(_is_in_the_way(step) for step in file_systems):
        return
    umask = os.umask(0)
    try:
        for step in file_systems:
            if step.mount.destination in _OWN_PLACES - {_DEV}:
                os.mkdir(step.mount.destination.rpartition("/")[2], 0o755, dir_fd=made[dev])
        for one in plan:
            if isinstance(one, (rootfs.Device, rootfs.Link)) and one.path.rpartition("/")[0] == _DEV:
                one.make_in(made[dev])
                done.append(one)
    finally:
        os.umask(umask)


def _is_in_the_way(step: Filesystem | rootfs.Bind) -> bool:
    """What is mounted on a device has to be there before it."""
    return step.mount.destination.startswith(f"{_DEV}/") and step.mount.destination not in _OWN_PLACES
