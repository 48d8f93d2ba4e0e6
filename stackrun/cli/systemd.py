"""The unit by which systemd runs our daemon from boot on, so that the stacks that were up come up again.

Containers outlive the daemon, hence KillMode=process; their cgroups are ours to make, hence Delegate (systemd.kill(5),
systemd.resource-control(5)).
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

UNIT = """\
[Unit]
Description=stackrun, which keeps stacks of containers in their declared state
After=network-online.target {after}
Wants=network-online.target

[Service]
Type=notify
ExecStart={command}
KillMode=process
Delegate=yes
Restart=on-failure
{guard}TasksMax=infinity
LimitNOFILE=1048576

[Install]
WantedBy={target}
"""


def unit(root: str, *, user: bool) -> str:
    """For the system's manager, or for a user's own. `root`: the engine's state root."""
    program = Path(sys.executable).with_name("stackrun")
    command = [str(program), "--root", root, "daemon"]
    quoted = " ".join(shlex.quote(one).replace("%", "%%").replace("$", "$$") for one in command)
    if user:
        return UNIT.format(command=quoted, after="", guard="", target="default.target")
    return UNIT.format(command=quoted, after="local-fs.target", guard="OOMScoreAdjust=-500\n", target="multi-user.target")
