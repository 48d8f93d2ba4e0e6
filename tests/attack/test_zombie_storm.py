"""Orphans that die unwaited: our init reaps them, and without it they end at the pids limit and go with the container."""

from prison import Prison

SCRIPT = """
import time
def orphan():
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
for _ in range(200):
    while True:
        try:
            orphan()
            break
        except OSError:
            os.sched_yield()
print("done", flush=True)
"""
UNREAPED = """
made = 0
try:
    while True:
        if os.fork() == 0:
            os._exit(0)
        made += 1
except OSError as error:
    print("stopped", errno.errorcode[error.errno], made)
"""


def test_init_reaps_more_than_the_limit(prison: Prison) -> None:
    assert "done" in prison.lines(SCRIPT, "--init", "--pids-limit", "50")


def test_without_init_they_count_and_go_with_it(prison: Prison) -> None:
    assert prison.lines(UNREAPED, "--pids-limit", "40")["stopped"] == "EAGAIN 39"
