"""/dev/shm is memory: a container's is 64 MiB, or what was asked, and ends there."""

import pytest
from prison import Prison

SCRIPT = """
written = 0
with open("/dev/shm/fill", "wb", buffering=0) as file:
    try:
        while written < 200 << 20:
            written += file.write(bytes(1 << 20))
        print("stopped never")
    except OSError as error:
        print("stopped", errno.errorcode[error.errno], written >> 20)
attempt("dev", lambda: open("/dev/fill", "wb", buffering=0).write(bytes(1)))
"""


@pytest.mark.parametrize(("options", "mebibytes"), [((), 64), (("--shm-size", "5m"), 5)])
def test_it_is_bounded(prison: Prison, options: tuple[str, ...], mebibytes: int) -> None:
    assert prison.lines(SCRIPT, *options)["stopped"] == f"ENOSPC {mebibytes}"
