"""What a container's start and an exec cost, beside Debian's runc and crun on the same bundle and beside the floor, in one run.

python tests/bench/starts.py [ROUNDS]     the same lines that `make bench` prints

All state is on a tmpfs, ours and theirs: the figures are the runtimes', not the disk's.  Who is measured takes turns, round by
round.  `cpu` is user and system time of every process that a start made.

`engine: run` is the time from the request to start a container that has been made to its exit code.  The client does as Docker's
does for `docker run`: it asks for the exit on a second connection before it asks for the start, so that it is told at once.  It writes
requests that are ready and reads no more of an answer than it needs, since it runs on the same cores.  `asked after the start` is the
same by one connection, the wait asked for once the start is answered: until November 2026 that was `engine: run`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine import STACKRUN, Machine, busybox_tar

from stackrun.kernel import cgroup, syscalls

RUNTIME = STACKRUN.with_name("stackrun-runtime")
PARALLEL = 50
IDLE_CONTAINERS = 200
IDLE_S = 20.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
Samples = dict[str, list[float]]


def bench_starts(rounds: int) -> Samples:
    """Seconds by name; PSS in bytes, shares as fractions."""
    found: Samples = {}
    with _on_tmpfs() as root, _peers(root) as peers, _engine(root) as engine:
        for _ in range(3):
            engine.run("none")
            engine.run("bridge")
        for _ in range(rounds):
            _round(found, peers, engine)
        engine.cpu(found, rounds)
        engine.parallel(found)
        engine.idle(found)
    found["wiring of a bridge network"] = [_median(found, "engine: run on a bridge") - _median(found, "engine: run")]
    return found


def _median(found: Samples, name: str) -> float:
    return statistics.median(found[name])


def _round(found: Samples, peers: Peers, engine: Engine) -> None:
    for name, command in peers.runs.items():
        wall_s, cpu_s = peers.spawn(command)
        found.setdefault(f"{name} run", []).append(wall_s)
        found.setdefault(f"{name} run: cpu", []).append(cpu_s)
    found.setdefault("engine: run", []).append(engine.run("none"))
    found.setdefault("engine: run, asked after the start", []).append(engine.run_and_ask("none"))
    found.setdefault("engine: run on a bridge", []).append(engine.run("bridge"))
    for name, command in peers.execs.items():
        found.setdefault(f"{name} exec", []).append(peers.spawn(command)[0])
    found.setdefault("engine: exec", []).append(engine.execute())


@contextlib.contextmanager
def _on_tmpfs() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="srb-", dir="/dev/shm") as name:
        yield Path(name)


class Peers:
    """Command lines on one bundle; `namespace_fd` is a mount namespace in which crun finds no version 2 hierarchy."""

    def __init__(self, root: Path, crun: str, namespace_fd: int) -> None:
        self.namespace_fd = namespace_fd
        self.unpacked = root / "debian"
        short, long = _bundle(root / "true", "/bin/true"), _bundle(root / "sleep", "sleep", "100000")
        self.runtimes = {
            "runc": ["runc", "--root", str(root / "runc")],
            **({"crun": [crun, "--root", str(root / "crun")]} if crun else {}),
            "stackrun-runtime": [str(RUNTIME), "--root", str(root / "ours")],
        }
        self.runs = {name: [*words, "run", "--bundle", str(short), f"bench-{os.getpid()}"] for name, words in self.runtimes.items()}
        self._long = f"bench-{os.getpid()}"
        self.execs = {name: [*words, "exec", f"{self._long}-{name}", "/bin/true"] for name, words in self.runtimes.items()}
        self._bundle = long
        if floor := _floor(root):
            self.runs["floor (C)"] = [floor, str(short / "rootfs"), "/bin/true"]

    def start_long(self) -> None:
        for name, words in self.runtimes.items():
            self.spawn([*words, "run", "--detach", "--bundle", str(self._bundle), f"{self._long}-{name}"])

    def spawn(self, command: list[str]) -> tuple[float, float]:
        """(wall, cpu) seconds of a command, from the fork to the wait."""
        path = shutil.which(command[0]) or command[0]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        pid = os.fork()
        if not pid:
            self._become(path, command)
        _, status = os.waitpid(pid, 0)
        wall_s = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert status == 0, f"{' '.join(command)}: {status}"
        return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def _become(self, path: str, command: list[str]) -> None:
        try:
            if "crun" in path and self.namespace_fd >= 0:
                syscalls.setns(self.namespace_fd, syscalls.CLONE_NEWNS)
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1):
                os.dup2(null, fd)
            libraries = ":".join(str(one) for one in self.unpacked.glob("usr/lib/*"))
            os.execve(path, command, {**os.environ, "LD_LIBRARY_PATH": libraries} if libraries else os.environ)
        finally:
            os._exit(126)

    def close(self) -> None:
        for name, words in self.runtimes.items():
            self.spawn([*words, "delete", "--force", f"{self._long}-{name}"])
        if self.namespace_fd >= 0:
            os.close(self.namespace_fd)


@contextlib.contextmanager
def _peers(root: Path) -> Iterator[Peers]:
    crun = _crun(root)
    peers = Peers(root, crun, _without_v2() if crun and cgroup.detect().mode == "hybrid" else -1)
    try:
        peers.start_long()
        yield peers
    finally:
        peers.close()


def _bundle(path: Path, *arguments: str) -> Path:
    (path / "rootfs").mkdir(parents=True)
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (path / "rootfs" / name).mkdir()
    shutil.copy("/bin/busybox", path / "rootfs/bin/busybox")
    for applet in ("true", "sleep"):
        (path / "rootfs/bin" / applet).symlink_to("busybox")
    subprocess.run([RUNTIME, "spec", "--bundle", path], check=True)
    config = json.loads((path / "config.json").read_text())
    config["ociVersion"] = "1.0.2"  # Debian's crun knows no later one
    config["process"].update(args=list(arguments), terminal=False)
    (path / "config.json").write_text(json.dumps(config))
    return path


def _crun(root: Path) -> str:
    """Where Debian's crun is; unpacked for the occasion rather than installed, since podman would take it for its runtime."""
    if found := shutil.which("crun"):
        return found
    folder = root / "debian"
    folder.mkdir()
    try:
        subprocess.run(["apt-get", "download", "crun", "libyajl2"], cwd=folder, check=True, capture_output=True)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
    except (OSError, subprocess.CalledProcessError):
        print("crun cannot be had from Debian here: left out", file=sys.stderr)
        return ""
    return str(folder / "usr/bin/crun")


