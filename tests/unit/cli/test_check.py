"""`stackrun check`: told to people, to programs, and by the exit code."""

from __future__ import annotations

import json

import pytest

from stackrun.cli.commands import check
from stackrun.cli.main import parsed
from stackrun.kernel.checkup import Check, checks, runs

GOOD = Check("kernel", "version", True, True, "6.1", "no container starts", "a later one")
POOR = Check("cgroups", "cgroup pids", False, False, "not there", "a fork bomb reaches the host", "another kernel")
FATAL = Check("file systems", "overlayfs", False, True, "EPERM", "no container starts", "modprobe overlay")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def run(*words: str, found: tuple[Check, ...]) -> tuple[int, str]:
        monkeypatch.setattr(check, "checks", lambda: found)
        return check.run(parsed("check", list(words))), capsys.readouterr().out

    return run


def test_each_is_told_in_its_group_and_what_is_missing_with_cost_and_remedy(told) -> None:  # type: ignore[no-untyped-def]
    code, text = told(found=(GOOD, POOR))
    assert code == 0
    assert text.splitlines() == [
        "kernel",
        "  ok       version  6.1",
        "",
        "cgroups",
        "  missing  cgroup pids  not there",
        "           costs: a fork bomb reaches the host",
        "           to have it: another kernel",
        "",
        "stackrun runs here; 1 of 2 are missing, at the costs told above",
    ]


def test_what_it_cannot_do_without_is_exit_code_4(told) -> None:  # type: ignore[no-untyped-def]
    code, text = told("--quiet", found=(GOOD, POOR, FATAL))
    assert code == 4
    assert "version" not in text and "  MISSING  overlayfs  EPERM" in text
    assert text.splitlines()[-1] == "stackrun cannot run here without overlayfs"


def test_programs_get_a_version_and_no_costs_of_what_is_there(told) -> None:  # type: ignore[no-untyped-def]
    code, text = told("--format", "json", found=(GOOD, FATAL))
    document = json.loads(text)
    assert (code, document["version"], document["runs"]) == (4, 1, False)
    first, second = document["checks"]
    assert (first["ok"], first["cost"], first["remedy"]) == (True, "", "")
    assert second == {
        "group": "file systems",
        "name": "overlayfs",
        "ok": False,
        "required": True,
        "detail": "EPERM",
        "cost": "no container starts",
        "remedy": "modprobe overlay",
    }


def test_this_machine_is_told_whole() -> None:
    found = checks()
    names = [(one.group, one.name) for one in found]
    assert len(names) == len(set(names))
    assert {"kernel", "namespaces", "system calls", "cgroups", "file systems", "network", "security", "users", "limits"} <= {
        one.group for one in found
    }
    assert all(one.cost and one.remedy for one in found if not one.ok)
    assert list(dict.fromkeys(one.group for one in found)) == sorted({one.group for one in found}, key=[one.group for one in found].index)
    assert isinstance(runs(found), bool)
