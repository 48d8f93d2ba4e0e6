"""Which files of a commit are one stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackrun.cli import hook, main
from stackrun.errors import NotFound


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("compose.yaml", "compose.override.yml", "compose.prod.yaml", "sub/compose.yaml", "sub/stack.override.yaml"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["compose.yaml"], [("compose.yaml", "compose.override.yml")]),
        (["compose.override.yml"], [("compose.yaml", "compose.override.yml")]),
        (["compose.yaml", "compose.override.yml"], [("compose.yaml", "compose.override.yml")]),
        (["compose.prod.yaml", "sub/compose.yaml"], [("compose.prod.yaml",), ("sub/compose.yaml",)]),
        (["sub/stack.override.yaml"], [("sub/stack.override.yaml",)]),
        ([], []),
    ],
)
def test_a_base_and_its_override_are_one_stack(files: list[str], expected: list[tuple[str, ...]]) -> None:
    assert list(hook.stacks(files)) == expected


def test_each_stack_is_validated_with_the_options_and_the_worst_code_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(argv: list[str]) -> int:
        ran.append(argv)
        if "compose.prod.yaml" in argv:
            raise NotFound("gone")
        return 0

    monkeypatch.setattr(main, "run", run)
    assert hook.check(["--project-directory", ".", "compose.yaml", "compose.prod.yaml", "sub/compose.yaml"]) == 1
    assert ran == [
        ["validate", "--project-directory", ".", *files]
        for files in (["compose.yaml", "compose.override.yml"], ["compose.prod.yaml"], ["sub/compose.yaml"])
    ]
