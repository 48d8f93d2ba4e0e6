"""Device rules mean the same as a folded list, as v1 lines and as the eBPF program."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackrun.errors import InvalidArgument
from stackrun.kernel.cgroup_devices import DEFAULT_RULES, DevicePolicy, assemble, fold, v1_writes

BLOCK, CHAR = 1, 2
MKNOD, READ, WRITE = 1, 2, 4
BITS = {"r": READ, "w": WRITE, "m": MKNOD}


def run_program(code: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """The few eBPF instructions `assemble` uses, executed."""
    registers = [0] * 11
    context = {0: access << 16 | kind, 4: major, 8: minor}
    position = 0
    while True:
        opcode, packed, offset, value = struct.unpack_from("=BBhI", code, position * 8)
        target, source = packed & 15, packed >> 4
        position += 1
        match opcode:
            case 0x61:
                registers[target] = context[offset]
            case 0xB4:
                registers[target] = value
            case 0xBC:
                registers[target] = registers[source]
            case 0x54:
                registers[target] &= value
            case 0x74:
                registers[target] >>= value
            case 0x56:
                position += offset if registers[target] != value else 0
            case 0x5E:
                position += offset if registers[target] != registers[source] else 0
            case 0x16:
                position += offset if registers[target] == value else 0
            case 0x95:
                return registers[0]
            case _:
                raise AssertionError(f"unknown opcode {opcode:#x}")


def may(policy: DevicePolicy, kind: int, access: int, major: int, minor: int) -> bool:
    """security/device_cgroup.c in Python: any overlap denies, only full cover allows."""
    for (letter, want_major, want_minor), bits in policy.exceptions.items():
        if {"b": BLOCK, "c": CHAR}[letter] != kind or want_major not in (-1, major) or want_minor not in (-1, minor):
            continue
        if policy.allow_by_default and bits & access:
            return False
        if not policy.allow_by_default and access & ~bits == 0:
            return True
    return policy.allow_by_default


numbers = st.sampled_from([None, -1, 0, 1, 5])
rules = st.lists(
    st.fixed_dictionaries(
        {"allow": st.booleans(), "access": st.sampled_from(["r", "w", "m", "rw", "rwm", "rm"])},
        optional={"type": st.sampled_from(["a", "b", "c", "u", "p"]), "major": numbers, "minor": numbers},
    ),
    max_size=6,
)


@settings(database=None, deadline=None)
@given(rules, st.sampled_from([BLOCK, CHAR]), st.integers(1, 7), st.sampled_from([0, 1, 5, 9]), st.sampled_from([0, 1, 5, 9]))
def test_the_program_decides_as_the_v1_controller_would(
    given_rules: list[dict[str, Any]], kind: int, access: int, major: int, minor: int
) -> None:
    policy = fold(given_rules)
    assert bool(run_program(assemble(policy), kind, access, major, minor)) == may(policy, kind, access, major, minor)


def test_defaults_open_null_and_make_any_node_but_open_no_disk() -> None:
    code = assemble(fold(list(DEFAULT_RULES)))
    assert run_program(code, CHAR, READ | WRITE, 1, 3) == 1
    assert run_program(code, CHAR, READ, 136, 77) == 1
    assert run_program(code, BLOCK, MKNOD, 8, 0) == 1
    assert run_program(code, BLOCK, READ, 8, 0) == 0
    assert run_program(code, CHAR, READ, 1, 1) == 0  # /dev/mem


def test_v1_lines() -> None:
    denied = [
        {"allow": False},
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"},
        {"allow": True, "type": "b", "access": "m"},
    ]
    assert v1_writes(fold(denied)) == [("devices.deny", "a"), ("devices.allow", "c 1:3 rw"), ("devices.allow", "b *:* m")]
    allowed = [{"allow": True}, {"allow": False, "type": "b", "major": 8, "access": "w"}]
    assert v1_writes(fold(allowed)) == [("devices.allow", "a"), ("devices.deny", "b 8:* w")]


def test_later_rules_take_back_and_add_up() -> None:
    folded = fold([{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}])
    assert folded.exceptions == {("c", 1, 3): 7}
    more = fold(
        [
            {"allow": False},
            {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            {"allow": False, "type": "c", "major": 1, "minor": 3, "access": "w"},
            {"allow": True, "type": "a", "major": 9, "minor": 9, "access": "r"},
        ]
    )
    assert more.exceptions == {("c", 1, 3): READ | MKNOD, ("b", 9, 9): READ, ("c", 9, 9): READ}


@pytest.mark.parametrize("rule", [{"allow": True, "type": "z"}, {"allow": True, "type": "c", "access": "rx"}])
def test_nonsense_names_its_place(rule: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=r"linux\.resources\.devices\[1\]\."):
        fold([{"allow": False}, rule])
