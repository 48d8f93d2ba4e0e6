"""CVE-2023-27561: /proc of a bundle is a link, so that the masks of /proc are laid elsewhere."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import Config, Runtime, runtime_in


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    with runtime_in(short_tmp) as made:
        (made.bundle / "rootfs/other").mkdir()
        yield made


@pytest.mark.parametrize("target", ["/other", "other", "/../../other", "/proc"])
@pytest.mark.parametrize("name", ["proc", "sys"])
def test_refused(runtime: Runtime, name: str, target: str) -> None:
    (runtime.bundle / "rootfs" / name).symlink_to(target)
    runtime.configure("true")
    assert name in runtime.run("run", "--bundle", str(runtime.bundle), "c", code=1)


def test_a_file_is_refused(runtime: Runtime) -> None:
    (runtime.bundle / "rootfs/proc").touch()
    runtime.configure("true")
    assert "/proc" in runtime.run("run", "--bundle", str(runtime.bundle), "c", code=1)


def test_a_directory_is_masked(runtime: Runtime) -> None:
    (runtime.bundle / "rootfs/proc").mkdir()
    assert runtime.output("head -c 1 /proc/kcore | wc -c; (: >> /proc/sys/vm/swappiness) 2> /dev/null || echo shut") == ["0", "shut"]


def test_the_attempt_works_without_masks(runtime: Runtime) -> None:
    def bare(config: Config) -> None:
        config["linux"].update(maskedPaths=[], readonlyPaths=[])

    shutil.rmtree(runtime.bundle / "rootfs/other")
    assert runtime.output("(: >> /proc/sys/vm/swappiness) && echo open", bare) == ["open"]
