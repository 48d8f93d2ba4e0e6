"""The built-in image `host`: any Linux machine's own programs in a file system of their own, without a download.

    /usr                          the host's, bound read-only without setuid and devices (see `mounts`)
    /bin /sbin /lib /lib64 …      links into it, as the host has them; bound like /usr where they are directories
    /etc                          ours: accounts, name service, the loader's cache, certificates, alternatives, time zone
    /var /root /home /run /srv … empty; /tmp 1777; /proc /sys /dev mount points

The tree is named by the digest of what it holds, under `<image>/host/<hex>/diff`: when the host's loader cache
or certificates change, new containers get a new tree and running ones keep theirs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stackrun.image.manifest import this_platform
from stackrun.image.record import BindMount, ImageConfig, ImageRecord

NAME = "host"
_READ_ONLY = ("rbind", "rprivate", "ro", "nosuid", "nodev", "rro", "rnosuid", "rnodev")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_EMPTY_DIRECTORIES = (
    ("usr", 0o755), ("var", 0o755), ("root", 0o700), ("home", 0o755), ("run", 0o755), ("srv", 0o755), ("opt", 0o755),
    ("mnt", 0o755), ("media", 0o755), ("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("tmp", 0o1777), ("etc", 0o755),
)  # fmt: skip
_TOP_PROGRAM_DIRECTORIES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

_OWN_FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\n"
        "sys:x:3:3:sys:/dev:/usr/sbin/nologin\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "etc/group": (
        "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nmail:x:8:\nwww-data:x:33:\n"
        "utmp:x:43:\nstaff:x:50:\nusers:x:100:\nnogroup:x:65534:\n"
    ),
    "etc/nsswitch.conf": (
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\nrpc: files\n"
    ),
    "etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
    "etc/hostname": "",
    "etc/resolv.conf": "",
    "etc/shells": "/bin/sh\n",
    "etc/host.conf": "multi on\n",
}  # fmt: skip
_OWN_LINKS = {"etc/mtab": "../proc/self/mounts"}

_HOST_ETC = (
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d",  # where the loader finds libraries outside its default directories
    "alternatives",  # /usr/bin/awk is a link into it on Debian and Fedora
    "ssl/certs", "ssl/openssl.cnf", "ssl/cert.pem", "pki/tls/certs", "pki/tls/openssl.cnf", "pki/ca-trust/extracted/pem", "crypto-policies",
    "localtime", "timezone", "mime.types", "services", "protocols", "rpc", "os-release", "gai.conf", "terminfo",
)  # fmt: skip
"""What programs in /usr need of /etc and what holds no secret and no account. Nothing else of it is shown."""
_COPIED_THROUGH_LINKS = ("etc/localtime", "etc/os-release", "etc/ssl/", "etc/pki/")
_SHOWN = tuple(f"{name}/" for name in ("usr", *_TOP_PROGRAM_DIRECTORIES, *(f"etc/{name}" for name in _HOST_ETC)))


@dataclass(frozen=True, slots=True)
class _Node:
    """One file of the tree: a directory (`data` None, no link), a link, or a regular file."""

    path: str
    mode: int
    link: str = ""
    data: bytes | None = None


class HostImage:
    """`root` is the host's root directory: tests give another."""

    def __init__(self, directory: Path, root: Path = Path("/")) -> None:
        self._directory = directory / "host"
        self._root = root
        self._lock = threading.Lock()
        self._state: tuple[tuple[object, ...], ImageRecord] | None = None

    def record(self) -> ImageRecord:
        """The image as of now, built if the host has changed; cheap when it has not."""
        with self._lock:
            stamp = self._stamp()
            if self._state is None or self._state[0] != stamp:
                self._state = (stamp, self._built())
            return self._state[1]

    def by_id(self, hex_prefix: str) -> ImageRecord | None:
        """The current image or an earlier one that containers may still use."""
        if not hex_prefix or not self._directory.is_dir():
            return None
        found = [entry.name for entry in self._directory.iterdir() if entry.name.startswith(hex_prefix)]
        return self._record_of(found[0]) if len(found) == 1 else None

    def lower_directory(self, image: ImageRecord) -> str:
        return str(self._directory / image.id.removeprefix("sha256:") / "diff")

    def mounts(self) -> tuple[BindMount, ...]:
        """/usr, and the top-level program directories of a host that has not merged them into it."""
        separate = [name for name in _TOP_PROGRAM_DIRECTORIES if self._is_directory(name)]
        return tuple(BindMount(str(self._root / name), f"/{name}", _READ_ONLY) for name in ("usr", *separate))

    def _is_directory(self, name: str) -> bool:
        path = self._root / name
        return path.is_dir() and not path.is_symlink()

    def _stamp(self) -> tuple[object, ...]:
        """Changes when anything that goes into the tree may have changed: one stat a source."""
        found: list[object] = []
        for name in (*_TOP_PROGRAM_DIRECTORIES, *(f"etc/{name}" for name in _HOST_ETC)):
            try:
                status = (self._root / name).lstat()
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
            except OSError:
                found.append(None)
        return tuple(found)

    def _built(self) -> ImageRecord:
        nodes = list(self._nodes())
        name = _digest(nodes)
        target = self._directory / name
        if not target.is_dir():
            self._directory.mkdir(parents=True, exist_ok=True)
            for leftover in self._directory.glob("new-*"):
                shutil.rmtree(leftover)
            unfinished = Path(tempfile.mkdtemp(prefix="new-", dir=self._directory))
            unfinished.chmod(0o755)
            _write(unfinished / "diff", nodes)
            os.rename(unfinished, target)
        return self._record_of(name)

    def _record_of(self, name: str) -> ImageRecord:
        platform = this_platform()
        built = datetime.fromtimestamp((self._directory / name).stat().st_mtime, UTC)
        return ImageRecord(
            id=f"sha256:{name}",
            config=ImageConfig(command=("/bin/sh",), environment=(f"PATH={_PATH}",), working_dir="/"),
            repo_tags=(f"{NAME}:latest",),
            created=built.isoformat().replace("+00:00", "Z"),
            architecture=platform.architecture,
            variant=platform.variant,
            diff_ids=(f"sha256:{name}",),
            chain_ids=(f"sha256:{name}",),
            host=True,
        )

    # --- what is in it ---

    def _nodes(self) -> Iterator[_Node]:
        """Parents before what they hold."""
        for path, mode in _EMPTY_DIRECTORIES:
            yield _Node(path, mode)
        for name in _TOP_PROGRAM_DIRECTORIES:
            source = self._root / name
            if source.is_symlink():
                yield _Node(name, 0o777, link=os.readlink(source))
            elif source.is_dir():
                yield _Node(name, 0o755)
        for path, text in _OWN_FILES.items():
            yield _Node(path, 0o644, data=text.encode())
        for path, link in _OWN_LINKS.items():
            yield _Node(path, 0o777, link=link)
        made: set[str] = set()
        for name in _HOST_ETC:
            if os.path.lexists(self._root / "etc" / name):
                yield from self._copied(f"etc/{name}", made)

    def _copied(self, path: str, made: set[str]) -> Iterator[_Node]:
        parent = os.path.dirname(path)
        missing = []
        while parent != "etc" and parent not in made:
            missing.append(parent)
            parent = os.path.dirname(parent)
        for directory in reversed(missing):
            made.add(directory)
            yield _Node(directory, 0o755)
        yield from self._tree(path)

    def _tree(self, path: str) -> Iterator[_Node]:
        source = self._root / path
        if source.is_symlink():
            yield self._linked(path, source)
        elif source.is_dir():
            yield _Node(path, 0o755)
            for child in sorted(os.listdir(source)):
                yield from self._tree(f"{path}/{child}")
        elif _is_public_file(source):
            yield _Node(path, 0o644, data=source.read_bytes())

    def _linked(self, path: str, source: Path) -> _Node:
        """A link stays one; but the zone and certificates that lead to where the image has nothing are copied."""
        link = os.readlink(source)
        target = os.path.normpath(os.path.join("/", os.path.dirname(path), link)).lstrip("/")
        if path.startswith(_COPIED_THROUGH_LINKS) and not target.startswith(_SHOWN) and _is_public_file(source):
            return _Node(path, 0o644, data=source.read_bytes())
        return _Node(path, 0o777, link=link)


def _is_public_file(path: Path) -> bool:
    """What not everybody may read on the host is not for containers either."""
    return path.is_file() and bool(path.stat().st_mode & 0o004)


def _digest(nodes: list[_Node]) -> str:
    total = hashlib.sha256()
    for node in nodes:
        content = hashlib.sha256(node.data).hexdigest() if node.data is not None else ""
        total.update(f"{node.path}\0{node.mode:o}\0{node.link}\0{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _write(root: Path, nodes: list[_Node]) -> None:
    root.mkdir(mode=0o755)
    root.chmod(0o755)
    for node in nodes:
        path = root / node.path
        if node.link:
            path.symlink_to(node.link)
        elif node.data is not None:
            path.write_bytes(node.data)
            path.chmod(node.mode)
        else:
            path.mkdir()
            path.chmod(node.mode)
