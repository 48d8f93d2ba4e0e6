"""When a container that ended is started again.  Pure.

Source: moby restartmanager/restartmanager.go: the pause starts at 100 ms, doubles up to a minute, and is 100 ms again after a run of 10 s.
"""

from __future__ import annotations

from stackrun.api.types import RestartPolicy

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 60.0
STEADY_AFTER_S = 10.0


def restarts(policy: RestartPolicy, *, exit_code: int, restart_count: int, stopped_by_user: bool) -> bool:
    """Whether the policy brings it back. What the user stopped stays stopped, until the user starts it."""
    if stopped_by_user:
        return False
    if policy.name in ("always", "unless-stopped"):
        return True
    if policy.name == "on-failure" and exit_code != 0:
        return not policy.maximum_retries or restart_count < policy.maximum_retries
    return False


def next_pause_s(previous_s: float, *, ran_s: float) -> float:
    """`previous_s` 0: it has not been restarted yet."""
    if not previous_s or ran_s >= STEADY_AFTER_S:
        return FIRST_PAUSE_S
    return min(previous_s * 2, LONGEST_PAUSE_S)
