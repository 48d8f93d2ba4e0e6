"""How a file is written: spans, styles, paths, anchors, comments; and that no text is too broken for it."""

from __future__ import annotations

import time
from textwrap import dedent

import pytest

from stackrun.compose.document import parse
from stackrun.compose.faults import Faults
from stackrun.compose.tree import Map, Seq
from stackrun.compose.written import Written

STACK = dedent("""\
    # the shop
    x-env: &env   # shared
      A: "a # no comment"
      B: 'it''s'
    services:
      web: &web
        image: nginx#1
        ports: [22:22, "80:80", ] # ssh
        environment: *env
        command: |  # run
          echo # inside
          done

        # after
        labels:
        - >-
          folded
          text
        - &tag !!str 007
        - plain text
          on two lines
    """)


@pytest.fixture
def written() -> Written:
    return Written.of(STACK, "stack.yaml")


@pytest.mark.parametrize(
    ("path", "style", "raw"),
    [
        (("x-env", "A"), "double", '"a # no comment"'),
        (("x-env", "B"), "single", "'it''s'"),
        (("services", "web", "image"), "plain", "nginx#1"),
        (("services", "web", "ports", 0), "plain", "22:22"),
        (("services", "web", "ports", 1), "double", '"80:80"'),
        (("services", "web", "environment"), "alias", "*env"),
        (("services", "web", "command"), "literal", "|  # run\n      echo # inside\n      done"),
        (("services", "web", "labels", 0), "folded", ">-\n      folded\n      text"),
        (("services", "web", "labels", 1), "plain", "007"),
        (("services", "web", "labels", 2), "plain", "plain text\n      on two lines"),
    ],
)
def test_a_value_has_its_style_and_what_is_written(written: Written, path: tuple[str | int, ...], style: str, raw: str) -> None:
    node = written.node(path)
    assert node is not None
    assert (node.style, node.raw) == (style, raw)
    assert written.text_of(node) == raw
    assert written.text[node.start.offset : node.end.offset] == raw


def test_a_collection_spans_what_is_in_it(written: Written) -> None:
    ports = written.node(("services", "web", "ports"))
    web = written.node(("services", "web"))
    assert ports and web
    assert (ports.style, written.text_of(ports)) == ("flow", '[22:22, "80:80", ]')
    assert web.style == "block"
    assert written.text_of(web).startswith("image: nginx#1\n")
    assert written.text_of(web).endswith("on two lines")


def test_a_key_has_the_path_of_its_value(written: Written) -> None:
    key = written.key(("services", "web", "image"))
    assert key is not None
    assert (key.place.line, key.place.column, key.end.column, key.is_key) == (7, 5, 10, True)
    assert written.at(7, 5) == key
    assert written.at(7, 12) == written.node(("services", "web", "image"))


def test_the_innermost_begins_where_several_do(written: Written) -> None:
    first = written.at(3, 3)
    assert first is not None
    assert (first.kind, first.raw) == ("scalar", "A")
    assert written.at(1, 1) is None


def test_the_place_is_that_of_the_anchor_and_the_start_that_of_the_value(written: Written) -> None:
    label = written.node(("services", "web", "labels", 1))
    assert label is not None
    assert (label.place.line, label.place.column) == (19, 7)
    assert (label.start.line, label.start.column) == (19, 18)
    assert label.tag == "tag:yaml.org,2002:str"


def test_it_tells_what_an_alias_reaches(written: Written) -> None:
    shared, alone, image = (written.node(path) for path in (("x-env", "A"), ("services", "web", "labels", 1), ("services", "web", "image")))
    assert shared and alone and image
    assert (shared.anchors, alone.anchors, image.in_anchor) == (("env",), ("web", "tag"), True)
    assert written.reached_by_alias(shared)
    assert not written.reached_by_alias(alone)


def test_comments_are_what_no_scalar_holds(written: Written) -> None:
    found = [(comment.place.line, comment.place.column, comment.text, comment.alone) for comment in written.comments]
    assert found == [
        (1, 1, "the shop", True),
        (2, 15, "shared", False),
        (8, 31, "ssh", False),
        (10, 17, "run", False),
        (14, 5, "after", True),
    ]
    assert all(STACK[comment.offset] == "#" for comment in written.comments)


