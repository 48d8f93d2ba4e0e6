"""The list of findings: how much of it is kept, and what stops a reading."""

from __future__ import annotations

import pytest

from stackrun.compose.faults import MAX_FINDINGS, Faults, Stop
from stackrun.compose.tree import Place


def test_warnings_beyond_the_number_are_cut_and_stop_nothing() -> None:
    faults = Faults()
    for number in range(MAX_FINDINGS + 1):
        faults.warning(Place("f", number + 1, 1), "so")
    faults.stop_if_full()
    assert not faults and not faults.errors and faults.cut
    assert [one.level for one in faults.all if one.code == "too-many"] == ["warning"]
    faults.error(Place("f", 1, 1), "wrong")
    assert [one.message for one in faults.errors] == ["wrong"]


def test_errors_beyond_the_number_stop_the_reading() -> None:
    faults = Faults()
    for number in range(MAX_FINDINGS + 1):
        faults.error(Place("f", number + 1, 1), "wrong")
    assert len(faults.errors) == MAX_FINDINGS + 1 and faults.errors[0].code == "too-many"
    with pytest.raises(Stop):
        faults.stop_if_full()
