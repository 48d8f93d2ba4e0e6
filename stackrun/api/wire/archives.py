"""PathStat ⇄ the header X-Docker-Container-Path-Stat: JSON in base64, its mode in the bits of Go's os.FileMode."""

from __future__ import annotations

import base64
import json
import stat

from stackrun.api.archives import PathStat
from stackrun.errors import InvalidArgument

HEADER = "X-Docker-Container-Path-Stat"
_GO_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


def to_header(found: PathStat) -> str:
    told = {
        "name": found.name,
        "size": found.size_bytes,
        "mode": go_mode(found.mode),
        "mtime": found.modified,
        "linkTarget": found.link_target,
    }
    return base64.b64encode(json.dumps(told).encode()).decode()


def from_header(text: str) -> PathStat:
    try:
        told = json.loads(base64.b64decode(text))
        return PathStat(
            str(told["name"]), int(told["size"]), posix_mode(int(told["mode"])), str(told["mtime"]), str(told.get("linkTarget") or "")
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidArgument(f"the engine's {HEADER} makes no sense: {error}") from None


def go_mode(mode: int) -> int:
    bits = sum(go for posix, go in _GO_BITS.items() if mode & posix)
    return mode & 0o777 | _GO_KINDS.get(stat.S_IFMT(mode), 0) | bits


def posix_mode(mode: int) -> int:
    """A mode without a kind is a regular file's."""
    kind = next((posix for posix, go in reversed(_GO_KINDS.items()) if mode & go == go), stat.S_IFREG)
    return mode & 0o777 | kind | sum(posix for posix, go in _GO_BITS.items() if mode & go)
