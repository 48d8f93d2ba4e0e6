"""Small archives that become large: headers of gigabytes, headers without end, sparse files of exabytes, gzip of gzip (CWE-409)."""

import gzip
import io
import resource
import tarfile
from pathlib import Path

import pytest
from evil_layers import file, tar
from machine import Machine

PIECE = bytes(1 << 20)
HEADER_BYTES = 256 << 20


def compressed(head: bytes, body_bytes: int) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as stream:
        stream.write(head)
        for _ in range(body_bytes // len(PIECE)):
            stream.write(PIECE)
    return buffer.getvalue()


def header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def sparse(size: int) -> bytes:
    """A GNU sparse file of `size` zeros and no data."""
    block = bytearray(header(tarfile.GNUTYPE_SPARSE, 0))
    block[483:495] = f"{size:011o}\0".encode()
    block[148:156] = f"{sum(block[:148]) + 8 * 32 + sum(block[156:]):06o}\0 ".encode()
    return bytes(block) + bytes(1024)


BOMBS = {
    "a name of 256 MiB": lambda: compressed(header(tarfile.GNUTYPE_LONGNAME, HEADER_BYTES), HEADER_BYTES),
    "records of 256 MiB": lambda: compressed(header(tarfile.XHDTYPE, HEADER_BYTES), HEADER_BYTES),
    "headers without end": lambda: (header(tarfile.GNUTYPE_LONGNAME, 512) + bytes(512)) * 5000,
    "a sparse file of 8 GiB": lambda: sparse(8**11 - 1),
    "depth": lambda: tar([file("/".join("d" * 2000))]),
}


def daemon_peak_kib(machine: Machine) -> int:
    status = Path(f"/proc/{machine.daemon_pid()}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


@pytest.mark.parametrize("bomb", BOMBS)
def test_refused_before_it_takes_memory_or_disk(machine: Machine, tmp_path: Path, bomb: str) -> None:
    path = tmp_path / "bomb.tar"
    path.write_bytes(BOMBS[bomb]())
    before = daemon_peak_kib(machine)
    done = machine.docker("import", str(path), "bomb:1", code=None)
    assert done.returncode == 1 and ("is no sound tar archive" in done.stderr or "directories deeper than" in done.stderr)
    assert daemon_peak_kib(machine) - before < 32 << 10
    assert not any((machine.state / "image/layers").iterdir()), "what was made of it is gone"


def test_the_attempt_works_on_tarfile_itself() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(tarfile.TarError), tarfile.open(fileobj=io.BytesIO(BOMBS["a name of 256 MiB"]()), mode="r|gz") as archive:
        archive.next()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > HEADER_BYTES // 1024 // 2
    with pytest.raises(RecursionError), tarfile.open(fileobj=io.BytesIO(BOMBS["headers without end"]()), mode="r|") as archive:
        archive.next()


def test_a_compressed_layer_in_a_compressed_layer_is_no_tar(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar"
    path.write_bytes(gzip.compress(gzip.compress(PIECE)))
    assert "no sound tar archive" in machine.docker("import", str(path), "bomb:1", code=1).stderr
