"""Connection tracking over netlink: forgetting flows whose translation is out of date (linux/nfnetlink_conntrack.h)."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct

from stackrun.errors import KernelError
from stackrun.kernel.netlink import NLM_F_ACK, NLM_F_REQUEST, Connection, Request, attribute, message, nested

_SUBSYSTEM, _DELETE = 1, 2
_CTA_TUPLE_ORIG, _CTA_TUPLE_PROTO, _CTA_FILTER = 1, 2, 25
_CTA_PROTO_NUM, _CTA_PROTO_DST_PORT, _CTA_FILTER_ORIG_FLAGS = 1, 3, 1
_MATCH_PROTOCOL, _MATCH_DESTINATION_PORT = 1 << 3, 1 << 5
_FILTER_SINCE = (5, 8)
"""An older kernel ignores the filter and would forget every flow of the host."""


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


def _kernel_version() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
