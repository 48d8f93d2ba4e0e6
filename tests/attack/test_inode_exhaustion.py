"""Empty files in /dev and /dev/shm: their size is bounded, but each takes a kilobyte of the kernel's memory beside it."""

from prison import Prison

SCRIPT = """
for directory in ("/dev/shm", "/dev"):
    made = 0
    try:
        while made < 100_000:
            os.mknod(f"{directory}/{made}")
            made += 1
        print(directory, "stopped never")
    except OSError as error:
        print(directory, errno.errorcode[error.errno], made)
"""


def test_they_are_as_many_as_pages_at_most(prison: Prison) -> None:
    found = prison.lines(SCRIPT)
    for directory in ("/dev/shm", "/dev"):
        result, made = found[directory].split()
        assert result == "ENOSPC" and 16_000 < int(made) <= 16_384, found


def test_the_bound_follows_the_size(prison: Prison) -> None:
    assert prison.lines(SCRIPT, "--shm-size", "8m")["/dev/shm"].split()[0] == "ENOSPC"
    assert int(prison.lines(SCRIPT, "--shm-size", "8m")["/dev/shm"].split()[1]) <= 2048


def test_the_attempt_works_on_a_file_system_without_a_bound(prison: Prison) -> None:
    assert prison.lines(SCRIPT, "--tmpfs", "/dev/shm:size=1m")["/dev/shm"] == "stopped never"
