"""Builds on our own engine: what Docker's classic builder has no word for, the cache, failures, and that nothing stays."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from builds import Built, Files, Node, build, content, context, members_of, pieces, tree
from engines import BUSYBOX, add_busybox, engine_on, fresh_engine
from evil_registry import evil_registry, reply

from stackrun.api.builds import BuildSpec
from stackrun.api.types import RegistryAuth
from stackrun.engine.local import LocalEngine
from stackrun.errors import BuildFailed, CommandNotFound, InvalidArgument, NotFound, StackrunError, Unsupported

LIMIT_S = 60


def on_engine(root: Path, work: Any) -> Any:
    async def run() -> Any:
        async with asyncio.timeout(LIMIT_S), fresh_engine(root) as engine:
            found = await work(engine)
            assert await engine.containers(all=True) == ()
            assert_nothing_left(root)
            return found

    found = asyncio.run(run())
    assert list((root / "state" / "containers").iterdir()) == []
    return found


def assert_nothing_left(root: Path) -> None:
    """No folder, mount, secret or half-written layer of a build."""
    state = root / "state"
    assert [path for path in (state / "builds").glob("*") if path.name != "cache"] == []
    assert list((root / "run" / "b").glob("*")) == []
    assert list((state / "image" / "layers").glob("new-*")) == []
    assert list((state / "image" / "blobs" / "sha256").glob("*.partial")) == []
    assert str(root) not in Path("/proc/self/mountinfo").read_text()


def blobs(root: Path) -> set[str]:
    return set(os.listdir(root / "state" / "image" / "blobs" / "sha256"))


# --- the cache ---


TEN = f"""FROM {BUSYBOX}
ARG A=1
ENV B=2
WORKDIR /w
COPY one .
RUN echo $A > a
COPY two .
RUN cat one two > three
LABEL l=1
CMD ["cat", "three"]
"""
FILES: Files = {"one": "1\n", "two": "2\n"}


def test_an_unchanged_build_takes_every_step_from_the_cache_and_gives_the_same_image(short_tmp: Path) -> None:
    async def work(engine: LocalEngine) -> tuple[Built, Built]:
        return await build(engine, TEN, FILES, tags=("x:1",)), await build(engine, TEN, FILES, tags=("x:1",))

    first, second = on_engine(short_tmp, work)
    assert (first.reused, second.reused, second.id) == (0, 9, first.id)


def test_the_cache_survives_the_engine(short_tmp: Path) -> None:
    first = on_engine(short_tmp, lambda engine: build(engine, TEN, FILES))

    async def again() -> Built:
        async with engine_on(short_tmp) as engine:
            return await build(engine, TEN, FILES)

    second = asyncio.run(again())
    assert (second.reused, second.id) == (9, first.id)


@pytest.mark.parametrize(
    ("files", "spec", "reused"),
    [
        ({"one": "1\n", "two": "other\n"}, {}, 5),
        ({"one": "other\n", "two": "2\n"}, {}, 3),
        ({"one": Node(b"1\n", 0o600), "two": "2\n"}, {}, 3),
        ({**FILES, "three": "not copied"}, {}, 9),
        (FILES, {"arguments": {"A": "other"}}, 4),
        (FILES, {"arguments": {"UNDECLARED": "x"}}, 9),
        (FILES, {"no_cache": True}, 0),
    ],
)
def test_what_a_step_depends_on_decides(short_tmp: Path, files: Files, spec: dict[str, Any], reused: int) -> None:
    async def work(engine: LocalEngine) -> Built:
        await build(engine, TEN, FILES)
        return await build(engine, TEN, files, **spec)

    assert on_engine(short_tmp, work).reused == reused


def test_times_of_files_do_not_count(short_tmp: Path) -> None:
    async def work(engine: LocalEngine) -> Built:
        await build(engine, TEN, FILES)
        archive = context({"Dockerfile": TEN, **FILES})
        later = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=later, mode="w") as new:
            for member in old:
                member.mtime, member.uid = 1_800_000_000, 1000
                new.addfile(member, old.extractfile(member))
        lines = [line.stream async for line in await engine.build_image(pieces(later.getvalue()), BuildSpec(network="none"))]
        return Built("", tuple(lines))

    assert on_engine(short_tmp, work).reused == 9


def test_layers_of_the_cache_stay_when_the_image_goes_and_go_when_the_cache_does(short_tmp: Path) -> None:
    async def work(engine: LocalEngine) -> None:
        before = blobs(short_tmp)
        await build(engine, TEN, FILES, tags=("x:1",))
        await engine.remove_image("x:1")
        assert (await build(engine, TEN, FILES, tags=("x:1",))).reused == 9
        await engine.remove_image("x:1")
        assert await engine.prune_builds() > 0
        assert blobs(short_tmp) == before
        assert (await build(engine, TEN, FILES)).reused == 0

    on_engine(short_tmp, work)


def test_a_layer_that_is_gone_is_made_again(short_tmp: Path) -> None:
    async def work(engine: LocalEngine) -> Built:
        before = blobs(short_tmp)
        await build(engine, TEN, FILES)
        for name in blobs(short_tmp) - before:
            if (path := short_tmp / "state" / "image" / "blobs" / "sha256" / name).read_bytes()[257:262] == b"ustar":
                path.unlink()
        return await build(engine, TEN, FILES)

    assert on_engine(short_tmp, work).reused == 2


# --- failures ---


def test_a_command_that_fails_is_told_with_its_code_and_what_came_before_is_kept(short_tmp: Path) -> None:
    async def work(engine: LocalEngine) -> None:
        dockerfile = f"FROM {BUSYBOX}\nRUN echo kept > /x\nRUN echo told; echo too >&2; exit 7\n"
        lines: list[str] = []
        with pytest.raises(BuildFailed) as caught:
            async for line in await engine.build_image(pieces(context({"Dockerfile": dockerfile})), BuildSpec(tags=("x",), network="none")):
                lines.append(line.stream)
        assert caught.value.message == "The command '/bin/sh -c echo told; echo too >&2; exit 7' returned a non-zero code: 7"
        assert caught.value.code == 7
        assert {"told\n", "too\n"} <= set(lines) or "told\ntoo\n" in lines
        with pytest.raises(NotFound):
            await engine.image("x")
        assert (await build(engine, dockerfile.replace("exit 7", "exit 0"))).reused == 1

    on_engine(short_tmp, work)


@pytest.mark.parametrize(
    ("dockerfile", "error", "said"),
    [
        ("FRM x\n", InvalidArgument, "unknown instruction: FRM"),
        ("FROM nowhere.invalid/x:1\n", StackrunError, "nowhere"),
        (f"FROM {BUSYBOX}\nCOPY missing /\n", InvalidArgument, "COPY failed: file not found in build context or excluded by .dockerignore"),
        (f"FROM {BUSYBOX}\nCOPY *.nope /\n", InvalidArgument, "no source files were specified"),
        (f"FROM {BUSYBOX}\nCOPY ../x /\n", InvalidArgument, "forbidden path outside the build context: ../x"),
        (f"FROM {BUSYBOX}\nCOPY a b /c\n", InvalidArgument, "the destination must be a directory and end with a /"),
        (f"FROM {BUSYBOX}\nCOPY --chown=nosuch a /c\n", InvalidArgument, "unable to find user nosuch"),
        (f"FROM {BUSYBOX}\nCOPY --chmod=999 a /c\n", InvalidArgument, "invalid chmod parameter"),
        (f"FROM {BUSYBOX}\nCOPY --from=nosuch.invalid/y:1 a /c\n", StackrunError, "nosuch"),
        (f"FROM {BUSYBOX}\nADD https://x/y /c\n", Unsupported, "ADD https://x/y is not supported"),
        (f"FROM {BUSYBOX}\nADD git@github.com:x/y.git /c\n", Unsupported, "not supported"),
        (f"FROM {BUSYBOX}\nRUN --mount=type=ssh true\n", Unsupported, "type=ssh is not supported"),
        (f"FROM {BUSYBOX}\nRUN --mount=type=secret,id=s,required=true true\n", InvalidArgument, "secret s: not found"),
        (f"FROM {BUSYBOX}\nRUN --security=insecure true\n", StackrunError, "insecure"),
        (f'FROM {BUSYBOX}\nRUN ["/nosuch"]\n', CommandNotFound, "nosuch"),
        ("FROM scratch\n", InvalidArgument, "No image was generated"),
        (f"FROM {BUSYBOX}\nEXPOSE $X\n".replace("$X", "99999"), InvalidArgument, "99999"),
        (f"FROM {BUSYBOX}\nRUN touch /.wh.x\n", InvalidArgument, "a layer cannot hold a name that begins with .wh."),
        ("FROM host\n", InvalidArgument, "cannot be built upon"),
    ],
)
def test_a_build_that_cannot_be_says_why_and_leaves_nothing(short_tmp: Path, dockerfile: str, error: type[Exception], said: str) -> None:
    async def work(engine: LocalEngine) -> None:
        before = blobs(short_tmp)
        with pytest.raises(error, match=said.replace("(", r"\(")):
            await build(engine, dockerfile, {"a": "a", "b": "b"}, tags=("x",))
        assert blobs(short_tmp) == before
        assert [image.repo_tags for image in await engine.images()] == [(BUSYBOX,)]

    on_engine(short_tmp, work)


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (b"this is no tar" * 100, "no sound tar archive"),
        (context({"Dockerfile": "FROM scratch"})[:700], "no sound tar archive"),
        (context({"other": ""}), "Cannot locate specified Dockerfile: Dockerfile"),
        (context({"Dockerfile": " \n"}), "cannot be empty"),
        (context({"Dockerfile": b"FROM \xff"}), "is not UTF-8"),
        (b"", "Cannot locate specified Dockerfile"),
    ],
)
def test_a_context_that_is_none_is_told_before_the_first_line(short_tmp: Path, archive: bytes, said: str) -> None:
    async def work(engine: LocalEngine) -> None:
        with pytest.raises(InvalidArgument, match=said):
            await engine.build_image(pieces(archive), BuildSpec())

    on_engine(short_tmp, work)


# --- cancelling ---


@pytest.mark.parametrize(("step", "seen"), [("RUN echo begun; sleep 1000", "begun\n"), ("RUN yes", "y\n")])
def test_whoever_closes_the_lines_ends_the_build_and_nothing_stays(short_tmp: Path, step: str, seen: str) -> None:
    async def work(engine: LocalEngine) -> None:
        before = blobs(short_tmp)
        lines: Any = await engine.build_image(pieces(context({"Dockerfile": f"FROM {BUSYBOX}\n{step}\n"})), BuildSpec(network="none"))
        async for line in lines:
            if seen in line.stream and not line.stream.startswith("Step"):
                break
        await lines.aclose()
        assert await engine.containers(all=True) == ()
        assert blobs(short_tmp) == before

    on_engine(short_tmp, work)


def test_a_context_that_never_comes_can_be_given_up(short_tmp: Path) -> None:
    async def work(engine: LocalEngine) -> None:
        sent = asyncio.Event()

        async def endless() -> Any:
            yield context({"Dockerfile": "FROM scratch"})[:1024]
            sent.set()
            await asyncio.Event().wait()

        building = asyncio.create_task(engine.build_image(endless(), BuildSpec()))
        await sent.wait()
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building

    on_engine(short_tmp, work)


def test_builds_run_side_by_side(short_tmp: Path) -> None:
    async def work(engine: LocalEngine) -> None:
        dockerfile = f"FROM {BUSYBOX}\nARG N\nRUN echo $N > /n\nCOPY f /f\n"
        numbers = [str(number % 5) for number in range(10)]
        built = await asyncio.gather(*(build(engine, dockerfile, {"f": n}, arguments={"N": n}, tags=(f"n:{n}",)) for n in numbers))
        assert len({one.id for one in built}) >= 5
        for number in "01234":
            assert await content(engine, f"n:{number}", "/n") == f"{number}\n".encode()
            assert await content(engine, f"n:{number}", "/f") == number.encode()

    on_engine(short_tmp, work)


# --- what BuildKit brought ---


def test_mounts_of_run(short_tmp: Path) -> None:
    dockerfile = f"""FROM {BUSYBOX} AS one
