"""kill -9 of daemon, zygote, shim, init and exec at every step of create, start, exec, stop and remove, one by one.

After each the container can be started again and removed, and then nothing is left of it on the host.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from engines import BUSYBOX, add_busybox, engine_on, execute, remove_everything, until
from faults import ZYGOTE, Faults, mark
from free_ports import free_port

from stackrun.api.types import ContainerSpec, EndpointSpec, Mount, MountType, NetworkSpec, PortBinding
from stackrun.engine.local import LocalEngine, instance
from stackrun.errors import NotFound, NotModified, StackrunError
from stackrun.kernel import cgroup, netlink
from stackrun.runtime import interpreter, trace
from stackrun.runtime.state import is_alive, start_ticks

NAME = "victim"
_MANY = ("bind", "link", "make", "mask", "mount")
"""Of init's steps to make the root file system, the last of each kind stands for all, unless STACKRUN_EVERY_STEP is set."""
_SAMPLES = 4
"""So many of the daemon's steps are tried, evenly spread, unless STACKRUN_EVERY_STEP is set."""
_MOMENT_S = 0.02


class Scene:
    """A state root with a network, and one container on it that has a published port, a name and a volume of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults = Faults(str(root / "faults"))
        self.port = free_port()
        self.ids: set[str] = set()
        self.bridges: list[str] = []

    async def furnish(self, engine: LocalEngine) -> None:
        await add_busybox(engine, self.root)
        network = await engine.create_network(NetworkSpec("lan"))
        self.bridges.append(f"sr-{network.id[:12]}")

    async def create(self, engine: LocalEngine) -> None:
        spec = ContainerSpec(
            image=BUSYBOX,
            command=("sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.02; done"),
            ports=(PortBinding(80, host_ip="127.0.0.1", host_port=self.port),),
            network_mode="lan",
            mounts=(Mount(MountType.VOLUME, "/data"),),
        )
        self.ids.add((await engine.create_container(NAME, spec)).id)

    async def check_usable(self, engine: LocalEngine) -> None:
        """Whatever has become of it: it starts, works, and goes."""
        for one in await engine.containers(all=True):
            self.ids.add(one.id)
            try:
                await engine.start_container(NAME)
            except NotModified:
                pass
            assert await execute(engine, NAME, "cat", "/etc/hostname") == (0, f"{one.id[:12]}\n")
            await engine.remove_container(NAME, force=True, volumes=True)

    async def check_clean(self, step: str) -> None:
        """Processes and namespaces take the kernel a moment."""

        async def clean() -> bool | None:
            return True if not self.left() else None

        try:
            await until(clean, 5)
        except TimeoutError:
            raise AssertionError(f"killed at {step!r}, left: {self.left()}") from None

    def left(self) -> list[str]:
        """What no removed container may leave."""
        places = ("run/c", "state/containers", "state/volumes")
        found = [str(one) for place in places for one in (self.root / place).iterdir()]
        found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.root) in line]
        found += [f"{pid} {name}" for pid, name in self.faults.holders() if pid != os.getpid() and name != "stackrun-zygote"]
        for point in cgroup.detect().mount_points:
            found += [f"{point}: {one}" for one in self.ids if os.path.exists(f"{point}/stackrun/{one}")]
        found += [str(one) for bridge in self.bridges for one in Path(f"/sys/class/net/{bridge}/brif").iterdir()]
        table = f"stackrun-{instance(str(self.root / 'state'))}"
        rules = subprocess.run(["nft", "list", "table", "ip", table], capture_output=True, text=True, check=False).stdout
        return found + [line.strip() for line in rules.splitlines() if str(self.port) in line]


@pytest.fixture
def scene(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    made = Scene(short_tmp)
    monkeypatch.setattr(interpreter, "_ZYGOTE", ZYGOTE)
    monkeypatch.setattr(trace, "mark", mark)
    monkeypatch.setattr(trace, "_who", ["daemon", ""])
    monkeypatch.setattr(trace, "fd", made.faults.fd)
    yield made
    made.faults.close()


async def _start(engine: LocalEngine) -> None:
    await engine.start_container(NAME)


async def _exec(engine: LocalEngine) -> None:
    await execute(engine, NAME, "true")


async def _stop(engine: LocalEngine) -> None:
    await engine.stop_container(NAME)


async def _remove(engine: LocalEngine) -> None:
    await engine.remove_container(NAME, force=True, volumes=True)


VERBS: dict[str, Callable[[LocalEngine], Awaitable[None]]] = {"start": _start, "exec": _exec, "stop": _stop, "remove": _remove}


async def _kill_init(faults: Faults) -> None:
    async def waits() -> bool | None:
        return faults.init_waits() or None

    await until(waits)
    for pid, _ in faults.holders():
        if Path(f"/proc/{pid}/status").read_text().partition("NSpid:")[2].split()[1] == "1":
            pid_fd = os.pidfd_open(pid)
            signal.pidfd_send_signal(pid_fd, signal.SIGKILL)
            select.select([pid_fd], [], [], 10)
            os.close(pid_fd)


async def _settled(engine: LocalEngine) -> None:
    """The engine has heard of every end there was; one that nobody has waited for yet is an end as well."""

    async def heard() -> bool | None:
        try:
            state = (await engine.container(NAME)).state
        except NotFound:
            return True
        return True if not state.running or is_alive(state.pid, start_ticks(state.pid)) else None

    await until(heard)


@pytest.mark.parametrize("verb", VERBS)
def test_a_process_at_any_step(scene: Scene, verb: str) -> None:
    """The engine lives on, and says why it failed if it did."""

    async def prepare(engine: LocalEngine) -> None:
        await scene.create(engine)
        if verb != "start":
            await engine.start_container(NAME)
        await asyncio.sleep(_MOMENT_S)  # `steps` that belong to the start have been written
        scene.faults.reached()

    async def scenario() -> None:
        async with engine_on(scene.root) as engine:
            await scene.furnish(engine)
            await prepare(engine)
            await VERBS[verb](engine)
            await asyncio.sleep(_MOMENT_S)
            steps = [step for step in dict.fromkeys(scene.faults.reached()) if not step.startswith("daemon ")]
            await scene.check_usable(engine)
            if not os.environ.get("STACKRUN_EVERY_STEP"):
                steps = list({" ".join(step.split()[:2]) if step.split()[1] in _MANY else step: step for step in steps}.values())
            for step in steps:
                await prepare(engine)
                scene.faults.arm(step)
                try:
                    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                        killer = group.create_task(_kill_init(scene.faults))
                        await VERBS[verb](engine)
                        killer.cancel()
                except* (StackrunError, AssertionError):
                    pass
                scene.faults.disarm()
                await _settled(engine)
                try:
                    await scene.check_usable(engine)
                except (StackrunError, AssertionError) as error:
                    raise AssertionError(f"killed at {step!r}: {error!r}") from error
                await scene.check_clean(step)
            await engine.remove_network("lan")

    asyncio.run(scenario())


# --- the daemon ---

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.posix_spawn", "socket.connect", "socket.sendmsg", "socket.sendto"}


class Countdown:
    """Kills this process at the `last`-th change that it is about to make or step that it has made; 0 counts alone."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.count = 0
        self.is_on = False
        sys.addaudithook(self._about)

    def _about(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.is_on and (event in _CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES)):
            self.step()

    def step(self, *_: object) -> None:
        if self.is_on:
            self.count += 1
            if self.count == self.last:
                os.kill(os.getpid(), signal.SIGKILL)


