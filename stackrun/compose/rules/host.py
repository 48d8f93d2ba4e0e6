"""What this machine has against a stack: told with `validate --host` only, by whoever looked at the machine."""

from __future__ import annotations

from stackrun.compose.rules.rule import Group

GROUP = Group("host")

GROUP.reported("host-port-taken", "A port to be published is in use on this machine.", "error", "lint")
GROUP.reported("host-subnet-taken", "A subnet overlaps a route of this machine.", "error", "lint")
GROUP.reported("host-bind-source-missing", "The source of a bind mount is not there.", "warning", "lint")
GROUP.reported("host-kernel-feature", "The kernel or this user lacks what the stack asks for.", "error", "lint")
GROUP.reported("host-resources", "A limit or reservation is more than this machine has.", "warning", "lint")
