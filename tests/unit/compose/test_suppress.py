"""Comments and keys that silence a rule: what they cover, and what is said of those that do not do what they seem to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from textwrap import dedent

import pytest
from unit.compose.sample_rules import installed
from unit.compose.stack_files import Stack

from stackrun.compose.suppress import in_comments
from stackrun.compose.validation import MAX_SUPPRESSIONS, Validation, validate
from stackrun.compose.written import Written


@pytest.fixture(autouse=True)
def catalogue() -> Iterator[None]:
    with installed():
        yield


def looked_at(stack: Stack, text: str, **words: object) -> Validation:
    stack.write({"stack.yaml": text})
    return validate(stack.source("stack.yaml"), **words)  # type: ignore[arg-type]


def open_codes(found: Validation) -> list[str]:
    return [f"{one.place.line} {one.code}" for one in found.open]


def reasons(found: Validation) -> list[str]:
    return [one.suppressed for one in found.findings if one.suppressed]


BASE = """\
services:{}
  web:{}
    image: nginx{}
    user: "1"
    privileged: true{}
"""


def base(services: str = "", web: str = "", image: str = "", privileged: str = "") -> str:
    return BASE.format(services, web, image, privileged)


IGNORE = "  # stackrun: ignore[privileged] it is the node's agent"


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        (base(privileged=IGNORE), True),
        (base(web=IGNORE), True),
        (base(services=IGNORE), True),
        (base(services="\n" + IGNORE), True),
        (base(image="\n  " + IGNORE + "\n    # and another comment"), False),
        (base().replace("    privileged", IGNORE + "\n    privileged"), True),
        (base().replace("    privileged", IGNORE + "\n\n    # why\n    privileged"), True),
        (base(image=IGNORE), False),
        (base() + IGNORE + "\n", False),
        (base() + "  db:\n" + "  " + IGNORE + "\n    image: x\n    user: '1'\n", False),
    ],
)
def test_a_comment_covers_what_begins_on_its_line_or_after_it(stack: Stack, text: str, covered: bool) -> None:
    found = looked_at(stack, text)
    codes = [one.code for one in found.open]
    assert codes == ([] if covered else codes) and ("privileged" in codes) is not covered
    assert ("unused-suppression" in codes) is not covered
    assert reasons(found) == (["it is the node's agent"] if covered else [])


def test_the_first_key_of_a_service_is_not_the_service(stack: Stack) -> None:
    text = "services:\n  web:\n    image: nginx  # stackrun: ignore[privileged] no\n    privileged: true\n    user: '1'\n"
    assert open_codes(looked_at(stack, text)) == ["3 unused-suppression", "4 privileged"]


def test_an_item_of_a_list_is_covered_whole_from_its_first_line(stack: Stack) -> None:
    items = "      - target: 80{}\n        published: 80\n      - target: 81\n        published: 80\n"
    ports = f"services:\n  web:\n    image: x\n    user: '1'\n    ports:\n{items}"
    found = looked_at(stack, ports.format("  # stackrun: ignore[fixed-port] behind a proxy"), select=["fixed-port"])
    assert [(one.place.line, bool(one.suppressed)) for one in found.findings] == [(6, True), (8, False)]


def test_one_comment_may_name_several_rules(stack: Stack) -> None:
    text = base(web="  # stackrun: ignore[privileged, root-user,label] an agent").replace('    user: "1"\n', "")
    found = looked_at(stack, text)
    assert open_codes(found) == ["2 unused-suppression"] and len(reasons(found)) == 2
    (one,) = found.open
    assert "label" in one.message and one.place.column == text.splitlines()[1].index("label") + 1
    assert one.end == (2, one.place.column + len("label"))


def test_a_reason_is_asked_for(stack: Stack) -> None:
    found = looked_at(stack, base(privileged="  # stackrun: ignore[privileged]"))
    assert open_codes(found) == ["5 suppression-without-reason"] and reasons(found) == ["no reason given"]


def test_a_rule_that_does_not_exist_is_told_with_a_proposal(stack: Stack) -> None:
    found = looked_at(stack, base(privileged="  # stackrun: ignore[privilegd] agent"))
    assert open_codes(found) == ["5 privileged", "5 unknown-suppression"]
    assert found.open[1].hint == 'did you mean "privileged"?'


def test_what_keeps_the_stack_down_cannot_be_silenced(stack: Stack) -> None:
    found = looked_at(stack, base(image="\n    comand: x  # stackrun: ignore[unknown-key] later"))
    assert open_codes(found)[:2] == ["4 unknown-key", "4 suppressed-error"]


def test_an_error_of_a_rule_can_be_silenced(stack: Stack) -> None:
    found = looked_at(stack, base(image='\n    ports: ["80:80"]  # stackrun: ignore[fixed-port] it is the proxy'), ignore=["privileged"])
    assert not found.open and found.worst() is None


@pytest.mark.parametrize(
    "value",
    [
        '"# stackrun: ignore[privileged] no"',
        "'a # stackrun: ignore[privileged] no'",
        "x#stackrun:ignore[privileged]",
        "|\n      # stackrun: ignore[privileged] no\n      true",
        ">-\n      a\n\n      # stackrun: ignore[privileged] no",
    ],
)
def test_what_stands_in_a_value_is_no_comment(stack: Stack, value: str) -> None:
    found = looked_at(stack, f"services:\n  web:\n    image: x\n    user: '1'\n    privileged: true\n    command: {value}\n")
    assert [one.code for one in found.open] == ["privileged"]


def test_a_comment_beside_a_block_scalars_head_is_one(stack: Stack) -> None:
    text = "services:\n  web:\n    image: x\n    user: '1'\n    command: |  # stackrun: ignore[label] x\n      a\n"
    assert open_codes(looked_at(stack, text)) == ["5 unused-suppression"]


@pytest.mark.parametrize("comment", ["stackrun ignore[privileged]", "stackrun: ignore privileged", "see stackrun: ignore[privileged] x"])
def test_other_comments_are_comments(stack: Stack, comment: str) -> None:
    assert [one.code for one in looked_at(stack, base(privileged=f"  # {comment}")).open] == ["privileged"]


def test_a_service_ignores_by_a_key(stack: Stack) -> None:
    text = (
        base(image="\n    x-stackrun: {ignore: {privileged: an agent, label: nothing}}")
        + "  db:\n    image: x\n    privileged: true\n    user: '1'\n"
    )
    found = looked_at(stack, text)
    assert open_codes(found) == ["4 unused-suppression", "9 privileged"] and reasons(found) == ["an agent"]


def test_the_whole_file_ignores_by_a_key(stack: Stack) -> None:
    found = looked_at(
        stack, "x-stackrun:\n  ignore:\n    privileged: agents all of them\n    root-user: ''\n" + base().replace('    user: "1"\n', "")
    )
    assert open_codes(found) == ["4 suppression-without-reason"]
    assert reasons(found) == ["no reason given", "agents all of them"]


def test_what_is_not_selected_is_not_missed(stack: Stack) -> None:
    text = base(
        privileged="  # stackrun: ignore[privileged] agent\n    labels: {a: b}  # stackrun: ignore[host-port-taken] on the node it is ours"
    )
    assert not looked_at(stack, text, select=["label", "suppression"]).findings
    assert not looked_at(stack, text).open
    assert open_codes(looked_at(stack, text, extra=lambda _: ())) == ["6 unused-suppression"]


def test_nothing_is_called_unused_when_not_everything_could_be_read(stack: Stack) -> None:
    found = looked_at(stack, "include: [nowhere.yaml]\n" + base(web="  # stackrun: ignore[label] shouted"))
    assert "unused-suppression" not in [one.code for one in found.findings]


def test_two_that_are_alike_have_two_fingerprints(stack: Stack) -> None:
    text = base(image="  # stackrun: ignore[label] one", privileged="  # stackrun: ignore[label] one")
    found = [one for one in looked_at(stack, text).findings if one.code == "unused-suppression"]
    assert len(found) == 2 == len({one.fingerprint for one in found})


def test_an_unused_one_may_stand_in_the_baseline(stack: Stack) -> None:
    text = base(image="  # stackrun: ignore[label] one")
    known = frozenset(one.fingerprint for one in looked_at(stack, text).findings)
    assert not looked_at(stack, text, baseline=known).open


def test_any_number_of_them_takes_bounded_time(stack: Stack) -> None:
    comments = "".join(f"    # stackrun: ignore[rule-{number}] x\n" for number in range(20_000))
    started = time.monotonic()
    found = looked_at(stack, base(image="\n" + comments.rstrip()))
    assert time.monotonic() - started < 5
    assert len([one for one in found.findings if one.code == "unknown-suppression"]) == MAX_SUPPRESSIONS


def test_each_is_at_the_place_of_its_code() -> None:
    text = dedent("""\
        a: 1 #stackrun:ignore[x,  yy]  because
        # stackrun: ignore[]
        """)
    found = list(in_comments(Written.of(text, "f")))
    assert [(one.code, one.reason, str(one.place), one.lines) for one in found] == [
        ("x", "because", "f:1:23", range(1, 2)),
        ("yy", "because", "f:1:27", range(1, 2)),
        ("", "", "f:2:20", range(2, 3)),
    ]
