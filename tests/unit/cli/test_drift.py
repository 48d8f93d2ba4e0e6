"""`drift`: what is shown, and with which code it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stackrun.api.drift import Drift, DriftReport, Repair
from stackrun.api.wire.drift import drift_to_json
from stackrun.cli import main
from stackrun.cli.commands import drift as verb
from stackrun.errors import ComposeError, ExecuteFailed, StackrunError

LIMIT = Drift("Container shop-web-1", "memory.limit", "1", "2", Repair.IN_PLACE)
STATE = Drift("Container shop-web-1", "state", "running", "exited (1)", Repair.START)
BRIDGE = Drift("Network shop_default", "bridge", "sr-1", "mis\nsing", Repair.IN_PLACE)
OLD = Drift("Container shop-old-1", "state", "not in the file", "present", Repair.NONE)
FOUND = DriftReport("shop", (BRIDGE, LIMIT, STATE, OLD), (BRIDGE, LIMIT, STATE, OLD))

TEXT = """\
Container shop-old-1
  state         not in the file → present  (not by itself)
Container shop-web-1
  memory.limit  1 → 2  (in place)
  state         running → exited (1)  (start)
Network shop_default
  bridge        sr-1 → mis\\nsing  (in place)

drift: 4 fields of 3 resources
"""


def answered(monkeypatch: pytest.MonkeyPatch, answer: DriftReport | StackrunError) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = []

    def document(options: object, request: dict[str, Any]) -> dict[str, Any]:
        requests.append(request)
        if isinstance(answer, StackrunError):
            raise answer
        return drift_to_json(answer)

    monkeypatch.setattr(verb, "drift_document", document)
    return requests


def test_what_a_person_reads(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    requests = answered(monkeypatch, FOUND)
    assert main.run(["drift", "web", "-t", "3"]) == 2
    assert capsys.readouterr().out == TEXT
    assert requests[0]["options"] == {"services": ["web"], "repair": False, "timeout_s": 3.0}


def test_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answered(monkeypatch, DriftReport("shop"))
    assert main.run(["drift"]) == 0
    assert capsys.readouterr().out == "drift: none\n"


def test_a_foreign_engine_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answered(monkeypatch, DriftReport("shop", kernel=False))
    assert main.run(["drift"]) == 0
    assert "its kernel was not looked at" in capsys.readouterr().err


def test_a_repair_says_what_became_of_each_field(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answered(monkeypatch, DriftReport("shop", (LIMIT, OLD), (OLD,), repaired=True))
    assert main.run(["drift", "--repair"]) == 2
    out = capsys.readouterr().out
    assert "1 → 2  (repaired)" in out and "present  (not repaired)" in out and out.endswith("2 resources, 1 left\n")
    answered(monkeypatch, DriftReport("shop", (LIMIT,), (), repaired=True))
    assert main.run(["drift", "--repair"]) == 0
    assert capsys.readouterr().out.endswith("drift: 1 field of 1 resource, none left\n")


def test_a_failed_repair_and_a_faulty_file_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, DriftReport("shop", (STATE,), (STATE,), repaired=True, failures=("no such image",)))
    with pytest.raises(ExecuteFailed) as failed:
        main.run(["drift", "--repair"])
    assert failed.value.exit_code == 1
    answered(monkeypatch, ComposeError([]))
    with pytest.raises(ComposeError) as broken:
        main.run(["drift"])
    assert broken.value.exit_code == 1


def test_a_document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answered(monkeypatch, FOUND)
    assert main.run(["drift", "--format", "json"]) == 2
    assert json.loads(capsys.readouterr().out) == drift_to_json(FOUND)
