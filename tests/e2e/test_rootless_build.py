"""An ordinary user builds an image on his own engine: root in it is himself, and other owners are among his subordinate ids."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from builds import Node, sent
from machine import busybox_tar
from ordinary_user import OrdinaryUser, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "can")

DOCKERFILE = """FROM busybox:test AS one
RUN echo made > /made && chown 5:6 /made && rm /bin/vi && mkdir -p /o/in && rm -r /o && mkdir /o && touch /o/x
FROM one
COPY --chown=7:8 d /d
COPY --from=one /made /copied
ADD f /f
RUN --mount=type=secret,id=s --mount=type=cache,target=/c wc -c < /run/secrets/s > /length && test ! -e /bin/vi
WORKDIR /w
CMD ["sh", "-c", "stat -c '%n %u:%g %a' /made /copied /d/x /f /w /length; cat /length"]
"""


@pytest.fixture
def user(nothing_left_behind: None) -> Iterator[OrdinaryUser]:
    made = OrdinaryUser(f"srtb{os.getpid()}")
    try:
        yield made
        made.run("daemon", "stop")
        assert made.gone_within(10), made.processes()
    finally:
        made.close()


def test_a_build_and_what_came_of_it(user: OrdinaryUser) -> None:
    user.run("import", str(busybox_tar(user.home)), "busybox:test")
    host = f"unix://{user.run_dir}/stackrun.sock"
    files = {"d": Node(mode=0o755), "d/x": Node(b"x", 0o640), "f": "f"}
    first = sent(host, DOCKERFILE, files, tags=("mine:1",), secrets={"s": b"secret"})
    assert sent(host, DOCKERFILE, files, tags=("mine:1",), secrets={"s": b"secret"}).id == first.id
    folder = user.folder("stack", compose_yaml="name: s\nservices:\n  a:\n    image: mine:1\n    network_mode: none\n")
    user.run("up", "-d", "--wait", cwd=folder, code=None)
    told = user.run("logs", "--no-log-prefix", "a", cwd=folder).stdout
    assert told.splitlines() == ["/made 5:6 644", "/copied 5:6 644", "/d/x 7:8 640", "/f 0:0 644", "/w 0:0 755", "/length 0:0 644", "6"]
    user.run("down", cwd=folder)
