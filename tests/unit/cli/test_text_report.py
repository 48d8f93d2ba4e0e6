"""What a person is shown, by the real rules."""

from __future__ import annotations

from pathlib import Path

from stackrun.api.stacks import StackSource
from stackrun.cli.reports.report import report
from stackrun.compose.validation import validate


def told(folder: Path, text: str, *codes: str) -> str:
    (folder / "stack.yaml").write_text(text)
    source = StackSource(files=("stack.yaml",), working_dir=str(folder))
    return report("text")(validate(source, select=codes), shown="note", colour=False)


def test_a_credential_is_not_shown_again(tmp_path: Path) -> None:
    text = told(tmp_path, "services:\n  a:\n    image: x:1\n    labels:\n      api_token: hunter2hunter2\n", "credential-in-label")
    assert "[credential-in-label]" in text and "hunter2" not in text
    assert f"      api_token: {'•' * 14}\n" in text


def test_a_variable_that_is_not_set_is_said_once(tmp_path: Path) -> None:
    text = told(tmp_path, "services:\n  a:\n    image: x:${NOPE}\n", "unset-variable")
    assert "[unset-variable]" in text and text.count("not set") == 1