RUN mkdir /made && echo made > /made/it
FROM {BUSYBOX}
RUN --mount=type=bind,target=/c cat /c/f > /from-context && ! touch /c/new 2>/dev/null
RUN --mount=from=one,source=/made,target=/m,rw cat /m/it > /from-stage && touch /m/new
RUN --mount=type=cache,target=/kept,id=k echo x >> /kept/log && cat /kept/log > /count
RUN --mount=type=tmpfs,target=/t df /t | tail -n 1 | cut -c 1-5 > /tmpfs
RUN --mount=type=secret,id=s cat /run/secrets/s | wc -c > /length
RUN --mount=type=secret,id=s,env=S --mount=type=secret,id=other echo ${{#S}} > /variable; test ! -e /run/secrets/other
"""

    async def work(engine: LocalEngine) -> dict[str, str]:
        await build(engine, dockerfile, {"f": "sent\n"}, secrets={"s": b"secret!"})
        built = await build(engine, dockerfile, {"f": "sent\n"}, secrets={"s": b"other secret"}, no_cache=True)
        found = await tree(engine, built.id)
        assert not [name for name in found if name.split("/")[0] in ("c", "m", "kept", "t", "run", "made")]
        for path, expected in (
            ("from-context", b"sent\n"), ("from-stage", b"made\n"), ("count", b"x\nx\n"), ("tmpfs", b"tmpfs\n"), ("length", b"12\n"),
            ("variable", b"12\n"),
        ):  # fmt: skip
            assert await content(engine, built.id, f"/{path}") == expected, path
        assert "secret" not in built.text.replace("/run/secrets", "").replace("type=secret", "")
        return found

    on_engine(short_tmp, work)


def test_here_documents(short_tmp: Path) -> None:
    dockerfile = f"""FROM {BUSYBOX}
ENV WHO=you
RUN <<EOF
echo one > /one
echo $WHO > /two
EOF
RUN cat <<'EOF' > /three
$WHO stays
EOF
COPY <<EOF <<'RAW' /files/
hello "$WHO"
EOF
hello $WHO
RAW
COPY --chmod=755 --chown=3:4 <<EOF /script
#!/bin/sh
EOF
RUN <<EOF
#!/bin/cat
a program
EOF
"""

    async def work(engine: LocalEngine) -> None:
        built = await build(engine, dockerfile)
        for path, expected in (
            ("one", b"one\n"), ("two", b"you\n"), ("three", b"$WHO stays\n"), ("files/EOF", b'hello "you"\n'),
            ("files/RAW", b"hello $WHO\n"),
        ):  # fmt: skip
            assert await content(engine, built.id, f"/{path}") == expected, path
        assert (await tree(engine, built.id))["script"].startswith("file 0755 3:4")
        assert "#!/bin/cat\na program\n" in built.text

    on_engine(short_tmp, work)


def test_a_trigger_takes_files_from_a_stage_that_nothing_else_needs(short_tmp: Path) -> None:
    async def work(engine: LocalEngine) -> None:
        await build(engine, "FROM scratch\nONBUILD COPY --from=assets /a /b\n", tags=("base:1",))
        built = await build(engine, "FROM scratch AS assets\nCOPY <<a /\nx\na\nFROM scratch AS unused\nLABEL a=1\nFROM base:1\n")
        assert await content(engine, built.id, "/b") == b"x\n"
        with pytest.raises(InvalidArgument, match="circular dependency detected on stage: assets"):
            await build(engine, "FROM base:1 AS last\nFROM last AS assets\nFROM last\n")

    on_engine(short_tmp, work)


def test_modes_exclusions_and_parents(short_tmp: Path) -> None:
    files: Files = {"a/b/keep.txt": "k", "a/b/drop.md": "d", "a/c/x": Node(b"x", 0o600)}
    dockerfile = (
        f"FROM {BUSYBOX}\nCOPY --chmod=640 --exclude=b/*.md a /p/\nCOPY --parents a/b/keep.txt a/c /q/\n"
        "COPY --parents a/./c/x /r/\nCOPY --link a/c/x /l\n"
    )

    async def work(engine: LocalEngine) -> dict[str, str]:
        return await tree(engine, (await build(engine, dockerfile, files)).id)

    found = on_engine(short_tmp, work)
    assert found["p/b/keep.txt"].startswith("file 0640") and "p/b/drop.md" not in found
    assert found["q/a/b/keep.txt"].startswith("file 0644") and found["q/a/c/x"].startswith("file 0600")
    assert found["r/c/x"].startswith("file 0600") and "r/a" not in found
    assert found["l"].startswith("file 0600 0:0 b'x'")


def test_named_contexts_are_images(short_tmp: Path) -> None:
    async def work(engine: LocalEngine) -> None:
        await build(engine, "FROM scratch\nCOPY f /f\n", {"f": "assets"}, tags=("assets:1",))
        dockerfile = "FROM base\nCOPY --from=files /f /g\n"
        built = await build(engine, dockerfile, contexts={"base": BUSYBOX, "files": "assets:1"})
        assert await content(engine, built.id, "/g") == b"assets"

    on_engine(short_tmp, work)


def test_a_base_comes_from_its_registry_with_the_credentials_given_for_it(short_tmp: Path) -> None:
    def wants_a_password(handler: Any) -> bool:
        if handler.headers.get("Authorization", "").startswith("Basic "):
            return False
        return reply(handler, 401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    async def work(engine: LocalEngine) -> None:
        with evil_registry() as registry:
            base = registry.image("base", context({"f": "pulled"}))
            registry.answer = wants_a_password
            address = registry.address
            with pytest.raises(StackrunError):
                await build(engine, f"FROM {base}\nLABEL a=b\n")
            known = {"other.example": RegistryAuth("a", "b"), f"http://{address}/v2/": RegistryAuth("me", "secret")}
            built = await build(engine, f"FROM {base}\nLABEL a=b\n", registries=known)
            assert await content(engine, built.id, "/f") == b"pulled"
            assert "secret" not in built.text
        # It is here now: the registry is gone, and is asked again only with --pull.
        assert (await build(engine, f"FROM {base}\nLABEL a=b\n")).id == built.id
        with pytest.raises(StackrunError):
            await build(engine, f"FROM {base}\nLABEL a=b\n", pull=True)

    on_engine(short_tmp, work)


def test_platform_arguments_are_known(short_tmp: Path) -> None:
    async def work(engine: LocalEngine) -> None:
        built = await build(
            engine, f"FROM --platform=$BUILDPLATFORM {BUSYBOX}\nARG TARGETOS TARGETARCH\nRUN echo $TARGETOS-$TARGETARCH > /x\n"
        )
        assert (await content(engine, built.id, "/x")).startswith(b"linux-")

    on_engine(short_tmp, work)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_context(short_tmp: Path, kind: str) -> None:
    import bz2
    import gzip
    import lzma

    press = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[kind]

    async def work(engine: LocalEngine) -> None:
        archive = press(context({"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "x" * 100_000}))
        lines = [line async for line in await engine.build_image(pieces(archive), BuildSpec(tags=("x",)))]
        assert lines[-1].stream == "Successfully tagged x:latest\n"

    on_engine(short_tmp, work)


def test_arguments_that_nothing_declares_are_told(short_tmp: Path) -> None:
    async def work(engine: LocalEngine) -> Built:
        return await build(engine, f"FROM {BUSYBOX}\nARG A\nLABEL a=$A\n", arguments={"A": "1", "B": "2", "http_proxy": "x"})

    assert "[Warning] One or more build-args [B] were not consumed\n" in on_engine(short_tmp, work).text


def test_networks_names_and_shared_memory_of_commands(short_tmp: Path) -> None:
    dockerfile = f"""FROM {BUSYBOX}
RUN ip -o link show eth0 > /net && grep "10.9.8.7.*db" /etc/hosts > /names && df -k /dev/shm | awk 'NR == 2 {{ print $2 }}' > /shm
RUN --network=none ip -o link show eth0 2> /none || true
RUN --network=host readlink /proc/self/ns/net > /host
"""

    async def work(engine: LocalEngine) -> None:
        built = await build(engine, dockerfile, network="", extra_hosts=("db:10.9.8.7",), shm_size_bytes=2 << 20)
        assert b"eth0" in await content(engine, built.id, "/net")
        assert (await content(engine, built.id, "/names")).split() == [b"10.9.8.7", b"db"]
        assert await content(engine, built.id, "/shm") == b"2048\n"
        assert b"eth0" in await content(engine, built.id, "/none")
        assert (await content(engine, built.id, "/host")).decode() == os.readlink("/proc/self/ns/net") + "\n"
        assert {"etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/null"}.isdisjoint(await members_of(engine, built.id))

    on_engine(short_tmp, work)


def test_an_engine_that_closes_ends_its_builds(short_tmp: Path) -> None:
    async def run() -> None:
        async with asyncio.timeout(LIMIT_S), engine_on(short_tmp) as engine:
            await add_busybox(engine, short_tmp)
            archive = context({"Dockerfile": f"FROM {BUSYBOX}\nRUN echo begun; sleep 1000\n"})
            async for line in await engine.build_image(pieces(archive), BuildSpec(network="none")):
                if line.stream == "begun\n":
                    break

    asyncio.run(run())
    assert_nothing_left(short_tmp)
    assert list((short_tmp / "state" / "containers").iterdir()) == []
