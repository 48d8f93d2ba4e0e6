"""What every engine must do alike: one suite over the fake, over HTTP, and over a real dockerd as the oracle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import wraps
from typing import Any

import pytest
from fakes.engine import Behaviour
from free_ports import free_port

from stackrun.api.engine import HandsOver
from stackrun.api.types import (
    AttachQuery,
    EndpointSpec,
    ExecSpec,
    ExitStatus,
    Filters,
    Healthcheck,
    HealthStatus,
    LogQuery,
    Mount,
    MountType,
    NetworkSpec,
    PortBinding,
    RestartPolicy,
    Status,
    VolumeSpec,
    WaitCondition,
)
from stackrun.client.engine import HttpEngine
from stackrun.errors import Conflict, Forbidden, InvalidArgument, NotFound, NotModified, StackrunError

pytestmark = pytest.mark.usefixtures("nothing_left_behind")
LABEL = {"srt": "conformance"}
LIMIT_S = 60.0
RUNS = Behaviour()
PRINTS = Behaviour(output=((1, b"out\n"), (2, b"err\n")), exit_code=3)
ECHOES = Behaviour(echo=True, exit_code=0)


def conforms(scenario: Callable[[Any], Awaitable[None]]) -> Callable[[AbstractAsyncContextManager[Any]], None]:
    """Runs the scenario on the engine that the fixture opens."""

    async def run(opened: AbstractAsyncContextManager[Any]) -> None:
        async with asyncio.timeout(LIMIT_S), opened as subject:
            await scenario(subject)

    @wraps(scenario)
    def test(opened: AbstractAsyncContextManager[Any]) -> None:
        asyncio.run(run(opened))

    del test.__wrapped__  # type: ignore[attr-defined]  # pytest would look for the scenario's own parameters
    return test


async def started(subject: Any, name: str, behaviour: Behaviour = RUNS, **more: object) -> str:
    created = await subject.engine.create_container(name, subject.spec(name, behaviour, **more))
    await subject.engine.start_container(created.id)
    return str(created.id)


async def everything(stream: Any) -> dict[int, bytes]:
    """Output by stream."""
    collected: dict[int, bytes] = {}
    async for one in stream:
        collected[one.stream] = collected.get(one.stream, b"") + one.data
    return collected


# --- a container's life


@conforms
async def test_a_created_container_is_told_as_it_was_asked_for(subject: Any) -> None:
    labels = {**LABEL, "role": "db"}
    spec = subject.spec("srt-a", RUNS, environment=("A=1", "B=two words"), labels=labels, hostname="db", user="0", tty=True)
    created = await subject.engine.create_container("srt-a", spec)
    told = await subject.engine.container("srt-a")
    assert (told.id, told.name, told.state.status) == (created.id, "srt-a", Status.CREATED)
    assert told.spec.command == spec.command
    assert set(spec.environment) <= set(told.spec.environment)
    assert told.spec.labels == spec.labels
    assert (told.spec.hostname, told.spec.user, told.spec.tty) == ("db", "0", True)
    assert told.image_id == (await subject.engine.image(subject.image)).id


@conforms
async def test_what_does_not_exist_is_named_in_the_words_clients_search_for(subject: Any) -> None:
    engine = subject.engine
    with pytest.raises(NotFound, match="No such container: nope"):
        await engine.container("nope")
    with pytest.raises(NotFound, match="No such container: nope"):
        await engine.start_container("nope")
    with pytest.raises(NotFound, match="network nope not found"):
        await engine.network("nope")
    with pytest.raises(NotFound, match="no such volume"):
        await engine.volume("nope")
    with pytest.raises(NotFound, match="No such image: nope:latest"):
        await engine.image("nope")
    with pytest.raises(NotFound, match="No such exec instance"):
        await engine.exec("nope")


@conforms
async def test_a_missing_image_and_a_taken_or_bad_name_are_refused(subject: Any) -> None:
    spec = subject.spec("srt-a", RUNS)
    await subject.engine.create_container("srt-a", spec)
    with pytest.raises(Conflict, match="is already in use by container"):
        await subject.engine.create_container("srt-a", spec)
    with pytest.raises(InvalidArgument, match="Invalid container name"):
        await subject.engine.create_container("a b", spec)
    subject.image = "nope:1"
    with pytest.raises(NotFound, match=r"No such image: nope:1"):
        await subject.engine.create_container("srt-b", subject.spec("srt-b", RUNS))


@conforms
async def test_starting_twice_and_stopping_twice_say_that_nothing_was_to_do(subject: Any) -> None:
    await started(subject, "srt-a")
    assert (await subject.engine.container("srt-a")).state.running
    with pytest.raises(NotModified):
        await subject.engine.start_container("srt-a")
    await executed(subject, "srt-a", ("sh", "-c", "until test -e /trapped; do sleep 0.01; done"))  # a first process has no handler before
    await subject.engine.stop_container("srt-a", timeout_s=5)
    told = await subject.engine.container("srt-a")
    assert (told.state.status, told.state.exit_code) == (Status.EXITED, 143)
    with pytest.raises(NotModified):
        await subject.engine.stop_container("srt-a")
    await subject.engine.start_container("srt-a")
    assert (await subject.engine.container("srt-a")).state.running


@conforms
async def test_a_wait_that_came_before_the_start_tells_the_exit(subject: Any) -> None:
    await subject.engine.create_container("srt-a", subject.spec("srt-a", PRINTS))
    exited = await subject.engine.wait_container("srt-a", WaitCondition.NEXT_EXIT)
    await subject.engine.start_container("srt-a")
    assert await exited == ExitStatus(3)
    assert await (await subject.engine.wait_container("srt-a")) == ExitStatus(3)
    assert (await subject.engine.container("srt-a")).state.exit_code == 3


@conforms
async def test_a_container_that_removes_itself_can_be_waited_for(subject: Any) -> None:
    await subject.engine.create_container("srt-a", subject.spec("srt-a", PRINTS, auto_remove=True))
    removed = await subject.engine.wait_container("srt-a", WaitCondition.REMOVED)
    await subject.engine.start_container("srt-a")
    assert (await removed).code == 3
    with pytest.raises(NotFound):
        await subject.engine.container("srt-a")


@conforms
async def test_kill_ends_a_container_and_refuses_nonsense(subject: Any) -> None:
    await started(subject, "srt-a")
    with pytest.raises(InvalidArgument, match=r"(?i)invalid signal: FOO"):
        await subject.engine.kill_container("srt-a", "FOO")
    exited = await subject.engine.wait_container("srt-a")
    await subject.engine.kill_container("srt-a")
    assert (await exited).code == 137
    with pytest.raises(Conflict, match="is not running"):
        await subject.engine.kill_container("srt-a")


@conforms
async def test_a_paused_container_is_left_alone(subject: Any) -> None:
    await started(subject, "srt-a")
    await subject.engine.pause_container("srt-a")
    assert (await subject.engine.container("srt-a")).state.status is Status.PAUSED
    with pytest.raises(Conflict, match="paused"):
        await subject.engine.create_exec("srt-a", ExecSpec(("true",)))
    await subject.engine.unpause_container("srt-a")
    assert (await subject.engine.container("srt-a")).state.status is Status.RUNNING
    with pytest.raises(StackrunError, match="is not paused"):
        await subject.engine.unpause_container("srt-a")


@conforms
async def test_a_running_container_is_removed_only_by_force(subject: Any) -> None:
    await started(subject, "srt-a")
    with pytest.raises(Conflict, match=r"(?i)container is running|cannot remove a running container"):
        await subject.engine.remove_container("srt-a")
    await subject.engine.remove_container("srt-a", force=True)
    with pytest.raises(NotFound):
        await subject.engine.container("srt-a")


@conforms
async def test_a_container_can_be_renamed_to_a_free_name(subject: Any) -> None:
    for name in ("srt-a", "srt-b"):
        await subject.engine.create_container(name, subject.spec(name, RUNS))
    with pytest.raises(Conflict, match="already in use"):
        await subject.engine.rename_container("srt-a", "srt-b")
    await subject.engine.rename_container("srt-a", "srt-c")
    assert (await subject.engine.container("srt-c")).name == "srt-c"


@conforms
async def test_a_restart_runs_it_again(subject: Any) -> None:
    await started(subject, "srt-a")
    first = (await subject.engine.container("srt-a")).state.started_at
    await subject.engine.restart_container("srt-a", timeout_s=5)
    state = (await subject.engine.container("srt-a")).state
    assert state.running
    assert state.started_at > first


@conforms
async def test_a_failing_container_is_restarted_as_often_as_its_policy_says(subject: Any) -> None:
    events = await subject.engine.events(filters=Filters({"container": ("srt-a",), "event": ("die",)}))
    await started(subject, "srt-a", Behaviour(exit_code=1), restart_policy=RestartPolicy("on-failure", 2))
    for _ in range(3):
        assert (await anext(events)).attributes["exitCode"] == "1"
    await events.aclose()
    exited = await subject.engine.wait_container("srt-a")
    assert (await exited).code == 1
    assert (await subject.engine.container("srt-a")).restart_count == 2


@conforms
async def test_a_healthcheck_reports(subject: Any) -> None:
    events = await subject.engine.events(filters=Filters({"container": ("srt-a",), "event": ("health_status",)}))
    check = Healthcheck(("CMD", "true"), interval_s=1, timeout_s=5, retries=2)
    await started(subject, "srt-a", healthcheck=check)
    assert (await anext(events)).action == "health_status: healthy"
    await events.aclose()
    told = await subject.engine.container("srt-a")
    assert told.state.health and told.state.health.status is HealthStatus.HEALTHY
    assert told.spec.healthcheck == check


# --- what a container says


@conforms
async def test_logs_keep_both_streams_apart_with_their_times(subject: Any) -> None:
    await started(subject, "srt-a", PRINTS)
    await (await subject.engine.wait_container("srt-a"))
    lines = [one async for one in await subject.engine.container_logs("srt-a", LogQuery())]
    assert sorted((one.stream, one.data) for one in lines) == [(1, b"out\n"), (2, b"err\n")]
    assert all(one.time.endswith("Z") and one.time > "2020" for one in lines)
    only = [one async for one in await subject.engine.container_logs("srt-a", LogQuery(stdout=False))]
    assert [one.data for one in only] == [b"err\n"]


@conforms
async def test_logs_can_begin_near_the_end(subject: Any) -> None:
    output = tuple((1, f"line {number}\n".encode()) for number in range(5))
    await started(subject, "srt-a", Behaviour(output=output, exit_code=0))
    await (await subject.engine.wait_container("srt-a"))
    lines = [one.data async for one in await subject.engine.container_logs("srt-a", LogQuery(tail=2))]
    assert lines == [b"line 3\n", b"line 4\n"]
    assert [one async for one in await subject.engine.container_logs("srt-a", LogQuery(tail=0))] == []


@conforms
async def test_followed_logs_end_with_the_container(subject: Any) -> None:
    await started(subject, "srt-a", Behaviour(output=((1, b"first\n"),)))
    lines = await subject.engine.container_logs("srt-a", LogQuery(follow=True))
    assert (await anext(aiter(lines))).data == b"first\n"
    await subject.engine.kill_container("srt-a")
    assert [one async for one in lines] == []


@conforms
async def test_an_attachment_that_came_before_the_start_misses_nothing(subject: Any) -> None:
    await subject.engine.create_container("srt-a", subject.spec("srt-a", PRINTS))
    stream = await subject.engine.attach_container("srt-a", AttachQuery())
    await subject.engine.start_container("srt-a")
    assert await everything(stream) == {1: b"out\n", 2: b"err\n"}
    await stream.close()


@conforms
async def test_closing_stdin_ends_the_input_and_not_the_output(subject: Any) -> None:
    await subject.engine.create_container("srt-a", subject.spec("srt-a", ECHOES, open_stdin=True, stdin_once=True))
    stream = await subject.engine.attach_container("srt-a", AttachQuery(stdin=True))
    await subject.engine.start_container("srt-a")
    await stream.write(b"typed ")
    await stream.write(b"twice\n")
    await stream.close_stdin()
    assert await everything(stream) == {1: b"typed twice\n"}
    await stream.close()
    assert (await (await subject.engine.wait_container("srt-a"))).code == 0


@conforms
async def test_events_tell_a_containers_life_in_order(subject: Any) -> None:
    events = await subject.engine.events(filters=Filters({"type": ("container",), "label": ("srt=conformance",)}))
    container = await started(subject, "srt-a", PRINTS)
    seen = []
    while "die" not in seen:
        event = await anext(events)
        assert event.id == container
        assert event.attributes["name"] == "srt-a"
        seen.append(event.action)
    await events.aclose()
    assert seen == ["create", "start", "die"]
    assert event.attributes["exitCode"] == "3"


@conforms
async def test_the_processes_of_a_container_are_listed(subject: Any) -> None:
    await started(subject, "srt-a")
    table = await subject.engine.container_top("srt-a")
    assert "PID" in table.titles
    assert any("sh" in process[-1] for process in table.processes)


# --- exec


async def executed(subject: Any, ref: str, command: tuple[str, ...], **more: Any) -> tuple[dict[int, bytes], int | None]:
    exec_id = await subject.engine.create_exec(ref, ExecSpec(command, **more))
    died = await subject.engine.events(filters=Filters({"container": (ref,), "event": ("exec_die",)}))
    stream = await subject.engine.start_exec(exec_id)
    if more.get("attach_stdin"):
        await stream.write(b"typed\n")
        await stream.close_stdin()
    output = await everything(stream)
    await stream.close()
    assert (await anext(died)).attributes["execID"] == exec_id
    await died.aclose()
    return output, (await subject.engine.exec(exec_id)).exit_code


@conforms
async def test_a_command_runs_in_a_running_container(subject: Any) -> None:
    await started(subject, "srt-a")
    assert await executed(subject, "srt-a", subject.exec_command(PRINTS)) == ({1: b"out\n", 2: b"err\n"}, 3)
    assert await executed(subject, "srt-a", subject.exec_command(ECHOES), attach_stdin=True) == ({1: b"typed\n"}, 0)


@conforms
async def test_a_command_needs_a_running_container(subject: Any) -> None:
    await subject.engine.create_container("srt-a", subject.spec("srt-a", RUNS))
    with pytest.raises(Conflict, match="is not running"):
        await subject.engine.create_exec("srt-a", ExecSpec(("true",)))


# --- choosing


@conforms
async def test_containers_are_chosen_by_filters(subject: Any) -> None:
    await started(subject, "srt-a", labels={**LABEL, "role": "db"})
    await subject.engine.create_container("srt-b", subject.spec("srt-b", RUNS))
    engine = subject.engine

    async def names(all: bool = True, **terms: tuple[str, ...]) -> list[str]:
        return [one.name for one in await engine.containers(all=all, filters=Filters({"label": ("srt=conformance",), **terms}))]

    assert await names() == ["srt-b", "srt-a"]
    assert await names(all=False) == ["srt-a"]
    assert await names(label=("srt=conformance", "role=db")) == ["srt-a"]
    assert await names(status=("created",), all=False) == ["srt-b"]
    assert await names(name=("^/?srt-b$",)) == ["srt-b"]
    with pytest.raises(InvalidArgument, match=r"(?i)invalid filter"):
        await names(foo=("x",))


# --- networks, volumes, images


@conforms
async def test_a_network_lives_and_holds_its_members(subject: Any) -> None:
    engine = subject.engine
    created = await engine.create_network(NetworkSpec("srt-net", labels=LABEL))
    with pytest.raises(Conflict, match="network with name srt-net already exists"):
        await engine.create_network(NetworkSpec("srt-net", labels=LABEL))
    endpoint = EndpointSpec("srt-net", aliases=("db",))
    container = await started(subject, "srt-a", network_mode="srt-net", endpoints=(endpoint,))
    network = await engine.network("srt-net")
    assert (network.id, network.spec.driver, network.spec.labels) == (created.id, "bridge", LABEL)
    assert [(one.container_id, one.name) for one in network.members] == [(container, "srt-a")]
    told = (await engine.container("srt-a")).endpoints
    assert [(one.network_name, one.network_id) for one in told] == [("srt-net", created.id)]
    assert "db" in told[0].aliases
    assert network.members[0].ipv4_address.startswith(told[0].ipv4_address)
    with pytest.raises(Forbidden, match="has active endpoints"):
        await engine.remove_network("srt-net")
    await engine.remove_container("srt-a", force=True)
    await engine.remove_network("srt-net")
    assert [one.name for one in await engine.networks(filters=Filters({"label": ("srt=conformance",)}))] == []


@conforms
async def test_a_container_can_be_on_several_networks(subject: Any) -> None:
    engine = subject.engine
    for name in ("srt-one", "srt-two", "srt-three"):
        await engine.create_network(NetworkSpec(name, labels=LABEL))
    joined = (EndpointSpec("srt-one"), EndpointSpec("srt-two", aliases=("second",)))
    await started(subject, "srt-a", network_mode="srt-one", endpoints=joined)
    assert {one.network_name for one in (await engine.container("srt-a")).endpoints} == {"srt-one", "srt-two"}
    await engine.connect_network("srt-three", "srt-a", EndpointSpec("srt-three"))
    await engine.disconnect_network("srt-one", "srt-a")
    assert {one.network_name for one in (await engine.container("srt-a")).endpoints} == {"srt-two", "srt-three"}


@conforms
async def test_one_takes_anothers_port_over(subject: Any) -> None:
    """Ours can, beyond Docker's API; an engine over HTTP is one that cannot, whoever it is."""
    engine = subject.engine
    assert await engine.version() and isinstance(engine, HandsOver) is not isinstance(engine, HttpEngine)
    if not isinstance(engine, HandsOver):
        return
    await engine.create_network(NetworkSpec("srt-net", labels=LABEL))
    keys = {"network_mode": "srt-net", "ports": (PortBinding(80, host_port=free_port()),)}
    old = await started(subject, "srt-old", **keys)
    new = (await engine.create_container("srt-new", subject.spec("srt-new", RUNS, **keys))).id

    async def owners() -> list[str]:
        return [one.name for one in await engine.containers() if any(port.host_port for port in one.ports)]

    await engine.start_container_beside(new, old)
    with pytest.raises(NotModified):
        await engine.start_container_beside(new, old)
    assert await owners() == ["srt-old"] and len(await engine.containers()) == 2
    for _ in range(2):
        await engine.take_over(new, drain_s=1.0)
        assert await owners() == ["srt-new"]
    await engine.take_over(old, drain_s=1.0)
    assert await owners() == ["srt-old"]
    await engine.remove_container(new, force=True)
    await engine.take_over(old, drain_s=1.0)
    assert await owners() == ["srt-old"]
    with pytest.raises(NotFound):
        await engine.take_over(new, drain_s=1.0)


