"""What becomes of each resource of a plan that is carried out, for the journal: one decision a resource when its last step is over, and
one more when a step takes its time.  Pure but for its clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stackrun.api.stacks import Decision
from stackrun.errors import StackrunError
from stackrun.stack.execute import Follower
from stackrun.stack.observed import Observed, service_of
from stackrun.stack.plan import (
    CONDITION_WORDS,
    Action,
    BuildImage,
    Condition,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    ExecInContainer,
    KillContainer,
    Monitor,
    Node,
    NoteContents,
    Pause,
    Plan,
    PullImage,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolume,
    RenameContainer,
    RestartContainer,
    SignalContainer,
    StartContainer,
    StopContainer,
    TakeOver,
    Tally,
    WaitFor,
    WriteFile,
)

_MAKING = (CreateContainer, CreateNetwork, CreateVolume)
_REMOVING = (RemoveContainer, RemoveNetwork, RemoveVolume)
_PAST: Mapping[type[Action], str] = {
    CreateContainer: "created", CreateNetwork: "created", CreateVolume: "created", RemoveContainer: "removed", RemoveNetwork: "removed",
    RemoveVolume: "removed", RestartContainer: "restarted", KillContainer: "killed", StartContainer: "started", StopContainer: "stopped",
    SignalContainer: "signalled", ExecInContainer: "told", RenameContainer: "renamed", PullImage: "pulled", BuildImage: "built",
    WriteFile: "written",
}  # fmt: skip
"""In the order in which one of them tells most about a resource with several."""

_UNDER_WAY: Mapping[type[Action], str] = {
    CreateContainer: "creating", CreateNetwork: "creating", CreateVolume: "creating", RemoveContainer: "removing",
    RemoveNetwork: "removing", RemoveVolume: "removing", RestartContainer: "restarting", KillContainer: "killing",
    StartContainer: "starting", StopContainer: "stopping", ExecInContainer: "telling", PullImage: "pulling", BuildImage: "building",
    Monitor: "waiting", Pause: "waiting", TakeOver: "draining",
}  # fmt: skip
SLOW_S = 1.0
"""A pull or a wait that takes longer is told before it is over."""
SLOW_STEP_S = 5.0
"""And any other step: a busy machine's starts are no news."""
_LONG = (PullImage, WaitFor, Monitor, Pause, TakeOver)


@dataclass(slots=True)
class _Group:
    """What one decision is about: the steps of one resource, or those that undo them when the update has failed."""

    nodes: list[Node] = field(default_factory=list)
    told: bool = False

    @property
    def cause(self) -> str:
        causes = [node.action.cause for node in self.nodes if isinstance(node.action, _MAKING)]
        return next((one for one in (*causes, *(node.action.cause for node in self.nodes)) if one), "")

    @property
    def undoes(self) -> bool:
        return bool(self.nodes[0].if_failed)


@dataclass(frozen=True, slots=True)
class _Fate:
    """What has become of a node. `error`: it failed; `skipped`, `kept`: why."""

    at_s: float
    error: StackrunError | None = None
    skipped: str = ""
    kept: str = ""
    needless: bool = False

    @property
    def done(self) -> bool:
        return not (self.error or self.skipped or self.needless)


