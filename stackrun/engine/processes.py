"""The processes of a container (`top`).

Docker runs the host's ps(1) with the caller's arguments and keeps the lines of the container's processes; so do we.
"""

from __future__ import annotations

import asyncio
import shlex

from stackrun.api.types import ProcessTable
from stackrun.engine.pool import Pool
from stackrun.errors import InvalidArgument, StackrunError, Unsupported
from stackrun.kernel import cgroup, process


async def table(pid: int, cgroup_path: str, ps_args: str, pool: Pool) -> ProcessTable:
    """StackrunError "ps: …" when ps refuses its arguments; Unsupported when the host has none."""
    pids = await pool.run(_pids, cgroup_path, pid)
    output = await _ps(shlex.split(ps_args) or ["-ef"])
    return parse(output, frozenset(pids))


def _pids(cgroup_path: str, init: int) -> set[int]:
    found = cgroup.Cgroup.load(cgroup.detect(), cgroup_path).pids()
    return {*(found or process.in_pid_namespace_of(init)), init}


async def _ps(arguments: list[str]) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            "ps", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise Unsupported("top: this host has no ps command", hint="install the package procps") from error
    output, errors = await process.communicate()
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        raise StackrunError(f"ps: {lines[0].removeprefix('ps: ') if lines else f'exit code {process.returncode}'}")
    return output.decode(errors="replace")


def parse(output: str, pids: frozenset[int]) -> ProcessTable:
    """ps's lines → its titles and the rows of `pids`. The last column keeps its blanks. InvalidArgument without a PID column."""
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows = (tuple(line.split(None, len(titles) - 1)) for line in lines[1:])
    wanted = {str(pid) for pid in pids}
    return ProcessTable(tuple(titles), tuple(row for row in rows if len(row) > column and row[column] in wanted))
