"""States of a build: their keys, what is written of them, and Docker's words for what was done."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stackrun.engine import build_state
from stackrun.engine.build_state import State, comment, digest, go_duration, nop
from stackrun.image.arguments import GlobalArguments
from stackrun.image.assembly import Layer
from stackrun.image.dockerfile import parse
from stackrun.image.imageconfig import apply_instruction
from stackrun.image.instructions import Instruction
from stackrun.image.manifest import Platform

ID = "sha256:" + "a" * 64
LAYER = Layer("sha256:" + "b" * 64, 10, "sha256:" + "c" * 64)
BASE: dict[str, Any] = {
    "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z", "docker_version": "1", "container": "x",
    "config": {"Cmd": ["sh"], "Env": ["A=1"]}, "rootfs": {"type": "layers", "diff_ids": [LAYER.diff_id]},
    "history": [{"created_by": "base"}],
}  # fmt: skip


def from_base() -> State:
    return build_state.from_image(ID, BASE, (LAYER,), GlobalArguments(parse("FROM x\n"), {}, {}).stage())


def test_a_state_that_adds_nothing_is_its_base() -> None:
    assert from_base().id == ID


def test_what_is_written_is_an_image_configuration() -> None:
    state = from_base()
    state.step("2026-02-02T00:00:00Z", "RUN x", (LAYER, LAYER))
    state.step("2026-02-03T00:00:00Z", "ENV y")
    written = json.loads(state.written())
    assert written["rootfs"]["diff_ids"] == [LAYER.diff_id, LAYER.diff_id]
    assert [one.get("empty_layer", False) for one in written["history"]] == [False, False, True]
    assert written["created"] == "2026-02-03T00:00:00Z"
    assert written["config"]["Env"] == ["A=1", build_state.DEFAULT_PATH]
    assert {"docker_version", "container"}.isdisjoint(written)
    assert state.id != ID


def test_a_stage_of_another_goes_its_own_way() -> None:
    first = from_base()
    second = build_state.from_stage(first, first.args)
    second.config["Env"].append("B=2")
    second.step("t", "ENV B=2")
    assert "B=2" not in first.config["Env"] and len(first.history) == 1 and first.key != second.key


def test_keys_tell_parts_apart() -> None:
    assert len({digest("a", "b"), digest("ab"), digest("a", "b", ""), digest(["a", "b"]), digest("b", "a")}) == 5
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def _only(line: str) -> Instruction:
    return parse(f"FROM x\n{line}\n").stages[0].instructions[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ENV A=1 B=2", "ENV A=1 B=2"), ("LABEL a=b", "LABEL a=b"), ("USER me", "USER me"), ("EXPOSE 80 53/udp", "EXPOSE 53/udp 80"),
        ("VOLUME /a /b", "VOLUME [/a /b]"), ("STOPSIGNAL SIGHUP", "STOPSIGNAL SIGHUP"), ("MAINTAINER me", "MAINTAINER me"),
        ('CMD ["a", "b c"]', 'CMD ["a" "b c"]'), ("CMD a b", 'CMD ["/bin/sh" "-c" "a b"]'), ('ENTRYPOINT ["x"]', 'ENTRYPOINT ["x"]'),
        ("ONBUILD RUN x", "ONBUILD RUN x"), ("ARG A=b C", "ARG A=b C"), ('SHELL ["sh", "-e"]', "SHELL [sh -e]"),
        ("HEALTHCHECK NONE", "HEALTHCHECK &{[\"NONE\"] \"0s\" \"0s\" \"0s\" '\\x00'}"),
        ("HEALTHCHECK --retries=65 CMD x", "HEALTHCHECK &{[\"CMD-SHELL\" \"x\"] \"0s\" \"0s\" \"0s\" 'A'}"),
    ],
)  # fmt: skip
def test_dockers_words(line: str, said: str) -> None:
    config: dict[str, Any] = {}
    instruction = _only(line)
    apply_instruction(config, instruction, str)
    assert comment(instruction, {}, config) == said


def test_what_ran_nothing_says_so_with_the_shell() -> None:
    assert nop({}, "ENV A=1") == "/bin/sh -c #(nop)  ENV A=1"
    assert nop({"Shell": ["bash", "-c"]}, "COPY x", spaces=1) == "bash -c #(nop) COPY x"


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0s"), (5_000_000_000, "5s"), (60_000_000_000, "1m0s"), (3_600_000_000_000, "1h0m0s"), (1_500_000_000, "1.5s"),
     (500_000_000, "500ms"), (1_500, "1.5µs"), (90_500_000_000, "1m30.5s"), (7, "7ns")],
)  # fmt: skip
def test_durations_as_go_prints_them(nanoseconds: int, text: str) -> None:
    assert go_duration(nanoseconds) == text


def test_from_scratch_there_is_a_path_and_no_image() -> None:
    state = build_state.from_scratch(Platform("linux", "arm64", "v8"), GlobalArguments(parse("FROM x\n"), {}, {}).stage())
    assert state.id == "" and state.config == {"Env": [build_state.DEFAULT_PATH]}
    assert json.loads(state.written())["variant"] == "v8"
