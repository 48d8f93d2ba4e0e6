"""The header of a path's properties, as the docker client reads and dockerd writes it."""

from __future__ import annotations

import base64
import json
import stat

import pytest

from stackrun.api.archives import PathStat
from stackrun.api.wire import archives
from stackrun.errors import InvalidArgument

GO_MODES = {
    stat.S_IFDIR | 0o755: 2147484141,
    stat.S_IFREG | 0o4755: 8389101,
    stat.S_IFLNK | 0o777: 134218239,
    stat.S_IFIFO | 0o644: 33554852,
    stat.S_IFCHR | 0o644: 69206436,
    stat.S_IFDIR | 0o1777: 2148532735,
}
"""As dockerd 20.10 told them, except the last: a sticky directory by Go's constants."""


@pytest.mark.parametrize(("mode", "go"), GO_MODES.items())
def test_modes_are_gos_and_come_back(mode: int, go: int) -> None:
    assert archives.go_mode(mode) == go
    assert archives.posix_mode(go) == mode


def test_the_header_holds_everything() -> None:
    found = PathStat("f", 3, stat.S_IFLNK | 0o777, "2026-01-02T03:04:05.000000006Z", "/d/e")
    told = json.loads(base64.b64decode(archives.to_header(found)))
    assert told == {"name": "f", "size": 3, "mode": 134218239, "mtime": "2026-01-02T03:04:05.000000006Z", "linkTarget": "/d/e"}
    assert archives.from_header(archives.to_header(found)) == found


@pytest.mark.parametrize("text", ["", "x", base64.b64encode(b"[]").decode(), base64.b64encode(b"{}").decode()])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="makes no sense"):
        archives.from_header(text)
