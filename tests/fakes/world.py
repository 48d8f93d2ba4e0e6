"""What every part of the fake engine shares: the objects, the events, and the faults a test injects."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field

from fakes.processes import Behaviour, Box, Execution

from stackrun.api.filters import EVENT_KEYS, check, event_matches
from stackrun.api.types import NO_FILTERS, Event, Filters, Image, ImageConfig, Network, NetworkSpec, Volume
from stackrun.api.wire.times import rfc3339
from stackrun.errors import InvalidArgument, NotFound, StackrunError


class Gate:
    """Calls that `hold` chose wait here until `release`."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    def release(self) -> None:
        self._open.set()

    async def pass_through(self) -> None:
        self.reached.set()
        await self._open.wait()


@dataclass
class Fault:
    method: str
    ref: str
    error: StackrunError
    times: int


@dataclass
class Hold:
    method: str
    ref: str
    gate: Gate = field(default_factory=Gate)


class World:
    """The state of a fake engine and the means to disturb it."""

    def __init__(self, images: tuple[str, ...] = ()) -> None:
        self.boxes: dict[str, Box] = {}
        self.images_by_id: dict[str, Image] = {}
        self.pullable: dict[str, ImageConfig] = {}
        self.networks_by_id: dict[str, Network] = {}
        self.volumes_by_name: dict[str, Volume] = {}
        self.executions: dict[str, Execution] = {}
        self.calls: list[str] = []
        """The changing calls in order, `start_container shop-db-1`."""
        self.history: list[Event] = []
        self._listeners: list[asyncio.Queue[Event]] = []
        self._behaviours: dict[str, Behaviour] = {}
        self._exec_behaviours: dict[tuple[str, ...], Behaviour] = {}
        self._faults: list[Fault] = []
        self._holds: list[Hold] = []
        self._serial = 0
        for name in ("bridge", "host", "none"):
            driver = "null" if name == "none" else name
            self.networks_by_id[fake_id(f"network {name}")] = Network(fake_id(f"network {name}"), now(), NetworkSpec(name, driver=driver))
        for reference in images:
            self.add_image(reference)

    # --- what a test says beforehand

    def behave(self, key: str, behaviour: Behaviour) -> None:
        """`key` is a container's name, a Compose service, or an image reference; looked up in this order at each start."""
        self._behaviours[key] = behaviour

    def behave_exec(self, command: tuple[str, ...], behaviour: Behaviour) -> None:
        self._exec_behaviours[command] = behaviour

    def behaviour_of(self, *keys: str) -> Behaviour:
        return next((self._behaviours[key] for key in keys if key in self._behaviours), Behaviour())

    def exec_behaviour_of(self, command: tuple[str, ...]) -> Behaviour:
        return self._exec_behaviours.get(command) or Behaviour(exit_code=0)

    def fail(self, method: str, error: StackrunError, *, ref: str = "", times: int = 1) -> None:
        """The next `times` calls of `method` about `ref` (empty: any) raise `error` and change nothing."""
        self._faults.append(Fault(method, ref, error, times))

    def hold(self, method: str, *, ref: str = "") -> Gate:
        """Calls of `method` about `ref` wait until the gate is released; `gate.reached` tells that one is waiting."""
        hold = Hold(method, ref)
        self._holds.append(hold)
        return hold.gate

    def add_image(self, reference: str, config: ImageConfig | None = None) -> Image:
        tag = reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
        image = Image(
            id="sha256:" + fake_id(f"image {tag}"), config=config or ImageConfig(command=("sh",)), repo_tags=(tag,), created=now(),
            size_bytes=1_000_000, architecture="amd64", diff_ids=("sha256:" + fake_id(f"layer {tag}"),),
        )  # fmt: skip
        self.images_by_id[image.id] = image
        return image

    # --- what the engine's parts use

    def box(self, ref: str) -> Box:
        ref = ref.removeprefix("/")
        for one in self.boxes.values():
            if ref in (one.id, one.name):
                return one
        found = [one for one in self.boxes.values() if ref and one.id.startswith(ref)]
        if len(found) != 1:
            raise NotFound(f"No such container: {ref}") if not found else InvalidArgument(f"Multiple IDs found with provided prefix: {ref}")
        return found[0]

    async def enter(self, method: str, ref: str) -> None:
        """Every changing call passes here: it is recorded, held, or made to fail."""
        self.calls.append(f"{method} {ref}")
        for hold in self._holds:
            if hold.method == method and hold.ref in ("", ref):
                await hold.gate.pass_through()
        for fault in self._faults:
            if fault.method == method and fault.ref in ("", ref) and fault.times:
                fault.times -= 1
                raise fault.error
        await asyncio.sleep(0)

    def new_id(self) -> str:
        self._serial += 1
        return fake_id(f"object {self._serial}")

    def emit(self, kind: str, action: str, subject: str, attributes: Mapping[str, str]) -> None:
        event = Event(kind, action, subject, dict(attributes), time.time_ns())
        self.history.append(event)
        for listener in self._listeners:
            listener.put_nowait(event)

    async def events(self, *, since_s: float = 0.0, until_s: float = 0.0, filters: Filters = NO_FILTERS) -> AsyncGenerator[Event, None]:
        check(filters, EVENT_KEYS)
        queue: asyncio.Queue[Event] = asyncio.Queue()
        past = [one for one in self.history if since_s and one.time_ns >= since_s * 1e9]
        self._listeners.append(queue)
        return self._listen(queue, past, until_s, lambda event: event_matches(event, filters))

    async def _listen(
        self, queue: asyncio.Queue[Event], past: list[Event], until_s: float, wanted: Callable[[Event], bool]
    ) -> AsyncGenerator[Event, None]:
        try:
            for event in past:
                if wanted(event) and not (until_s and event.time_ns > until_s * 1e9):
                    yield event
            while not until_s or time.time() < until_s:
                try:
                    async with asyncio.timeout(until_s - time.time() if until_s else None):
                        event = await queue.get()
                except TimeoutError:
                    return
                if wanted(event):
                    yield event
        finally:
            self._listeners.remove(queue)


def fake_id(seed: str) -> str:
    """64 hex digits, the same for the same seed."""
    return hashlib.sha256(seed.encode()).hexdigest()


def now() -> str:
    return rfc3339(time.time_ns())
