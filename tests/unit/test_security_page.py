"""docs/security.md names every attack that is tested, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
ATTACKS = sorted((ROOT / "tests/attack").glob("test_*.py"))


def rows() -> list[list[str]]:
    found = re.findall(r"^\| (.+) \| `(test_\w+\.py)` \| (.+) \|$", PAGE, re.MULTILINE)
    return [list(row) for row in found]


def test_the_tables_have_a_row_for_each_file_and_no_other() -> None:
    assert sorted(name for _, name, _ in rows()) == [path.name for path in ATTACKS]


def test_a_cve_in_a_files_name_is_in_its_row_and_in_its_first_line() -> None:
    for technique, name, _ in rows():
        numbers = re.findall(r"cve_(\d{4}_\d+)", name)
        for number in numbers:
            wanted = f"CVE-{number.replace('_', '-')}"
            assert wanted in technique, name
            assert wanted in (ast.get_docstring(ast.parse((ROOT / "tests/attack" / name).read_text())) or ""), name


def test_every_attack_says_what_it_is_and_asserts() -> None:
    for path in ATTACKS:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path.name
        assert any(isinstance(node, ast.Assert) for node in ast.walk(tree)), path.name
