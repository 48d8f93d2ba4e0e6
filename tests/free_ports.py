"""Ports of this machine that nobody has."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path


def free_port(neighbours: int = 1) -> int:
    """The first of so many free neighbours, out of those that the kernel does not give to outgoing connections:
    of one that is published, let go and published again, a client's connection would otherwise be the new holder."""
    first_of_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        first = random.randrange(10000, first_of_clients - neighbours)
        with ExitStack() as held:
            try:
                for port in range(first, first + neighbours):
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        held.enter_context(socket.socket(socket.AF_INET, kind)).bind(("0.0.0.0", port))
            except OSError:
                continue
        return first
