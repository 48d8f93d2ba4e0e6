"""Subordinate ids: subuid(5) read, newuidmap(1) told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stackrun.rootless import idmap
from stackrun.rootless.idmap import Range

FILE = """
# comment
alice:100000:65536
1000:300000:10
bob:200000:65536
broken:line
alice:x:3
alice:400000:0
"""


def test_ranges_are_those_of_the_user_by_name_or_number() -> None:
    assert idmap.ranges(FILE, "alice", 1000) == (Range(100000, 65536), Range(300000, 10))


def test_a_user_without_any_has_none() -> None:
    assert idmap.ranges(FILE, "carol", 1001) == ()


def test_the_user_is_root_and_his_ranges_follow_without_a_gap() -> None:
    words = idmap.extents(1000, (Range(100000, 10), Range(300000, 5)))
    assert words == ["0", "1000", "1", "1", "100000", "10", "11", "300000", "5"]


@given(st.lists(st.tuples(st.integers(1, 2**31), st.integers(1, 2**16))))
def test_inside_every_id_up_to_their_number_is_mapped_once(pairs: list[tuple[int, int]]) -> None:
    words = [int(word) for word in idmap.extents(1000, tuple(Range(*pair) for pair in pairs))]
    covered = [(words[at], words[at + 2]) for at in range(0, len(words), 3)]
    assert all(start == sum(count for _, count in covered[:index]) for index, (start, _) in enumerate(covered))


@given(st.text())
def test_no_text_is_too_broken_to_read(text: str) -> None:
    for one in idmap.ranges(text, "alice", 1000):
        assert one.count > 0
