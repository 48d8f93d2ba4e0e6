"""Drift of a stack: what a plan says told as what is otherwise, joined with what the kernel says, and the way back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from unit.stack.stage import Play, Scene, player

from stackrun.api.drift import Drift, DriftOptions, DriftReport, Repair
from stackrun.api.stacks import FieldChange, PlannedAction, StackPlan, Symbol, UpOptions
from stackrun.api.types import Container, ContainerSpec, ContainerState, EndedBy, RestartPolicy, Status
from stackrun.errors import InvalidArgument
from stackrun.stack.drift import has_ended_well, plan_drifts
from stackrun.stack.operations import StackOperations


@pytest.fixture
def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    return player(tmp_path_factory.mktemp("stack"))


def told(*actions: PlannedAction, settled: tuple[str, ...] = ()) -> list[tuple[str, str, str, str, str]]:
    found = plan_drifts(StackPlan("shop", actions), settled)
    return [(one.resource, one.field, one.declared, one.actual, one.repair.value) for one in found]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (PlannedAction(Symbol.CREATE, "Container shop-web-1", "missing"), ("state", "running", "missing", "start")),
        (PlannedAction(Symbol.CREATE, "Network shop_default", "missing"), ("state", "present", "missing", "start")),
        (PlannedAction(Symbol.CHANGE, "Container shop-web-1", "exited (1)", ("start",)), ("state", "running", "exited (1)", "start")),
        (PlannedAction(Symbol.CHANGE, "Container shop-web-1", "config site changed", ("stop within 10s", "start")),
         ("state", "running", "config site changed", "recreate")),
        (PlannedAction(Symbol.REPLACE, "Container shop-web-1", "image changed", changes=(FieldChange("image", "a", "b"),)),
         ("image", "b", "a", "recreate")),
        (PlannedAction(Symbol.REPLACE, "Container shop-web-1", "forced"), ("configuration", "as in the file", "forced", "recreate")),
        (PlannedAction(Symbol.REPLACE, "Container shop-web-1", "x", changes=(FieldChange("tty", "true", None),)),
         ("tty", "none", "true", "recreate")),
        (PlannedAction(Symbol.REMOVE, "Container shop-web-2", "surplus"), ("state", "not in the file", "present", "remove")),
        (PlannedAction(Symbol.REMOVE, "Container shop-old-1", "orphan"), ("state", "not in the file", "present", "none")),
    ],
)  # fmt: skip
def test_what_a_plan_says(action: PlannedAction, expected: tuple[str, str, str, str]) -> None:
    assert told(action) == [(action.resource, *expected)]


def test_images_and_what_need_not_run_are_left_out() -> None:
    assert told(PlannedAction(Symbol.CREATE, "Image busybox:1", "missing", ("pull",))) == []
    start = PlannedAction(Symbol.CHANGE, "Container shop-done-1", "exited (0)", ("start",))
    assert told(start, settled=("Container shop-done-1",)) == []
    assert len(told(start)) == 1


def test_what_has_ended_well() -> None:
    def ended(code: int, by: EndedBy, policy: str = "no") -> Container:
        state = ContainerState(status=Status.EXITED, exit_code=code, ended_by=by)
        return replace(BLANK, spec=replace(BLANK.spec, restart_policy=RestartPolicy(policy)), state=state)

    assert has_ended_well(ended(0, EndedBy.ITSELF)) and has_ended_well(ended(0, EndedBy.ITSELF, "on-failure"))
    assert not has_ended_well(ended(1, EndedBy.ITSELF))
    assert not has_ended_well(ended(0, EndedBy.CALLER)), "a server that ends well when it is told to"
    assert not has_ended_well(ended(0, EndedBy.LOST)) and not has_ended_well(ended(0, EndedBy.ITSELF, "always"))


BLANK = Container(
    id="1", name="x", created="", path="", args=(), image_id="", spec=ContainerSpec("busybox:1"), state=ContainerState(), mounts=(),
    endpoints=(),
)  # fmt: skip


@dataclass
class Kernel:
    """A KernelTruth that says what a test has put there; a repair in place, or a restart that it hears of, takes it away."""

    drifts: list[Drift] = field(default_factory=list)
    asked: list[tuple[set[str], set[str]]] = field(default_factory=list)

    async def drift(self, containers: tuple[str, ...], networks: tuple[str, ...]) -> tuple[Drift, ...]:
        self.asked.append((set(containers), set(networks)))
        return tuple(self.drifts)

    async def repair(self, containers: tuple[str, ...], networks: tuple[str, ...]) -> tuple[Drift, ...]:
        self.drifts = [one for one in self.drifts if one.repair is not Repair.IN_PLACE]
        return tuple(self.drifts)


def report_of(stage: Scene, kernel: Kernel | None = None) -> StackOperations:
    return StackOperations(stage.engine, state_dir=str(stage.state), keeps=True, truth=kernel)


async def drift(operations: StackOperations, stage: Scene, *services: str, repair: bool = False) -> DriftReport:
    return await operations.drift(stage.source, DriftOptions(services=services, repair=repair, timeout_s=0))


UP = UpOptions()
LIMIT = Drift("Container shop-web-1", "memory.limit", "1", "2", Repair.IN_PLACE)


def test_an_untouched_stack_does_not_drift_on_any_engine(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        kernel = Kernel()
        await stage.up()
        assert await drift(report_of(stage, kernel), stage) == DriftReport("shop")
        assert await drift(report_of(stage), stage) == DriftReport("shop", kernel=False)
        ids = {one.id: one.name for one in await stage.engine.containers(all=True)}
        assert {ids[one] for one in kernel.asked[0][0]} == {"shop-db-1", "shop-migrate-1", "shop-web-1"}
        await drift(report_of(stage, kernel), stage, "web")
        assert {ids[one] for one in kernel.asked[1][0]} == {"shop-web-1"}

    play(scene)


def test_what_is_missing_and_stopped_comes_back_and_what_the_kernel_says_is_repaired(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        kernel = Kernel([LIMIT])
        operations = report_of(stage, kernel)
        await stage.drain(await operations.up(stage.source, UP))
        await stage.engine.remove_container("shop-db-1", force=True)
        before = await drift(operations, stage)
        assert {(one.resource, one.field) for one in before.found} == {("Container shop-db-1", "state"), (LIMIT.resource, LIMIT.field)}
        assert before.left == before.found and not before.repaired
        after = await drift(operations, stage, repair=True)
        assert after.found == before.found and after.left == () and after.repaired and not after.failures
        assert (await stage.states())["shop-db-1"] == "running"
        noted = await operations.why(stage.source, "web")
        assert [(one.did, one.cause, one.by) for one in noted.decisions][-1] == ("repaired", "memory.limit was 2", "drift")

    play(scene)


def test_what_takes_a_restart_is_restarted_owner_first(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        drifts = [Drift(f"Container shop-{name}-1", "mounts./data", "x", "missing", Repair.RESTART) for name in ("web", "db")]
        kernel = Kernel(drifts)
        operations = report_of(stage, kernel)
        await stage.drain(await operations.up(stage.source, UP))
        stage.engine.calls.clear()
        report = await drift(operations, stage, repair=True)
        restarts = [one for one in stage.engine.calls if "restart" in str(one)]
        assert len(restarts) == 2 * 3, "the kernel of this test never forgets, and three rounds are enough"
        assert report.left == tuple(drifts)

    play(scene)


def test_a_container_that_was_changed_by_way_of_the_engine_is_replaced(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        operations = report_of(stage, Kernel())
        await stage.drain(await operations.up(stage.source, UP))
        before = (await stage.engine.container("shop-web-1")).id
        await stage.engine.update_container("shop-web-1", None, RestartPolicy("always"))
        report = await drift(operations, stage)
        assert [(one.resource, one.field, one.actual, one.repair) for one in report.found] == [
            ("Container shop-web-1", "restart", "always", Repair.RECREATE)
        ]
        assert (await drift(operations, stage, repair=True)).left == ()
        assert (await stage.engine.container("shop-web-1")).id != before
        assert (await drift(operations, stage)).found == ()

    play(scene)


def test_what_was_stopped_on_purpose_is_as_it_should_be(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        operations = report_of(stage, Kernel())
        await stage.drain(await operations.up(stage.source, UP))
        await stage.drain(await operations.stop(stage.source, ("web",), 0))
        assert (await drift(operations, stage)).found == ()
        await stage.engine.remove_container("shop-db-1", force=True)
        assert (await drift(operations, stage, repair=True)).left == ()
        assert (await stage.states())["shop-web-1"] == "exited"

    play(scene)


DB_ALONE = """\
name: shop
services:
  db:
    image: busybox:1
    healthcheck: {test: [CMD, "true"]}
    volumes: [data:/data]
    secrets: [token]
volumes: {data: {}}
secrets: {token: {environment: TOKEN}}
"""


def test_an_orphan_is_told_and_left(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        operations = report_of(stage, Kernel())
        await stage.drain(await operations.up(stage.source, UP))
        stage.write(DB_ALONE)
        report = await drift(operations, stage, repair=True)
        assert {(one.resource, one.repair) for one in report.left} == {
            ("Container shop-migrate-1", Repair.NONE), ("Container shop-web-1", Repair.NONE),
        }  # fmt: skip
        with pytest.raises(InvalidArgument, match="no such service: web"):
            await drift(operations, stage, "web")

    play(scene)


def test_a_failure_is_told_with_what_is_left(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        operations = report_of(stage, Kernel())
        await stage.drain(await operations.up(stage.source, UP))
        await stage.engine.remove_container("shop-web-1", force=True)
        await stage.engine.remove_image("busybox:1", force=True)
        report = await drift(operations, stage, repair=True)
        assert report.failures and {one.resource for one in report.left} == {"Container shop-web-1"}

    play(scene)
