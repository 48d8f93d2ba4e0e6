"""Layouts recorded on real machines, and what creating does when the kernel lacks a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackrun.errors import Conflict, InvalidArgument, Unsupported
from stackrun.kernel import cgroup
from stackrun.kernel.cgroup import Cgroup, Layout, create, detect

V1_MOUNTS = """\
25 30 0:23 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
33 25 0:28 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
34 33 0:29 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,release_agent=/lib/systemd/systemd-cgroups-agent,name=systemd
38 33 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct
39 33 0:34 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:16 - cgroup cgroup rw,memory
40 33 0:35 / /sys/fs/cgroup/pids rw,nosuid,nodev,noexec,relatime shared:17 - cgroup cgroup rw,pids
"""
V1_CGROUP = "4:pids:/user.slice\n3:memory:/user.slice\n2:cpu,cpuacct:/user.slice\n1:name=systemd:/user.slice/session-1.scope\n"

HYBRID_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
HYBRID_CGROUP = "9:name=systemd:/\n6:freezer:/\n4:memory:/process_api/x\n1:cpu:/\n0::/\n"

V2_SYSTEMD_MOUNTS = (
    "30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
)
V2_CONTAINER_MOUNTS = """\
742 736 0:26 /../../../.. /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate
900 700 0:26 / /var/lib/other/merged/sys/fs/cgroup ro - cgroup2 cgroup rw
"""


def test_v1_maps_each_controller_to_its_mount_and_leaves_flags_out() -> None:
    layout = detect(V1_MOUNTS, V1_CGROUP)
    assert layout.mode == "v1"
    assert layout.v1 == {
        "name=systemd": "/sys/fs/cgroup/systemd",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
        "pids": "/sys/fs/cgroup/pids",
    }
    assert layout.v2 == ""
    assert layout.controllers == {"cpu", "cpuacct", "memory", "pids"}
    assert layout.mount_points.count("/sys/fs/cgroup/cpu,cpuacct") == 1


def test_hybrid_has_both() -> None:
    layout = detect(HYBRID_MOUNTS, HYBRID_CGROUP, "hugetlb\n")
    assert (layout.mode, layout.v2) == ("hybrid", "/sys/fs/cgroup/unified")
    assert layout.controllers == {"cpu", "memory", "freezer", "hugetlb"}
    group = Cgroup.load(layout, "stackrun/x")
    assert group.directory("memory") == "/sys/fs/cgroup/memory/stackrun/x"
    assert group.directory("hugetlb") == group.v2_directory == "/sys/fs/cgroup/unified/stackrun/x"
    assert group.directory("rdma") == ""


def test_v2_of_systemd() -> None:
    layout = detect(V2_SYSTEMD_MOUNTS, "0::/init.scope\n", "cpuset cpu io memory pids\n")
    assert (layout.mode, layout.v1, layout.v2) == ("v2", {}, "/sys/fs/cgroup")
    assert "memory" in layout.controllers


def test_v2_in_a_container_prefers_its_own_mount_to_copies_elsewhere() -> None:
    layout = detect("".join(reversed(V2_CONTAINER_MOUNTS.splitlines(keepends=True))), "0::/\n", "memory pids")
    assert layout.v2 == "/sys/fs/cgroup"


@pytest.mark.parametrize("mounts", ["", "garbage\n", "1 2 3\n", "a b c d e - cgroup\n"])
def test_anything_else_is_no_layout(mounts: str) -> None:
    assert detect(mounts, "also:garbage", "").mode == ""


def test_named_hierarchy_alone_is_no_v1() -> None:
    mounts = V2_SYSTEMD_MOUNTS + "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    assert detect(mounts, "1:name=systemd:/\n0::/\n", "memory").mode == "v2"


def v1_layout(tmp_path: Path) -> Layout:
    (tmp_path / "memory").mkdir()
    return Layout("v1", {"memory": str(tmp_path / "memory")}, "", frozenset())


def test_a_missing_file_is_unsupported_by_field_and_leaves_nothing(tmp_path: Path) -> None:
    layout = v1_layout(tmp_path)
    with pytest.raises(Unsupported, match=r"linux\.resources\.memory\.swappiness: this kernel has no memory\.swappiness"):
        create(layout, "stackrun/x", {"memory": {"swappiness": 10}})
    assert list((tmp_path / "memory" / "stackrun").iterdir()) == []


def test_without_cgroups_it_says_so() -> None:
    with pytest.raises(Unsupported, match="no cgroup file system"):
        create(Layout("", {}, "", frozenset()), "stackrun/x", {})


@pytest.mark.parametrize("path", ["", "/stackrun/x", "stackrun/../x", "a//b", "./a"])
def test_unclean_paths_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(InvalidArgument, match="clean relative path"):
        create(v1_layout(tmp_path), path, {})
    with pytest.raises(InvalidArgument):
        Cgroup.load(v1_layout(tmp_path / "memory"), path)


def test_an_ordinary_user_without_a_group_of_his_has_none(tmp_path: Path) -> None:
    assert cgroup._delegated(str(tmp_path / "nothing"), "0::/session\n").mode == cgroup.UNDELEGATED
    assert cgroup._delegated("", "0::/\n").mount_points == ()


def test_a_delegated_group_is_the_topmost_that_is_the_users_and_holds_no_process(tmp_path: Path) -> None:
    shell = tmp_path / "user" / "app" / "shell"
    shell.mkdir(parents=True)
    for directory in (tmp_path / "user", tmp_path / "user" / "app", shell):
        for name in ("cgroup.procs", "cgroup.subtree_control"):
            (directory / name).touch()
    (tmp_path / "user" / "cgroup.controllers").write_text("cpu memory pids\n")
    (shell / "cgroup.procs").write_text("4711\n")
    found = cgroup._delegated(str(tmp_path), "1:cpu:/\n0::/user/app/shell\n")
    assert (found.mode, found.v2, found.controllers) == ("v2", f"{tmp_path}/user", {"cpu", "memory", "pids"})
    (tmp_path / "user" / "cgroup.procs").write_text("1\n")
    assert cgroup._delegated(str(tmp_path), "0::/user/app/shell\n").mode == cgroup.UNDELEGATED


@pytest.mark.parametrize("above", ["", "/user.slice/user@1000.service"])
def test_whoever_is_in_a_group_below_is_found_wherever_the_layout_begins(monkeypatch: pytest.MonkeyPatch, above: str) -> None:
    group = Cgroup.load(Layout("v2", {}, f"/sys/fs/cgroup{above}", frozenset()), "stackrun/x")
    monkeypatch.setattr(cgroup, "read", lambda _: f"0::{above}/stackrun/x/inner/most\n")
    assert group._directory_of(7) == f"/sys/fs/cgroup{above}/stackrun/x/inner/most"
    monkeypatch.setattr(cgroup, "read", lambda _: "0::/elsewhere/stackrun/x/inner\n")
    with pytest.raises(Conflict, match="process 7 is in no cgroup below stackrun/x"):
        group._directory_of(7)