@pytest.mark.parametrize(
    ("text", "comments"),
    [
        ("[a,#b\n c]", ["b"]),
        ("a: !x &z v # c", ["c"]),
        ("%TAG ! x # d\n---\na: 1 # e", ["d", "e"]),
        ("a: 'x\n  # y\n  z' # f", ["f"]),
        ("a: !t # g\n  v#h", ["g"]),
        ("\ufeff# i\r\na: |\r\n  # j\r\n# k\r\n", ["i", "k"]),
        ("a: 1 # l\nb: [ # m\n# n", ["l", "m", "n"]),
    ],
)
def test_comments_in_odd_places(text: str, comments: list[str]) -> None:
    assert [comment.text for comment in Written.of(text, "f").comments] == comments


def test_a_byte_order_mark_counts_for_offsets_and_not_for_columns() -> None:
    written = Written.of("\ufeffa: b # c\n", "f")
    node = written.at(1, 4)
    assert node is not None
    assert (node.raw, node.start.offset, written.comments[0].place.column) == ("b", 4, 6)
    assert written.line(1) == "a: b # c"


@pytest.mark.parametrize("text", ["a: b\r\nc: d\r\n", "é: ü\nc: 'x\u2028 y'\nd: 1\n", "a: 🐳\nd: e\n"])
def test_every_offset_leads_to_what_is_written(text: str) -> None:
    written = Written.of(text, "f")
    assert written.complete
    for node in written.nodes:
        if node.kind == "scalar":
            assert text[node.start.offset : node.end.offset] == node.raw
            assert node.raw.strip("'").split("\u2028")[0] in written.line(node.place.line)


def test_documents_are_told_apart() -> None:
    written = Written.of("a: 1\n---\na: 2\nb: 3\n", "f")
    first, second, third = written.node(("a",)), written.node(("a",), 1), written.node(("b",))
    assert first and second and third
    assert (first.raw, second.raw, third.document) == ("1", "2", 1)


def test_of_a_key_given_twice_the_first_is_found_and_both_are_there() -> None:
    written = Written.of("a: 1\na: 2\n", "f")
    found = written.node(("a",))
    assert found is not None and found.raw == "1"
    assert [node.raw for node in written.nodes if node.path == ("a",) and not node.is_key] == ["1", "2"]


def test_every_place_of_the_tree_is_a_place_here() -> None:
    [document] = parse(STACK, "stack.yaml", Faults())
    written = Written.of(STACK, "stack.yaml")
    places = {node.place for node in written.nodes}

    def walk(value: object) -> None:
        if isinstance(value, Map):
            assert {*value.keys_at.values(), *value.values_at.values()} <= places
            for item in value.values():
                walk(item)
        elif isinstance(value, Seq):
            assert set(value.items_at) <= places
            for item in value:
                walk(item)

    walk(document.root)


BROKEN = [
    "a: b\nc: [d\ne: }",
    "a: b\nc:\n\td: e",
    "a: *none\nb: 1",
    "a: b\n\x00c: d",
    "a: \ud800\nb: 'c",
    "",
    "\ufeff",
    "---",
    "%YAML 3.0\n---\na: b",
    "a: !x!y z",
]


@pytest.mark.parametrize("text", BROKEN)
def test_of_broken_text_it_gives_what_stands_before_the_fault(text: str) -> None:
    written = Written.of(text, "f")
    assert written.read_to <= len(text)
    assert tuple(written.comments) == ()
    found = written.node(("a",))
    assert found is None or found.raw in ("b", "*none", "\ud800")
    if text.startswith("a: b"):
        assert found is not None


MEGABYTE = [
    ("mapping", "services:\n" + "".join(f"  s{n}:\n    image: 'a:{n}' # c\n    ports:\n    - 80:{n}\n" for n in range(20_000))),
    ("flow", "[" + "a," * 500_000 + "]"),
    ("deep", "[" * 900_000),
    ("keys", "? " * 450_000),
    ("scalar", "'" + "#x" * 450_000 + "'"),
    ("breaks", "\n" * 900_000),
    ("anchors", "- &a\n" * 180_000),
]


@pytest.mark.parametrize("text", [text for _, text in MEGABYTE], ids=[name for name, _ in MEGABYTE])
def test_a_megabyte_takes_less_than_two_seconds(text: str) -> None:
    begin = time.process_time()
    written = Written.of(text, "f")
    assert len(written.comments) <= 20_000
    if text.startswith("[["):  # libyaml of PyYAML 6.0.4 refuses a thousand levels before it tells the first of them
        assert not written.complete
    else:
        assert written.at(1, 1) is not None or text[0] == "\n"
    assert time.process_time() - begin < 4, "twice what is asked of it, for machines slower than ours"
