"""The built-in image, made from hosts of a few files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stackrun.image.host import HostImage
from stackrun.image.record import ImageRecord
from stackrun.image.store import ImageStore


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A merged-usr host with secrets."""
    root = tmp_path / "hostroot"
    for directory in (
        "usr/bin",
        "usr/lib",
        "usr/share/zoneinfo",
        "etc/ssl/certs",
        "etc/ssl/private",
        "etc/alternatives",
        "var/lib",
        "root",
        "opt",
    ):
        (root / directory).mkdir(parents=True)
    for name in ("bin", "lib"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "lib64").symlink_to("usr/lib64")
    (root / "etc/passwd").write_text("admin:x:1000:1000::/home/admin:/bin/sh\n")
    (root / "etc/shadow").write_text("secret")
    (root / "etc/ld.so.cache").write_bytes(b"cache")
    (root / "etc/ssl/certs/ca.crt").write_text("CA")
    (root / "etc/ssl/certs/link.pem").symlink_to("/usr/share/ca.crt")
    (root / "etc/ssl/certs/hidden.pem").write_text("key")
    (root / "etc/ssl/certs/hidden.pem").chmod(0o600)
    (root / "etc/ssl/private/key.pem").write_text("key")
    (root / "etc/alternatives/awk").symlink_to("/usr/bin/mawk")
    (root / "etc/alternatives/big").symlink_to("/opt/big")
    (root / "opt/big").write_text("not for containers")
    (root / "etc/localtime").symlink_to("/usr/share/zoneinfo/UTC")
    return root


def built(tmp_path: Path, host: Path) -> tuple[HostImage, ImageRecord, Path]:
    image = HostImage(tmp_path / "image", host)
    record = image.record()
    return image, record, Path(image.lower_directory(record))


def test_what_is_in_it(tmp_path: Path, host: Path) -> None:
    _, record, tree = built(tmp_path, host)
    assert record.host
    assert record.repo_tags == ("host:latest",)
    assert os.readlink(tree / "bin") == "usr/bin"
    assert sorted(os.listdir(tree / "etc/ssl")) == ["certs"]
    assert sorted(os.listdir(tree / "etc/ssl/certs")) == ["ca.crt", "link.pem"]
    assert (tree / "etc/ld.so.cache").read_bytes() == b"cache"
    assert os.readlink(tree / "etc/alternatives/awk") == "/usr/bin/mawk"
    assert os.readlink(tree / "etc/alternatives/big") == "/opt/big"  # dangles in the image: /opt is not shown
    assert os.readlink(tree / "etc/localtime") == "/usr/share/zoneinfo/UTC"
    assert "admin" not in (tree / "etc/passwd").read_text()
    assert (tree / "etc/passwd").read_text().startswith("root:x:0:0:")
    assert not (tree / "etc/shadow").exists()
    for name in ("usr", "var", "root", "tmp", "opt", "home", "proc"):
        assert os.listdir(tree / name) == []
    assert stat.S_IMODE((tree / "tmp").stat().st_mode) == 0o1777
    assert stat.S_IMODE((tree / "root").stat().st_mode) == 0o700


def test_mounts_of_a_merged_host(tmp_path: Path, host: Path) -> None:
    (mount,) = built(tmp_path, host)[0].mounts()
    assert (mount.source, mount.target) == (str(host / "usr"), "/usr")
    assert {"rbind", "ro", "nosuid", "nodev", "rro", "rnosuid", "rnodev"} <= set(mount.options)


def test_mounts_of_a_host_that_is_not_merged(tmp_path: Path, host: Path) -> None:
    (host / "bin").unlink()
    (host / "bin").mkdir()
    image, _, tree = built(tmp_path, host)
    assert [mount.target for mount in image.mounts()] == ["/usr", "/bin"]
    assert (tree / "bin").is_dir()
    assert not (tree / "bin").is_symlink()


def test_the_same_host_gives_the_same_image_and_a_changed_one_another(tmp_path: Path, host: Path) -> None:
    image, first, tree = built(tmp_path, host)
    assert image.record() is first
    assert HostImage(tmp_path / "image", host).record() == first
    (host / "etc/ld.so.cache").write_bytes(b"a new cache")
    second = image.record()
    assert second.id != first.id
    assert (tree / "etc/ld.so.cache").read_bytes() == b"cache"  # running containers keep theirs
    prefix = first.id.removeprefix("sha256:")[:20]
    found = image.by_id(prefix)
    assert found and found.id == first.id
    assert image.by_id("f" * 64) is None


def test_a_half_made_tree_is_replaced(tmp_path: Path, host: Path) -> None:
    (tmp_path / "image/host/new-x/diff").mkdir(parents=True)
    _, record, _ = built(tmp_path, host)
    assert os.listdir(tmp_path / "image/host") == [record.id.removeprefix("sha256:")]


def test_of_this_machine(tmp_path: Path) -> None:
    store = ImageStore(str(tmp_path))
    record = store.resolve("host")
    assert store.resolve("host:latest") == store.pull("host") == store.resolve(record.id) == record
    (directory,) = store.snapshot(record)
    assert "nameserver" not in Path(directory, "etc/resolv.conf").read_text()
    assert store.extra_mounts(record)[0].target == "/usr"
    assert store.images() == ()
