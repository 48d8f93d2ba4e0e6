"""Device nodes in an image: the host's disk under an innocent name, readable by whoever is in the container."""

import os
import tarfile
from collections.abc import Callable

from evil_layers import file
from machine import Machine
from prison import Prison


def disk() -> tuple[int, int]:
    number = os.stat("/").st_dev
    return os.major(number), os.minor(number)


def node(name: str, kind: bytes, numbers: tuple[int, int]) -> tuple[tarfile.TarInfo, bytes]:
    return file(name, mode=0o666, type=kind, devmajor=numbers[0], devminor=numbers[1])


def test_they_cannot_be_opened(machine: Machine, evil_image: Callable[..., str]) -> None:
    image = evil_image(node("disk", tarfile.BLKTYPE, disk()), node("mem", tarfile.CHRTYPE, (1, 1)), node("kmsg", tarfile.CHRTYPE, (1, 11)))
    for name in ("disk", "mem", "kmsg"):
        done = machine.docker("run", "--rm", image, "dd", f"if=/{name}", "of=/dev/null", "bs=512", "count=1", code=None)
        assert done.returncode != 0 and "not permitted" in done.stderr, done.stderr


def test_the_attempt_works_when_the_device_is_given(machine: Machine, evil_image: Callable[..., str]) -> None:
    image = evil_image(node("full", tarfile.CHRTYPE, (1, 7)))
    machine.docker("run", "--rm", image, "dd", "if=/full", "of=/dev/null", "bs=512", "count=1")


def test_nodes_that_the_runtime_makes_itself_are_not_taken_from_the_image(prison: Prison, evil_image: Callable[..., str]) -> None:
    """An image's /dev/null that is the disk would be what masks are made of and what stdin is opened from."""
    image = evil_image(node("dev/null", tarfile.BLKTYPE, disk()))
    found = prison.machine.docker("run", "--rm", image, "stat", "-c", "%F %t:%T", "/dev/null").stdout
    assert found.strip() == "character special file 1:3"
