"""Networks, names and published ports of the local engine, on the real kernel."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from engines import BUSYBOX, execute, finished, fresh_engine, run, until
from free_ports import free_port

from stackrun.api.types import ContainerSpec, EndpointSpec, IpamPool, NetworkSpec, PortBinding
from stackrun.engine.local import LocalEngine
from stackrun.errors import Conflict, Forbidden, NotFound

SERVER = ("sh", "-c", "mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 80 -h /www")


async def answer(port: int, address: str = "127.0.0.1") -> bytes:
    """What the HTTP server behind a published port says."""

    async def ask() -> bytes | None:
        try:
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            text = await reader.read()
            writer.close()
        except ConnectionError:
            return None
        return text.rpartition(b"\n\n" if b"\r\n\r\n" not in text else b"\r\n\r\n")[2].strip() or None

    return bytes(await until(ask))


async def resolved(engine: LocalEngine, container: str, name: str) -> list[str]:
    _, text = await execute(engine, container, "nslookup", name)
    answers = text.partition("Name:")[2]
    return sorted(word for line in answers.splitlines() for word in line.split() if word.count(".") == 3)


def test_names_are_known_on_the_common_network_alone(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            for name in ("front", "back"):
                await engine.create_network(NetworkSpec(name))
            await run(engine, "proxy", endpoints=(EndpointSpec("front"),), network_mode="front")
            api = {
                await run(
                    engine, f"api-{number}", hostname=f"h{number}", network_mode="front",
                    endpoints=(EndpointSpec("front", aliases=("api",)), EndpointSpec("back")),
                )
                for number in (1, 2)
            }  # fmt: skip
            await run(engine, "db", network_mode="back")
            views = [await engine.container(one) for one in api]
            front = sorted(view.endpoints[0].ipv4_address for view in views)
            assert await resolved(engine, "proxy", "api") == front
            for view in views:
                for name in (view.name, view.id[:12], view.spec.hostname):
                    assert await resolved(engine, "proxy", name) == [view.endpoints[0].ipv4_address]
            assert await resolved(engine, "proxy", "db") == []
            assert len(await resolved(engine, "api-1", "db")) == 1
            await engine.stop_container("api-2", timeout_s=0)
            assert await resolved(engine, "proxy", "api") == [(await engine.container("api-1")).endpoints[0].ipv4_address]
            assert [one.name for one in (await engine.network("back")).members] == ["api-1", "db"]

    asyncio.run(scenario())


def test_a_published_port_answers_and_its_clash_names_the_container(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            await engine.create_network(NetworkSpec("net"))
            port = free_port()
            await run(engine, "web", *SERVER, network_mode="net", hostname="web-host", ports=(PortBinding(80, host_port=port),))
            assert await answer(port) == b"web-host"
            with pytest.raises(Conflict, match=f"^port {port}/tcp is taken by container web$"):
                await run(engine, "other", network_mode="net", ports=(PortBinding(80, host_port=port),))
            state = (await engine.container("other")).state
            assert state.exit_code == 128 and "taken by container web" in state.error
            await engine.stop_container("web", timeout_s=0)
            await engine.start_container("other")
            await engine.remove_container("other", force=True)
            await engine.start_container("web")
            assert await answer(port) == b"web-host"
            published = (await engine.container("web")).ports[0]
            assert (published.container_port, published.host_ip, published.host_port) == (80, "0.0.0.0", port)

    asyncio.run(scenario())


def test_a_port_of_another_program_is_refused_by_its_name(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
                with pytest.raises(Conflict, match=f"port {port}/tcp on 127.0.0.1 is taken by .*pid"):
                    await run(engine, "web", ports=(PortBinding(80, host_ip="127.0.0.1", host_port=port),))
            await engine.start_container("web")

    asyncio.run(scenario())


def test_the_default_bridge_comes_and_goes_with_its_containers(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            bridge = await engine.network("bridge")
            device = Path(f"/sys/class/net/sr-{bridge.id[:12]}")
            assert not device.exists()
            await run(engine, "one")
            assert device.exists() and (await engine.network("bridge")).spec.pools[0].subnet
            code, _ = await execute(engine, "one", "ping", "-c1", "-W2", (await engine.network("bridge")).spec.pools[0].gateway)
            assert code == 0
            await engine.remove_container("one", force=True)
            assert not device.exists()

    asyncio.run(scenario())


def test_connect_and_disconnect_a_running_container(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            for name in ("front", "back"):
                await engine.create_network(NetworkSpec(name))
            await run(engine, "one", network_mode="front")
            await run(engine, "two", network_mode="back")
            assert await resolved(engine, "one", "two") == []
            await engine.connect_network("back", "one", EndpointSpec("back", aliases=("uno",)))
            with pytest.raises(Forbidden, match="already exists in network back"):
                await engine.connect_network("back", "one", EndpointSpec("back"))
            assert (await execute(engine, "one", "ping", "-c1", "-W2", "two"))[0] == 0
            assert len(await resolved(engine, "two", "uno")) == 1
            await engine.disconnect_network("back", "one")
            assert await resolved(engine, "two", "uno") == []
            assert [one.network_name for one in (await engine.container("one")).endpoints] == ["front"]
            await engine.stop_container("one", timeout_s=0)
            await engine.start_container("one")

    asyncio.run(scenario())


def test_a_container_of_the_default_bridge_learns_names_when_it_is_connected(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            await engine.create_network(NetworkSpec("back"))
            await run(engine, "one")
            await run(engine, "two", network_mode="back")
            assert await resolved(engine, "one", "two") == []
            await engine.connect_network("back", "one", EndpointSpec("back"))
            assert len(await resolved(engine, "one", "two")) == len(await resolved(engine, "two", "one")) == 1
            await engine.disconnect_network("back", "one")
            await engine.connect_network("back", "one", EndpointSpec("back"))
            assert (await execute(engine, "one", "ping", "-c1", "-W2", "two"))[0] == 0

    asyncio.run(scenario())


def test_who_gets_an_ended_containers_address_does_not_share_it_though_a_connection_has_more_to_send(short_tmp: Path) -> None:
    """The namespace outlives its container then, for as long as the kernel goes on sending."""

    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            await engine.create_network(NetworkSpec("net", pools=(IpamPool("10.213.8.0/24"),)))
            await run(engine, "reader", "sh", "-c", "nc -l -p 7000 > /dev/null", network_mode="net")

            async def connection(name: str, state: str, *, queue: int = 0) -> bool | None:
                _, table = await execute(engine, name, "cat", "/proc/net/tcp", "/proc/net/tcp6")
                rows = [line.split() for line in table.splitlines() if "address" not in line]
                found = [row for row in rows if row[3] == state and ":1B58" in row[1] + row[2] and int(row[4][:8], 16) >= queue]
                return True if found else None

            await until(lambda: connection("reader", "0A"))  # listens
            await engine.pause_container("reader")
            await run(engine, "sender", "sh", "-c", "nc reader 7000 < /dev/zero", network_mode="net")
            await until(lambda: connection("sender", "01", queue=1))
            (endpoint,) = (await engine.container("sender")).endpoints
            link = Path("/sys/class/net", f"srv{endpoint.endpoint_id[:12]}")
            assert link.exists()
            await engine.stop_container("sender", timeout_s=0)
            its_address = (EndpointSpec("net", ipv4_address=endpoint.ipv4_address),)
            await run(engine, "next", network_mode="net", endpoints=its_address)
            assert not link.exists()
            assert (await engine.container("next")).endpoints[0].ipv4_address == endpoint.ipv4_address

    asyncio.run(scenario())


def test_fixed_addresses_internal_networks_and_extra_hosts(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            await engine.create_network(NetworkSpec("fixed", pools=(IpamPool("10.213.7.0/24", gateway="10.213.7.9"),)))
            await engine.create_network(NetworkSpec("inside", internal=True))
            code, text = await finished(
                engine, "one", "sh", "-c", "ip -4 addr show eth0; ip route; cat /etc/hosts", hostname="me", network_mode="fixed",
                endpoints=(EndpointSpec("fixed", ipv4_address="10.213.7.77"),), extra_hosts=("outside:host-gateway", "db=1.2.3.4"),
            )  # fmt: skip
            assert code == 0 and "10.213.7.77/24" in text and "default via 10.213.7.9" in text
            for line in ("10.213.7.77\tme", "10.213.7.9\toutside", "1.2.3.4\tdb"):
                assert line in text
            _, text = await finished(engine, "two", "ip", "route", network_mode="inside")
            assert "default" not in text

    asyncio.run(scenario())


def test_what_is_refused_in_dockers_words(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            created = await engine.create_network(NetworkSpec("net"))
            with pytest.raises(Conflict, match=r"^network with name net already exists$"):
                await engine.create_network(NetworkSpec("net"))
            with pytest.raises(NotFound, match=r"^network nope not found$"):
                await engine.network("nope")
            with pytest.raises(Forbidden, match=r"^bridge is a pre-defined network and cannot be removed$"):
                await engine.remove_network("bridge")
            await run(engine, "one", network_mode="net")
            with pytest.raises(Forbidden, match=f"network net id {created.id} has active endpoints"):
                await engine.remove_network("net")
            await engine.create_container("two", ContainerSpec(image=BUSYBOX, command=("true",), network_mode="no-such-net"))
            with pytest.raises(NotFound, match=r"^network no-such-net not found$"):
                await engine.start_container("two")

    asyncio.run(scenario())
