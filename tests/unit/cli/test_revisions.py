"""`history`, `diff`, `rollback`: what they ask, what they show, and whose stack they mean when its file is broken or gone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from stackrun.api.stacks import (
    FieldChange,
    History,
    Phase,
    PlannedAction,
    ResourceChange,
    RevisionEntry,
    StackEvent,
    StackPlan,
    StateDifference,
    Symbol,
)
from stackrun.api.wire.stacks import difference_to_json, history_to_json, plan_to_json
from stackrun.cli import main, project
from stackrun.cli.commands import revisions as verb
from stackrun.cli.commands import up
from stackrun.errors import InvalidArgument, NotFound

HISTORY = History(
    "shop",
    (
        RevisionEntry(8, 1_700_000_000.0, "up", "+web"),
        RevisionEntry(9, fault="it cannot be read"),
        RevisionEntry(10, 1_700_000_060.0, "rollback to 8", "web image 1 → 2\x1b[2J", current=True),
    ),
)
DIFFERENCE = StateDifference(
    "shop",
    "revision 8",
    "the file",
    (
        ResourceChange(Symbol.CREATE, "Service cache", (FieldChange("image", None, "redis:7", "compose.yaml:4:3"),)),
        ResourceChange(Symbol.REMOVE, "Service db"),
        ResourceChange(Symbol.CHANGE, "Service web", (FieldChange("environment.A", "1", None), FieldChange("scale", "1", "3"))),
    ),
)
PLAN = StackPlan(
    "shop",
    (PlannedAction(Symbol.REMOVE, "Container shop-db-1", "orphan", ("remove",)),),
    notices=(StackEvent("Service web", Phase.DONE, "Warning", "its image is gone"),),
)


class Asked:
    """What the commands ask for, answered with the documents above."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.difference = DIFFERENCE
        monkeypatch.setattr(verb, "history_document", lambda _, request: self._told("history", request, history_to_json(HISTORY)))
        monkeypatch.setattr(
            verb, "difference_document", lambda _, request: self._told("diff", request, difference_to_json(self.difference))
        )
        monkeypatch.setattr(verb, "plan_document", lambda _, request: self._told("plan", request, plan_to_json(PLAN)))
        monkeypatch.setattr(verb, "operate", lambda _, name, request: self._told(name, request, []))
        monkeypatch.setattr(verb, "follow", lambda events, display, action: None)

    def _told(self, name: str, request: dict[str, Any], answer: Any) -> Any:
        self.requests.append((name, request))
        return answer

    @property
    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = self.requests[-1][1]["options"]
        return options


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    return Asked(monkeypatch)


def test_a_history_is_a_line_each(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["-p", "shop", "history"]) == 0
    first, second = (time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one)) for one in (1_700_000_000, 1_700_000_060))
    assert capsys.readouterr().out == (
        "    REVISION   WHEN                  HOW             CHANGED\n"
        f"    8          {first}   up              +web\n"
        "    9          -                     -               it cannot be read\n"
        f"*   10         {second}   rollback to 8   web image 1 → 2\\x1b[2J\n"
    )
    assert asked.requests[0][1]["source"]["project_name"] == "shop"


def test_what_was_not_finished_is_told() -> None:
    half_way = history_to_json(History("shop", HISTORY.revisions, "up", 1_700_000_120.0))
    assert list(verb.history_lines(half_way))[-1].endswith(": `stackrun rollback` returns to 10")
    never = history_to_json(History("shop", (), "up", 1_700_000_120.0))
    assert list(verb.history_lines(never))[-1].startswith("unfinished: up, begun 2023-")


def test_a_history_for_programs(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["-p", "shop", "history", "--format", "json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["version"], told["project"], [one["number"] for one in told["revisions"]]) == (1, "shop", [8, 9, 10])


def test_a_diff_is_shown_as_a_plan_is(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["-p", "shop", "diff", "8"]) == 0
    assert capsys.readouterr().out == (
        "revision 8 → the file\n"
        "  + Service cache\n"
        "      image: redis:7  compose.yaml:4\n"
        "  - Service db\n"
        "  ~ Service web\n"
        "      environment.A: 1 → (none)\n"
        "      scale: 1 → 3\n"
    )
    _, request = asked.requests[0]
    assert (request["before"], request["after"]) == (8, 0)


def test_the_exit_code_of_a_diff(asked: Asked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main.run(["-p", "shop", "diff", "8", "9", "--detailed-exitcode"]) == 2
    asked.difference = StateDifference("shop", "revision 8", "revision 9")
    assert main.run(["-p", "shop", "diff", "8", "9", "--detailed-exitcode"]) == 0
    assert capsys.readouterr().out.endswith("revision 8 and revision 9 declare the same\n")

    def refused(*_: object) -> None:
        raise InvalidArgument("no")

    monkeypatch.setattr(verb, "difference_document", refused)
    for argv, code in ((["diff", "--detailed-exitcode"], 1), (["diff"], 2)):
        with pytest.raises(InvalidArgument) as raised:
            main.run(["-p", "shop", *argv])
        assert raised.value.exit_code == code


def test_a_rollback_is_an_up_of_a_revision(asked: Asked) -> None:
    assert main.run(["-p", "shop", "rollback"]) == 0
    assert asked.requests[0][0] == "up" and (asked.options["revision"], asked.options["by"]) == (-1, "rollback")
    main.run(["-p", "shop", "rollback", "8", "--wait", "--wait-timeout", "1m", "-t", "3"])
    assert asked.options == {"revision": 8, "by": "rollback", "wait": True, "wait_timeout_s": 60.0, "timeout_s": 3.0}


@pytest.mark.parametrize("flag", ["--plan", "--dry-run"])
def test_a_planned_one_does_nothing(asked: Asked, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["-p", "shop", "rollback", "8", flag]) == 0
    told = capsys.readouterr()
    assert [name for name, _ in asked.requests] == ["plan"] and asked.options["revision"] == 8
    assert told.out.startswith("  - Container shop-db-1  orphan\n") and "its image is gone" in told.err
    assert main.run(["-p", "shop", "rollback", flag, "--detailed-exitcode", "--format", "json"]) == 2
    assert json.loads(capsys.readouterr().out)["project"] == "shop"


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5"])
def test_what_is_no_number(asked: Asked, number: str) -> None:
    with pytest.raises(InvalidArgument):
        main.run(["-p", "shop", "rollback", number])


def test_atomic_waits_and_must_start(asked: Asked) -> None:
    request = up.stack_request(main.parsed("up", ["--atomic"]))
    assert request["options"]["atomic"] and request["options"]["wait"]
    with pytest.raises(InvalidArgument, match="--atomic and --no-start"):
        up.stack_request(main.parsed("up", ["--atomic", "--no-start"]))


def test_whose_past_it_is(asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "My.Shop").mkdir()
    monkeypatch.chdir(tmp_path / "My.Shop")
    options = main.parsed("history", [])
    assert project.name_of_past(options) == "myshop"
    for text, name in (("name: other\nservices: [", "other"), ("{", "myshop"), ("name: ${X:?}\nservices: {a: {image: x}}", "myshop")):
        Path("compose.yaml").write_text(text)
        assert project.name_of_past(options) == name
    monkeypatch.chdir("/")
    with pytest.raises(NotFound, match="no stack file that names the stack"):
        project.name_of_past(options)
