"""Restart policies and their pauses."""

from __future__ import annotations

import pytest

from stackrun.api.types import RestartPolicy
from stackrun.engine.supervise import next_pause_s, restarts


@pytest.mark.parametrize(
    ("policy", "code", "count", "by_user", "again"),
    [
        (RestartPolicy("no"), 1, 0, False, False),
        (RestartPolicy(""), 1, 0, False, False),
        (RestartPolicy("always"), 0, 99, False, True),
        (RestartPolicy("always"), 0, 0, True, False),
        (RestartPolicy("unless-stopped"), 1, 0, False, True),
        (RestartPolicy("unless-stopped"), 1, 0, True, False),
        (RestartPolicy("on-failure"), 0, 0, False, False),
        (RestartPolicy("on-failure"), 1, 99, False, True),
        (RestartPolicy("on-failure", 2), 1, 1, False, True),
        (RestartPolicy("on-failure", 2), 1, 2, False, False),
    ],
)
def test_who_comes_back(policy: RestartPolicy, code: int, count: int, by_user: bool, again: bool) -> None:
    assert restarts(policy, exit_code=code, restart_count=count, stopped_by_user=by_user) is again


def test_the_pause_doubles_up_to_a_minute_and_starts_over_after_a_steady_run() -> None:
    pauses, pause = [], 0.0
    for _ in range(12):
        pause = next_pause_s(pause, ran_s=0.1)
        pauses.append(pause)
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8] and pauses[-1] == 60.0
    assert next_pause_s(60.0, ran_s=10.0) == 0.1