Act = Callable[[LocalEngine, Countdown], Awaitable[object]]
"""In an engine of another process; from where it switches the countdown on its steps are counted, and cut short."""


def _in_a_daemon(scene: Scene, act: Act, last: int) -> int:
    """How many steps it takes; -1 when it was killed at the `last` one."""
    answer, told = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if not pid:
        try:
            count = asyncio.run(_counted(scene, act, last))
            os.write(told, str(count).encode())
        except BaseException as error:
            os.write(told, repr(error).encode())
        finally:
            os._exit(0)
    os.close(told)
    text = os.read(answer, 1000).decode()
    os.close(answer)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert text.isdecimal() or status == -signal.SIGKILL, text
    return int(text or -1)


async def _counted(scene: Scene, act: Act, last: int) -> int:
    countdown = Countdown(last)
    trace.mark = countdown.step
    send = netlink.Connection._sendmsg

    def sent(self: netlink.Connection, data: bytes, requests: Sequence[netlink.Request]) -> None:
        countdown.step()  # send(2) is nothing that audit hooks are told of
        send(self, data, requests)
        countdown.step()

    netlink.Connection._sendmsg = sent  # type: ignore[method-assign]
    engine = LocalEngine.open(str(scene.root / "state"), str(scene.root / "run"))
    await engine.start()
    await act(engine, countdown)
    countdown.is_on = False
    await engine.close()
    return countdown.count


