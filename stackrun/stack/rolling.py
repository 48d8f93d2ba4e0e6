"""Replacing the containers of one service batch by batch, as its `deploy.update_config` says.  Pure: it writes nodes into a plan.

Of each container, stop-first and start-first:

    create → stop the old → start → wait until ready [→ remove the old → rename]
    create → start beside the old → wait until ready → take over → stop the old [→ remove it → rename]

The next batch follows when this one is done.  What is in brackets waits for the whole update where a failure is answered with a
rollback: until then the old containers are only stopped, so that going back is starting them again.  Cut off anywhere, there are two
containers of one number, of which the next verdict keeps the new one, and the replacement goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from stackrun.api.types import Container, PortBinding, PublishedPort, Status
from stackrun.compose.model import UpdateConfig
from stackrun.stack.anonymous import handed_over
from stackrun.stack.desired import DesiredService
from stackrun.stack.plan import (
    Draft,
    Monitor,
    Pause,
    RemoveContainer,
    RemoveVolume,
    RenameContainer,
    StartContainer,
    TakeOver,
    Tally,
)

PAUSE, CONTINUE, ROLLBACK = "pause", "continue", "rollback"
START_FIRST = "start-first"
DRAIN_S = 10.0
"""How long connections of the old container may go on where it has no stop timeout of its own: Docker's own stop timeout."""
_ANY = ("", "0.0.0.0")


@dataclass(frozen=True, slots=True)
class Rollout:
    """`deploy.update_config` with every default filled in, for `total` containers.

    Where the key is absent, nothing here applies.  Where it is there, what it leaves out is as the Compose Specification has it: one
    container at a time, no pause, no monitoring beyond readiness, stop-first, and a failure pauses the rest.
    """

    parallelism: int
    """At least 1."""
    delay_s: float
    monitor_s: float
    failure_action: str
    tolerated: int
    """Failures beyond which `failure_action` follows."""
    start_first: bool

    @classmethod
    def of(cls, config: UpdateConfig, total: int) -> Rollout:
        action = config.failure_action or PAUSE
        endless = action == CONTINUE and not config.max_failure_ratio
        return cls(
            parallelism=1 if config.parallelism is None else config.parallelism or total,
            delay_s=config.delay_s or 0.0,
            monitor_s=config.monitor_s or 0.0,
            failure_action=action,
            tolerated=total if endless else int(config.max_failure_ratio * total + 1e-9),
            start_first=config.order == START_FIRST,
        )


@dataclass(frozen=True, slots=True)
class Replaced:
    """One container's turn. `id` and `running` are those of a replacement that an earlier, unfinished update left."""

    name: str
    watched: str
    """What it is called until the old one is gone."""
    old: tuple[Container, ...]
    cause: str
    ready: tuple[int, ...]
    """Nodes after which it can be started: its creation, its files."""
    id: str = ""
    running: bool = False
    start_cause: str = ""
    created_by: tuple[int, ...] = ()

    @property
    def predecessor(self) -> Container | None:
        """The one to go back to: what ran, or what an unfinished update has stopped."""
        ran = (one for one in self.old if one.state.running or (self.id and one.state.status is Status.EXITED))
        return next(ran, None)


@dataclass(slots=True)
class _Turn:
    """What has been written of one container's turn."""

    one: Replaced
    nodes: list[int] = field(default_factory=list)
    done: int = 0
    """When this has succeeded, the new one serves and the old one has stopped."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a plan's writer gives: nodes to wait for, its policy, and the ways it stops containers."""

    firmly: tuple[int, ...]
    loosely: tuple[int, ...]
    hands_over: bool
    renew_volumes: bool
    stop: Callable[[Container, str, Iterable[int], Iterable[int]], list[int]]
    stop_followers: Callable[[tuple[int, ...]], tuple[int, ...]]
    drain_s: float = DRAIN_S
    limit_s: float | None = None


