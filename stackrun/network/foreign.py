"""Beside other firewalls: what makes forwarded packets of ours pass chains that are not ours.

In nftables every base chain of a hook is asked and one drop is final, so accepting a packet in our own
table is not enough where Docker has set iptables' FORWARD policy to DROP.  Rules go into DOCKER-USER, the
chain Docker keeps for others, else into FORWARD, in the exact form that iptables-nft writes, because it
refuses a table with any rule it cannot read, and dockerd would not start again.  Each bears our table's
name as a comment, by which `iptables -S` tells whose it is and by which it is found again and removed.

What goes *into* a bridge of ours is accepted outright, since our own forward chain decides on it.  What comes
out is accepted except towards Docker's bridges, about which Docker's own rules go on to decide.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stackrun.errors import KernelError
from stackrun.kernel import nft, syscalls
from stackrun.kernel.netlink import Connection, Request

TABLE = "filter"
"""iptables' table, of family ip."""
_DOCKER_CHAIN, _FORWARD_CHAIN = "DOCKER-USER", "FORWARD"
_DOCKER_BRIDGES = ("docker0", "docker_gwbridge", "br-+")
_ATTEMPTS = 5
_FAMILY_INET, _FAMILY_IPV4 = 1, 2
_VERDICTS = {"ACCEPT": nft.ACCEPT, "RETURN": nft.RETURN}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule on interface names, in iptables' notation: `sr-+` is every name that begins so, empty is any."""

    incoming: str
    outgoing: str
    target: str

    def __str__(self) -> str:
        ways = [f"{option} {name} " for option, name in (("-i", self.incoming), ("-o", self.outgoing)) if name]
        return f"{''.join(ways)}-j {self.target}"


def wanted_rules(patterns: Sequence[str], uplinks: Iterable[str], *, docker: bool) -> tuple[Rule, ...]:
    """The rules for our bridges in the order they must stand in.

    `uplinks` are the interfaces with a default route: one may bear a name that Docker's bridges have too.
    """
    rules = [Rule("", ours, "ACCEPT") for ours in patterns]
    for ours in patterns:
        if docker:
            rules += [Rule(ours, uplink, "ACCEPT") for uplink in sorted(set(uplinks)) if uplink.startswith("br-")]
            rules += [Rule(ours, theirs, "RETURN") for theirs in _DOCKER_BRIDGES]
        rules.append(Rule(ours, "", "ACCEPT"))
    return tuple(rules)


def ensure(connection: Connection, owner: str, patterns: Sequence[str]) -> bool:
    """Makes the other chains hold exactly our rules; True when something had to be changed.

    Their owners change them meanwhile: what we saw may be gone when we replace it, and then we look again.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return _ensured(connection, owner, patterns)
        except KernelError as error:
            if error.errno != errno.ENOENT or attempt + 1 == _ATTEMPTS:
                raise
    return False


def lacking(connection: Connection, owner: str, patterns: Sequence[str]) -> str:
    """The chain whose rules of ours are not as `ensure` would have them; empty when all is well, or when there is no such chain."""
    chain, wanted, present = _compared(connection, owner, patterns)
    return (chain or present[0].chain) if not _same(chain, owner, wanted, present) else ""


def _compared(connection: Connection, owner: str, patterns: Sequence[str]) -> tuple[str, tuple[Rule, ...], list[nft.Rule]]:
    chain = _chain_to_use(nft.chains(connection))
    wanted = wanted_rules(patterns, _uplinks(), docker=chain == _DOCKER_CHAIN) if chain else ()
    return chain, wanted, _ours(connection, owner)


def _same(chain: str, owner: str, wanted: Sequence[Rule], present: Sequence[nft.Rule]) -> bool:
    return [(chain, _comment(owner, rule)) for rule in wanted] == [(rule.chain, rule.comment) for rule in present]


def _ensured(connection: Connection, owner: str, patterns: Sequence[str]) -> bool:
    chain, wanted, present = _compared(connection, owner, patterns)
    if _same(chain, owner, wanted, present):
        return False
    added = [_added(chain, owner, rule) for rule in reversed(wanted)]
    connection.send(nft.batch([*_removed(present), *added]))
    return True


def remove(connection: Connection, owner: str) -> None:
    """Takes our rules out of other programs' chains; there need not be any."""
    present = _ours(connection, owner)
    if present:
        connection.send(nft.batch(_removed(present)))


def obstacles(connection: Connection) -> tuple[str, ...]:
    """Firewalls here that drop what we forward and that we cannot speak to: one line each."""
    found = dict.fromkeys(line for chain in nft.chains(connection) if (line := _obstacle(chain)))
    if legacy_forward_policy() == "DROP":
        found["iptables-legacy drops forwarded packets: iptables-legacy -I FORWARD -i sr-+ -j ACCEPT; the same with -o"] = None
    return tuple(found)


