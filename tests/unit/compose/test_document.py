"""YAML with places, duplicate keys, merge keys, resets and bounds."""

from __future__ import annotations

import pytest

from stackrun.compose.document import MAX_DEPTH, Document, parse
from stackrun.compose.faults import Faults
from stackrun.compose.tree import Map, Place, Seq, place_of


def read(text: str | bytes) -> tuple[Document, ...]:
    faults = Faults()
    documents = parse(text, "f", faults)
    assert not faults, faults.all
    return documents


def faults_of(text: str | bytes) -> list[str]:
    faults = Faults()
    parse(text, "f", faults)
    return [str(one).split("\n")[0] for one in faults.all]


def test_every_key_value_and_item_has_its_place() -> None:
    (document,) = read("a: 1\nb:\n  - x\n  - {c:  2}\n")
    root = document.root
    assert isinstance(root, Map) and isinstance(root["b"], Seq)
    assert root.key_place("b") == Place("f", 2, 1)
    assert place_of(root, ("a",)) == Place("f", 1, 4)
    assert place_of(root, ("b", 0)) == Place("f", 3, 5)
    assert place_of(root, ("b", 1, "c")) == Place("f", 4, 10)
    assert place_of(root, ("b", 1, "c"), key=True) == Place("f", 4, 6)
    assert place_of(root, ("b", 1, "gone", "deeper")) == Place("f", 4, 5)


def test_merge_keys_fill_what_is_not_there_and_keep_their_place() -> None:
    (document,) = read("x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: [*x, *y]\n  a: 0\n")
    assert document.root["z"] == {"a": 0, "b": 2, "c": 4}
    assert document.root["z"].key_place("c") == Place("f", 2, 14)


def test_a_quoted_merge_key_is_a_key() -> None:
    (document,) = read("z: {'<<': 1}\n")
    assert document.root["z"] == {"<<": 1}


def test_several_documents() -> None:
    assert [document.root for document in read("a: 1\n---\nb: 2\n---\n")] == [{"a": 1}, {"b": 2}, None]


def test_reset_drops_and_override_keeps_the_value_and_both_tell_their_path() -> None:
    (document,) = read("a: {b: !reset null, c: !override [1], d: 2}\n")
    assert document.root == {"a": {"c": [1], "d": 2}}
    assert document.resets == (("a", "b"), ("a", "c"))


def test_utf16_is_read() -> None:
    assert read("a: é\n".encode("utf-16"))[0].root == {"a": "é"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3\n", 'f:3:1: "a" is given twice'),
        ("a: b: c\n", "f:1:5: YAML syntax: mapping values are not allowed in this context"),
        ("a:\n\tb: 1\n", "f:2:1: YAML syntax: found character that cannot start any token while scanning for the next token"),
        ("a: *gone\n", "f:1:4: unknown anchor 'gone'"),
        ("a: &a [*a]\n", "f:1:8: anchor 'a' contains itself"),
        ("1: x\n", "f:1:1: a key must be a string, not a number"),
        ("? [a]\n: x\n", "f:1:3: a key must be a string, not a collection"),
        ("a: {<<: 5}\n", "f:1:9: a merge key (<<) takes a mapping or a list of mappings"),
        (b"a: \xff\n", "f:1:4: not valid UTF-8 text: byte 0xFF"),
    ],
)
def test_faults_have_their_place(text: str | bytes, fault: str) -> None:
    assert faults_of(text) == [fault]


def test_a_tab_is_explained() -> None:
    faults = Faults()
    parse("a:\n\tb: 1\n", "f", faults)
    assert faults.all[0].hint == "indent with spaces, not with tabs"


def test_depth_and_aliases_are_bounded() -> None:
    deep = "[" * (MAX_DEPTH + 1)
    assert faults_of(deep) == [f"f:1:{MAX_DEPTH + 1}: nested more than {MAX_DEPTH} levels deep"]
    laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
    )
    assert "once aliases are followed" in faults_of(laughs)[0]


def test_a_long_list_of_keys_given_twice_is_reported_each() -> None:
    assert len(faults_of("a: 1\n" * 20)) == 19


@pytest.mark.parametrize("levels", [200, 5_000])
def test_too_deep_is_too_deep_whoever_finds_it(levels: int) -> None:
    faults = Faults()
    assert parse("[" * levels, "f", faults) == ()
    assert [one.code for one in faults.all] == ["yaml-limit"]


def test_directives_are_bounded_since_libyaml_compares_each_with_all() -> None:
    faults = Faults()
    text = "".join(f"%TAG !{number}! tag:x,2000:\n" for number in range(30_000)) + "---\na: 1\n"
    assert parse(text, "f", faults) == ()
    assert [(one.code, one.line) for one in faults.all] == [("yaml-limit", 101)]


def test_a_few_directives_are_read() -> None:
    [document] = parse("%TAG !e! tag:x,2000:\n---\na: 1\n", "f", Faults())
    assert document.root == {"a": 1}
