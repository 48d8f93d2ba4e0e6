"""The run directory's files: where they are, how they are written, and how a process is told from its pid's next owner."""

from __future__ import annotations

import os

from stackrun.kernel import sockets
from stackrun.runtime import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackrun.runtime.messages import Message


def socket_path(run_dir: str) -> str:
    return f"{run_dir}/shim.sock"


def state_path(run_dir: str) -> str:
    return f"{run_dir}/state.json"


def exit_path(run_dir: str) -> str:
    return f"{run_dir}/exit.json"


def crash_path(run_dir: str) -> str:
    return f"{run_dir}/shim.err"


def write(path: str, record: Message) -> None:
    """Replace `path` by `record` in one step.  Not synced: a run directory does not outlive the boot (tmpfs)."""
    temporary = f"{path}.new"
    put(temporary, record)
    os.rename(temporary, path)


def end(run_dir: str, record: Message) -> None:
    """The run's record becomes that of its end: a file less to make and to remove."""
    put(state_path(run_dir), record)
    os.rename(state_path(run_dir), exit_path(run_dir))


def put(path: str, record: Message) -> None:
    """`write` where nobody looks yet: without a second file to make and to rename."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, jsontext.dumps(record).encode())
    finally:
        os.close(fd)


def read(path: str) -> Message | None:
    """The record at `path`; None when there is none, or when it is not ours to understand."""
    try:
        record = jsontext.loads(_content(path))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _content(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1024 * 1024)
    finally:
        os.close(fd)


def _stat_fields(pid: int) -> list[bytes]:
    """Of proc(5) stat, from the state letter on; empty when there is no such process."""
    try:
        return _content(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def start_ticks(pid: int) -> int:
    """When `pid` started, in clock ticks since boot; 0 when there is no such process."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else 0


def is_alive(pid: int, ticks: int) -> bool:
    """Whether the process that had `pid` and started at `ticks` still runs; a zombie counts as gone."""
    fields = _stat_fields(pid)
    return bool(fields) and int(fields[19]) == ticks and fields[0] not in (b"Z", b"X")


def listen(run_dir: str) -> sockets.Socket:
    """A socket at `socket_path`, also where that is longer than the 107 bytes of unix(7): the directory goes by descriptor."""
    directory = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = sockets.Socket(sockets.AF_UNIX, sockets.SOCK_SEQPACKET)
    try:
        listener.bind(socket_path(f"/proc/self/fd/{directory}"))
        listener.listen(16)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(directory)
    return listener


def knock(run_dir: str) -> sockets.Socket:
    """A connection to it; raises as connect(2) does."""
    directory = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = sockets.Socket(sockets.AF_UNIX, sockets.SOCK_SEQPACKET)
    try:
        sock.connect(socket_path(f"/proc/self/fd/{directory}"))
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(directory)
    return sock


def remove(path: str) -> None:
    """Unlink, if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
