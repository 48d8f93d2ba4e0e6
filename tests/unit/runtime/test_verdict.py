"""Whether there are cgroups, as it is told to several."""

from __future__ import annotations

import errno
import os

import pytest

from stackrun.errors import InvalidArgument, KernelError
from stackrun.kernel import sockets
from stackrun.runtime.verdict import Verdict


def copy_of(verdict: Verdict) -> Verdict:
    """As fork leaves it to a child that only listens."""
    copied = Verdict()
    copied.close()
    copied._hearer = sockets.Socket(fileno=os.dup(verdict._hearer.fileno()))
    return copied


def test_each_hears_it() -> None:
    verdict = Verdict()
    one, other = copy_of(verdict), copy_of(verdict)
    verdict.tell()
    for hearer in (one, other, one):
        hearer.hear()
    one.close()
    other.close()


def test_each_hears_why_there_are_none() -> None:
    verdict = Verdict()
    one, other = copy_of(verdict), copy_of(verdict)
    verdict.tell(InvalidArgument("linux.resources.pids: too many"))
    for hearer in (one, other):
        with pytest.raises(InvalidArgument, match=r"linux\.resources\.pids: too many"):
            hearer.hear()
        hearer.wait()
        hearer.close()


def test_who_ends_without_a_word_has_not_made_any() -> None:
    verdict = Verdict()
    hearer = copy_of(verdict)
    verdict.close()
    with pytest.raises(KernelError) as told:
        hearer.hear()
    assert told.value.errno == errno.ECONNRESET
    hearer.wait()
    hearer.close()
    hearer.wait()