def _without_v2() -> int:
    """crun refuses a hybrid machine: a mount namespace in which a tmpfs covers the version 2 hierarchy."""
    script = f"mount -t tmpfs none {cgroup.detect().v2} && echo ready && read line"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdin and holder.stdout.readline() == b"ready\n"
        fd = os.open(f"/proc/{holder.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        holder.stdin.close()
    return fd


def _floor(root: Path) -> str:
    compiler = shutil.which("cc")
    if not compiler:
        print("no C compiler here: the floor is left out", file=sys.stderr)
        return ""
    subprocess.run([compiler, "-O2", "-o", root / "floor", Path(__file__).with_name("floor.c")], check=True)
    return str(root / "floor")


class Engine:
    """A daemon of its own, spoken to over its socket as any client of Docker's would."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.ever_made: set[str] = set()
        self._connection = Connection(str(machine.socket))
        self._made(["/bin/true"], "bridge")  # while there is one on it the bridge stays, which is not what is measured
        self._long = self._made(["sleep", "100000"], "none")
        self._ask("POST", f"/containers/{self._long}/start")
        daemon = machine.daemon_pid()
        children = Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()
        zygotes = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().startswith("stackrun-zygot")]
        self.pids = [daemon, *zygotes]

    def _ask(self, method: str, path: str, body: object = None, connection: Connection | None = None) -> Any:
        return (connection or self._connection).ask(method, path, body)

    def _made(self, command: list[str], network: str, connection: Connection | None = None) -> str:
        asked = {"Image": "busybox:test", "Cmd": command, "HostConfig": {"NetworkMode": network}}
        identity: str = self._ask("POST", "/containers/create", asked, connection)["Id"]
        self.ever_made.add(identity)
        return identity

    def start_long(self, network: str, connection: Connection) -> str:
        container = self._made(["sleep", "100000"], network, connection)
        self._ask("POST", f"/containers/{container}/start", None, connection)
        return container

    def remove(self, container: str, connection: Connection) -> None:
        self._ask("DELETE", f"/containers/{container}?force=1", None, connection)

    def run(self, network: str, connection: Connection | None = None) -> float:
        """Seconds from the request to start a container that has been made to its exit code; making and removing it are not in it."""
        first = connection or self._connection
        container = self._made(["/bin/true"], network, first)
        start = request("POST", f"/containers/{container}/start")
        with Connection(str(self.machine.socket)) as waiting:
            waiting.send(request("POST", f"/containers/{container}/wait?condition=next-exit"))
            waiting.head()  # from here on it is sure to hear of the exit
            began = time.perf_counter()
            first.send(start)
            status, _ = first.head()
            told = waiting.chunk()
            took_s = time.perf_counter() - began
        assert status == 204 and json.loads(told)["StatusCode"] == 0, (status, told)
        self._ask("DELETE", f"/containers/{container}", None, first)
        return took_s

    def run_and_ask(self, network: str) -> float:
        """`run` by one connection: the exit code is asked for once the start has been answered."""
        container = self._made(["/bin/true"], network)
        began = time.perf_counter()
        self._ask("POST", f"/containers/{container}/start")
        code = self._ask("POST", f"/containers/{container}/wait")["StatusCode"]
        took_s = time.perf_counter() - began
        assert code == 0
        self._ask("DELETE", f"/containers/{container}")
        return took_s

    def execute(self) -> float:
        """Seconds from the request to make an exec to its exit code, its output read to the end."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self.machine.socket))
            began = time.perf_counter()
            asked = {"Cmd": ["/bin/true"], "AttachStdout": True, "AttachStderr": True}
            name = self._ask("POST", f"/containers/{self._long}/exec", asked)["Id"]
            head = f"POST /v1.43/exec/{name}/start HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            stream.sendall(f"{head}Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            while stream.recv(65536):
                pass
            assert self._ask("GET", f"/exec/{name}/json")["ExitCode"] == 0
            return time.perf_counter() - began

    def _cpu_s(self) -> float:
        """Of daemon and zygote, and of the shims and inits that have ended."""
        total = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(field) for field in fields[11:15])
        return total * TICK_S

    def cpu(self, found: Samples, count: int) -> None:
        before = self._cpu_s()
        for _ in range(count):
            self.run("none")
        found["engine: run: cpu, made and removed as well"] = [(self._cpu_s() - before) / count]

    def parallel(self, found: Samples) -> None:
        cores = len(os.sched_getaffinity(0))
        connections = [Connection(str(self.machine.socket)) for _ in range(PARALLEL)]
        threads = [threading.Thread(target=self.run, args=("none", one)) for one in connections]
        before, began = self._cpu_s(), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall_s = time.perf_counter() - began
        found[f"engine: {PARALLEL} runs at once"] = [wall_s]
        found[f"engine: {PARALLEL} runs at once: share of all cores"] = [(self._cpu_s() - before) / wall_s / cores]

    def idle(self, found: Samples) -> None:
        made = [self._made(["sleep", "100000"], "none") for _ in range(IDLE_CONTAINERS)]
        for container in made:
            self._ask("POST", f"/containers/{container}/start")
        before, began = self._cpu_s(), time.monotonic()
        time.sleep(IDLE_S)
        found[f"engine: {IDLE_CONTAINERS} idle containers: share of a core"] = [(self._cpu_s() - before) / (time.monotonic() - began)]
        found[f"engine: {IDLE_CONTAINERS} idle containers: PSS of daemon and zygote"] = [pss_bytes(self.pids)]
        for container in made:
            self._ask("DELETE", f"/containers/{container}?force=1")


