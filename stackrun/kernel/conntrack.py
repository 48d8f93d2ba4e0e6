"""Connection tracking over netlink: forgetting flows whose translation is out of date, and counting those that go on.

linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_tcp.h.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct

from stackrun.errors import KernelError
from stackrun.kernel.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Connection, Request, attribute, attributes, message, nested

_SUBSYSTEM, _GET, _DELETE = 1, 1, 2
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_TUPLE_IP, _CTA_TUPLE_PROTO, _CTA_PROTOINFO, _CTA_FILTER = 1, 2, 1, 2, 4, 25
_CTA_IP_V4_SRC, _CTA_PROTO_SRC_PORT, _CTA_PROTOINFO_TCP, _CTA_PROTOINFO_TCP_STATE = 1, 2, 1, 1
_CTA_PROTO_NUM, _CTA_PROTO_DST_PORT, _CTA_FILTER_ORIG_FLAGS, _CTA_FILTER_REPLY_FLAGS = 1, 3, 1, 2
_MATCH_SOURCE, _MATCH_PROTOCOL, _MATCH_DESTINATION_PORT = 1 << 0, 1 << 3, 1 << 5
_FILTER_SINCE = (5, 8)
"""An older kernel ignores the filter and would forget every flow of the host."""
_UNDER_WAY = range(1, 6)
"""SYN_SENT to CLOSE_WAIT: somebody may still be waiting for an answer."""


def delete_flows(connection: Connection, protocol: int, port: int) -> None:
    """Forgets every IPv4 flow of `protocol` (a number of protocols(5)) that was sent to `port`; there need not be any."""
    if _kernel_version() < _FILTER_SINCE:
        return
    flow = nested(_CTA_TUPLE_PROTO, attribute(_CTA_PROTO_NUM, bytes([protocol])), attribute(_CTA_PROTO_DST_PORT, struct.pack(">H", port)))
    matched = attribute(_CTA_FILTER_ORIG_FLAGS, struct.pack("=I", _MATCH_PROTOCOL | _MATCH_DESTINATION_PORT))
    body = struct.pack(">BBH", socket.AF_INET, 0, 0) + nested(_CTA_TUPLE_ORIG, flow) + nested(_CTA_FILTER, matched)
    request = Request(f"forget flows to port {port}", message(_SUBSYSTEM << 8 | _DELETE, NLM_F_REQUEST | NLM_F_ACK, body))
    try:
        connection.send([request])
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise


def count_connections(connection: Connection, host_port: int, address: str, port: int) -> int:
    """How many TCP connections to `host_port` are under way and were translated to `address`:`port`."""
    sent = nested(_CTA_TUPLE_PROTO, attribute(_CTA_PROTO_NUM, bytes([socket.IPPROTO_TCP])), _port_of(_CTA_PROTO_DST_PORT, host_port))
    answers = nested(_CTA_TUPLE_IP, attribute(_CTA_IP_V4_SRC, socket.inet_aton(address)))
    matched = nested(
        _CTA_FILTER,
        attribute(_CTA_FILTER_ORIG_FLAGS, struct.pack("=I", _MATCH_PROTOCOL | _MATCH_DESTINATION_PORT)),
        attribute(_CTA_FILTER_REPLY_FLAGS, struct.pack("=I", _MATCH_SOURCE)),
    )
    # An older kernel lists all flows, which comes to the same.
    asked = b"" if _kernel_version() < _FILTER_SINCE else nested(_CTA_TUPLE_ORIG, sent) + nested(_CTA_TUPLE_REPLY, answers) + matched
    body = struct.pack(">BBH", socket.AF_INET, 0, 0) + asked
    request = Request(f"list flows to port {host_port}", message(_SUBSYSTEM << 8 | _GET, NLM_F_REQUEST | NLM_F_DUMP, body))
    wanted = (host_port, address, port)
    return sum(_leads(attributes(reply.body[4:])) == wanted for reply in connection.dump(request))


def _leads(flow: dict[int, bytes]) -> tuple[int, str, int] | None:
    """(port it was sent to, address and port that answer) of a TCP connection under way, else None."""
    sent, answers = (attributes(flow.get(kind, b"")) for kind in (_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY))
    info = attributes(attributes(flow.get(_CTA_PROTOINFO, b"")).get(_CTA_PROTOINFO_TCP, b""))
    state = info.get(_CTA_PROTOINFO_TCP_STATE, b"\0")[0]
    address = attributes(answers.get(_CTA_TUPLE_IP, b"")).get(_CTA_IP_V4_SRC)
    if state not in _UNDER_WAY or not address:
        return None
    return _port_in(sent, _CTA_PROTO_DST_PORT), socket.inet_ntoa(address), _port_in(answers, _CTA_PROTO_SRC_PORT)


def _port_of(kind: int, port: int) -> bytes:
    return attribute(kind, struct.pack(">H", port))


def _port_in(one: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(attributes(one.get(_CTA_TUPLE_PROTO, b"")).get(kind, b""), "big")


def _kernel_version() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
