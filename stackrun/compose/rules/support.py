"""What this engine cannot do, and what has no effect in it."""

from __future__ import annotations

from stackrun.compose.rules.rule import Group

GROUP = Group("support", "references")

GROUP.reported("unsupported", "A key is valid, and this engine cannot honour it.")
GROUP.reported("no-effect", "A key is valid and has no effect in this engine.", "warning")
GROUP.reported("foreign-platform", "An image is for another processor than this machine has.", "warning")
GROUP.reported("incomplete-device", "A device has no path here, or none in the container.")
GROUP.reported("invalid-device", "The short form of a device cannot be read.", stage="schema")
GROUP.reported("relative-mount-target", "The place of a mount in the container is not an absolute path.")
GROUP.reported("invalid-mount", "The short form of a mount cannot be read.", stage="schema")
