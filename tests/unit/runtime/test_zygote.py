"""The daemon's side of the zygote when it is given up while somebody waits for its answer."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

from stackrun.errors import Unavailable
from stackrun.runtime import messages
from stackrun.runtime.zygote import Zygote


def test_who_waits_for_an_answer_hears_that_there_is_none() -> None:
    """Two starts at a time: one finds the zygote dead and gives it up while the other has asked it and waits."""
    process = subprocess.Popen(["sleep", "1000"])
    ours, theirs = messages.pair()
    zygote = Zygote(process.pid, os.pidfd_open(process.pid), ours)
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            zygote.spawn({"id": "a"}, [])
        except BaseException as error:
            caught.append(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    assert messages.receive(theirs)[0] == {"id": "a"}
    giving_up = threading.Thread(target=zygote.close)
    giving_up.start()
    process.wait()
    theirs.close()
    giving_up.join()
    waiting.join()
    (error,) = caught
    assert isinstance(error, Unavailable)
    with pytest.raises(Unavailable, match="has been given up"):
        zygote.spawn({"id": "b"}, [])
