"""A complete engine in memory, for tests of everything above the Engine protocol.

Nothing in it waits for real time: processes end, report health and print as a test's Behaviour says, in the order the event loop runs.
"""

from __future__ import annotations

from fakes.builds import FakeBuilds
from fakes.processes import Behaviour
from fakes.world import Gate

from stackrun.api.engine import Engine
from stackrun.api.types import Info, Status, Version

__all__ = ["Behaviour", "FakeEngine", "Gate"]


class FakeEngine(FakeBuilds):
    """`images` exist from the beginning.  See World for what a test can say and do."""

    async def version(self) -> Version:
        return Version("0.0-fake", "1.47", "1.24", "linux", "amd64", "6.0.0-fake", name="fake", python_version="3.11")

    async def info(self) -> Info:
        states = [one.state.status for one in self.boxes.values()]
        paused, running = states.count(Status.PAUSED), states.count(Status.RUNNING) + states.count(Status.RESTARTING)
        return Info(
            id="FAKE", name="fakehost", server_version="0.0-fake", root_dir="/fake", containers_running=running, containers_paused=paused,
            containers_stopped=len(states) - paused - running, images=len(self.images_by_id), memory_total_bytes=1 << 30, cpus=2,
            kernel_version="6.0.0-fake", operating_system="Fake Linux", architecture="x86_64", cgroup_version="2",
        )  # fmt: skip


def _satisfies_the_contract(engine: FakeEngine) -> Engine:
    """For the type checker alone."""
    return engine
