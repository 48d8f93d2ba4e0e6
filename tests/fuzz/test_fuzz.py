"""Whatever a file says, the commands that read it end with a verdict: no traceback, no exit 70, no long wait.

Bytes, mutations of a valid stack, and stacks put together from the schema's own words with odd values. A run is short and
always the same; STACKRUN_FUZZ_SECONDS gives it that many seconds a test, and another seed each time.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stackrun.cli import main
from stackrun.compose.schema import load_schema
from stackrun.compose.written import Written
from stackrun.errors import StackrunError

LONGER_S = float(os.environ.get("STACKRUN_FUZZ_SECONDS", "0"))
EXAMPLE_S = 5.0
ALLOWED = (0, 1, 2)
ALWAYS = (("validate",), ("config", "--format", "json"))
IN_TURN = (("config",), ("config", "--variables"), ("config", "--no-interpolate"), ("graph",), ("validate", "--format", "sarif"))

STACK = """\
name: shop
x-common: &common
  restart: unless-stopped
  logging: {driver: json-file, options: {max-size: 10m}}
services:
  web:
    <<: *common
    image: "nginx:${TAG:-1.27}"
    ports: ["8080:80", "127.0.0.1:9000-9002:9000-9002/udp", {target: 443, published: "8443", mode: host}]
    environment: [A=b, "C=${D:?needed}", E]
    volumes: ["data:/data:ro", "./conf:/etc/conf", {type: tmpfs, target: /tmp, tmpfs: {size: 64m, mode: 0o1777}}]
    depends_on: {db: {condition: service_healthy, required: false}}
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 128M}}}
    healthcheck: {test: [CMD, curl, localhost], interval: 1m30s, retries: 3}
    networks: {front: {aliases: [www], ipv4_address: 10.0.0.2}}
    env_file: [{path: web.env, required: false}]
    configs: [{source: c, target: /c, mode: 0440}]
    command: sh -c "echo $$HOME | cat"
    ulimits: {nofile: {soft: 10, hard: 20}}
  db:
    extends: {service: base}
    profiles: [all]
    secrets: [s]
    labels: !override {a: "1", b: true}
    sysctls: {net.core.somaxconn: 1024}
  base: {image: "postgres@sha256:0123", stop_grace_period: 1m, cap_add: [ALL], init: yes, cpus: 1e0, tmpfs: /run}
networks: {front: {ipam: {config: [{subnet: 10.0.0.0/24, gateway: 10.0.0.1}]}}}
volumes: {data: {driver: local, driver_opts: {o: bind, device: ./x, type: none}}}
configs: {c: {content: "x ${Y}"}}
secrets: {s: {environment: S}}
"""
DOCKERFILE = """\
# syntax=docker/dockerfile:1
# escape=\\
ARG BASE=busybox TAG
FROM --platform=$BUILDPLATFORM ${BASE}:${TAG:-1.37} AS build
ENV A=1 B="x $A" C='y' \\
  # in between

  D=${A:+${B%%x*}}
RUN --mount=type=cache,target=/root/.cache,sharing=locked <<-EOF
\tmake ${A}
\tEOF
SHELL ["/bin/sh", "-ec"]
COPY --chown=1:1 --exclude=*.md <<'ONE' b /files/
$kept
ONE
ADD ["c d", "/e f/"]
HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f http://localhost/ || exit 1
ONBUILD RUN a && \\
  b