@conforms
async def test_predefined_networks_stay(subject: Any) -> None:
    with pytest.raises(Forbidden, match="pre-defined network"):
        await subject.engine.remove_network("host")


@conforms
async def test_a_volume_lives_and_is_kept_while_used(subject: Any) -> None:
    engine = subject.engine
    created = await engine.create_volume(VolumeSpec("srt-vol", labels=LABEL))
    assert (created.name, created.driver, created.labels) == ("srt-vol", "local", LABEL)
    assert (await engine.create_volume(VolumeSpec("srt-vol", labels=LABEL))).mountpoint == created.mountpoint
    await engine.create_container("srt-a", subject.spec("srt-a", RUNS, mounts=(Mount(MountType.VOLUME, "/data", "srt-vol"),)))
    (point,) = (await engine.container("srt-a")).mounts
    assert (point.type, point.name, point.target, point.read_write) == (MountType.VOLUME, "srt-vol", "/data", True)
    with pytest.raises(Conflict, match="volume is in use"):
        await engine.remove_volume("srt-vol")
    await engine.remove_container("srt-a")
    await engine.remove_volume("srt-vol")
    with pytest.raises(NotFound):
        await engine.remove_volume("srt-vol")
    await engine.remove_volume("srt-vol", force=True)


@conforms
async def test_anonymous_volumes_go_with_their_container_when_asked(subject: Any) -> None:
    engine = subject.engine
    await engine.create_container("srt-a", subject.spec("srt-a", RUNS, mounts=(Mount(MountType.VOLUME, "/data"),)))
    (point,) = (await engine.container("srt-a")).mounts
    await engine.volume(point.name)
    await engine.remove_container("srt-a", volumes=True)
    with pytest.raises(NotFound):
        await engine.volume(point.name)


