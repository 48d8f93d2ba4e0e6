"""`stackrun-runtime` as it is called: what puts a process into a container goes on by the sealed interpreter.

See `interpreter`: through /proc/PID/exe of such a process the container could otherwise write to the host's Python.  The verbs
themselves are in `verbs`.
"""

from __future__ import annotations

import gc
import os
import sys

_BEARING = ("create", "exec", "run")


def main(argv: list[str] | None = None) -> int:
    gc.disable()  # the process ends before there is anything to collect, unless it waits, and then it makes nothing
    words = sys.argv[1:] if argv is None else argv
    # A word may also be a container's name, or an option's value: sealing it in vain does no harm.
    if any(word in words for word in _BEARING):
        from stackrun.runtime.bundle import Bundle

        bundle = Bundle(f"{os.path.dirname(__file__)}/__pycache__/command.{sys.implementation.cache_tag}.bundle", "stackrun")
        from stackrun.errors import StackrunError
        from stackrun.runtime import birth, foreground, interpreter, verbs  # noqa: F401 - so that they are in the bundle

        bundle.keep()
        try:
            interpreter.become_sealed("verbs", words)
        except StackrunError as error:
            print(f"stackrun-runtime: {error}", file=sys.stderr)
            return 1
    from stackrun.runtime import verbs

    verbs.finish(words)
    return 0  # never


if __name__ == "__main__":
    sys.exit(main())