@contextlib.contextmanager
def _engine(root: Path) -> Iterator[Engine]:
    machine = Machine(root)
    try:
        machine.run("import", str(busybox_tar(machine.root)), "busybox:test")
        yield Engine(machine)
    finally:
        machine.close()


@contextlib.contextmanager
def engine_on_tmpfs() -> Iterator[Engine]:
    with _on_tmpfs() as root, _engine(root) as engine:
        yield engine


def request(method: str, path: str, body: object = None) -> bytes:
    text = b"" if body is None else json.dumps(body).encode()
    kind = "Content-Type: application/json\r\n" if text else ""
    return f"{method} /v1.43{path} HTTP/1.1\r\nHost: bench\r\n{kind}Content-Length: {len(text)}\r\n\r\n".encode() + text


class Connection:
    """As little of HTTP as our own server needs: what it costs is part of each figure."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._received = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *raised: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def head(self) -> tuple[int, bytes]:
        """(status, header lines in lower case) of the next answer."""
        head = self._until(b"\r\n\r\n")
        return int(head[9:12]), head.lower()

    def chunk(self) -> bytes:
        """The next piece of a body in pieces, empty at its end."""
        return self._exactly(int(self._until(b"\r\n"), 16) + 2)[:-2]

    def ask(self, method: str, path: str, body: object) -> Any:
        self.send(request(method, path, body))
        status, head = self.head()
        said = self._body(head) if status not in (204, 304) else b""
        assert status < 300, f"{method} {path}: {status} {said!r}"
        return json.loads(said) if said else None

    def _body(self, head: bytes) -> bytes:
        if b"\r\ntransfer-encoding: chunked" in head:
            return b"".join(iter(self.chunk, b""))
        return self._exactly(int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]))

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            self._receive()
        found, _, self._received = self._received.partition(mark)
        return found + mark

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        found, self._received = self._received[:size], self._received[size:]
        return found

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        assert data, "the engine has hung up"
        self._received += data


def pss_bytes(pids: list[int]) -> int:
    """Proportional set size of processes, summed (proc(5), smaps_rollup)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def main() -> None:
    from run import Figures, show_starts

    figures = Figures()
    figures.samples |= bench_starts(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    show_starts(figures)


if __name__ == "__main__":
    main()
