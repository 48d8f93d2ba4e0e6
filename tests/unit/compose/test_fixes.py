"""Fixes: each makes its finding go away, brings no error, and touches nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.compose.sample_rules import installed
from unit.compose.stack_files import Stack

from stackrun.api.stacks import StackSource
from stackrun.compose.fixes import Edit, Fix, applied, fix_of
from stackrun.compose.validation import Validation, validate
from stackrun.compose.written import Written


@pytest.fixture(autouse=True)
def catalogue() -> Iterator[None]:
    with installed():
        yield


def looked_at(folder: Path, text: str) -> Validation:
    (folder / "stack.yaml").write_bytes(text.encode())
    return validate(StackSource(str(folder), ("stack.yaml",)), ignore=["note"])


def fixes(found: Validation) -> list[Fix]:
    made = (fix_of(one, found.sources.get(one.place.path)) for one in found.findings)
    return [one for one in made if one is not None]


def fixed(folder: Path, text: str) -> str:
    found = looked_at(folder, text)
    return applied(found.sources["stack.yaml"], fixes(found))[0] if found.findings else text


def service(lines: str) -> str:
    return "services:\n  a:\n    image: x\n" + "".join(f"    {line}\n" for line in lines.splitlines())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("comand: [a]  # run", "command: [a]  # run"),
        ("'comand': [a]", "command: [a]"),
        ("restart: 'allways'  # always", None),
        ("stop_grace_period: 5", "stop_grace_period: 5s"),
        ("stop_grace_period: '5' # s", "stop_grace_period: 5s # s"),
        ("profiles: dev  # one", 'profiles: ["dev"]  # one'),
        ("expose: 80", 'expose: ["80"]'),
        ("hostname: 12  # a dozen", 'hostname: "12"  # a dozen'),
        ("environment: {A: 1, 2: b}", 'environment: {A: 1, "2": b}'),
        ("group_add:\n  - A\n  # again\n  - A  # twice\n  - B", "group_add:\n  - A\n  # again\n  - B"),
        ("group_add: [A, A, B]", "group_add: [A, B]"),
        ("group_add: [A, B,\n  A]", "group_add: [A, B]"),
        ("healthcheck: {test: [curl, x]}", "healthcheck: {test: [CMD, curl, x]}"),
        ("healthcheck:\n  test:\n    - curl\n    - x", "healthcheck:\n  test:\n    - CMD\n    - curl\n    - x"),
        ("healthcheck:\n  test:\n  - curl", "healthcheck:\n  test:\n  - CMD\n  - curl"),
    ],
)
def test_a_fault_is_put_right(tmp_path: Path, before: str, after: str | None) -> None:
    if after is None:
        assert [one for one in fixes(looked_at(tmp_path, service(before))) if one.safe] == []
        return
    assert fixed(tmp_path, service(before)) == service(after)
    assert not looked_at(tmp_path, service(after)).findings


@pytest.mark.parametrize(
    "text",
    [
        service("hostname: !!int 12"),
        service("labels: &l {1: a}\nannotations: *l"),
        service("comand: a\ncommand: b"),
        service("frobnicate: a"),
        "x-a: &v 5\n" + service("stop_grace_period: *v"),
        "{version: '3', services: {a: {image: x}}}\n",
        "? version\n: '3'\n" + service("user: a"),
        "version: &v '3'\n" + service("labels: {a: *v}"),
    ],
)
def test_what_also_counts_elsewhere_or_is_not_evident_has_none(tmp_path: Path, text: str) -> None:
    found = looked_at(tmp_path, text)
    assert found.findings and not fixes(found)


@pytest.mark.parametrize("version", ['version: "3"\n', "version: '3'  # old\n", "version: >-\n  3\n", '# which\nversion:\n  "3"\n'])
def test_the_version_goes_with_its_lines_alone(tmp_path: Path, version: str) -> None:
    rest = service("user: a")
    kept = "# which\n" if version.startswith("#") else ""
    assert fixed(tmp_path, version + rest) == kept + rest
    assert fixed(tmp_path, f"{rest}\n# last\n{version}") == f"{rest}\n# last\n{kept}"


def test_a_document_mark_on_the_same_line_stays(tmp_path: Path) -> None:
    text = "---\nversion: '3'\n" + service("user: a")
    assert fixed(tmp_path, text) == "---\n" + service("user: a")


def test_line_breaks_stay_as_they_are(tmp_path: Path) -> None:
    text = ("version: '3'\n" + service("comand: a\nhealthcheck:\n  test:\n    - curl")).replace("\n", "\r\n")
    after = service("command: a\nhealthcheck:\n  test:\n    - CMD\n    - curl").replace("\n", "\r\n")
    assert fixed(tmp_path, text) == after


def test_a_byte_order_mark_stays(tmp_path: Path) -> None:
    assert fixed(tmp_path, "\ufeff" + service("comand: a")) == "\ufeff" + service("command: a")


def test_a_name_that_is_misspelt_where_it_is_used_is_not_safe(tmp_path: Path) -> None:
    text = service("depends_on: [bb1]\nuser: b") + "  bb:\n    image: x\n"
    (one,) = fixes(looked_at(tmp_path, text))
    assert not one.safe and fixed(tmp_path, text) == text.replace("bb1", "bb")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("user: b  # stackrun: ignore[label] x\n", "user: b\n"),
        ("# stackrun: ignore[label] x\nuser: b\n", "user: b\n"),
        ("privileged: true  # stackrun: ignore[label, privileged] x\n", "privileged: true  # stackrun: ignore[privileged] x\n"),
        ("privileged: true  # stackrun: ignore[privileged, label] x\n", "privileged: true  # stackrun: ignore[privileged] x\n"),
        ("privileged: true  # stackrun: ignore[root-user,privileged] x\n", None),
    ],
)
def test_a_suppression_that_is_not_used_goes(tmp_path: Path, before: str, after: str | None) -> None:
    assert fixed(tmp_path, service(before)) == service(after or before)


def test_the_last_line_may_have_no_break(tmp_path: Path) -> None:
    assert fixed(tmp_path, service("user: b  # stackrun: ignore[label] x").rstrip("\n")) == service("user: b").rstrip("\n")


def test_of_fixes_that_touch_each_other_one_is_made() -> None:
    written = Written.of("a: bcd\n", "f")
    one, two, far = Fix("", (Edit(3, 5, "X"),)), Fix("", (Edit(4, 6, "Y"),)), Fix("", (Edit(0, 1, "Z"),))
    assert applied(written, [one, two, far, far]) == ("Z: bY\n", 2)


# --- properties -----------------------------------------------------------------------------------

LINES = st.sampled_from([
    "user: b", "user: b  # stackrun: ignore[label] x",
    "comand: [a]  # ünïcode", "hostname: 12", "stop_grace_period: 5", "group_add: [A, A, B]",
    "security_opt:\n  - A\n  - B\n  # why\n  - A", "environment: {1: b, A: 2}", "healthcheck: {test: [curl, x]}", "labels: {a: 'b#c'}",
    "privileged: true # stackrun: ignore[label, privileged] x", "dns: 1.1.1.1", "restart: allways", "command: |\n  # no comment\n  a",
    "imge: y", "volums: [/a]", "networks: [defalt]", "depends_on: [aa]", "tmpfs: {a: b}", "mem_limit: lots",
])  # fmt: skip
HEADS = st.sampled_from(["", "version: '3'\n", "# c\nversion: 3.8  # d\n\n", "---\n", "x-b: {version: 1}\n"])
BREAKS = st.sampled_from(["\n", "\r\n"])


@st.composite
def stacks(draw: st.DrawFn) -> str:
    parts = [draw(HEADS), "services:\n"]
    for name in draw(st.lists(st.sampled_from(["a", "web", "db", "ünï"]), min_size=1, unique=True)):
        lines = draw(st.lists(LINES, unique=True, max_size=6))
        parts += [f"  {name}:\n    image: x\n", *(f"    {line}\n" for block in lines for line in block.splitlines())]
    return "".join(parts).replace("\n", draw(BREAKS))


def counted(found: Validation) -> Counter[tuple[str, str]]:
    return Counter((one.code, one.message) for one in found.findings)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stacks())
def test_each_fix_makes_its_finding_go_away_and_nothing_outside_its_edits_changes(tmp_path: Path, text: str) -> None:
    found = looked_at(tmp_path, text)
    for one in found.findings:
        fix = fix_of(one, found.sources["stack.yaml"])
        if fix is None or not fix.safe:
            continue
        after, count = applied(found.sources["stack.yaml"], [fix])
        assert count == 1
        start, end = min(edit.start for edit in fix.edits), max(edit.end for edit in fix.edits)
        assert after[:start] == text[:start] and after.endswith(text[end:])
        again = looked_at(tmp_path, after)
        before_it, after_it = counted(found), counted(again)
        assert after_it[one.code, one.message] < before_it[one.code, one.message]
        assert not after_it - before_it, (after_it - before_it, fix, after)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stacks())
def test_all_together_leave_comments_and_lines_without_a_fix_as_they_are(tmp_path: Path, text: str) -> None:
    after = fixed(tmp_path, text)
    gone = set(text.splitlines()) - set(after.splitlines())
    touched = (
        "version",
        "ignore",
        "comand",
        "12",
        "period",
        "group_",
        "security_",
        "- A",
        "environment",
        "test",
        "volums",
        "networks",
        "depends",
        "restart",
    )
    assert all(any(word in line for word in (*touched, "imge")) for line in gone), gone


def test_a_fix_in_a_file_that_is_included_is_made_there(stack: Stack) -> None:
    stack.write({"stack.yaml": "include: [inc.yaml]\n" + service("user: b"), "inc.yaml": "version: '3'\nservices:\n  b:\n    image: x\n"})
    found = validate(stack.source("stack.yaml"), ignore=["note"])
    (one,) = found.findings
    fix = fix_of(one, found.sources["inc.yaml"])
    assert one.place.path == "inc.yaml" and fix is not None and fix.edits == (Edit(0, 13, ""),)
