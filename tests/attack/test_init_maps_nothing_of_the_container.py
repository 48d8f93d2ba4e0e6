"""Between pivot_root and execve, init is in the container's root with the host's rights: no file from there may be in its memory.

Libraries that glibc loads by itself are planted: for thread ends (libgcc_s), name service, character sets; and a locale archive.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import Runtime, runtime_in
from evil_library import compiled

PLANTED = (
    "lib/x86_64-linux-gnu/libgcc_s.so.1", "usr/lib/x86_64-linux-gnu/libgcc_s.so.1", "lib/x86_64-linux-gnu/libnss_files.so.2",
    "lib/x86_64-linux-gnu/libnss_evil.so.2", "usr/lib/x86_64-linux-gnu/gconv/CP437.so", "lib64/libgcc_s.so.1",
    "usr/lib/locale/locale-archive",
)  # fmt: skip


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    with runtime_in(short_tmp) as made:
        library = compiled(short_tmp)
        for name in PLANTED:
            path = made.bundle / "rootfs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, path)
        root = made.bundle / "rootfs"
        (root / "etc").mkdir()
        (root / "etc/nsswitch.conf").write_text("passwd: evil\ngroup: evil\nhosts: evil\n")
        (root / "etc/passwd").write_text("evil:x:7:7::/:/bin/sh\n")
        (root / "etc/ld.so.preload").write_text("/lib64/libgcc_s.so.1\n")
        (root / "marks").mkdir(mode=0o777)
        yield made


def mapped_of_the_container(runtime: Runtime, pid: int) -> set[str]:
    """Paths in its memory whose file is one of the bundle's, whatever it is called."""
    inodes = set()
    for parent, _, names in os.walk(runtime.bundle / "rootfs"):
        inodes |= {os.lstat(f"{parent}/{name}").st_ino for name in names}
    lines = [line.split(maxsplit=5) for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    device = os.stat(runtime.bundle).st_dev
    here = f"{os.major(device):02x}:{os.minor(device):02x}"
    return {line[5] for line in lines if len(line) == 6 and line[3] == here and int(line[4]) in inodes}


def test_created_and_waiting_it_has_mapped_none(runtime: Runtime) -> None:
    runtime.configure("sleep", "100", user={"uid": 7, "gid": 7, "additionalGids": [8]})
    runtime.create("c")
    pid = runtime.state("c")["pid"]
    assert (Path(f"/proc/{pid}/root") / "marks").is_dir(), "it is in the container's root"
    assert Path(f"/proc/{pid}/maps").read_text().count("\n") > 10, "it is the runtime's Python"
    assert mapped_of_the_container(runtime, pid) == set()
    runtime.run("start", "c")
    assert mapped_of_the_container(runtime, pid), "the attempt works for the container's own program"
    assert os.listdir(runtime.bundle / "rootfs/marks") == []
