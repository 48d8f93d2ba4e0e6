"""The container half of the fake engine: states, scripted exits and health, logs, attach, exec."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace

from fakes.networks import FakeNetworks
from fakes.processes import Box, Console, Execution, FakeStream, Typing
from fakes.world import now

from stackrun.api import labels
from stackrun.api.filters import select_containers
from stackrun.api.types import (
    NO_FILTERS,
    AttachQuery,
    Container,
    ContainerSpec,
    ContainerState,
    Created,
    EndedBy,
    Endpoint,
    EndpointSpec,
    Exec,
    ExecSpec,
    ExitStatus,
    Filters,
    Health,
    HealthProbe,
    HealthStatus,
    LogLine,
    LogQuery,
    MountPoint,
    MountType,
    ProcessTable,
    PublishedPort,
    Resources,
    RestartPolicy,
    Status,
    Volume,
    WaitCondition,
)
from stackrun.api.wire.times import epoch_ns
from stackrun.errors import CommandNotFound, Conflict, InvalidArgument, NotFound, NotModified, StackrunError

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "USR1": 10, "USR2": 12, "TERM": 15, "CONT": 18, "STOP": 19, "WINCH": 28}
_HARMLESS = frozenset({10, 12, 18, 28})
_KILLED = 137
_BACKOFF_S, _BACKOFF_LIMIT_S = 0.01, 1.0


class FakeContainers(FakeNetworks):
    # --- what a test does to a running process

    async def exit(self, ref: str, code: int = 0) -> None:
        """The process ends by itself; its restart policy is applied."""
        self._ended(self.box(ref), code)
        await asyncio.sleep(0)

    async def set_health(self, ref: str, status: str) -> None:
        self._report_health(self.box(ref), status)
        await asyncio.sleep(0)

    def print(self, ref: str, data: bytes, *, stream: int = 1) -> None:
        self.box(ref).console.print(stream, data, now())

    # --- looking

    async def containers(self, *, all: bool = False, filters: Filters = NO_FILTERS, size: bool = False) -> tuple[Container, ...]:
        every = tuple(self._view(one) for one in reversed(self.boxes.values()))
        return select_containers(every, filters, all=all, images=tuple(self.images_by_id.values()))

    async def container(self, ref: str, *, size: bool = False) -> Container:
        view = self._view(self.box(ref))
        return replace(view, size_rw_bytes=0, size_root_bytes=1_000_000) if size else view

    def _view(self, box: Box) -> Container:
        path, *args = (*(box.spec.entrypoint or ()), *(box.spec.command or ()))
        published = [
            PublishedPort(one.container_port, one.protocol, one.host_ip or "0.0.0.0", box.published[one.container_port, one.protocol])
            for one in box.spec.ports if (one.container_port, one.protocol) in box.published
        ]  # fmt: skip
        return Container(
            id=box.id, name=box.name, created=box.created, path=path, args=tuple(args), image_id=box.image_id, spec=box.spec,
            state=box.state, mounts=box.mounts, endpoints=tuple(self._endpoint(box, *one) for one in box.joined.items()),
            ports=tuple(published), restart_count=box.restart_count,
            exec_ids=tuple(one.id for one in self.executions.values() if one.box is box and one.running),
        )  # fmt: skip

    def _endpoint(self, box: Box, network_id: str, spec: EndpointSpec) -> Endpoint:
        network = self.networks_by_id[network_id]
        address = box.addresses.get(network_id, "")
        gateway = network.spec.pools[0].gateway if network.spec.pools and address else ""
        aliases = (*spec.aliases, box.id[:12])
        while_running = {"endpoint_id": box.id, "ipv4_prefix_length": 16, "mac_address": "02:42:ac:00:00:01"} if address else {}
        return Endpoint(
            network.name, network_id, ipv4_address=address, ipv4_gateway=gateway, aliases=aliases, dns_names=(box.name, *aliases),
            spec=spec, **while_running,  # type: ignore[arg-type]
        )  # fmt: skip

    # --- life

    async def create_container(self, name: str, spec: ContainerSpec) -> Created:
        await self.enter("create_container", name)
        self._check_name(name)
        image = self.image_named(spec.image)
        if any(one.name == name for one in self.boxes.values()):
            holder = next(one for one in self.boxes.values() if one.name == name)
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{holder.id}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )
        config = image.config
        merged = replace(
            spec,
            command=spec.command if spec.command is not None else (config.command or None) if not spec.entrypoint else None,
            entrypoint=spec.entrypoint if spec.entrypoint is not None else (config.entrypoint or None),
            environment=_merged_environment(config.environment, spec.environment),
            labels={**config.labels, **spec.labels}, user=spec.user or config.user, working_dir=spec.working_dir or config.working_dir,
            healthcheck=spec.healthcheck or config.healthcheck, stop_signal=spec.stop_signal or config.stop_signal,
            network_mode=spec.network_mode or "default",
        )  # fmt: skip
        if not (merged.entrypoint or merged.command):
            raise InvalidArgument("no command specified")
        new = self.new_id()
        mounts, anonymous = self._mount_points(merged, new)
        box = Box(
            new, name or f"fake_{len(self.boxes) + 1}", now(), image.id, replace(merged, hostname=merged.hostname or new[:12]),
            self._joined(merged), mounts, Console(merged.tty), anonymous,
        )  # fmt: skip
        self.boxes[new] = box
        self._emit(box, "create")
        return Created(new)

    def _check_name(self, name: str) -> None:
        if name and not _NAME.fullmatch(name):
            raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")

    def _joined(self, spec: ContainerSpec) -> dict[str, EndpointSpec]:
        if spec.network_mode.startswith("container:"):
            return {}
        first = "bridge" if spec.network_mode == "default" else spec.network_mode
        specs = {one.network: one for one in spec.endpoints}
        if first not in specs and not (spec.endpoints and first == "bridge"):
            specs = {first: EndpointSpec(first), **specs}
        return {self.find_network(name).id: one for name, one in specs.items()}

    def _mount_points(self, spec: ContainerSpec, container_id: str) -> tuple[tuple[MountPoint, ...], tuple[str, ...]]:
        points, anonymous = [], []
        for mount in spec.mounts:
            if mount.type is not MountType.VOLUME:
                points.append(MountPoint(mount.type, mount.target, mount.source, read_write=not mount.read_only))
                continue
            name = mount.source or self.new_id()
            anonymous += [] if mount.source else [name]
            volume = self.volumes_by_name.setdefault(name, Volume(name, f"/fake/volumes/{name}/_data", now()))
            points.append(MountPoint(MountType.VOLUME, mount.target, volume.mountpoint, name, "local", read_write=not mount.read_only))
        return tuple(points), tuple(anonymous)

    async def start_container(self, ref: str) -> None:
        box = self.box(ref)
        await self.enter("start_container", box.name)
        if box.state.running:
            raise NotModified(f"container {box.id} is already running")
        box.manually_stopped = False
        self._start(box)

    async def start_container_beside(self, ref: str, other: str) -> None:
        """As `start_container`: ports that both have stay with `other` until `take_over`, or its end."""
        box = self.box(ref)
        beside = next((one.id for one in self.boxes.values() if other in (one.id, one.name) and one.state.running), "")
        await self.enter("start_container_beside", box.name)
        if box.state.running:
            raise NotModified(f"container {box.id} is already running")
        box.manually_stopped, box.beside = False, beside
        self._start(box)

    async def take_over(self, ref: str, *, drain_s: float) -> None:
        box = self.box(ref)
        await self.enter("take_over", box.name)
        self._must_run(box)
        self._give_ports(box)

    def _give_ports(self, box: Box) -> None:
        other = self.boxes.get(box.beside)
        if other and other.state.running:
            moved = {key: port for key, port in other.published.items() if port in box.waiting.values()}
            other.published = {key: port for key, port in other.published.items() if key not in moved}
            other.waiting, other.beside = moved, box.id
        for third in self.boxes.values():
            if third is not box and third.beside and third.beside == box.beside:
                third.beside = box.id
        box.published, box.waiting, box.beside = {**box.published, **box.waiting}, {}, ""

    def _start(self, box: Box) -> None:
        box.behaviour = self.behaviour_of(box.name, box.spec.labels.get(labels.SERVICE, ""), box.spec.image)
        if box.behaviour.start_error:
            code = 127 if isinstance(box.behaviour.start_error, CommandNotFound) else 128
            box.state = ContainerState(exit_code=code, error=box.behaviour.start_error.message)
            raise box.behaviour.start_error
        self._take_ports(box)
        box.addresses = {one: self.new_address(one) for one in box.joined}
        box.run += 1
        healthcheck = box.spec.healthcheck
        has_health = healthcheck is not None and healthcheck.test[:1] not in ((), ("NONE",))
        box.state = ContainerState(
            Status.RUNNING, pid=1000 + box.run, started_at=now(), finished_at=box.state.finished_at,
            health=Health(HealthStatus.STARTING) if has_health else None,
        )  # fmt: skip
        self._emit(box, "start")
        loop, run = asyncio.get_running_loop(), box.run
        for stream, data in box.behaviour.output:
            box.console.print(stream, data, now())
        if has_health:
            for status in box.behaviour.health:
                loop.call_soon(self._report_health_of, box, run, status)
        waiting, box.waiting_input = box.waiting_input, []
        for data in waiting:
            loop.call_soon(self.typed, box, data)
        if box.behaviour.exit_code is not None and not box.behaviour.echo:
            code = box.behaviour.exit_code
            loop.call_soon(lambda: self._ended(box, code) if box.run == run else None)

    def typed(self, box: Box, data: bytes) -> None:
        """Input for the process, b"" for its end; it waits for a process that has not begun."""
        if not box.state.running:
            box.waiting_input.append(data)
        elif box.behaviour.echo and data:
            box.console.print(1, data, now())
        elif box.behaviour.echo:
            self._ended(box, box.behaviour.exit_code or 0)

    def _take_ports(self, box: Box) -> None:
        beside = self.boxes.get(box.beside)
        shared = {*beside.published.values(), *beside.waiting.values()} if beside else set()
        others = (one for one in self.boxes.values() if one is not box and one is not beside)
        taken = {port: other for other in others for port in other.published.items()}
        for one in box.spec.ports:
            for (_, protocol), host_port in taken:
                if one.host_port == host_port and one.protocol == protocol:
                    raise Conflict(f"port {host_port}/{protocol} on {one.host_ip or '0.0.0.0'} is taken by another container")
        ports = {(one.container_port, one.protocol): one.host_port or self.new_port() for one in box.spec.ports}
        box.published = {key: port for key, port in ports.items() if port not in shared}
        box.waiting = {key: port for key, port in ports.items() if port in shared}

    def _ended(self, box: Box, code: int, *, killed_by: str = "") -> None:
        """The process is gone: state, events, waiters, restart policy, --rm."""
        if not box.state.running:
            return
        box.run += 1
        ended_by = EndedBy.CALLER if box.manually_stopped else EndedBy.ITSELF
        box.state = replace(box.state, status=Status.EXITED, pid=0, exit_code=code, finished_at=now(), ended_by=ended_by)
        box.addresses, box.published, box.waiting = {}, {}, {}
        heir = next((one for one in self.boxes.values() if one.beside == box.id and one.state.running), None)
        if heir:
            self._give_ports(heir)
        for execution in self.executions.values():
            if execution.box is box and execution.running:
                self._exec_ended(execution, _KILLED)
        box.console.end()
        self._emit(box, "die", exitCode=str(code))
        for waiter in box.exit_waiters:
            if not waiter.done():
                waiter.set_result(ExitStatus(code))
        box.exit_waiters.clear()
        if self._restarts(box, code):
            box.state = replace(box.state, status=Status.RESTARTING)
            delay_s, run = min(_BACKOFF_S * 2**box.restart_count, _BACKOFF_LIMIT_S), box.run
            asyncio.get_running_loop().call_later(delay_s, lambda: self._restart_by_policy(box) if box.run == run else None)
        elif box.spec.auto_remove:
            asyncio.get_running_loop().call_soon(self._forget, box)

    def _restarts(self, box: Box, code: int) -> bool:
        policy = box.spec.restart_policy
        if box.manually_stopped or policy.name == "no":
            return False
        within = not policy.maximum_retries or box.restart_count < policy.maximum_retries
        return policy.name in ("always", "unless-stopped") or (code != 0 and within)

    def _restart_by_policy(self, box: Box) -> None:
        box.restart_count += 1
        try:
            self._start(box)
        except StackrunError as error:
            box.state = replace(box.state, status=Status.EXITED, error=error.message)

    async def stop_container(self, ref: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        box = self.box(ref)
        await self.enter("stop_container", box.name)
        if not box.state.running:
            raise NotModified(f"container {box.id} is not running")
        self._stop(box)

    def _stop(self, box: Box) -> None:
        box.manually_stopped = True
        code = box.behaviour.stop_code
        self._emit(box, "kill", signal="15")
        self._ended(box, _KILLED if code is None else code)
        self._emit(box, "stop")

    async def restart_container(self, ref: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        box = self.box(ref)
        await self.enter("restart_container", box.name)
        if box.state.running:
            self._stop(box)
        box.manually_stopped = False
        self._start(box)
        self._emit(box, "restart")

    async def kill_container(self, ref: str, signal: str = "SIGKILL") -> None:
        box = self.box(ref)
        await self.enter("kill_container", box.name)
        number = int(signal) if signal.isdigit() else _SIGNALS.get(signal.upper().removeprefix("SIG"), 0)
        if not number:
            raise InvalidArgument(f"cannot kill container: {ref}: invalid signal: {signal}")
        if not box.state.running:
            raise Conflict(f"cannot kill container: {ref}: container {box.id} is not running")
        box.manually_stopped = True
        self._emit(box, "kill", signal=str(number))
        if number not in _HARMLESS:
            self._ended(box, 128 + number)

    async def pause_container(self, ref: str) -> None:
        box = self.box(ref)
        await self.enter("pause_container", box.name)
        if box.state.status is Status.PAUSED:
            raise Conflict(f"Container {box.id} is already paused")
        self._must_run(box)
        box.state = replace(box.state, status=Status.PAUSED)
        self._emit(box, "pause")

    async def unpause_container(self, ref: str) -> None:
        box = self.box(ref)
        await self.enter("unpause_container", box.name)
        if box.state.status is not Status.PAUSED:
            raise StackrunError(f"Container {box.id} is not paused")
        box.state = replace(box.state, status=Status.RUNNING)
        self._emit(box, "unpause")

    def _must_run(self, box: Box) -> None:
        if not box.state.running:
            raise Conflict(f"container {box.id} is not running")

    async def rename_container(self, ref: str, name: str) -> None:
        box = self.box(ref)
        await self.enter("rename_container", f"{box.name} {name}")
        self._check_name(name)
        if any(one.name == name for one in self.boxes.values()):
            raise Conflict(f'Error when allocating new name: Conflict. The container name "/{name}" is already in use')
        old, box.name = box.name, name
        self._emit(box, "rename", oldName=f"/{old}")

    async def update_container(self, ref: str, resources: Resources | None, restart_policy: RestartPolicy | None) -> tuple[str, ...]:
        box = self.box(ref)
        await self.enter("update_container", box.name)
        box.spec = replace(box.spec, resources=resources or box.spec.resources, restart_policy=restart_policy or box.spec.restart_policy)
        self._emit(box, "update")
        return ()

    async def remove_container(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        box = self.box(ref)
        await self.enter("remove_container", box.name)
        if box.state.running and not force:
            raise Conflict(
                f'cannot remove container "/{box.name}": container is running: stop the container before removing or force remove'
            )
        box.manually_stopped = True
        self._ended(box, _KILLED)
        for name in box.anonymous if volumes or box.spec.auto_remove else ():
            self.volumes_by_name.pop(name, None)
        self._forget(box)

    def _forget(self, box: Box) -> None:
        if self.boxes.pop(box.id, None) is None:
            return
        self._emit(box, "destroy")
        for waiter in (*box.removal_waiters, *box.exit_waiters):
            if not waiter.done():
                waiter.set_result(ExitStatus(box.state.exit_code))

    async def wait_container(self, ref: str, condition: WaitCondition = WaitCondition.NOT_RUNNING) -> Awaitable[ExitStatus]:
        box = self.box(ref)
        future: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        if condition is WaitCondition.REMOVED:
            box.removal_waiters.append(future)
        elif condition is WaitCondition.NOT_RUNNING and not box.state.running:
            future.set_result(ExitStatus(box.state.exit_code))
        else:
            box.exit_waiters.append(future)
        return future

    def _report_health_of(self, box: Box, run: int, status: str) -> None:
        if box.run == run:
            self._report_health(box, status)

    def _report_health(self, box: Box, status: str) -> None:
        health = box.state.health
        if not box.state.running or health is None:
            return
        good = status == HealthStatus.HEALTHY
        probe = HealthProbe(now(), now(), 0 if good else 1, "")
        box.state = replace(
            box.state, health=Health(HealthStatus(status), 0 if good else health.failing_streak + 1, (*health.log[-4:], probe))
        )
        self._emit(box, f"health_status: {status}")

    def _emit(self, box: Box, action: str, **more: str) -> None:
        self.emit("container", action, box.id, {**box.spec.labels, "image": box.spec.image, "name": box.name, **more})

    # --- streams

    async def resize_container(self, ref: str, *, rows: int, columns: int) -> None:
        self.box(ref).size = (rows, columns)

    async def attach_container(self, ref: str, query: AttachQuery) -> FakeStream:
        box = self.box(ref)
        if box.state.status is Status.PAUSED:
            raise Conflict(f"container {ref} is paused, unpause the container before attach")
        wanted = frozenset(stream for stream, asked in ((1, query.stdout), (2, query.stderr)) if asked)
        past = tuple(line for line in box.console.log if line.stream in wanted) if query.logs else ()
        return FakeStream(box.console, wanted, _ContainerTyping(self, box) if query.stdin else Typing(), past=past, live=query.stream)

    async def container_logs(self, ref: str, query: LogQuery) -> AsyncIterator[LogLine]:
        box = self.box(ref)
        if box.spec.log_config.driver == "none":
            raise StackrunError("configured logging driver does not support reading")
        return self._read_log(box, query)

    async def _read_log(self, box: Box, query: LogQuery) -> AsyncIterator[LogLine]:
        def wanted(line: LogLine) -> bool:
            at = epoch_ns(line.time) / 1e9
            stream = query.stdout if line.stream == 1 else query.stderr
            return stream and at >= query.since_s and not (query.until_s and at > query.until_s)

        queue = box.console.subscribe()
        try:
            past, position = [line for line in box.console.log if wanted(line)], len(box.console.log)
            for line in past if query.tail is None else past[len(past) - min(query.tail, len(past)) :]:
                yield line
            while query.follow and (position < len(box.console.log) or box.state.running):
                if position == len(box.console.log):
                    await queue.get()
                fresh, position = box.console.log[position:], len(box.console.log)
                for line in filter(wanted, fresh):
                    yield line
        finally:
            box.console.unsubscribe(queue)

    async def container_top(self, ref: str, ps_args: str = "-ef") -> ProcessTable:
        box = self.box(ref)
        self._must_run(box)
        command = " ".join((*(box.spec.entrypoint or ()), *(box.spec.command or ())))
        return ProcessTable(("UID", "PID", "PPID", "CMD"), (("root", str(box.state.pid), "1", command),))

    # --- exec

    async def create_exec(self, ref: str, spec: ExecSpec) -> str:
        box = self.box(ref)
        if box.state.status is Status.PAUSED:
            raise Conflict(f"Container {ref} is paused, unpause the container before exec")
        self._must_run(box)
        new = self.new_id()
        self.executions[new] = Execution(new, box, spec, Console(spec.tty))
        self._emit(box, f"exec_create: {' '.join(spec.command)}", execID=new)
        return new

    def _execution(self, exec_id: str) -> Execution:
        if exec_id not in self.executions:
            raise NotFound(f"No such exec instance: {exec_id}")
        return self.executions[exec_id]

    async def start_exec(self, exec_id: str, *, tty: bool = False, rows: int = 0, columns: int = 0) -> FakeStream:
        execution = self._execution(exec_id)
        if execution.started:
            raise Conflict(f"Error: Exec command {exec_id} has already run")
        stream = FakeStream(execution.console, frozenset({1, 2}), _ExecTyping(self, execution))
        self._run_exec(execution)
        return stream

    async def start_exec_detached(self, exec_id: str) -> None:
        self._run_exec(self._execution(exec_id))

    def _run_exec(self, execution: Execution) -> None:
        behaviour = self.exec_behaviour_of(execution.spec.command)
        execution.started = execution.running = True
        self._emit(execution.box, f"exec_start: {' '.join(execution.spec.command)}", execID=execution.id)
        code = behaviour.exit_code
        if behaviour.start_error:
            execution.console.print(1, f"{behaviour.start_error.message}\r\n".encode(), now())
            code = behaviour.start_error.exit_code
        for stream, data in behaviour.output:
            execution.console.print(stream, data, now())
        if code is not None and not behaviour.echo:
            self._exec_ended(execution, code)

    def _exec_ended(self, execution: Execution, code: int) -> None:
        execution.running, execution.exit_code = False, code
        execution.console.end()
        self._emit(execution.box, "exec_die", execID=execution.id, exitCode=str(code))

    async def exec(self, exec_id: str) -> Exec:
        one = self._execution(exec_id)
        return Exec(one.id, one.box.id, one.spec, one.running, 2000 if one.running else 0, one.exit_code)

    async def resize_exec(self, exec_id: str, *, rows: int, columns: int) -> None:
        self._execution(exec_id).size = (rows, columns)


class _ContainerTyping(Typing):
    def __init__(self, engine: FakeContainers, box: Box) -> None:
        self.engine, self.box = engine, box

    def data(self, data: bytes) -> None:
        self.engine.typed(self.box, data)

    def end(self) -> None:
        self.engine.typed(self.box, b"")


class _ExecTyping(Typing):
    def __init__(self, engine: FakeContainers, execution: Execution) -> None:
        self.engine, self.execution = engine, execution
        self.behaviour = engine.exec_behaviour_of(execution.spec.command)

    def data(self, data: bytes) -> None:
        if self.behaviour.echo:
            self.execution.console.print(1, data, now())

    def end(self) -> None:
        if self.behaviour.echo:
            self.engine._exec_ended(self.execution, self.behaviour.exit_code or 0)


def _merged_environment(image: tuple[str, ...], asked: tuple[str, ...]) -> tuple[str, ...]:
    merged = dict(one.partition("=")[::2] for one in image)
    for one in asked:
        name, assigned, value = one.partition("=")
        if assigned:
            merged[name] = value
        else:
            merged.pop(name, None)
    return tuple(f"{name}={value}" for name, value in merged.items())
