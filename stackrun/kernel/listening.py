"""Who listens on which port of this machine, as proc(5) tells: /proc/net/{tcp,tcp6,udp,udp6}, and /proc/PID/fd for the holders; and
how many connections a network namespace still answers.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

_LISTEN = "0A"
"""TCP_LISTEN of include/net/tcp_states.h."""
_UNCONNECTED = "07"
"""TCP_CLOSE, which is what a UDP socket without a peer shows."""
_ANSWERING = frozenset({"01", "03", "04", "08", "09", "0B"})
"""ESTABLISHED, SYN_RECV and CLOSE_WAIT: somebody may wait for an answer; FIN_WAIT1, LAST_ACK, CLOSING: the last of it is on its way."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket bound to `address`:`port`; `inode` tells whose it is."""

    protocol: str
    address: str
    port: int
    inode: int


@dataclass(frozen=True, slots=True)
class Holder:
    pid: int
    program: str


def listeners(proc: str = "/proc") -> tuple[Listener, ...]:
    """Every TCP listener and unconnected UDP socket of this process's network namespace."""
    found: list[Listener] = []
    for name, protocol, state in (
        ("tcp", "tcp", _LISTEN), ("tcp6", "tcp", _LISTEN), ("udp", "udp", _UNCONNECTED), ("udp6", "udp", _UNCONNECTED),
    ):  # fmt: skip
        try:
            lines = Path(proc, "net", name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:  # a kernel without IPv6
            continue
        found.extend(parse(lines, protocol, state))
    return tuple(found)


def answering(pid: int, addresses: Iterable[str], proc: str = "/proc") -> int:
    """How many TCP connections that others made to `addresses` are under way in that process's network namespace; 0 when it has ended.

    Those that it made itself are not counted: their port there is nobody's who listens.
    """
    own = frozenset(addresses)
    rows = [row for name in ("tcp", "tcp6") for row in _rows(f"{proc}/{pid}/net/{name}")]
    ports = {port for _, port, state in rows if state == _LISTEN}
    return sum(state in _ANSWERING and port in ports and _address(address) in own for address, port, state in rows)


def _rows(path: str) -> Iterator[tuple[str, str, str]]:
    """(local address, local port, state), all as they are written there."""
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()[1:]
    except OSError:  # it has ended, or the kernel has no IPv6
        return
    for line in lines:
        fields = line.split(maxsplit=4)
        if len(fields) > 3:
            address, _, port = fields[1].partition(":")
            yield address, port, fields[3]


def parse(lines: Iterable[str], protocol: str, state: str) -> Iterator[Listener]:
    """The lines of one table, without its heading."""
    for line in lines:
        fields = line.split()
        if len(fields) > 9 and fields[3] == state:
            address, _, port = fields[1].partition(":")
            yield Listener(protocol, _address(address), int(port, 16), int(fields[9]))


def _address(text: str) -> str:
    """Words in the machine's byte order (`0100007F` is 127.0.0.1 on x86); a mapped IPv4 address as IPv4."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    if len(packed) == 4:
        return str(IPv4Address(packed))
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)


def holders(inodes: Iterable[int], proc: str = "/proc") -> dict[int, Holder]:
    """Socket inode → a process that has it open, of those that this user may look into."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, Holder] = {}
    for pid in (int(name) for name in os.listdir(proc) if name.isdigit()) if wanted else ():
        for target in _descriptors(f"{proc}/{pid}/fd"):
            if target in wanted:
                found.setdefault(wanted[target], Holder(pid, _program(f"{proc}/{pid}/comm")))
    return found


def _descriptors(folder: str) -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except OSError:  # it ended, or is somebody else's
        return
    for name in names:
        try:
            yield os.readlink(f"{folder}/{name}")
        except OSError:  # closed meanwhile
            continue


def _program(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
