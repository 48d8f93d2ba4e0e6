from __future__ import annotations

from stackrun.network.foreign import wanted_rules


def lines(*patterns: str, uplinks: tuple[str, ...] = (), docker: bool) -> list[str]:
    return [str(rule) for rule in wanted_rules(patterns, uplinks, docker=docker)]


def test_without_docker() -> None:
    assert lines("sr-+", uplinks=("br-lan",), docker=False) == ["-o sr-+ -j ACCEPT", "-i sr-+ -j ACCEPT"]


def test_beside_docker() -> None:
    assert lines("sr-+", "lab0", uplinks=("eth0",), docker=True) == [
        "-o sr-+ -j ACCEPT",
        "-o lab0 -j ACCEPT",
        "-i sr-+ -o docker0 -j RETURN",
        "-i sr-+ -o docker_gwbridge -j RETURN",
        "-i sr-+ -o br-+ -j RETURN",
        "-i sr-+ -j ACCEPT",
        "-i lab0 -o docker0 -j RETURN",
        "-i lab0 -o docker_gwbridge -j RETURN",
        "-i lab0 -o br-+ -j RETURN",
        "-i lab0 -j ACCEPT",
    ]


def test_an_uplink_named_like_docker_s_bridges_comes_before_them() -> None:
    rules = lines("sr-+", uplinks=("br-lan", "eth0", "br-lan"), docker=True)
    assert rules[1:3] == ["-i sr-+ -o br-lan -j ACCEPT", "-i sr-+ -o docker0 -j RETURN"]
