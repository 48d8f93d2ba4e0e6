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
_MATCH_SOURCE, _MATCH_PROTOCOL, _MATCH_SOURCE_PORT, _MATCH_DESTINATION_PORT = 1 << 0, 1 << 3, 1 << 4, 1 << 5
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


def count_connections(connection: Connection, address: str, port: int) -> int:
    """How many TCP connections are under way that `address`:`port` answers, translated to it or not."""
    answers = nested(
        _CTA_TUPLE_REPLY,
        nested(_CTA_TUPLE_IP, attribute(_CTA_IP_V4_SRC, socket.inet_aton(address))),
        nested(_CTA_TUPLE_PROTO, attribute(_CTA_PROTO_NUM, bytes([socket.IPPROTO_TCP])), _port_of(_CTA_PROTO_SRC_PORT, port)),
    )
    flags = struct.pack("=I", _MATCH_SOURCE | _MATCH_PROTOCOL | _MATCH_SOURCE_PORT)
    # An older kernel lists all flows, which comes to the same.
    asked = b"" if _kernel_version() < _FILTER_SINCE else answers + nested(_CTA_FILTER, attribute(_CTA_FILTER_REPLY_FLAGS, flags))
    body = struct.pack(">BBH", socket.AF_INET, 0, 0) + asked
    request = Request(f"list flows that {address} answers", message(_SUBSYSTEM << 8 | _GET, NLM_F_REQUEST | NLM_F_DUMP, body))
    return sum(_who_answers(attributes(reply.body[4:])) == (address, port) for reply in connection.dump(request))


def _who_answers(flow: dict[int, bytes]) -> tuple[str, int] | None:
    """Address and port, of a TCP connection under way."""
    answers = attributes(flow.get(_CTA_TUPLE_REPLY, b""))
    info = attributes(attributes(flow.get(_CTA_PROTOINFO, b"")).get(_CTA_PROTOINFO_TCP, b""))
    state = info.get(_CTA_PROTOINFO_TCP_STATE, b"\0")[0]
    address = attributes(answers.get(_CTA_TUPLE_IP, b"")).get(_CTA_IP_V4_SRC)
    if state not in _UNDER_WAY or not address:
        return None
    return socket.inet_ntoa(address), _port_in(answers, _CTA_PROTO_SRC_PORT)


def _port_of(kind: int, port: int) -> bytes:
    return attribute(kind, struct.pack(">H", port))


def _port_in(one: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(attributes(one.get(_CTA_TUPLE_PROTO, b"")).get(kind, b""), "big")


def _kernel_version() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
