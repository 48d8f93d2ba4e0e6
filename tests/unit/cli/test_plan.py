"""`plan` and `up --plan`: what is shown, what is saved, and what a saved plan is refused for."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackrun.api.stacks import FieldChange, Phase, PlannedAction, StackEvent, StackPlan, Symbol
from stackrun.api.wire.stacks import plan_to_json
from stackrun.cli import main
from stackrun.cli.commands import plan as verb
from stackrun.cli.commands import up
from stackrun.cli.commands.plan import lines
from stackrun.cli.saved_plan import SavedPlan
from stackrun.errors import Conflict, InvalidArgument, KernelError

PLAN = StackPlan(
    "shop",
    (
        PlannedAction(Symbol.CREATE, "Image busybox:2", "missing", ("pull",), notes=("if that is another image, web follows",)),
        PlannedAction(Symbol.CREATE, "Network shop_default", "missing", ("create",)),
        PlannedAction(
            Symbol.REPLACE, "Container shop-web-1", "configuration changed", ("create", "stop", "remove", "rename", "start"),
            (
                FieldChange("image", "busybox:1", "busybox:2", "compose.yaml:4:12"),
                FieldChange("environment.A", None, "1\n2", "compose.yaml:6:8"),
                FieldChange("tty", "true", None, "compose.yaml:3:3"),
            ),
            ("db healthy", "Network shop_default"), ("the anonymous volume at /cache with its data",),
        ),
        PlannedAction(Symbol.CHANGE, "Container shop-db-1", "exited (1)", ("start",)),
        PlannedAction(Symbol.REMOVE, "Container shop-old-1", "orphan", ("stop", "remove")),
    ),
    notices=(StackEvent("Project shop", Phase.DONE, "Warning", "found orphans", "remove them"),),
    waits=("web ready",),
    unchanged=("Volume shop_data",),
    seal={"the plan": "abc"},
)  # fmt: skip

TEXT = """\
  + Image busybox:2       pull (missing)
      if that is another image, web follows
  + Network shop_default  missing
-/+ Container shop-web-1  configuration changed
      image: busybox:1 → busybox:2  compose.yaml:4
      environment.A: 1\\n2           compose.yaml:6
      tty: true → (none)            compose.yaml:3
      waits for db healthy, Network shop_default
      destroys the anonymous volume at /cache with its data
  ~ Container shop-db-1   start (exited (1))
  - Container shop-old-1  orphan
    then wait until web ready

