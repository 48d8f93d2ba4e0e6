"""`python -m stackrun.cli.rootless`: an ordinary user's daemon on its way into the user's namespaces, where it is root."""

from __future__ import annotations

import argparse
import os
import sys

from stackrun.cli import exit
from stackrun.rootless import entering


def main() -> int:
    """Becomes `stackrun.cli.daemon` with the same arguments, or tells why not as that would have."""
    parser = argparse.ArgumentParser("stackrun daemon", allow_abbrev=False)
    parser.add_argument("--run-dir", required=True)
    parser.add_argument("--ready-fd", type=int, default=-1)
    options, _ = parser.parse_known_args()
    try:
        if options.ready_fd >= 0:
            os.set_inheritable(options.ready_fd, False)  # or the gate keeps the pipe, and our starter waiting
        program = [sys.executable, "-P", "-m", "stackrun.cli.daemon", *sys.argv[1:]]
        entering.enter(options.run_dir, program, (options.ready_fd,) if options.ready_fd >= 0 else ())
    except Exception as error:
        from stackrun.cli.daemon import tell_failure

        tell_failure(options.ready_fd, error)
        return exit.report(error)


if __name__ == "__main__":
    sys.exit(main())
