"""What the outer side hears of one that ended early, too late, or not at all."""

from __future__ import annotations

import errno

import pytest

from stackrun.errors import DeadlineExceeded, KernelError, NotFound
from stackrun.runtime import messages, steps


def test_the_reason_is_heard_of_one_that_ended_before_it_was_spoken_to() -> None:
    ours, theirs = messages.pair()
    with ours:
        steps.say_failed(theirs, NotFound("no such user"))
        theirs.close()
        steps.say_on(ours, steps.PREPARE)
        with pytest.raises(NotFound, match="no such user"):
            steps.hear(ours, steps.PREPARED)


def test_the_reason_is_heard_of_one_that_ended_without_listening() -> None:
    """The kernel tells of that first, by ECONNRESET."""
    ours, theirs = messages.pair()
    with ours:
        steps.say(ours, steps.PREPARE)
        steps.say_failed(theirs, NotFound("no such user"))
        theirs.close()
        with pytest.raises(NotFound, match="no such user"):
            steps.hear(ours, steps.PREPARED)


def test_one_that_ended_without_a_word_is_an_error_and_before_execve_none() -> None:
    ours, theirs = messages.pair()
    with ours:
        steps.say(ours, steps.PREPARE)
        theirs.close()
        with pytest.raises(KernelError) as caught:
            steps.hear(ours, steps.PREPARED)
        assert caught.value.errno == errno.ECONNRESET
        steps.hear_end(ours)


def test_one_that_does_not_go_on_is_not_waited_for_for_good() -> None:
    ours, theirs = messages.pair()
    with ours, theirs, pytest.raises(DeadlineExceeded):
        steps.hear_end_within(ours, 0.0)
