"""CVE-2016-9962: a process on its way into the container (exec) is opened, read or traced by one that is there already.

On its way it has the runtime's rights, memory and descriptors.  The watcher tries every new pid until execve has made it harmless.
"""

from prison import PRELUDE, Prison

WATCHER = """
import signal
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(1))
seen = set()
def attempt_on(pid, what, work):
    try:
        work()
        result = "ok"
    except OSError as error:
        result = errno.errorcode[error.errno]
    seen.add((name(pid), what, result))
def name(pid):
    try:
        return open(f"/proc/{pid}/comm").read().strip()
    except OSError:
        return ""
def peek(pid):
    # process_vm_readv(2) asks what ptrace(2) asks; from address 0, which is nobody's
    class Piece(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    here, there = Piece(ctypes.addressof(ctypes.create_string_buffer(8)), 8), Piece(0, 8)
    if libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0 and ctypes.get_errno() != errno.EFAULT:
        raise OSError(ctypes.get_errno(), "process_vm_readv")
print("ready", flush=True)
while not over:
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) == os.getpid() or not name(pid).startswith("stackrun"):
            continue
        attempt_on(pid, "memory", lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR)))
        attempt_on(pid, "descriptors", lambda: [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")])
        attempt_on(pid, "root", lambda: os.listdir(f"/proc/{pid}/root/"))
        attempt_on(pid, "environment", lambda: open(f"/proc/{pid}/environ").read())
        attempt_on(pid, "executable", lambda: os.close(os.open(f"/proc/{pid}/exe", os.O_RDONLY)))
        attempt_on(pid, "namespaces", lambda: os.close(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)))
        attempt_on(pid, "trace", lambda: peek(int(pid)))
for one in sorted(seen):
    print(*one)
"""
GONE = {"ESRCH", "ENOENT"}


def watched(prison: Prison, *options: str) -> set[tuple[str, ...]]:
    """(name, what, result) of every attempt during twelve execs."""
    machine = prison.machine
    machine.docker("run", "-d", "--name", "watcher", *options, "host", "python3", "-u", "-c", PRELUDE + WATCHER)
    try:
        for _ in range(12):
            machine.docker("exec", "watcher", "true")
        machine.docker("stop", "watcher")
        lines = machine.docker("logs", "watcher").stdout.splitlines()
    finally:
        machine.docker("rm", "-f", "watcher")
    return {tuple(line.split(" ")) for line in lines if line.count(" ") == 2}


def test_it_cannot_be_touched(prison: Prison) -> None:
    found = watched(prison)
    tried = {(what, result) for who, what, result in found if who.startswith("stackrun") and result not in GONE}
    assert {what for what, _ in tried} >= {"memory", "descriptors", "trace"}, f"the watcher was too slow: {found}"
    assert {result for _, result in tried} <= {"EACCES", "EPERM"}, found


def test_the_attempt_works_with_the_right_to_trace(prison: Prison) -> None:
    found = watched(prison, "--cap-add", "SYS_PTRACE")
    assert "ok" in {result for who, what, result in found if who.startswith("stackrun") and what == "descriptors"}, found