def _of_a_container(scene: Scene, verb: str) -> Act:
    async def act(engine: LocalEngine, countdown: Countdown) -> None:
        if verb != "create":
            await scene.create(engine)
        if verb in ("exec", "stop", "remove"):
            await engine.start_container(NAME)
        countdown.is_on = True
        await (scene.create(engine) if verb == "create" else VERBS[verb](engine))

    return act


@pytest.mark.parametrize("verb", ["create", *VERBS])
def test_the_daemon_at_any_step(scene: Scene, verb: str) -> None:
    """The next one on the same root has a container that can be used, or none."""

    async def furnish() -> None:
        async with engine_on(scene.root) as engine:
            await scene.furnish(engine)

    async def look(step: int) -> None:
        async with engine_on(scene.root) as engine:
            try:
                await scene.check_usable(engine)
            except (StackrunError, AssertionError) as error:
                raise AssertionError(f"daemon killed at {step}: {error!r}") from error
            await scene.check_clean(f"daemon {step}")

    async def dismantle() -> None:
        async with engine_on(scene.root) as engine:
            await engine.remove_network("lan")

    asyncio.run(furnish())
    act = _of_a_container(scene, verb)
    steps = _in_a_daemon(scene, act, 0)
    assert steps
    asyncio.run(look(0))
    stride = 1 if os.environ.get("STACKRUN_EVERY_STEP") else max(1, steps // _SAMPLES)
    for step in range(1, steps + 1, stride):
        _in_a_daemon(scene, act, step)
        asyncio.run(look(step))
    asyncio.run(dismantle())


async def _make_network(engine: LocalEngine, countdown: Countdown) -> None:
    countdown.is_on = True
    await engine.create_network(NetworkSpec("lan"))


async def _remove_network(engine: LocalEngine, countdown: Countdown) -> None:
    await engine.create_network(NetworkSpec("lan"))
    countdown.is_on = True
    await engine.remove_network("lan")


async def _wake_bridge(engine: LocalEngine, countdown: Countdown) -> None:
    """The first container of `bridge` has its bridge made; it is about nothing else."""
    await engine.create_container(NAME, ContainerSpec(image=BUSYBOX, command=("true",)))
    countdown.is_on = True
    networks = engine._networks
    await networks._awake([EndpointSpec("bridge")], tuple)


@pytest.mark.parametrize("act", [_make_network, _remove_network, _wake_bridge])
def test_the_daemon_at_any_step_of_a_network(scene: Scene, act: Act) -> None:
    """The next one has it with its bridge, or neither, and can remove it: no bridge is nobody's."""

    async def look(step: int) -> None:
        async with engine_on(scene.root) as engine:
            recorded = {f"sr-{one.id[:12]}" for one in await engine.networks() if one.spec.driver == "bridge" and one.spec.pools}
            made = {link.name for link in _bridges() if link.alias.startswith(f"{owner}:")}
            assert made == recorded, f"daemon killed at {step}"
            await remove_everything(engine)
        await until(lambda: _nobodys(before), 5)
        assert not [link.name for link in _bridges() if link.alias.startswith(f"{owner}:")]

    async def furnish() -> None:
        async with engine_on(scene.root) as engine:
            await add_busybox(engine, scene.root)

    owner, before = f"stackrun-{instance(str(scene.root / 'state'))}", frozenset(_bridges())
    asyncio.run(furnish())
    steps = _in_a_daemon(scene, act, 0)
    assert steps
    asyncio.run(look(0))
    every = act is _make_network or os.environ.get("STACKRUN_EVERY_STEP")
    for step in range(1, steps + 1, 1 if every else max(1, steps // _SAMPLES)):
        _in_a_daemon(scene, act, step)
        asyncio.run(look(step))


def _bridges() -> list[netlink.Link]:
    with closing(netlink.Connection(netlink.ROUTE)) as connection:
        return [link for link in netlink.links(connection) if link.name.startswith("sr-")]


async def _nobodys(before: frozenset[netlink.Link]) -> bool | None:
    """Whether all new ones say whose they are; another test's are made at this moment, perhaps."""
    return None if [link for link in _bridges() if not link.alias and link not in before] else True
