"""Runs tests on pure cgroup v2: Debian's cloud kernel in qemu, without KVM. `make vm`.

    run.py [--command CMD]          default: pytest over what must hold on every kind of cgroup, in two machines side by side

The base disk (Debian with Python, busybox, the kernel) is built once by mmdebstrap and kept under `~/.cache/stackrun-vm`; the
checkout and the installed packages go onto a second disk that is made anew each time.  The machine has no network but loopback.
Its first process is `tests/vm/init`; the exit code comes back as the last line on the serial console.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stackrun-vm"
PACKAGES = ",".join((
    "linux-image-cloud-amd64", "initramfs-tools", "python3", "busybox-static", "nftables", "iproute2", "iptables", "libseccomp2", "kmod",
    "procps", "uidmap", "util-linux",
))  # fmt: skip
STUB = "#!/bin/sh\nmount -o ro /dev/vdb /mnt && exec sh /mnt/checkout/tests/vm/init\n"
"""The base disk's part of `init`: all else comes with the checkout, so that changing it does not mean a new base disk."""
PYTEST = "python3 -m pytest -v -o faulthandler_timeout=180 "
"""Tells what hangs before the machine's time is up."""
PARTS = (
    (
        "tests/integration/test_delegated_cgroup.py",
        "tests/integration/test_runtime_hooks.py",
        "tests/e2e/test_kept.py::test_a_limit_that_somebody_changed_is_put_back",
        "tests/e2e/test_kept.py::test_a_mount_that_somebody_took_away_is_made_again_without_a_restart",
        "'tests/e2e/test_kept.py::test_a_volume_that_somebody_took_away_comes_back_empty[moved]'",
    ),
    (
        "tests/integration/test_cgroup_groups.py",
        "tests/integration/test_runtime_cgroup.py",
        "tests/integration/test_runtime_container.py",
        "tests/integration/test_engine_containers.py -k 'not engine_containers or memory'",
    ),
)
"""Half a machine's work each, as they take it."""


def build_base() -> Path:
    """The base disk, its kernel and initrd, in a folder named by what goes into them; built when missing, whole or not at all."""
    recipe = hashlib.sha256((PACKAGES + STUB).encode()).hexdigest()[:12]
    folder = CACHE / recipe
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        root, made = Path(temporary, "root"), Path(temporary, "made")
        made.mkdir()
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)]
        subprocess.run(command, check=True)
        init = root / "sbin" / "stackrun-test-init"
        init.write_text(STUB)
        init.chmod(0o755)
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(next((root / "boot").glob(f"{name}-*")), made / name)
        make_disk(root, made / "base.ext4", 1500)
        made.rename(folder)
    return folder


def make_disk(folder: Path, image: Path, size_mib: int) -> None:
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(folder), str(image), f"{size_mib}M"], check=True)


def make_checkout_disk(image: Path) -> None:
    """The files git knows (as they are in the working tree), this interpreter's packages, and the docker client if there is one."""
    with tempfile.TemporaryDirectory() as temporary:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True).stdout
        copy = ["tar", "-C", str(REPOSITORY), "--null", "-T", "-", "-cf", "-"]
        archive = subprocess.run(copy, input=listed, check=True, capture_output=True).stdout
        Path(temporary).chmod(0o755)  # an ordinary user looks in too
        checkout = Path(temporary, "checkout")
        checkout.mkdir()
        subprocess.run(["tar", "-C", str(checkout), "-xf", "-"], input=archive, check=True)
        ignored = shutil.ignore_patterns("__pycache__", "mypy*", "*mypyc*", "compose", "ruff*", "*.dist-info.tmp")
        packages = Path(temporary, "packages")
        shutil.copytree(sysconfig.get_path("purelib"), packages, ignore=ignored)
        compile_all({checkout: "/run/checkout", packages: "/mnt/packages"})
        if client := shutil.which("docker"):
            shutil.copy(client, temporary)
        make_disk(Path(temporary), image, 512)


def compile_all(folders: dict[Path, str]) -> None:
    """Folder → where it lies in the machine, which would take minutes for it.  Of use where its Python is of this one's version."""
    for folder, there in folders.items():
        command = [sys.executable, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
        subprocess.run([*command, "-s", folder, "-p", there, folder], check=False)


def boot(base: Path, checkout: Path, command: str, cgroup: str, timeout_s: int, output: TextIO) -> int:
    """Boots, runs `command` in the checkout, writes its output as it comes; returns its exit code, 1 when the machine said none."""
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary, "command").write_text(f"{command}\n")
        Path(temporary, "cgroup").write_text(cgroup)
        append = "console=ttyS0 quiet loglevel=1 root=/dev/vda rw init=/sbin/stackrun-test-init panic=-1"
        machine = [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048", "-no-reboot",
            "-nographic", "-nic", "none",
            "-kernel", str(base / "vmlinuz"), "-initrd", str(base / "initrd.img"), "-append", append,
            "-drive", f"file={base / 'base.ext4'},if=virtio,format=raw,snapshot=on",
            "-drive", f"file={checkout},if=virtio,format=raw,snapshot=on",
            "-fw_cfg", f"name=opt/stackrun/command,file={temporary}/command",
            "-fw_cfg", f"name=opt/stackrun/cgroup,file={temporary}/cgroup",
        ]  # fmt: skip
        code = 1
        bounded = ["setpriv", "--pdeathsig", "TERM", "timeout", str(timeout_s), *machine]  # ends with this process, however that ends
        with subprocess.Popen(bounded, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace") as vm:
            assert vm.stdout
            for line in vm.stdout:
                if line.startswith("stackrun-vm-exit "):
                    code = int(line.split()[1])
                else:
                    print(line, end="", flush=True, file=output)
        return code


def boot_all(base: Path, commands: list[str], cgroup: str, timeout_s: int) -> int:
    """Side by side, the output of the first as it comes and that of the others after it; the highest exit code."""
    with ExitStack() as undo:
        checkout = Path(undo.enter_context(tempfile.TemporaryDirectory()), "checkout.ext4")
        make_checkout_disk(checkout)
        outputs = [sys.stdout, *(undo.enter_context(tempfile.TemporaryFile("w+")) for _ in commands[1:])]
        with ThreadPoolExecutor(len(commands)) as machines:
            begun = [
                machines.submit(boot, base, checkout, command, cgroup, timeout_s, output)
                for command, output in zip(commands, outputs, strict=True)
            ]
        for later in outputs[1:]:
            later.seek(0)
            shutil.copyfileobj(later, sys.stdout)
        return max(one.result() for one in begun)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command")
    parser.add_argument("--cgroup", choices=("v2", "v1", "hybrid"), default="v2", help="how /sys/fs/cgroup is mounted")
    parser.add_argument("--timeout", type=int, default=900, help="seconds")
    options = parser.parse_args()
    commands = [options.command] if options.command else [PYTEST + " ".join(part) for part in PARTS]
    return boot_all(build_base(), commands, options.cgroup, options.timeout)


if __name__ == "__main__":
    sys.exit(main())
