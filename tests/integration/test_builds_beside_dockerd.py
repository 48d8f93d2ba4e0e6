"""The same contexts built by us and by a real dockerd's classic builder: the same configuration, history and files."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from builds import Built, Files, Node, blob, build, context, described, members, tree
from dockerd import Dockerd
from engines import BUSYBOX, fresh_engine
from machine import busybox_tar


@dataclass(frozen=True)
class Case:
    dockerfile: str
    files: Files = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    target: str = ""


def _archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as tar:
        for name, type_, mode, uid in (("in", tarfile.DIRTYPE, 0o750, 5), ("in/file", tarfile.REGTYPE, 0o4711, 7)):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.gid = type_, mode, uid, uid
            member.size = 3 if type_ == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("in/link")
        link.type, link.linkname = tarfile.SYMTYPE, "file"
        tar.addfile(link)
    return buffer.getvalue()


TREE: Files = {
    "d": Node(mode=0o750), "d/a": Node(b"a", 0o600), "d/sub": Node(mode=0o700), "d/sub/run": Node(b"#!/bin/sh\n", 0o755),
    "d/sub/link": Node(link="../a"), "d/twin": Node(hard="d/a", mode=0o600),
    "top": "top\n", "z.txt": "z", "y.txt": "y", "to-d": Node(link="d"),
}  # fmt: skip

CASES = {
    "scratch": Case('FROM scratch\nCOPY top /x/y/\nCMD ["/x"]\n', TREE),
    "configuration": Case(
        f'FROM {BUSYBOX}\nMAINTAINER somebody\nENV A=1 B="two words"\nENV C $A-x\nLABEL a=1 "b c"=\'d e\'\nEXPOSE 80 53/udp 9000-9002\n'
        'VOLUME /data /x\nVOLUME ["/logs", "/more"]\nUSER nobody\nWORKDIR /w\nWORKDIR deeper/$A\nSTOPSIGNAL SIGUSR1\n'
        'SHELL ["/bin/sh", "-ec"]\nENTRYPOINT ["sh", "-c"]\nCMD echo $A "x y"\n'
    ),
    "entrypoint takes the base's command away": Case(f'FROM {BUSYBOX} AS a\nCMD a b\nFROM a\nENTRYPOINT ["sh"]\n'),
    "command stays": Case(f'FROM {BUSYBOX}\nCMD ["a"]\nENTRYPOINT run $HOME\n'),
    "health": Case(f"FROM {BUSYBOX}\nHEALTHCHECK --interval=5s --timeout=1m --retries=4 --start-period=2s CMD test -e /x\n"),
    "no health": Case(f"FROM {BUSYBOX}\nHEALTHCHECK NONE\n"),
    "run": Case(
        f'FROM {BUSYBOX}\nRUN echo hello > /x && chmod 640 /x && chown 3:4 /x\nRUN ["sh", "-c", "mkdir -p /a/b && ln -s x /a/l"]\n'
        "RUN rm -r /a/b && rm /bin/vi && mkdir /bin/vi\nRUN true\n"
    ),
    "opaque": Case(f"FROM {BUSYBOX}\nRUN mkdir -p /o/in && echo 1 > /o/in/1 && echo 2 > /o/2\nRUN rm -r /o && mkdir /o && echo 3 > /o/3\n"),
    "hard links and special bits": Case(
        f"FROM {BUSYBOX}\nRUN echo x > /one && ln /one /two && mkfifo /pipe && chmod 4755 /one && mkdir -m 1777 /s && mkdir -m 2750 /g\n"
    ),
    "arguments": Case(
        f"ARG TAG={BUSYBOX.partition(':')[2]}\nFROM busybox:$TAG\nARG A\nARG B=b\nARG C=c\nENV B=env\n"
        "RUN echo $A $B $C > /x\nLABEL a=$A c=$C\n",
        arguments={"A": "given", "C": "other"},
    ),
    "copy files": Case(
        f"FROM {BUSYBOX}\nCOPY top /\nCOPY top /new/name\nCOPY top z.txt /many/\nCOPY *.txt /texts/\nWORKDIR /w\nCOPY top .\n", TREE
    ),
    "copy folders": Case(f"FROM {BUSYBOX}\nCOPY d /d\nCOPY d /e/\nCOPY d/ /\nCOPY . /all/\nCOPY d/sub /tmp\n", TREE),
    "copy into what is there": Case(
        f"FROM {BUSYBOX}\nRUN mkdir -p -m 700 /d/sub && echo old > /d/sub/run && mkdir /d/a && chown -R 9:9 /d && ln -s /etc /to-etc"
        " && ln -s missing /dangling\nCOPY d /d\nCOPY top /to-etc/\nCOPY top /to-etc/sub/x\n",
        TREE,
    ),
    "links in the context": Case(f"FROM {BUSYBOX}\nCOPY to-d /from-link/\nCOPY to-d/a /file\nCOPY d/sub/link /followed\n", TREE),
    "owners": Case(
        f"FROM {BUSYBOX}\nRUN echo 'app:x:1000:1001::/:' >> /etc/passwd && echo 'app:x:1001:' >> /etc/group\nCOPY --chown=app:app d /a\n"
        "COPY --chown=7 top /b/c\nCOPY --chown=7:8 top /d\n",
        TREE,
    ),
    "add": Case(
        f"FROM {BUSYBOX}\nADD plain.tar /p\nADD a.tar.gz /g/\nADD a.tar.bz2 /b\nADD a.tar.xz /x\nADD top /top\nADD no.tar.gz /no.tar.gz\n",
        {
            **TREE,
            "plain.tar": _archive(""),
            "a.tar.gz": _archive("gz"),
            "a.tar.bz2": _archive("bz2"),
            "a.tar.xz": _archive("xz"),
            "no.tar.gz": "this is text",
        },
    ),
    "copy does not unpack": Case(f"FROM {BUSYBOX}\nCOPY a.tar.gz /a.tar.gz\n", {"a.tar.gz": _archive("gz")}),
    "stages": Case(
        f"FROM {BUSYBOX} AS one\nRUN mkdir -p /out/in && echo 1 > /out/in/file && chown -R 5:6 /out && ln -s in /out/l\n"
        f"FROM {BUSYBOX} AS unneeded\nRUN true\nFROM one AS two\nENV FROM_TWO=1\nRUN echo 2 > /two\n"
        f"FROM {BUSYBOX}\nCOPY --from=one /out /out\n"
        f"COPY --from=two /two /out/l/\nCOPY --from={BUSYBOX} /etc/passwd /p\n",
        target="",
    ),
    "target": Case(f"FROM {BUSYBOX} AS one\nENV ONE=1\nFROM {BUSYBOX} AS two\nENV TWO=2\n", target="one"),
    "triggers": Case(f"FROM {BUSYBOX} AS base\nONBUILD COPY top /on\nONBUILD ENV ON=1\nFROM base\nRUN test -e /on\n", TREE),
    "labels of the build": Case(f"FROM {BUSYBOX}\nLABEL a=1\n", labels={"b": "2", "a": 'it\'s "new"'}),
    "only a base": Case(f"FROM {BUSYBOX}\n"),
    "shell": Case(f'FROM {BUSYBOX}\nSHELL ["sh", "-ec"]\nRUN echo $0 $- > /x\nCMD x\n'),
    "user and folder": Case(
        f"FROM {BUSYBOX}\nUSER 12:13\nWORKDIR /made\nRUN id -u > /tmp/u; id -g > /tmp/g; pwd > /tmp/p; touch /tmp/f\nCOPY top /c\n", TREE
    ),
    "ignored": Case(f"FROM {BUSYBOX}\nCOPY . /c/\n", {**TREE, ".dockerignore": "d/sub\n*.txt\n!z.txt\nDockerfile\n.dockerignore\n"}),
}


@dataclass(frozen=True)
class Outcome:
    config: dict[str, Any]
    history: list[tuple[str, bool]]
    tree: dict[str, str]


_CONFIG = (
    "Env", "Cmd", "Entrypoint", "WorkingDir", "User", "ExposedPorts", "Volumes", "Labels", "StopSignal", "Healthcheck", "OnBuild", "Shell",
)  # fmt: skip


def _config(config: dict[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in _CONFIG if config.get(key)}


_DIGEST = re.compile(r"(file|dir|multi):[0-9a-f]{64}")


def _history(entries: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    """Without what a digest of the sources says: each builder has its own."""
    return [(_DIGEST.sub(r"\1", str(one.get("created_by") or "")), bool(one.get("empty_layer"))) for one in entries]


async def _ours(root: Path) -> dict[str, Outcome]:
    found = {}
    async with fresh_engine(root) as engine:
        for name, case in CASES.items():
            built: Built = await build(
                engine, case.dockerfile, case.files, arguments=case.arguments, labels=case.labels, target=case.target, tags=("t",)
            )  # fmt: skip
            written = await blob(root, built.id)
            found[name] = Outcome(_config(written["config"]), _history(written["history"]), await tree(engine, built.id))
    return found


def _theirs(dockerd: Dockerd, folder: Path) -> dict[str, Outcome]:
    return {name: _built_by(dockerd, case, folder / str(number)) for number, (name, case) in enumerate(CASES.items())}


def _built_by(dockerd: Dockerd, case: Case, folder: Path) -> Outcome:
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(context({**case.files, "Dockerfile": case.dockerfile}))) as tar:
        tar.extractall(folder)
    options = [option for name, value in case.arguments.items() for option in ("--build-arg", f"{name}={value}")]
    options += [option for name, value in case.labels.items() for option in ("--label", f"{name}={value}")]
    command = [
        "docker",
        "-H",
        dockerd.host,
        "build",
        "--network=none",
        "-t",
        "t",
        *options,
        *(("--target", case.target) if case.target else ()),
        ".",
    ]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "DOCKER_BUILDKIT": "0"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{case.dockerfile}\n{done.stdout}\n{done.stderr}"
    image = json.loads(dockerd.docker("image", "inspect", "t"))[0]
    saved = members(subprocess.run(["docker", "-H", dockerd.host, "save", "t"], capture_output=True, check=True).stdout)
    manifest = json.loads(saved["manifest.json"][1])[0]
    history = json.loads(saved[manifest["Config"]][1])["history"]
    container = dockerd.docker("create", "--network=none", "t", "none").strip()
    exported = subprocess.run(["docker", "-H", dockerd.host, "export", container], capture_output=True, check=True).stdout
    dockerd.docker("rm", "-v", container)
    return Outcome(_config(image["Config"]), _history(history), described(members(exported)))


@pytest.fixture(scope="module")
def outcomes() -> Iterator[tuple[dict[str, Outcome], dict[str, Outcome]]]:
    with tempfile.TemporaryDirectory(prefix="srt-", dir="/tmp") as name:
        root = Path(name)
        ours = asyncio.run(_ours(root))
        dockerd = Dockerd()
        try:
            dockerd.docker("import", str(busybox_tar(root)), BUSYBOX)
            (root / "contexts").mkdir()
            yield ours, _theirs(dockerd, root / "contexts")
        finally:
            dockerd.close()


@pytest.mark.parametrize("name", CASES)
def test_the_configuration_is_dockers(outcomes: tuple[dict[str, Outcome], dict[str, Outcome]], name: str) -> None:
    assert outcomes[0][name].config == outcomes[1][name].config


@pytest.mark.parametrize("name", CASES)
def test_the_files_are_dockers(outcomes: tuple[dict[str, Outcome], dict[str, Outcome]], name: str) -> None:
    assert outcomes[0][name].tree == outcomes[1][name].tree


@pytest.mark.parametrize("name", CASES)
def test_the_history_is_dockers(outcomes: tuple[dict[str, Outcome], dict[str, Outcome]], name: str) -> None:
    assert outcomes[0][name].history == outcomes[1][name].history