def _obstacle(chain: nft.Chain) -> str:
    if chain.family not in (_FAMILY_INET, _FAMILY_IPV4) or chain.hook != nft.FORWARD:
        return ""
    if chain.table == "firewalld":
        return "firewalld filters forwarded packets: firewall-cmd --zone=trusted --add-interface=BRIDGE for each sr-* bridge"
    handled = (chain.family, chain.table, chain.name) == (_FAMILY_IPV4, TABLE, _FORWARD_CHAIN)
    if chain.policy != nft.DROP or handled:
        return ""
    return f"nft chain {chain.table} {chain.name} drops forwarded packets: let it accept interfaces named sr-*"


def _chain_to_use(chains: Iterable[nft.Chain]) -> str:
    """DOCKER-USER where Docker has been, else FORWARD where iptables has been, else none."""
    names = {chain.name for chain in chains if (chain.family, chain.table) == (_FAMILY_IPV4, TABLE)}
    return next((name for name in (_DOCKER_CHAIN, _FORWARD_CHAIN) if name in names), "")


def _ours(connection: Connection, owner: str) -> list[nft.Rule]:
    return [rule for rule in nft.rules(connection, TABLE) if rule.comment.partition(":")[0] == owner]


def _comment(owner: str, rule: Rule) -> str:
    return f"{owner}: {rule}"


def _removed(rules: Iterable[nft.Rule]) -> list[Request]:
    return [nft.delete_rule(TABLE, rule.chain, rule.handle) for rule in rules]


def _added(chain: str, owner: str, rule: Rule) -> Request:
    expressions = [
        *_matches(nft.META_IIFNAME, rule.incoming),
        *_matches(nft.META_OIFNAME, rule.outgoing),
        nft.counter(),
        nft.verdict(_VERDICTS[rule.target]),
    ]
    return nft.add_rule(TABLE, chain, *expressions, comment=_comment(owner, rule), first=True)


def _matches(key: int, pattern: str) -> Sequence[bytes]:
    if not pattern:
        return ()
    data = pattern[:-1].encode() if pattern.endswith("+") else pattern.encode() + b"\0"
    return nft.load_meta(key, nft.REGISTER[0]), nft.compare(nft.REGISTER[0], data)


def _uplinks() -> tuple[str, ...]:
    """Interfaces with an IPv4 default route in the main table (proc(5), net/route)."""
    rows = [line.split() for line in Path("/proc/thread-self/net/route").read_text().splitlines()[1:]]
    return tuple(row[0] for row in rows if row[1] == "00000000" and row[7] == "00000000")


# --- iptables-legacy -----------------------------------------------------------------------------

_INFO_OPTION, _ENTRIES_OPTION = 64, 65
_INFO = struct.Struct("=32sI5I5III")
_ENTRIES_OFFSET, _ENTRY_BYTES = 40, 112
_HOOK_FORWARD = 2


def legacy_forward_policy() -> str:
    """ACCEPT or DROP of iptables-legacy's filter table, empty where that table does not exist.

    It lives beside nftables in the kernel (linux/netfilter_ipv4/ip_tables.h) and has no netlink.  Asking
    for a table would create it, hence the look at the list of those that exist first.
    """
    if TABLE not in _legacy_tables():
        return ""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        info = _INFO.unpack(_socket_option(raw, _INFO_OPTION, _INFO.size))
        underflow, size = info[7:12], info[13]
        entries = _socket_option(raw, _ENTRIES_OPTION, _ENTRIES_OFFSET + size, struct.pack("=I", size))
    # A chain's policy is the verdict of its last entry's standard target: 32 bytes of header, then -1 - verdict.
    place = _ENTRIES_OFFSET + underflow[_HOOK_FORWARD] + _ENTRY_BYTES + 32
    (verdict,) = struct.unpack_from("=i", entries, place)
    return "DROP" if -1 - verdict == nft.DROP else "ACCEPT"


def _legacy_tables() -> tuple[str, ...]:
    try:
        return tuple(Path("/proc/thread-self/net/ip_tables_names").read_text().split())
    except FileNotFoundError:
        return ()


def _socket_option(raw: socket.socket, option: int, size: int, more: bytes = b"") -> bytes:
    """getsockopt(2) with an argument in its buffer, which Python's cannot pass."""
    data = ctypes.create_string_buffer(TABLE.encode().ljust(32, b"\0") + more, size)
    length = ctypes.c_uint(size)
    if syscalls.libc.getsockopt(raw.fileno(), socket.SOL_IP, option, data, ctypes.byref(length)):
        code = ctypes.get_errno()
        raise KernelError(f"getsockopt ip_tables {option}: {os.strerror(code)}", code)
    return data.raw
