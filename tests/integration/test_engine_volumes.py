"""Volumes and bind mounts of the local engine."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from engines import BUSYBOX, execute, finished, fresh_engine, run

from stackrun.api.types import ContainerSpec, Mount, MountType, VolumeSpec
from stackrun.errors import Conflict, InvalidArgument, NotFound


async def seeded_image() -> AsyncIterator[bytes]:
    """A root with /bin/busybox and a directory with an owner, modes and a link."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
        for name, kind, mode, extra in (
            ("data", tarfile.DIRTYPE, 0o2750, ""),
            ("data/inner", tarfile.DIRTYPE, 0o700, ""),
            ("data/link", tarfile.SYMTYPE, 0o777, "/etc/passwd"),
            ("store", tarfile.SYMTYPE, 0o777, "data"),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.linkname, entry.uid, entry.gid = kind, mode, extra, 999, 998
            archive.addfile(entry)
        entry = tarfile.TarInfo("data/seed")
        entry.size, entry.mode, entry.uid, entry.gid = 5, 0o640, 999, 998
        archive.addfile(entry, io.BytesIO(b"seed\n"))
    yield data.getvalue()


def test_a_new_volume_is_filled_from_the_image_once(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            async for line in await engine.import_image(seeded_image(), reference="seeded:1"):
                assert not line.error
            volume = Mount(MountType.VOLUME, "/store", source="stock")
            busybox = ("/bin/busybox", "sh", "-c")
            script = "cd /store; /bin/busybox stat -c '%n %u:%g %a' . inner seed; cat seed; echo changed > seed"
            code, text = await finished(engine, "one", *busybox, script, image="seeded:1", mounts=(volume,), network_mode="none")
            assert (code, text.splitlines()) == (0, [". 999:998 2750", "inner 999:998 700", "seed 999:998 640", "seed"])
            assert Path((await engine.volume("stock")).mountpoint, "link").is_symlink()
            await engine.remove_container("one", volumes=True)
            _, text = await finished(engine, "two", *busybox, "/bin/busybox cat /store/seed", image="seeded:1", mounts=(volume,))
            assert text == "changed\n"

    asyncio.run(scenario())


def test_volumes_are_shared_kept_and_refused_while_used(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            first = await engine.create_volume(VolumeSpec("shared", labels={"a": "b"}))
            assert await engine.create_volume(VolumeSpec("shared")) == first
            container_id = await run(engine, "one", mounts=(Mount(MountType.VOLUME, "/v", source="shared"),), network_mode="none")
            read_only = Mount(MountType.VOLUME, "/v", source="shared", read_only=True)
            await run(engine, "two", mounts=(read_only,), network_mode="none")
            await execute(engine, "one", "sh", "-c", "echo seen > /v/file")
            assert await execute(engine, "two", "cat", "/v/file") == (0, "seen\n")
            assert "Read-only" in (await execute(engine, "two", "touch", "/v/x"))[1]
            await engine.remove_container("two", force=True)
            with pytest.raises(Conflict, match=f"^remove shared: volume is in use - \\[{container_id}\\]$"):
                await engine.remove_volume("shared")
            with pytest.raises(NotFound, match=r"^get nope: no such volume$"):
                await engine.volume("nope")
            await engine.remove_container("one", force=True)
            await engine.remove_volume("shared")
            assert not Path(first.mountpoint).exists()

    asyncio.run(scenario())


def test_anonymous_volumes_go_with_their_container(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            await run(engine, "one", anonymous_volumes=("/data",), network_mode="none")
            (point,) = (await engine.container("one")).mounts
            assert (point.type, point.target, len(point.name)) == (MountType.VOLUME, "/data", 64)
            await run(engine, "two", volumes_from=("one:ro",), network_mode="none")
            assert "Read-only" in (await execute(engine, "two", "touch", "/data/x"))[1]
            await engine.remove_container("two", force=True, volumes=True)
            assert len(await engine.volumes()) == 1
            await engine.remove_container("one", force=True, volumes=True)
            assert await engine.volumes() == ()

    asyncio.run(scenario())


def test_binds_of_directories_and_files(short_tmp: Path) -> None:
    async def scenario() -> None:
        async with fresh_engine(short_tmp) as engine:
            (short_tmp / "file").write_text("from the host\n")
            mounts = (
                Mount(MountType.BIND, "/made", source=str(short_tmp / "made" / "here"), create_host_path=True),
                Mount(MountType.BIND, "/etc/file", source=str(short_tmp / "file"), read_only=True),
            )
            code, text = await finished(engine, "one", "sh", "-c", "cat /etc/file; echo x > /made/x; echo y > /etc/file", mounts=mounts)
            assert code != 0 and text.startswith("from the host\n") and "Read-only" in text
            assert (short_tmp / "made" / "here" / "x").read_text() == "x\n"
            missing = Mount(MountType.BIND, "/x", source=str(short_tmp / "missing"))
            with pytest.raises(InvalidArgument, match=f"bind source path does not exist: {short_tmp}/missing"):
                await engine.create_container("two", ContainerSpec(image=BUSYBOX, command=("true",), mounts=(missing,)))
            assert [one.name for one in await engine.containers(all=True)] == ["one"]

    asyncio.run(scenario())
