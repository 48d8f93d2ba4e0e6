"""What became of each resource of a plan that was carried out: one decision a resource, for the journal.  Pure but for its clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from stackrun.api.stacks import Decision, Phase, StackEvent
from stackrun.stack.execute import Emit, Outcome
from stackrun.stack.observed import Observed, service_of
from stackrun.stack.plan import (
    CONDITION_WORDS,
    Action,
    Condition,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    ExecInContainer,
    KillContainer,
    Monitor,
    Node,
    NoteContents,
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
    Tally,
    WaitFor,
    WriteFile,
)

_MAKING = (CreateContainer, CreateNetwork, CreateVolume)
_REMOVING = (RemoveContainer, RemoveNetwork, RemoveVolume)
_PAST: Mapping[type[Action], str] = {
    CreateContainer: "created", CreateNetwork: "created", CreateVolume: "created", RemoveContainer: "removed", RemoveNetwork: "removed",
    RemoveVolume: "removed", RestartContainer: "restarted", KillContainer: "killed", StartContainer: "started", StopContainer: "stopped",
    SignalContainer: "signalled", ExecInContainer: "told", RenameContainer: "renamed", PullImage: "pulled", WriteFile: "written",
}  # fmt: skip
"""In the order in which one of them tells most about a resource with several."""

_WAITED = ("Healthy", "Exited")
"""What others waited for comes later than what was done."""


class Account:
    """Of one plan, under way: `heard` stands between the plan's events and their listener."""

    def __init__(self, plan: Plan, observed: Observed, by: str, clock_s: Callable[[], float] = time.time) -> None:
        self._plan = plan
        self._by = by
        self._clock_s = clock_s
        self._services = {one.name: service_of(one) for one in observed.containers}
        for node in plan.nodes:
            if isinstance(node.action, CreateContainer):
                self._services[node.action.name] = node.action.service
        self._over_s: dict[str, float] = {}
        self._kept: dict[str, str] = {}
        self._outcome: Outcome | None = None

    def heard(self, emit: Emit) -> Emit:
        def hear(event: StackEvent) -> None:
            if event.phase in (Phase.DONE, Phase.FAILED, Phase.SKIPPED) and event.text not in _WAITED:
                self._over_s[event.resource] = self._clock_s()
            if event.phase is Phase.SKIPPED:
                self._kept[event.resource] = event.detail or event.text
            emit(event)

        return hear

    def finished(self, outcome: Outcome) -> None:
        """Otherwise it was broken off: what was under way is told to be."""
        self._outcome = outcome

    def decisions(self) -> list[Decision]:
        """Oldest first."""
        resources: dict[str, list[Node]] = {}
        for node in self._plan.nodes:
            if not isinstance(node.action, NoteContents) and not (self._outcome and node.number in self._outcome.needless):
                resources.setdefault(node.action.resource, []).append(node)
        found = (self._decision(resource, nodes) for resource, nodes in resources.items())
        return sorted((one for one in found if one), key=lambda one: one.time_s)

    def _decision(self, resource: str, nodes: list[Node]) -> Decision | None:
        cause = next((node.action.cause for node in nodes if isinstance(node.action, _MAKING)), "")
        cause = cause or next((node.action.cause for node in nodes if node.action.cause), "")
        did, cause, detail = self._became(resource, nodes, cause)
        if not did:
            return None
        time_s = self._over_s.get(resource, self._clock_s())
        return Decision(time_s, self._service(nodes[0].action), resource, did, cause, detail, self._by)

    def _became(self, resource: str, nodes: list[Node], cause: str) -> tuple[str, str, str]:
        """(did, cause, detail); an empty `did`: nothing worth a word."""
        did = _past(nodes)
        if self._outcome is None:
            return (did, cause, "") if resource in self._over_s or not did else ("interrupted", cause, f"was to be {did}")
        for node in nodes:
            if node.number in self._outcome.failures:
                return "failed", _shortfall(node.action), str(self._outcome.failures[node.number])
        skipped = [node for node in nodes if node.number in self._outcome.skipped]
        if skipped and did:
            before = _past([node for node in nodes if node not in skipped])
            return "skipped", self._kept.get(resource, cause), f"{before} and not {_past(skipped)}" if before else ""
        if isinstance(nodes[-1].action, (RemoveNetwork, RemoveVolume)) and resource in self._kept:
            return "kept", self._kept[resource], ""
        return did, cause, ""

    def _service(self, action: Action) -> str:
        match action:
            case CreateContainer(service=service) | StartContainer(service=service) | WaitFor(service=service):
                return service
            case _:
                kind, _, name = action.resource.partition(" ")
                return self._services.get(name, "") if kind == "Container" else ""


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