FROM build
COPY --from=build /files /files
LABEL "a b"=c d=
EXPOSE 80 8000-8010/udp
VOLUME /data /more
USER 1000:1000
WORKDIR sub/$A
STOPSIGNAL SIGTERM
CMD ["a", "\\u00e9"]
"""
DOCKERFILE_ODD = (
    "", "\\", "\\\n", "`", '"', "'", "$", "${", "}", "${A:-", "${A/", "<<", "<<E", "<<-'E'", "\nE\n", "[", "]", '["a", 1]', "[" * 500,
    "--", "--x", "--from=9", "--from=build", "--mount=", "=", "\0", "\r", "\ufeff", "\u2028", "FROM ", "\nFROM x AS build\n", "#", "\t",
    "\nONBUILD ONBUILD ", "\nFRM x\n", "\n# escape=`\n", "99999999999999999999", "1-65535/tcp", "-1s", "1e9h", "é", "😀", "AS", "NONE",
)  # fmt: skip
ODD = (
    "", "~", "null", "yes", "0", "-1", "0755", "0o17", "0x1F", "1_000", "1e3", "1e999", ".inf", "-.inf", ".nan", "22:22", "2020-01-01",
    "99999999999999999999", "1" * 5000, "'1" + "0" * 400 + "'", "²", "'²'", "'١'", "[]", "{}", "[[]]", "[null]", "[[a]]", "{a: }",
    "{'': }", "[{}]", "{a: {b: [c]}}", "''", "' '", "\"\\n\"", "\"\\0\"", "\"\\e[31m\"", "'-'", "':'", "'/'", "'::'", "'a:b:c:d'",
    "'1-'", "'-1:-1'", "'[::1]:80'", "'[::1:80'", "'65536'", "'1-2:3-5'", "${A}", "'${A:-${B}}'", "'${'", "'$'", "'$$'", "'${A:?}'",
    "!reset null", "!reset []", "!override {a: b}", "!!binary YQ==", "!!int x", "!!float 1", "!!bool maybe", "!!null x", "!!str 1",
    "!x y", "!!set {a}", "&z z", "*common", "*none", "service:web", "container:x", "'*'", "true", "'true'", "1.5", "-0.0", 'a\u2028b',
    "'é'", "😀", "'a=b=c'", "=", "<<", "'x' 'y'", '|\n        a', "1h", "'1h1'", "'1.5.5'", "'-1s'", "64m", "'1e400b'", "'-64m'", "all",
    "'NaN'", "./..", "'~'", "'~x/y'", "'C:\\x'", "http://", "x\\y",
)  # fmt: skip


def verdict(directory: Path, files: dict[str, bytes]) -> None:
    """Runs the commands on the files, in this process, as the program itself would; of some, the one whose turn it is."""
    turn = IN_TURN[zlib.crc32(files["compose.yaml"]) % len(IN_TURN)]
    for name, content in files.items():
        (directory / name).write_bytes(content)
    for argv in (*ALWAYS, turn):
        begin = time.process_time()
        code = run(["-f", str(directory / "compose.yaml"), *argv])
        assert code in ALLOWED, argv
        assert time.process_time() - begin < EXAMPLE_S, argv
    text = files["compose.yaml"].decode("utf-8", "replace")
    written = Written.of(text, "compose.yaml")
    assert all(text[node.start.offset : node.end.offset] == node.raw for node in written.nodes if node.kind == "scalar")
    assert all(text[comment.offset] == "#" for comment in written.comments)


def run(argv: list[str]) -> int:
    """The exit code; anything but a modelled failure escapes, and that is what is looked for."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return main.run(argv)
        except StackrunError as error:
            assert str(error).isprintable() or "\n" in str(error)
            return error.exit_code


