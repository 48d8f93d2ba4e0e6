"""Whether the cgroups of a container are there: told once by who makes them, heard by its shim and by its init.

They are made while those two are born, which takes as long.
"""

from __future__ import annotations

import errno

from stackrun.errors import KernelError, StackrunError
from stackrun.kernel import sockets
from stackrun.runtime import jsontext, messages


class Verdict:
    """`tell` in one process; `hear` in those forked from it, each after `only_hear`, or the teller's end would not be noticed."""

    __slots__ = ("_hearer", "_teller")

    def __init__(self) -> None:
        self._hearer, self._teller = messages.pair()

    def tell(self, error: Exception | None = None) -> None:
        try:
            messages.send(self._teller, {"error": messages.pack_error(error)} if error else {})
        except OSError:
            return  # nobody is left to hear it
        finally:
            self.close()

    def only_hear(self) -> None:
        self._teller.close()

    def hear(self) -> None:
        """Wait for it, and leave it there for the next.  Raises what it is; KernelError ECONNRESET when nobody is left to tell it."""
        packet = self._hearer.recv(messages.PACKET_BYTES_MAX, sockets.MSG_PEEK)
        if not packet:
            raise KernelError("make the cgroups", errno.ECONNRESET, hint="the process that made them was killed")
        messages.raise_error(jsontext.loads(packet[1:]))

    def wait(self) -> None:
        """Until nobody makes cgroups any more, whatever came of it."""
        try:
            self.hear()
        except (StackrunError, OSError):
            return

    def close(self) -> None:
        self._teller.close()
        self._hearer.close()