plan: 1 to pull, 1 to create, 1 to change, 1 to replace, 1 to remove; 1 unchanged"""


def test_the_text() -> None:
    assert "\n".join(lines(plan_to_json(PLAN), coloured=False)) == TEXT
    assert list(lines(plan_to_json(StackPlan("shop")), coloured=False)) == ["plan: 0 to create, 0 to replace, 0 to remove; 0 unchanged"]


def test_colours_change_nothing_else() -> None:
    import re

    coloured = "\n".join(lines(plan_to_json(PLAN), coloured=True))
    assert coloured != TEXT and re.sub(r"\x1b\[[0-9;]*m", "", coloured) == TEXT


def test_long_values_are_cut() -> None:
    plan = StackPlan("shop", (PlannedAction(Symbol.REPLACE, "Container a", "x", changes=(FieldChange("command", "a" * 500, "b"),)),))
    (line,) = [one for one in lines(plan_to_json(plan), coloured=False) if "command" in one]
    assert "aaa…" in line and len(line) < 120


@pytest.fixture
def planning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `plan ARGS` in a folder, with an engine that answers PLAN (or `answer`)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STACKRUN_ROOT", "/nowhere")
    monkeypatch.delenv("STACKRUN_HOST", raising=False)

    def run(*argv: str, answer: StackPlan = PLAN) -> tuple[int, str, str]:
        monkeypatch.setattr(verb, "plan_document", lambda options, request: plan_to_json(answer))
        code = main.run(["plan", *argv])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_the_plan_goes_to_stdout_and_warnings_to_stderr(planning: Any) -> None:
    assert planning() == (0, TEXT + "\n", "warning: Project shop: found orphans\n  hint: remove them\n")


@pytest.mark.parametrize(("answer", "code"), [(PLAN, 2), (StackPlan("shop", unchanged=("a",)), 0), (StackPlan("shop", waits=("a",)), 0)])
def test_the_detailed_exit_code(planning: Any, answer: StackPlan, code: int) -> None:
    assert planning("--detailed-exitcode", answer=answer)[0] == code
    assert planning(answer=answer)[0] == 0


@pytest.mark.parametrize(("argv", "code"), [((), 2), (("--detailed-exitcode",), 1)])
def test_a_fault_is_no_change(planning: Any, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], code: int) -> None:
    def refuse(options: object, request: object) -> StackPlan:
        raise InvalidArgument("no such service: x")

    planning()
    monkeypatch.setattr(verb, "plan_document", refuse)
    with pytest.raises(InvalidArgument) as caught:
        main.run(["plan", *argv])
    assert caught.value.exit_code == code


def test_json_has_a_version_and_counts(planning: Any) -> None:
    told = json.loads(planning("--format", "json", "-d", "web")[1])
    assert told["version"] == 1 and told["project"] == "shop"
    assert told["summary"] == {"create": 1, "change": 1, "replace": 1, "remove": 1, "unchanged": 1, "text": PLAN.summary}
    assert told["actions"][2]["symbol"] == "-/+" and told["actions"][2]["changes"][1]["before"] is None
    assert told["options"]["services"] == ["web"]


def test_what_cannot_be_printed_is_escaped(planning: Any) -> None:
    change = FieldChange("environment.A", None, "\x1b[2J\udcff")
    plan = StackPlan("shop", (PlannedAction(Symbol.REPLACE, "Container a", "x", changes=(change,)),))
    assert "environment.A: \\x1b[2J\\udcff" in planning(answer=plan)[1]
    told = json.loads(planning("--format", "json", "--out", "p.json", answer=plan)[1])
    assert told["actions"][0]["changes"][0]["after"] == "\x1b[2J\udcff"


def test_what_is_saved_has_no_environment_and_is_its_owners_alone(planning: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "hush-hush")
    planning("-f", "a.yaml", "--out", "p.json", "--scale", "web=2")
    text = (tmp_path / "p.json").read_text()
    assert "hush-hush" not in text and json.loads(text)["source"]["files"] == ["a.yaml"]
    assert stat.S_IMODE((tmp_path / "p.json").stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["p.json"]


def test_a_plan_that_cannot_be_saved(planning: Any) -> None:
    with pytest.raises(KernelError, match=r"save the plan to nowhere/p.json: ENOENT"):
        planning("--out", "nowhere/p.json")


# --- up --plan


@pytest.fixture
def upping(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs `up ARGS` and gives the request that is sent."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(up, "operate", lambda options, verb, request: sent.append(request))
    monkeypatch.setattr(up, "follow", lambda events, display, action: None)

    def run(*argv: str) -> dict[str, Any]:
        assert main.run(["up", *argv]) == 0
        return sent[-1]

    return run


def test_up_is_asked_for_the_same_with_the_seal(planning: Any, upping: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planning("-p", "shop", "--profile", "dev", "--out", "p.json", "--scale", "web=2", "-t", "3", "web")
    monkeypatch.chdir("/")
    monkeypatch.setenv("COLOUR", "red")
    sent = upping("-d", "--plan", str(tmp_path / "p.json"))
    assert sent["options"]["seal"] == {"the plan": "abc"}
    assert (sent["options"]["scale"], sent["options"]["services"], sent["options"]["timeout_s"]) == ({"web": 2}, ["web"], 3.0)
    assert (sent["source"]["project_name"], sent["source"]["profiles"]) == ("shop", ["dev"])
    assert sent["source"]["working_dir"] == str(tmp_path) and sent["source"]["environment"]["COLOUR"] == "red"


@pytest.mark.parametrize("also", [("web",), ("--wait",), ("-f", "x.yaml"), ("--scale", "a=1"), ("-t", "3"), ("--profile", "x")])
def test_a_saved_plan_takes_no_other_options(planning: Any, upping: Any, also: tuple[str, ...]) -> None:
    planning("--out", "p.json")
    with pytest.raises(InvalidArgument, match="a saved plan has its services and options already"):
        upping("-d", "--plan", "p.json", *also)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "p.json is no saved plan"),
        ("[]", "p.json is no saved plan"),
        ('{"version": 1}', "p.json is no saved plan"),
        ('{"version": 2, "seal": {"a": "b"}, "source": {}, "options": {}, "host": ""}', "p.json is a plan of version 2, this is 1"),
        ('{"version": 1, "seal": {}, "source": {}, "options": {}, "host": ""}', "p.json is no whole plan"),
    ],
)
def test_what_is_no_saved_plan(upping: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(InvalidArgument, match=said):
        upping("-d", "--plan", "p.json")


def test_a_plan_that_is_not_there(upping: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"cannot read the plan /nowhere/p.json: no such file or directory"):
        upping("-d", "--plan", "/nowhere/p.json")


def test_a_plan_for_another_engine(planning: Any, upping: Any) -> None:
    planning("--out", "p.json")
    with pytest.raises(Conflict, match=r"p.json was made for the engine at unix:///nowhere/run/stackrun.sock, not for tcp://a:1"):
        upping("-d", "--plan", "p.json", "-H", "tcp://a:1")


def test_a_plan_whose_folder_is_gone(planning: Any, upping: Any, tmp_path: Path) -> None:
    planning("--out", "p.json")
    told = json.loads((tmp_path / "p.json").read_text())
    told["source"]["working_dir"] = str(tmp_path / "gone")
    (tmp_path / "p.json").write_text(json.dumps(told))
    with pytest.raises(Conflict, match=r"was made in .*/gone: no such file or directory"):
        upping("-d", "--plan", "p.json")


def test_reading_keeps_the_working_directory(planning: Any, tmp_path: Path) -> None:
    planning("--out", "p.json")
    SavedPlan.read("p.json")
    assert os.getcwd() == str(tmp_path)
