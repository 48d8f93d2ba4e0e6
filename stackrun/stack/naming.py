"""A stack's name where it becomes a part of a path.

Names that are asked for were checked when the stack was read.  But a container's label may hold anything, and it may come from its
image: `../../etc/cron.d/x` is no stack of ours.
"""

from __future__ import annotations

import re

from stackrun.errors import InvalidArgument

_NAME = re.compile(r"[a-z0-9][-_a-z0-9]*")


def is_name(project: str) -> bool:
    return _NAME.fullmatch(project) is not None


def checked(project: str) -> str:
    """The name; InvalidArgument when it is none."""
    if not is_name(project):
        hint = "use lower case letters, digits, - and _, and start with a letter or digit"
        raise InvalidArgument(f"invalid project name {project!r}", hint=hint)
    return project
