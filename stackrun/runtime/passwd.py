"""Users and groups of a container by name: its own /etc/passwd and /etc/group, read as untrusted text.

No NSS: that would load the container's libraries into a process that still has the runtime's rights.
"""

from __future__ import annotations

from stackrun.errors import InvalidArgument
from stackrun.kernel import paths

FILE_BYTES_MAX = 4 * 1024 * 1024
ID_MAX = 2**31 - 1
_DIGITS_MAX = 20
GROUPS_MAX = 65536
"""NGROUPS_MAX of Linux."""


class User:
    """`home` is empty when the passwd file does not know the user."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...], home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home


def resolve_user(root_fd: int, text: str) -> User:
    """`name|uid[:group|gid]` as Docker's --user: InvalidArgument in Docker's words when a name is unknown.

    A user without a group gets the passwd entry's (else 0) and the groups /etc/group lists it in; with a group,
    only that one.
    """
    name, colon, group = text.partition(":")
    entry = _find_user(_lines(root_fd, "/etc/passwd"), name or "0")
    uid = int(entry[2]) if entry else _numeric(name or "0", f"unable to find user {name}: no matching entries in passwd file")
    home = entry[5] if entry and len(entry) > 5 else ""
    groups = _lines(root_fd, "/etc/group")
    if colon and group:
        return User(_checked(uid, text), _group_id(groups, group), (), home)
    gid = int(entry[3]) if entry else 0
    return User(_checked(uid, text), _checked(gid, text), _memberships(groups, entry[0]) if entry else (), home)


def home_of(root_fd: int, uid: int) -> str:
    entry = _find_user(_lines(root_fd, "/etc/passwd"), str(uid))
    return entry[5] if entry and len(entry) > 5 else ""


def group_ids(root_fd: int, wanted: tuple[str, ...]) -> tuple[int, ...]:
    """Names or numbers → gids, for Docker's --group-add."""
    groups = _lines(root_fd, "/etc/group")
    return tuple(_group_id(groups, one) for one in wanted)


def _lines(root_fd: int, path: str) -> list[list[str]]:
    data = paths.read_regular_file(root_fd, path, FILE_BYTES_MAX) or b""
    return [line.split(":") for line in data.decode("utf-8", "replace").splitlines() if line and line[0] != "#"]


def _find_user(lines: list[list[str]], wanted: str) -> list[str] | None:
    """By name first, then by number; malformed lines are not there."""
    entries = [line for line in lines if len(line) >= 4 and _is_number(line[2]) and _is_number(line[3])]
    by_name = next((line for line in entries if line[0] == wanted), None)
    if by_name or not _is_number(wanted):
        return by_name
    return next((line for line in entries if int(line[2]) == int(wanted)), None)


def _group_id(lines: list[list[str]], wanted: str) -> int:
    for line in lines:
        if len(line) >= 3 and line[0] == wanted and _is_number(line[2]):
            return _checked(int(line[2]), wanted)
    return _checked(_numeric(wanted, f"unable to find group {wanted}: no matching entries in group file"), wanted)


def _memberships(lines: list[list[str]], name: str) -> tuple[int, ...]:
    found = [int(line[2]) for line in lines if len(line) >= 4 and _is_number(line[2]) and name in line[3].split(",")]
    return tuple(_checked(gid, name) for gid in dict.fromkeys(found[:GROUPS_MAX]))


def _is_number(text: str) -> bool:
    """Of ASCII digits: Python would take the digits of any script, and refuse thousands of them with an error of its own."""
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX


def _numeric(text: str, failure: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise InvalidArgument(failure)
    return int(text[:_DIGITS_MAX])


def _checked(number: int, text: str) -> int:
    if number > ID_MAX:
        raise InvalidArgument(f"user {text}: uids and gids must be in range 0-{ID_MAX}")
    return number
