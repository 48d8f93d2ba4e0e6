"""OCI resources → files to write, compared as text."""

from __future__ import annotations

from typing import Any

import pytest

from stackrun.errors import InvalidArgument, Unsupported
from stackrun.kernel import privileges
from stackrun.kernel.cgroup_limits import cpu_weight, limits

V1 = frozenset({"cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "net_cls", "net_prio"})
V2 = frozenset({"cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma"})
NONE: frozenset[str] = frozenset()
MEBIBYTE = 1 << 20

CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({}, [], []),
    (
        {"memory": {"limit": 64 * MEBIBYTE, "swap": 96 * MEBIBYTE, "reservation": 32 * MEBIBYTE}},
        [
            "memory: memory.limit_in_bytes=67108864",
            "memory: memory.memsw.limit_in_bytes=100663296",
            "memory: memory.soft_limit_in_bytes=33554432",
        ],
        ["memory: memory.max=67108864", "memory: memory.swap.max=33554432", "memory: memory.low=33554432"],
    ),
    (
        {"memory": {"limit": -1}},
        ["memory: memory.limit_in_bytes=-1", "memory: memory.memsw.limit_in_bytes=-1"],
        ["memory: memory.max=max", "memory: memory.swap.max=max"],
    ),
    (
        {"memory": {"limit": MEBIBYTE, "swap": -1}},
        ["memory: memory.limit_in_bytes=1048576", "memory: memory.memsw.limit_in_bytes=-1"],
        ["memory: memory.max=1048576", "memory: memory.swap.max=max"],
    ),
    (
        {"cpu": {"quota": 50000, "period": 100000, "shares": 1024, "cpus": "0-1", "mems": "0"}},
        [
            "cpu: cpu.shares=1024",
            "cpu: cpu.cfs_period_us=100000",
            "cpu: cpu.cfs_quota_us=50000",
            "cpuset: cpuset.cpus=0-1",
            "cpuset: cpuset.mems=0",
        ],
        ["cpu: cpu.weight=100", "cpu: cpu.max=50000 100000", "cpuset: cpuset.cpus=0-1", "cpuset: cpuset.mems=0"],
    ),
    ({"cpu": {"quota": -1}}, ["cpu: cpu.cfs_quota_us=-1"], ["cpu: cpu.max=max"]),
    ({"cpu": {"period": 50000}}, ["cpu: cpu.cfs_period_us=50000"], ["cpu: cpu.max=max 50000"]),
    ({"cpu": {"idle": 1, "burst": 5}}, ["cpu: cpu.cfs_burst_us=5", "cpu: cpu.idle=1"], ["cpu: cpu.max.burst=5", "cpu: cpu.idle=1"]),
    ({"pids": {"limit": 20}}, ["pids: pids.max=20"], ["pids: pids.max=20"]),
    ({"pids": {"limit": -1}}, ["pids: pids.max=max"], ["pids: pids.max=max"]),
    (
        {"blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}]}},
        ["blkio: blkio.weight=500 | blkio.bfq.weight=500", "blkio: blkio.throttle.read_bps_device=8:0 1000"],
        ["io: io.bfq.weight=500 | io.weight=default 4950", "io: io.max=8:0 rbps=1000"],
    ),
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MEBIBYTE}]},
        ["hugetlb: hugetlb.2MB.limit_in_bytes=4194304"],
        ["hugetlb: hugetlb.2MB.max=4194304"],
    ),
]


@pytest.mark.parametrize(("resources", "on_v1", "on_v2"), CASES)
def test_each_version_gets_its_own_files(resources: dict[str, Any], on_v1: list[str], on_v2: list[str]) -> None:
    assert [repr(one) for one in limits(resources, V1, NONE)] == [f"v1 {line}" for line in on_v1]
    assert [repr(one) for one in limits(resources, NONE, V2)] == [f"v2 {line}" for line in on_v2]


def test_hybrid_decides_controller_by_controller() -> None:
    resources = {"pids": {"limit": 5}, "hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}
    plan = limits(resources, frozenset({"pids"}), frozenset({"hugetlb"}))
    assert [repr(one) for one in plan] == ["v1 pids: pids.max=5", "v2 hugetlb: hugetlb.2MB.max=0"]


@pytest.mark.parametrize(("shares", "weight"), [(1, 1), (2, 1), (1024, 100), (262144, 10000), (1 << 20, 10000)])
def test_the_default_share_is_the_default_weight(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


def test_weights_rise_with_shares() -> None:
    weights = [cpu_weight(shares) for shares in (2, 10, 100, 512, 1024, 2048, 10000, 100000, 262144)]
    assert weights == sorted(weights)
    assert len(set(weights)) == len(weights)


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"memory": {"limit": 1}}, "memory.limit"),
        ({"cpu": {"quota": 1}}, "cpu.quota"),
        ({"cpu": {"cpus": "0"}}, "cpu.cpus"),
        ({"pids": {"limit": 3}}, "pids.limit"),
        ({"blockIO": {"weight": 10}}, "blockIO.weight"),
        ({"network": {"classID": 1}}, "network.classID"),
        ({"unified": {"memory.high": "1"}}, "unified"),
        ({"memory": {"kernelTCP": 1}}, "memory.kernelTCP"),
    ],
)
def test_a_missing_controller_names_the_field(resources: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported, match=rf"^linux\.resources\.{field}: "):
        limits(resources, NONE, NONE)


@pytest.mark.parametrize("memory", [{"swappiness": 5}, {"disableOOMKiller": True}])
def test_what_v2_dropped_is_said(memory: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match="cgroup v2 has no such setting"):
        limits({"memory": memory}, NONE, V2)


def test_swap_below_memory_makes_no_sense() -> None:
    with pytest.raises(InvalidArgument, match=r"below memory\.limit"):
        limits({"memory": {"limit": 10, "swap": 5}}, NONE, V2)


def test_swap_equal_to_memory_needs_no_swap_accounting() -> None:
    assert limits({"memory": {"limit": 10, "swap": 10}}, NONE, V2)[1].optional


@pytest.mark.parametrize("file", ["../x", "cgroup.procs", "cgroup.kill"])
def test_unified_cannot_reach_other_files(file: str) -> None:
    with pytest.raises(InvalidArgument, match="no limit's file name"):
        limits({"unified": {file: "1"}}, NONE, V2)


def test_unlimited_pids_needs_no_controller() -> None:
    assert limits({"pids": {"limit": -1}}, NONE, NONE) == []


@pytest.mark.parametrize(("rootless", "words"), [(False, "this kernel has no cpuset"), (True, "no cpuset cgroup controller is delegated")])
def test_why_a_controller_is_not_there_depends_on_who_asks(monkeypatch: pytest.MonkeyPatch, rootless: bool, words: str) -> None:
    monkeypatch.setattr(privileges, "current", lambda: privileges.Privileges(rootless=rootless))
    with pytest.raises(Unsupported, match=rf"linux\.resources\.cpu\.cpus: {words}"):
        limits({"cpu": {"cpus": "0"}}, NONE, frozenset({"cpu", "memory", "pids"}))