def obstacle(service: DesiredService, old: Iterable[Container], *, hands_over: bool) -> str:
    """Why a new container cannot run beside its predecessor; empty: it can."""
    fixed = [one for one in service.spec.ports if one.host_port]
    if fixed and not hands_over:
        return "this engine gives a published port to one container at a time"
    if any(one.ipv4_address or one.mac_address for one in service.spec.endpoints):
        return "its address is fixed, and two containers cannot have it"
    published = [port for one in old for port in one.ports if port.host_port]
    moved = next((one for one in fixed if any(_overlaps(one, port) for port in published)), None)
    return f"port {moved.host_port}/{moved.protocol} moves to another address of the host" if moved else ""


def _overlaps(binding: PortBinding, port: PublishedPort) -> bool:
    last = binding.host_port_end or binding.host_port
    addresses = (binding.host_ip or _ANY[1], port.host_ip or _ANY[1])
    same_port = binding.protocol == port.protocol and binding.host_port <= port.host_port <= last
    return same_port and addresses[0] != addresses[1] and _ANY[1] in addresses


class Roller:
    """Writes one service's update."""

    def __init__(self, draft: Draft, service: DesiredService, rollout: Rollout, around: Surroundings) -> None:
        self._draft = draft
        self._service = service
        self._rollout = rollout
        self._around = around
        self._followers: tuple[int, ...] | None = None
        self._turns: list[_Turn] = []
        self._tallies: list[int] = []

    def write(self, replaced: Sequence[Replaced]) -> list[list[int]]:
        """Of each container the nodes after which the new one serves under its name."""
        size, total = self._rollout.parallelism, len(replaced)
        firm, loose = self._around.firmly, self._around.loosely
        for start in range(0, total, size):
            if start:
                firm, loose = self._gap(replaced[start], total)
            self._turns += [self._turn(one, firm, loose) for one in replaced[start : start + size]]
        if self._counts(total):
            self._tally(replaced[-1], total)
        verdict = tuple(self._tallies) or tuple(turn.done for turn in self._turns)
        goes_back = self._rollout.failure_action == ROLLBACK and self._rollout.tolerated < total
        ends = [self._finish(turn, verdict if goes_back else ()) for turn in self._turns]
        for turn in self._turns if goes_back else ():
            self._go_back(turn, verdict)
        return ends

    # --- between batches

    def _counts(self, total: int) -> bool:
        return 0 < self._rollout.tolerated < total

    def _gap(self, first: Replaced, total: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the next batch waits for, firmly and loosely."""
        done = tuple(turn.done for turn in self._turns)
        firm, loose = self._around.firmly, self._around.loosely
        if self._counts(total):
            firm = (*firm, self._tally(first, total))
        elif self._rollout.tolerated:
            loose = (*loose, *done)
        else:
            firm = (*firm, *done)
        if not self._rollout.delay_s:
            return firm, loose
        pause = self._draft.add(Pause(self._service.name, first.name, self._rollout.delay_s), firm, loose)
        return (*self._around.firmly, pause), self._around.loosely

    def _tally(self, one: Replaced, total: int) -> int:
        done = tuple(turn.done for turn in self._turns)
        tally = Tally(self._service.name, one.name, done, self._rollout.tolerated, total, self._rollout.failure_action)
        self._tallies.append(self._draft.add(tally, self._tallies[-1:], done))
        return self._tallies[-1]

    # --- one container

    def _turn(self, one: Replaced, firm: tuple[int, ...], loose: tuple[int, ...]) -> _Turn:
        turn = _Turn(one)
        firm = (*one.ready, *firm)
        if self._rollout.start_first:
            ready = self._wait(turn, self._start(turn, firm, loose), loose)
            if self._around.hands_over and any(old.state.running for old in one.old):
                ready = self._add(turn, self._take_over(one.name, one.id), (ready,))
            turn.done = max([ready, *self._stop(turn, (ready,), ())])
        else:
            stopped = self._stop(turn, firm, loose)
            turn.done = self._wait(turn, self._start(turn, (*firm, *stopped), loose), loose)
        return turn

    def _add(self, turn: _Turn, action: StartContainer | Monitor | TakeOver, after: Iterable[int], loosely: Iterable[int] = ()) -> int:
        turn.nodes.append(self._draft.add(action, after, loosely))
        return turn.nodes[-1]

    def _start(self, turn: _Turn, after: tuple[int, ...], loosely: Iterable[int]) -> tuple[int, ...]:
        """What its readiness follows."""
        one = turn.one
        if one.running:
            return after
        running = next((old.id for old in one.old if old.state.running), "")
        beside = running if self._rollout.start_first and self._around.hands_over else ""
        return (self._add(turn, StartContainer(self._service.name, one.name, one.id, one.start_cause, beside), after, loosely),)

    def _wait(self, turn: _Turn, after: Iterable[int], loosely: Iterable[int]) -> int:
        one, rollout = turn.one, self._rollout
        monitor = Monitor(self._service.name, one.name, one.watched, rollout.monitor_s, self._around.limit_s, rollout.failure_action)
        return self._add(turn, monitor, after, loosely if one.running else ())

    def _take_over(self, name: str, id: str) -> TakeOver:
        ports = tuple(_words(one) for one in self._service.spec.ports if one.host_port)
        return TakeOver(self._service.name, name, id, self._around.drain_s, ports)

    def _stop(self, turn: _Turn, after: tuple[int, ...], loosely: tuple[int, ...]) -> list[int]:
        if self._followers is None:
            self._followers = self._around.stop_followers(after)
        stops = [
            node for old in turn.one.old for node in self._around.stop(old, turn.one.cause, after, (*loosely, *self._followers))
        ]  # fmt: skip
        turn.nodes += stops
        return stops

    def _finish(self, turn: _Turn, verdict: tuple[int, ...]) -> list[int]:
        one, volumes = turn.one, self._around.renew_volumes
        removals = [
            self._draft.add(RemoveContainer(old.name, old.id, one.cause, volumes, replaced=True), (turn.done, *verdict)) for old in one.old
        ]
        for volume in handed_over(one.old) if volumes else ():
            self._draft.add(RemoveVolume(volume, one.cause, keep_in_use=True), removals)
        if one.watched == one.name:
            return removals
        return [self._draft.add(RenameContainer(one.name, one.id, f"was {one.watched}" if one.id else ""), removals)]

    def _go_back(self, turn: _Turn, verdict: tuple[int, ...]) -> None:
        """The new one goes and the old one comes, in the order of the update."""
        one, cause = turn.one, "the update failed"
        removal = RemoveContainer(one.name, one.id, cause, replaced=True)
        old = one.predecessor
        if old is None or not self._rollout.start_first:
            removed = self._draft.add(removal, one.created_by, turn.nodes, verdict)
            if old is not None:
                self._draft.add(StartContainer(self._service.name, one.name, old.id, cause), (), (*turn.nodes, removed), verdict)
            return
        beside = one.watched if self._around.hands_over else ""
        back = self._draft.add(StartContainer(self._service.name, one.name, old.id, cause, beside), (), turn.nodes, verdict)
        monitor = Monitor(self._service.name, one.name, old.name, 0.0, self._around.limit_s, cause=cause)
        back = self._draft.add(monitor, [back], (), verdict)
        if self._around.hands_over:
            back = self._draft.add(replace(self._take_over(one.name, old.id), cause=cause), [back], (), verdict)
        self._draft.add(removal, (*one.created_by, back), (), verdict)


def _words(binding: PortBinding) -> str:
    last = f"-{binding.host_port_end}" if binding.host_port_end > binding.host_port else ""
    return f"{binding.host_port}{last}/{binding.protocol}"
