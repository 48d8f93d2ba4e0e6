"""Comments and keys that silence a rule, when they do not do what they seem to."""

from __future__ import annotations

from stackrun.compose.rules.rule import Group

GROUP = Group("suppression")

GROUP.reported("unused-suppression", "A suppression silences nothing.", "warning")
GROUP.reported("unknown-suppression", "A suppression names a rule that does not exist.", "warning")
GROUP.reported("suppression-without-reason", "A suppression does not say why.", "warning")
GROUP.reported("suppressed-error", "A suppression names a fault that cannot be silenced.", "warning")
