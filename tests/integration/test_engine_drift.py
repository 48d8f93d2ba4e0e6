"""The engine's records against the kernel: nothing is wrong with what is left alone, and what is taken away is told and brought back."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fnmatch import fnmatch
from pathlib import Path

import pytest
from engines import BUSYBOX, add_busybox, engine_on, execute, file_chunks, fresh_engine, remove_everything, run, until
from free_ports import free_port

from stackrun.api.drift import Drift
from stackrun.api.types import EndpointSpec, Mount, MountType, NetworkSpec, PortBinding, Resources, Ulimit
from stackrun.engine.local import LocalEngine, instance
from stackrun.errors import KernelError
from stackrun.kernel import cgroup, cgroup_devices
from stackrun.network.firewall import table_name

SERVER = ("sh", "-c", "mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 80 -h /www")


async def drift(engine: LocalEngine, *containers: str) -> dict[tuple[str, str], tuple[str, str, str]]:
    names = containers or tuple(one.name for one in await engine.containers())
    found = await engine.drift(names, tuple(one.name for one in await engine.networks()))
    return {(one.resource, one.field): (one.declared, one.actual, one.repair.value) for one in found}


def host(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_nothing_drifts_of_containers_of_every_kind(short_tmp: Path) -> None:
    async def scenario() -> None:
        (short_tmp / "file").write_text("x")
        (short_tmp / "dir").mkdir()
        async with fresh_engine(short_tmp) as engine:
            for name in ("front", "back"):
                await engine.create_network(NetworkSpec(name, internal=name == "back"))
            mounts_ = (
                Mount(MountType.BIND, "/data dir", str(short_tmp / "dir"), read_only=True),
                Mount(MountType.BIND, "/etc/one", str(short_tmp / "file")),
                Mount(MountType.VOLUME, "/vol", "vol"),
                Mount(MountType.TMPFS, "/scratch", tmpfs_size_bytes=1 << 20),
            )
            await run(engine, "plain")
            await run(
                engine, "web", *SERVER, network_mode="front", endpoints=(EndpointSpec("front"), EndpointSpec("back")), mounts=mounts_,
                ports=(PortBinding(80),), read_only_rootfs=False, init=True,
                resources=Resources(memory_bytes=64 << 20, nano_cpus=500_000_000, cpu_shares=512, cpuset_cpus="0", pids_limit=50,
                                    ulimits=(Ulimit("nofile", 1024, 2048),)),
            )  # fmt: skip
            await run(engine, "beside", network_mode="container:web")
            await run(engine, "below", network_mode="none", pid_mode="container:plain")
            await run(engine, "alone", network_mode="none", user="65534:65534", read_only_rootfs=True, cap_drop=("ALL",), init=True)
            await run(engine, "host", network_mode="host", pid_mode="host", uts_mode="host", security_opt=("no-new-privileges",))
            await run(engine, "all", privileged=True, network_mode="back")
            await run(engine, "named", user="nobody", security_opt=("seccomp=unconfined",), tty=True, tmpfs={"/tmp": "size=64k,mode=700"})
            assert await drift(engine) == {}
            await engine.update_container("web", Resources(memory_bytes=32 << 20), None)
            await engine.connect_network("back", "plain", EndpointSpec("back"))
            await engine.pause_container("alone")
            assert await drift(engine) == {}
            await engine.restart_container("web", timeout_s=0)
            found = await drift(engine)
            assert {field for (name, field) in found if name == "Container beside"} >= {"namespaces.net"}
            await engine.restart_container("beside", timeout_s=0)
            assert await drift(engine) == {}
            await engine.unpause_container("alone")

    asyncio.run(scenario())


class Web:
    """A published server on one network and a client beside it, and the means to break them from outside."""

    def __init__(self, engine: LocalEngine, pid: int, bridge: str, port: int, table: str) -> None:
        self.engine, self.pid, self.bridge, self.port, self.table = engine, pid, bridge, port, table

    def inside(self, *command: str) -> None:
        host("nsenter", f"--net=/proc/{self.pid}/ns/net", *command)

    def write_inside(self, kind: str, sysctl: str, value: str) -> None:
        host("nsenter", f"--{kind}=/proc/{self.pid}/ns/{kind}", "sh", "-c", f"echo '{value}' > /proc/sys/{sysctl}")

    @property
    def veth(self) -> str:
        index = self.read_inside("cat", "/sys/class/net/eth0/iflink")
        return next(line.split()[1].split("@")[0] for line in host("ip", "-o", "link").splitlines() if line.startswith(f"{index}:"))

    def read_inside(self, *command: str) -> str:
        return host("nsenter", "-a", "-t", str(self.pid), *command).strip()

    def group(self) -> cgroup.Cgroup:
        lines = Path(f"/proc/{self.pid}/cgroup").read_text().splitlines()
        path = next(line for line in lines if "/stackrun/" in line).split(":", 2)[2]
        return cgroup.Cgroup.load(cgroup.detect(), path.strip("/"))

    def open_devices(self) -> None:
        group = self.group()
        if "devices" in group.layout.v1:
            group.apply({"devices": [{"allow": True, "access": "rwm"}]})
            return
        fd = os.open(group.v2_directory, os.O_RDONLY)
        for program in cgroup_devices.programs(group.v2_directory):
            cgroup_devices._detach(fd, program)
        os.close(fd)

    async def answers(self) -> bool:
        """Through the published port, and from the client by name."""

        async def through_the_port() -> bytes | None:
            try:
                async with asyncio.timeout(1):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.write(b"GET / HTTP/1.0\r\n\r\n")
                    text = await reader.read()
                    writer.close()
            except (OSError, TimeoutError):
                return None
            return text or None

        found = await until(through_the_port)
        address = (await self.engine.container("web")).endpoints[0].ipv4_address
        _, names = await execute(self.engine, "client", "nslookup", "web")
        code, _ = await execute(self.engine, "client", "ping", "-c1", "-W2", address)
        return b"web-host" in found and address in names.partition("Name:")[2] and code == 0


@asynccontextmanager
async def web(short_tmp: Path, *, by_itself: bool = False) -> AsyncIterator[Web]:
    async with fresh_engine(short_tmp) as engine:
        engine.truth.repairs = by_itself
        await engine.create_network(NetworkSpec("net"))
        port = free_port()
        await run(
            engine, "web", *SERVER, network_mode="net", hostname="web-host", ports=(PortBinding(80, host_port=port),),
            resources=Resources(memory_bytes=64 << 20), sysctls={"net.ipv4.ip_local_port_range": "2000 60000", "kernel.shmmni": "1000"},
        )  # fmt: skip
        await run(engine, "client", network_mode="net")
        pid = (await engine.container("web")).state.pid
        table = table_name(instance(str(short_tmp / "state")))
        yield Web(engine, pid, f"sr-{(await engine.network('net')).id[:12]}", port, table)


Break = Callable[[Web], object]
PLACES: dict[str, tuple[Break, tuple[str, str]]] = {
    "the table": (lambda web: host("nft", "delete", "table", "ip", web.table), ("Firewall", "nft.table")),
    "a rule": (lambda web: host("nft", "flush", "chain", "ip", web.table, "forward"), ("Firewall", "nft.chain.forward")),
    "a rule of theirs": (lambda web: host("nft", "insert", "rule", "ip", web.table, "forward", "drop"), ("Firewall", "nft.chain.forward")),
    "the port": (lambda web: host("nft", "flush", "map", "ip", web.table, "published"), ("Container web", "ports.80/tcp")),
    "the bridge": (lambda web: host("ip", "link", "delete", web.bridge), ("Network net", "bridge")),
    "the bridge's address": (lambda web: host("ip", "address", "flush", "dev", web.bridge), ("Network net", "bridge.address")),
    "the bridge's route": (lambda web: host("ip", "route", "flush", "dev", web.bridge), ("Network net", "bridge.route")),
    "the bridge's state": (lambda web: host("ip", "link", "set", web.bridge, "down"), ("Network net", "bridge.state")),
    "the veth": (lambda web: host("ip", "link", "delete", web.veth), ("Container web", "interface.srv*")),
    "the veth's master": (lambda web: host("ip", "link", "set", web.veth, "nomaster"), ("Container web", "interface.srv*.master")),
    "the veth's state": (lambda web: host("ip", "link", "set", web.veth, "down"), ("Container web", "interface.srv*.state")),
}  # fmt: skip
INSIDE: dict[str, tuple[Break, tuple[str, str]]] = {
    "the address": (lambda web: web.inside("ip", "address", "flush", "dev", "eth0"), ("Container web", "interface.eth0.address")),
    "the default route": (lambda web: web.inside("ip", "route", "delete", "default"), ("Container web", "route.default")),
    "the link's state": (lambda web: web.inside("ip", "link", "set", "eth0", "down"), ("Container web", "interface.eth0.state")),
    "the names": (lambda web: web.inside("nft", "flush", "ruleset"), ("Container web", "dns.redirect")),
    "a sysctl of the network": (
        lambda web: web.write_inside("net", "net/ipv4/ip_local_port_range", "3000 4000"),
        ("Container web", "sysctls.net.ipv4.ip_local*"),
    ),
    "a sysctl of ipc": (lambda web: web.write_inside("ipc", "kernel/shmmni", "7"), ("Container web", "sysctls.kernel.shmmni")),
    "the hostname": (lambda web: web.write_inside("uts", "kernel/hostname", "x"), ("Container web", "hostname")),
    "the memory limit": (lambda web: web.group().apply({"memory": {"limit": 32 << 20}}), ("Container web", "memory.limit")),
    "the processes": (lambda web: web.group().apply({"pids": {"limit": 7}}), ("Container web", "pids.limit")),
    "the cpu quota": (lambda web: web.group().apply({"cpu": {"quota": 20000, "period": 100000}}), ("Container web", "cpu.quota")),
    "the freezer": (lambda web: web.group().freeze(), ("Container web", "state")),
    "the devices": (lambda web: web.open_devices(), ("Container web", "devices")),
}


def test_what_is_taken_away_is_told_by_its_field_and_brought_back(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with web(short_tmp) as one:
            assert await one.answers()
            for what, (broken, (resource, field)) in {**PLACES, **INSIDE}.items():
                broken(one)
                found = await drift(one.engine)
                assert any(name == resource and fnmatch(told, field) for name, told in found), (what, found)
                assert {repair for _, _, repair in found.values()} == {"repaired in place"}, (what, found)
                assert await one.engine.repair(("web", "client"), ("net",)) == (), what
                assert await drift(one.engine) == {}, what
                assert await one.answers(), what

    asyncio.run(scenario())


def test_the_network_is_kept_by_itself(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with web(short_tmp, by_itself=True) as one:
            told = asyncio.Event()
            one.engine.truth.on_kernel_change = told.set
            for what in ("the table", "the port", "the bridge", "the veth", "the veth's master", "the bridge's address"):
                one.engine.truth.forget_repairs()
                told.clear()
                PLACES[what][0](one)
                async with asyncio.timeout(10):
                    while await drift(one.engine):  # a look of before may be told only now
                        await told.wait()
                        told.clear()
                assert await one.answers(), what
            events = await one.engine.events(since_s=1.0, until_s=time.time())
            repairs = [event async for event in events if event.action == "repair"]
            assert {event.type for event in repairs} == {"network", "container"}
            assert {"bridge", "nft.table", "ports.80/tcp"} <= {event.attributes["field"] for event in repairs}

    asyncio.run(scenario())


def test_a_stack_that_is_held_is_left_alone_until_it_is_not(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with web(short_tmp, by_itself=True) as one:
            one.engine.truth.is_held = lambda project: True
            host("ip", "link", "delete", one.bridge)
            host("nft", "delete", "table", "ip", one.table)
            assert {field for _, field in await drift(one.engine)} >= {"bridge", "nft.table"}
            await one.engine.repair_networks()
            assert ("Network net", "bridge") in await drift(one.engine)
            assert ("Firewall", "nft.table") not in await drift(one.engine)
            one.engine.truth.is_held = lambda project: False
            await one.engine.repair_networks()
            assert await drift(one.engine) == {}

    asyncio.run(scenario())


def test_mounts_taken_away_or_changed_inside(short_tmp: Path) -> None:
    async def scenario() -> None:
        (short_tmp / "dir").mkdir()
        (short_tmp / "file").write_text("old")
        binds = (
            Mount(MountType.BIND, "/data", str(short_tmp / "dir")), Mount(MountType.BIND, "/ro", str(short_tmp / "dir"), read_only=True),
            Mount(MountType.BIND, "/etc/one", str(short_tmp / "file")),
        )  # fmt: skip
        async with fresh_engine(short_tmp) as engine:
            await run(engine, "one", mounts=binds)
            assert await drift(engine) == {}
            pid = (await engine.container("one")).state.pid
            mount = ("nsenter", "-m", "-p", "-t", str(pid), "/bin/busybox")
            host(*mount, "umount", "/data")
            host(*mount, "mount", "-o", "remount,rw,bind", "/ro")
            host(*mount, "umount", "/proc/sys")
            (short_tmp / "new").write_text("old")
            os.replace(short_tmp / "new", short_tmp / "file")
            found = {field: rest for (_, field), rest in (await drift(engine)).items()}
            assert found == {
                "mounts./data": (str(short_tmp / "dir"), "missing", "repaired in place"),
                "mounts./ro": ("ro", "rw", "restart"),
                "readonlyPaths./proc/sys": ("ro", "rw", "restart"),
            }
            (short_tmp / "file").write_text("new")
            assert "mounts./etc/one.source" in {field for _, field in await drift(engine)}
            await engine.restart_container("one", timeout_s=0)
            assert await drift(engine) == {}

    asyncio.run(scenario())


def test_an_exit_in_the_middle_of_it_all_is_no_drift(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with web(short_tmp, by_itself=True) as one:
            os.kill(one.pid, 9)
            host("ip", "link", "delete", one.bridge)
            await one.engine.repair_networks()
            found = await drift(one.engine, "web", "client")
            assert not [name for name, _ in found if name == "Container web"], found
            await one.engine.remove_container("web", force=True)
            assert await drift(one.engine) == {}

    asyncio.run(scenario())


def test_what_happened_while_no_engine_was_there_is_put_right_by_the_next(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with engine_on(short_tmp) as engine:
            await add_busybox(engine, short_tmp)
            await engine.create_network(NetworkSpec("net"))
            await run(engine, "web", *SERVER, network_mode="net")
            bridge = f"sr-{(await engine.network('net')).id[:12]}"
        host("ip", "link", "delete", bridge)
        async with engine_on(short_tmp) as engine:
            told = asyncio.Event()
            engine.truth.on_kernel_change = told.set
            await asyncio.wait_for(told.wait(), 10)
            assert await drift(engine) == {}
            await remove_everything(engine)

    asyncio.run(scenario())


def test_a_link_of_somebody_else_in_the_bridges_place_is_told_and_left_alone(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with web(short_tmp, by_itself=True) as one:
            one.engine.truth.repairs = False
            host("ip", "link", "delete", one.bridge)
            host("ip", "link", "add", one.bridge, "type", "veth", "peer", "name", "sr-peer-test")
            left = await one.engine.repair(("web",), ("net",))
            first = next(iter(left))
            assert (first.resource, first.field, first.actual) == ("Network net", "bridge", "veth of nobody")
            events = await one.engine.events(since_s=1.0, until_s=time.time())
            assert not [each async for each in events if each.action == "repair"]
            host("ip", "link", "delete", one.bridge)
            await one.engine.repair_networks()
            assert await drift(one.engine) == {}

    asyncio.run(scenario())


def test_a_repair_that_fails_is_tried_again_and_told_once(short_tmp: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with web(short_tmp) as one:
            truth, told, tries = one.engine.truth, asyncio.Event(), 0

            async def failing(asked: object = ()) -> tuple[Drift, ...]:
                nonlocal tries
                tries += 1
                if tries < 3:
                    raise KernelError("add bridge", errno.EBUSY)
                told.set()
                return ()

            truth.repairs, truth.repair_networks = True, failing  # type: ignore[method-assign]
            truth.look_again()
            await asyncio.wait_for(told.wait(), 10)
            assert [one.message for one in caplog.records].count("repair the networks: add bridge: EBUSY (Device or resource busy)") == 1

    asyncio.run(scenario())


def test_an_image_that_another_took_the_name_of(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            await run(engine, "one")
            tar = file_chunks(short_tmp / "busybox.tar")
            async for line in await engine.import_image(tar, reference=BUSYBOX, changes=("ENV X=1",)):
                assert not line.error
            found = await drift(engine)
            assert {key: repair for key, (_, _, repair) in found.items()} == {("Container one", "image"): "recreate"}

    asyncio.run(scenario())