@conforms
async def test_images_are_tagged_chosen_and_removed(subject: Any) -> None:
    engine = subject.engine
    image = await engine.image(subject.image)
    await engine.tag_image(subject.image, "srt/other:2")
    assert set((await engine.image(image.id)).repo_tags) >= {subject.image, "srt/other:2"}
    (found,) = await engine.images(filters=Filters({"reference": ("srt/other",)}))
    assert found.id == image.id
    deletions = await engine.remove_image("srt/other:2")
    assert [one.untagged for one in deletions if one.untagged] == ["srt/other:2"]
    with pytest.raises(NotFound, match=r"No such image: srt/other:2"):
        await engine.image("srt/other:2")
    with pytest.raises(StackrunError, match="must be lowercase"):  # 400; dockerd before 26 says 500
        await engine.tag_image(subject.image, "UPPER:1")


@conforms
async def test_an_image_in_use_is_kept(subject: Any) -> None:
    await subject.engine.create_container("srt-a", subject.spec("srt-a", RUNS))
    with pytest.raises(Conflict, match=r"unable to remove repository reference .*container [0-9a-f]{12} is using"):
        await subject.engine.remove_image(subject.image)


@conforms
async def test_the_engine_tells_about_itself(subject: Any) -> None:
    version, info = await subject.engine.version(), await subject.engine.info()
    assert version.os == "linux"
    assert version.version == info.server_version
    assert tuple(map(int, version.api_version.split("."))) >= (1, 41)
    assert info.cpus >= 1 and info.memory_total_bytes > 0