BOUNDS = settings(
    database=None,
    deadline=None,
    derandomize=not LONGER_S,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fuzz(directory: Path, examples: int, strategy: st.SearchStrategy[dict[str, bytes]]) -> None:
    """So many examples, always the same; or new ones for as long as was asked for."""
    end = time.monotonic() + LONGER_S
    while True:

        @settings(BOUNDS, max_examples=examples)
        @given(strategy)
        def attempt(files: dict[str, bytes]) -> None:
            verdict(directory, files)

        attempt()
        if time.monotonic() >= end:
            break


def compose(text: str | bytes) -> dict[str, bytes]:
    return {"compose.yaml": text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")}


def test_bytes(directory: Path) -> None:
    fuzz(directory, 40, st.binary(max_size=400).map(compose))


def test_text_of_yaml_characters(directory: Path) -> None:
    characters = st.sampled_from([*"-:?#&*!|>'\"%@`{}[],<=~$. \n\t\\/", "a", "1", "\n  ", "services:", "image: x", "\r", "\u2028", "é"])
    fuzz(directory, 60, st.lists(characters, max_size=60).map("".join).map(compose))


@st.composite
def mutations(draw: st.DrawFn) -> dict[str, bytes]:
    """A valid stack with some of its text cut, doubled, or replaced."""
    text = STACK
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        kind = draw(st.integers(0, 3))
        new = ("", text[start:end] * 2, draw(st.sampled_from(ODD)), draw(st.text(max_size=5)))[kind]
        text = text[:start] + new + text[end:]
    return compose(text)


def test_a_valid_stack_with_mutations(directory: Path) -> None:
    fuzz(directory, 60, mutations())


@st.composite
def replacements(draw: st.DrawFn) -> dict[str, bytes]:
    """A valid stack in which whole values are odd ones: the YAML is right, the meaning is not."""
    values = [node for node in Written.of(STACK, "f").nodes if not node.is_key and node.path and "x-common" not in node.path]
    chosen = draw(st.lists(st.sampled_from(values), min_size=1, max_size=6))
    text = STACK
    for node in sorted(chosen, key=lambda node: node.start.offset, reverse=True):
        if node.end.offset <= len(text):
            text = text[: node.start.offset] + draw(st.sampled_from(ODD)) + text[node.end.offset :]
    return compose(text)


def test_a_valid_stack_with_odd_values(directory: Path) -> None:
    fuzz(directory, 80, replacements())


def _key_paths(schema: dict[str, object], node: object, depth: int = 0) -> Iterator[tuple[str, ...]]:
    if not isinstance(node, dict) or depth > 4:
        return
    if "$ref" in node:
        section, name = str(node["$ref"]).removeprefix("#/").split("/")
        yield from _key_paths(schema, schema[section][name], depth)  # type: ignore[index]
    for key, inner in node.get("properties", {}).items():
        yield (key,)
        yield from ((key, *rest) for rest in _key_paths(schema, inner, depth + 1))
    for inner in (*node.get("patternProperties", {}).values(), node.get("additionalProperties")):
        yield from (("n", *rest) for rest in _key_paths(schema, inner, depth + 1))
    if "items" in node:
        yield from (("[]", *rest) for rest in _key_paths(schema, node["items"], depth + 1))
    for alternatives in ("anyOf", "oneOf"):
        for inner in node.get(alternatives, ()):
            yield from _key_paths(schema, inner, depth)


KEY_PATHS = sorted(set(_key_paths(load_schema(), load_schema())))


def _flow(path: tuple[str, ...], value: str) -> str:
    if not path:
        return value
    inner = _flow(path[1:], value)
    return f"[{inner}]" if path[0] == "[]" else f"{{{json.dumps(path[0])}: {inner}}}"


FLOW_ODD = tuple(value for value in ODD if "\n" not in value and not value.startswith("*")) + tuple(
    json.dumps(value) for value in ("web", "db", "data", "80:80", "x:/y", "a=b", 7, 1.5, True, None, ["web"], {"web": None}, {"a": 1}, [{}])
)


@st.composite
def odd_settings(draw: st.DrawFn) -> dict[str, bytes]:
    """Any key that the schema knows with any odd value, in a file laid over a valid one."""
    texts = []
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(KEY_PATHS))
        texts.append(_flow(path, draw(st.sampled_from(FLOW_ODD))))
    return compose("\n---\n".join([STACK, *texts]))


def test_every_key_with_odd_values(directory: Path) -> None:
    fuzz(directory, 80, odd_settings())


INCLUDES = ("include: [other.yaml]", "include: [{path: [other.yaml, compose.yaml], env_file: web.env}]", "include: {a: b}")
EXTENDS = ("{file: other.yaml, service: web}", "{file: other.yaml, service: web, x: 1}", "web", "{service: db}", "[]", "7")
ENV_LINES = ("A=b", "A='", 'B="${A}', "export C", "D", "=", "É=1", "A B=c", "E=${A:-${B", "F='x\\'y'", "#", "\x00=1", "G: h")


@st.composite
def several_files(draw: st.DrawFn) -> dict[str, bytes]:
    """A stack, what it includes and extends, and its env files."""
    extends = draw(st.sampled_from(EXTENDS))
    env = "\n".join(draw(st.lists(st.sampled_from(ENV_LINES), max_size=8))).encode() + draw(st.binary(max_size=6))
    other = draw(mutations())["compose.yaml"] if draw(st.booleans()) else STACK.encode()
    services = f"{{web: {{image: x, extends: {extends}, env_file: web.env}}, y: {{extends: web, label_file: web.env}}}}"
    text = f"{draw(st.sampled_from(INCLUDES))}\nservices: {services}\n"
    return {"compose.yaml": text.encode(), "other.yaml": other, "web.env": env, ".env": env}


def test_several_files(directory: Path) -> None:
    fuzz(directory, 30, several_files())


@st.composite
def dockerfiles(draw: st.DrawFn) -> dict[str, bytes]:
    """A stack that is built by a Dockerfile in which some text is cut, doubled or replaced; beside it, and within."""
    text = DOCKERFILE
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        text = text[:start] + draw(st.sampled_from(("", text[start:end] * 2, *DOCKERFILE_ODD))) + text[end:]
    target = draw(st.sampled_from(("", "build", "1", "9", "Build", "none", "²")))
    inner = {"context": ".", "dockerfile_inline": text.replace("$", "$$").replace("\0", "")}
    services = {"web": {"build": {"context": ".", "target": target}}, "db": {"build": inner}}
    return compose(json.dumps({"name": "shop", "services": services})) | {"Dockerfile": text.encode("utf-8", "surrogatepass")}


def test_a_dockerfile_with_mutations(directory: Path) -> None:
    fuzz(directory, 60, dockerfiles())


def test_the_dockerfile_that_mutations_start_from_has_no_fault(directory: Path) -> None:
    (directory / "Dockerfile").write_text(DOCKERFILE)
    (directory / "compose.yaml").write_text("services: {web: {build: .}}")
    assert run(["-f", str(directory / "compose.yaml"), "validate", "--select", "bad-dockerfile"]) == 0


def test_what_the_mutations_start_from_is_valid(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D", "x")
    monkeypatch.setenv("S", "x")
    assert yaml.safe_load(STACK.replace("!override", ""))["name"] == "shop"
    (directory / "compose.yaml").write_text(STACK)
    assert run(["-f", str(directory / "compose.yaml"), "config", "-q"]) == 0
