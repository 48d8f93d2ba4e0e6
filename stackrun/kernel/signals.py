"""Module `signal` with numbers where that has enums, whose making costs a start 3 ms and every fork the pages they are on.

For what a container's start path imports; elsewhere use `signal`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import *  # noqa: F403
    from signal import pidfd_send_signal as pidfd_send_signal
else:
    from _signal import *  # noqa: F403