class Account(Follower):
    """Of one plan, under way. `images`: image → the services that it is pulled for; `on_news`: there is something to tell."""

    def __init__(
        self,
        plan: Plan,
        observed: Observed,
        by: str,
        images: Mapping[str, Sequence[str]] | None = None,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._by = by
        self._clock_s = clock_s
        self._images = images or {}
        self._services = {one.name: service_of(one) for one in observed.containers}
        self._groups: dict[tuple[str, bool], _Group] = {}
        self._waiting: dict[int, list[Node]] = {}
        """Number of a wait → the starts that follow it."""
        for node in plan.nodes:
            self._enter(node)
        self._fates: dict[int, _Fate] = {}
        self._began: dict[int, tuple[float, Node]] = {}
        """What is under way and not told yet."""
        self._news: list[Decision] = []
        self.on_news: Callable[[], None] = lambda: None

    def _enter(self, node: Node) -> None:
        if isinstance(node.action, CreateContainer):
            self._services[node.action.name] = node.action.service
        if isinstance(node.action, StartContainer):
            for number in node.waits_for:
                self._waiting.setdefault(number, []).append(node)
        if not isinstance(node.action, NoteContents):
            self._groups.setdefault(_key(node), _Group()).nodes.append(node)

    # --- what the executor tells

    def began(self, node: Node) -> None:
        self._began[node.number] = (self._clock_s(), node)
        self.on_news()

    def done(self, node: Node, kept: str) -> None:
        self._over(node, _Fate(self._clock_s(), kept=kept))

    def failed(self, node: Node, error: StackrunError) -> None:
        self._over(node, _Fate(self._clock_s(), error))

    def skipped(self, node: Node, cause: str) -> None:
        self._over(node, _Fate(self._clock_s(), skipped=cause))

    def needless(self, node: Node) -> None:
        self._over(node, _Fate(self._clock_s(), needless=True))

    def _over(self, node: Node, fate: _Fate) -> None:
        self._fates[node.number] = fate
        self._began.pop(node.number, None)
        group = self._groups.get(_key(node))
        if group is not None and self._is_ripe(group):
            self._tell(group)

    def _is_ripe(self, group: _Group) -> bool:
        """All of it is over; of a rolling update, the new one serves."""
        ahead = [node.action for node in group.nodes if node.number not in self._fates]
        rolling = any(isinstance(node.action, Monitor) for node in group.nodes)
        return not ahead or (rolling and not group.told and all(map(_is_clearing, ahead)))

    # --- what is told of it

    def news(self) -> list[Decision]:
        """What has been decided since this was asked last, and what has been under way for so long that it is worth a word."""
        now_s = self._clock_s()
        for number, (since_s, node) in list(self._began.items()):
            if now_s >= _told_at_s(since_s, node):
                del self._began[number]
                self._news += self._under_way(since_s, node)
        news, self._news = self._news, []
        return news

    def due_in_s(self) -> float | None:
        """When something that is under way is to be told; None: nothing is."""
        first_s = min((_told_at_s(since_s, node) for since_s, node in self._began.values()), default=None)
        return None if first_s is None else max(0.0, first_s - self._clock_s())

    def close(self) -> list[Decision]:
        """What was not told yet: of a plan that was broken off, what was under way or to come."""
        for group in self._groups.values():
            if not group.told and not (group.undoes and not any(node.number in self._fates for node in group.nodes)):
                self._tell(group)
        self._began.clear()
        return self.news()

    def _tell(self, group: _Group) -> None:
        did, cause, detail = self._became(group)
        if group.told and did != "failed":
            return
        group.told = True
        if did:
            action = group.nodes[0].action
            over_s = [one.at_s for node in group.nodes if (one := self._fates.get(node.number)) and not isinstance(node.action, WaitFor)]
            self._decide(max(over_s) if over_s and did != "interrupted" else self._clock_s(), action, did, cause, detail)

    def _decide(self, time_s: float, action: Action, did: str, cause: str, detail: str = "") -> None:
        services = self._images.get(action.reference, ("",)) if isinstance(action, (PullImage, BuildImage)) else (self._service(action),)
        self._news += [Decision(time_s, service, action.resource, did, cause, detail, self._by) for service in services]
        self.on_news()

    def _under_way(self, since_s: float, node: Node) -> list[Decision]:
        group, cause = self._groups.get(_key(node)), node.action.cause
        cause = cause or (group.cause if group else "")
        told, self._news = self._news, []
        match node.action:
            case WaitFor(service=service, condition=condition):
                words = f"for {service} {'to complete' if condition is Condition.COMPLETED else f'to be {CONDITION_WORDS[condition]}'}"
                for start in self._waiting.get(node.number, ()):
                    self._decide(since_s, start.action, "waiting", words)
            case Monitor():
                self._decide(since_s, node.action, "waiting", "until it is ready")
            case Pause(delay_s=delay_s):
                self._decide(since_s, node.action, "waiting", f"{delay_s:g} s, as its update_config says")
            case TakeOver():
                self._decide(since_s, node.action, "draining", "connections to the one before are under way")
            case action if type(action) in _UNDER_WAY:
                self._decide(since_s, action, _UNDER_WAY[type(action)], cause)
        mine, self._news = self._news, told
        return mine

    def _became(self, group: _Group) -> tuple[str, str, str]:
        """(did, cause, detail); an empty `did`: nothing worth a word."""
        fates = [(node, self._fates.get(node.number)) for node in group.nodes]
        fates = [(node, fate) for node, fate in fates if fate is None or not fate.needless]
        for node, fate in fates:
            if fate is not None and fate.error is not None:
                return "failed", _shortfall(node.action), str(fate.error)
        did, before = _past([node for node, _ in fates]), _past([node for node, fate in fates if fate and fate.done])
        missed = [(node, fate) for node, fate in fates if fate and fate.skipped]
        if missed and did:
            lacking = f"{before} and not {_past([node for node, _ in missed])}" if before else ""
            return "skipped", next(fate.skipped for _, fate in missed), lacking
        ahead = [node for node, fate in fates if fate is None and not _is_clearing(node.action)]
        if ahead and did:
            return "interrupted", group.cause, f"{before} and not {_past(ahead)}" if before and _past(ahead) else f"was to be {did}"
        kept = next((fate.kept for _, fate in fates if fate and fate.kept), "")
        if kept and isinstance(group.nodes[-1].action, (RemoveNetwork, RemoveVolume)):
            return "kept", kept, ""
        return ("rolled back" if did and group.undoes else did), group.cause, ""

    def _service(self, action: Action) -> str:
        match action:
            case CreateContainer(service=service) | StartContainer(service=service) | WaitFor(service=service):
                return service
            case _:
                kind, _, name = action.resource.partition(" ")
                return self._services.get(name, "") if kind == "Container" else ""


def _key(node: Node) -> tuple[str, bool]:
    return node.action.resource, bool(node.if_failed)


def _told_at_s(since_s: float, node: Node) -> float:
    return since_s + (SLOW_S if isinstance(node.action, _LONG) else SLOW_STEP_S)


def _is_clearing(action: Action) -> bool:
    """It takes the one before away, which the whole update may have to be over for."""
    return isinstance(action, RenameContainer) or (isinstance(action, RemoveContainer) and action.replaced)


def _past(nodes: Iterable[Node]) -> str:
    kinds = {type(node.action) for node in nodes}
    if kinds.intersection(_MAKING) and kinds.intersection(_REMOVING):
        return "recreated"
    if {StopContainer, StartContainer} <= kinds and not kinds.intersection(_MAKING):
        return "restarted"
    return next((word for kind, word in _PAST.items() if kind in kinds), "")


def _shortfall(action: Action) -> str:
    """`could not start`, `it did not become healthy`."""
    match action:
        case WaitFor(condition=Condition.COMPLETED):
            return "it did not complete"
        case WaitFor(condition=condition):
            return f"it did not become {CONDITION_WORDS[condition]}"
        case ExecInContainer() | SignalContainer():
            return "could not tell it"
        case Monitor():
            return "it did not become ready"
        case Tally():
            return "too many of its service failed"
        case _:
            return f"could not {action.verb}"
