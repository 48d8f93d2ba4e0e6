"""Names, loading, importing, removing and collecting; no registry, no root."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from stackrun.errors import Conflict, Forbidden, InvalidArgument, NotFound
from stackrun.image.record import ImageRecord, Progress
from stackrun.image.store import ImageStore


def root_tar(*names: str) -> bytes:
    """A root file system of empty files; other names, other image."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.uid, info.gid = os.getuid(), os.getgid()
            archive.addfile(info)
    return buffer.getvalue()


def files_tar(files: dict[str, bytes], links: dict[str, str] | None = None) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    buffer.seek(0)
    return buffer


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path))


def imported(store: ImageStore, reference: str = "", *names: str) -> ImageRecord:
    return store.import_(io.BytesIO(root_tar(*(names or ("f",)))), reference=reference)


def left_on_disk(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path / "image")) for path in (tmp_path / "image").glob("*/*") if path.name != "sha256") + sorted(
        path.name for path in (tmp_path / "image/blobs/sha256").iterdir()
    )


# --- names ---


def test_found_by_every_name_and_by_id(store: ImageStore) -> None:
    image = imported(store, "shop/api:1")
    hexadecimal = image.id.removeprefix("sha256:")
    for ref in ("shop/api:1", "docker.io/shop/api:1", image.id, hexadecimal, hexadecimal[:12], f"sha256:{hexadecimal[:5]}"):
        assert store.resolve(ref).id == image.id
    assert image.repo_tags == ("shop/api:1",)
    assert len(image.chain_ids) == 1


@pytest.mark.parametrize(
    ("ref", "shown"), [("nope", "nope:latest"), ("nope:1", "nope:1"), ("abcdef", "abcdef:latest"), ("x.example/y", "x.example/y:latest")]
)
def test_what_is_not_there_is_not_found_in_dockers_words(store: ImageStore, ref: str, shown: str) -> None:
    with pytest.raises(NotFound, match=f"^No such image: {shown}$"):
        store.resolve(ref)


def test_a_prefix_of_two_ids_is_neither(store: ImageStore) -> None:
    ids = [imported(store, "", f"f{index}").id for index in range(20)]
    firsts = [one.removeprefix("sha256:")[0] for one in ids]
    twice = next(first for first in firsts if firsts.count(first) > 1)
    with pytest.raises(NotFound):
        store.resolve(twice)


def test_a_tag_moves_and_leaves_the_other_image_without(store: ImageStore) -> None:
    old, new = imported(store, "app", "old"), imported(store, "app", "new")
    assert store.resolve("app").id == new.id
    assert store.resolve(old.id).repo_tags == ()
    store.tag(old.id, "app:old")
    store.tag("app:old", "app")
    assert store.resolve("app").id == old.id
    assert store.resolve("app").repo_tags == ("app:latest", "app:old")


def test_bad_names_for_tags(store: ImageStore) -> None:
    imported(store, "app")
    with pytest.raises(InvalidArgument, match="must be lowercase"):
        store.tag("app", "UPPER")
    with pytest.raises(InvalidArgument, match="digest reference"):
        store.tag("app", "x@sha256:" + "0" * 64)
    with pytest.raises(NotFound):
        store.tag("nope", "x")
    with pytest.raises(Forbidden):
        store.tag("app", "host")


def test_a_new_store_on_the_same_directory_knows_everything(store: ImageStore, tmp_path: Path) -> None:
    image = imported(store, "app:1")
    again = ImageStore(str(tmp_path))
    assert again.resolve("app:1") == image
    assert again.snapshot(image) == store.snapshot(image)
    assert again.broken == ()


def test_newest_first(store: ImageStore) -> None:
    first, second = imported(store, "a", "a"), imported(store, "b", "b")
    assert [one.id for one in store.images()] == [second.id, first.id]


# --- broken records ---


def test_a_damaged_image_costs_itself_alone(store: ImageStore, tmp_path: Path) -> None:
    good, bad = imported(store, "good", "g"), imported(store, "bad", "b")
    (tmp_path / "image/blobs/sha256" / bad.id.removeprefix("sha256:")).write_bytes(b"{}")
    again = ImageStore(str(tmp_path))
    assert again.resolve("good").id == good.id
    assert len(again.broken) == 1
    assert bad.id in again.broken[0]
    with pytest.raises(NotFound):
        again.resolve("bad")


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_index_is_put_aside(store: ImageStore, tmp_path: Path, text: str) -> None:
    imported(store, "app")
    (tmp_path / "image/index.json").write_text(text)
    again = ImageStore(str(tmp_path))
    assert again.images() == ()
    assert "put aside" in again.broken[0]
    assert (tmp_path / "image/index.json.broken").read_text() == text
    imported(again, "app")
    assert ImageStore(str(tmp_path)).resolve("app").repo_tags == ("app:latest",)


@pytest.mark.parametrize(
    "entry", [None, [], {}, {"manifest": "../x", "tags": [], "digests": []}, {"manifest": "sha256:" + "0" * 64, "tags": 3, "digests": []}]
)
def test_a_nonsense_entry_is_left_out(store: ImageStore, tmp_path: Path, entry: object) -> None:
    good = imported(store, "good")
    index = tmp_path / "image/index.json"
    parsed = json.loads(index.read_text())
    parsed["images"]["sha256:" + "1" * 64] = entry
    index.write_text(json.dumps(parsed))
    again = ImageStore(str(tmp_path))
    assert [one.id for one in again.images()] == [good.id]
    assert len(again.broken) == 1


def test_an_unfinished_layer_is_removed_at_the_next_start(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "image/layers/new-abc/diff").mkdir(parents=True)
    ImageStore(str(tmp_path))
    assert list((tmp_path / "image/layers").iterdir()) == []


def test_what_an_interrupted_pull_brought_is_kept_for_a_while(store: ImageStore, tmp_path: Path) -> None:
    young, old = store._content.put(b"young"), store._content.put(b"old")
    os.utime(store._content.path(old), (1, 1))
    (tmp_path / "image/layers" / ("a" * 64)).mkdir()
    os.utime(tmp_path / "image/layers" / ("a" * 64), (1, 1))
    ImageStore(str(tmp_path))
    assert left_on_disk(tmp_path) == [young.removeprefix("sha256:")]


# --- removing ---


def test_the_last_name_takes_everything_along(store: ImageStore, tmp_path: Path) -> None:
    image = imported(store, "app:1")
    store.tag("app:1", "app:2")
    assert [(one.untagged, one.deleted) for one in store.remove("app:1")] == [("app:1", "")]
    effects = [(one.untagged, one.deleted) for one in store.remove("app:2")]
    assert effects == [("app:2", ""), ("", image.id), ("", image.chain_ids[0])]
    assert left_on_disk(tmp_path) == []


def test_shared_layers_stay_for_the_other_image(store: ImageStore, tmp_path: Path) -> None:
    data = root_tar("f")
    one = store.import_(io.BytesIO(data), reference="one")
    two = store.import_(io.BytesIO(data), reference="two", changes=("USER x",))
    assert one.chain_ids == two.chain_ids
    assert [effect.deleted for effect in store.remove("one") if effect.deleted] == [one.id]
    assert (Path(store.snapshot(two)[0]) / "f").exists()


def test_an_image_in_use_is_a_conflict_in_dockers_words(store: ImageStore) -> None:
    image = imported(store, "app:1")
    short = image.id.removeprefix("sha256:")[:12]

    def used(image_id: str) -> str:
        return "c0ffee" * 10 if image_id == image.id else ""

    with pytest.raises(Conflict) as caught:
        store.remove("app:1", in_use=used)
    assert str(caught.value) == (
        'conflict: unable to remove repository reference "app:1" (must force) - '
        f"container c0ffeec0ffee is using its referenced image {short}"
    )
    with pytest.raises(Conflict, match=f"unable to delete {short}"):
        store.remove(image.id, in_use=used)
    store.tag("app:1", "app:2")
    assert [one.untagged for one in store.remove("app:2", in_use=used)] == ["app:2"]
    assert [one.untagged for one in store.remove("app:1", force=True, in_use=used)] == ["app:1"]
    assert store.snapshot(store.resolve(image.id))


def test_by_id_with_several_names_takes_force(store: ImageStore) -> None:
    image = imported(store, "a")
    store.tag("a", "b")
    with pytest.raises(Conflict, match="referenced in multiple repositories"):
        store.remove(image.id)
    assert [one.untagged for one in store.remove(image.id, force=True) if one.untagged] == ["a:latest", "b:latest"]
    assert store.images() == ()


def test_removing_nothing(store: ImageStore) -> None:
    with pytest.raises(NotFound, match="No such image: nope:latest"):
        store.remove("nope")
    with pytest.raises(Forbidden):
        store.remove("host")


# --- import ---


def test_import_with_changes(store: ImageStore) -> None:
    lines: list[Progress] = []
    changes = ('CMD ["/srv"]', "ENV A=1", "EXPOSE 80", "WORKDIR /w")
    image = store.import_(io.BytesIO(root_tar("f")), reference="app", message="hello", changes=changes, progress=lines.append)
    assert (image.config.command, image.config.environment, image.config.exposed_ports, image.config.working_dir) == (
        ("/srv",), ("A=1",), ("80/tcp",), "/w",
    )  # fmt: skip
    assert lines[-1].status == image.id


def test_a_bad_change_reads_nothing(store: ImageStore, tmp_path: Path) -> None:
    stream = io.BytesIO(root_tar("f"))
    with pytest.raises(InvalidArgument, match="RUN is not a valid change command"):
        store.import_(stream, changes=("RUN true",))
    assert stream.tell() == 0
    assert left_on_disk(tmp_path) == []


def test_a_bad_tar_leaves_nothing(store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument):
        store.import_(io.BytesIO(b"no tar" * 1000), reference="app")
    assert store.images() == ()
    assert left_on_disk(tmp_path) == []


# --- load ---

LAYER = root_tar("from-archive")
CONFIG = json.dumps({"architecture": "amd64", "config": {"Cmd": ["x"]}, "rootfs": {"diff_ids": [digest(LAYER)]}}).encode()


def docker_archive(*tags: str, layer: str = "abc/layer.tar") -> dict[str, bytes]:
    manifest = json.dumps([{"Config": "cfg.json", "RepoTags": list(tags) or None, "Layers": [layer]}]).encode()
    return {layer: LAYER, "cfg.json": CONFIG, "manifest.json": manifest, "repositories": b"{}"}


def test_docker_archive(store: ImageStore, tmp_path: Path) -> None:
    lines: list[Progress] = []
    (image,) = store.load(files_tar(docker_archive("app:1", "localhost:5000/app")), progress=lines.append)
    assert image.id == digest(CONFIG)
    assert [line.stream for line in lines] == ["Loaded image: app:1\n", "Loaded image: localhost:5000/app:latest\n"]
    assert (Path(store.snapshot(image)[0]) / "from-archive").exists()
    assert len(list((tmp_path / "image/blobs/sha256").iterdir())) == 3  # layer, configuration, manifest: the rest is collected


def test_docker_archive_without_tags_and_with_links(store: ImageStore) -> None:
    files = docker_archive()
    files["real.tar"] = files.pop("abc/layer.tar")
    lines: list[Progress] = []
    (image,) = store.load(files_tar(files, {"abc/layer.tar": "../real.tar"}), progress=lines.append)
    assert [line.stream for line in lines] == [f"Loaded image ID: {image.id}\n"]


def oci_layout(annotation: str, *, nested: bool = False) -> dict[str, bytes]:
    manifest = json.dumps(
        {
            "config": {"mediaType": "", "digest": digest(CONFIG), "size": len(CONFIG)},
            "layers": [{"digest": digest(LAYER), "size": len(LAYER)}],
        }
    ).encode()
    files = {f"blobs/sha256/{digest(one)[7:]}": one for one in (manifest, CONFIG, LAYER)}
    top: dict[str, object] = {"digest": digest(manifest), "size": len(manifest)}
    if nested:
        platform = {"os": "linux", "architecture": "amd64"}
        inner = json.dumps({"manifests": [{**top, "platform": platform}]}).encode()
        files[f"blobs/sha256/{digest(inner)[7:]}"] = inner
        top = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest(inner), "size": len(inner)}
    top["annotations"] = {"org.opencontainers.image.ref.name": annotation}
    return {"oci-layout": b"{}", "index.json": json.dumps({"manifests": [top]}).encode(), **files}


@pytest.mark.parametrize(("annotation", "tags"), [("app:1", ("app:1",)), ("latest", ()), ("not a name/", ())])
def test_oci_layout(store: ImageStore, annotation: str, tags: tuple[str, ...]) -> None:
    (image,) = store.load(files_tar(oci_layout(annotation)))
    assert (image.id, image.repo_tags) == (digest(CONFIG), tags)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the image in the archive is amd64's")
def test_oci_layout_with_an_index_inside(store: ImageStore) -> None:
    (image,) = store.load(files_tar(oci_layout("app:1", nested=True)))
    assert image.repo_tags == ("app:1",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"f": b""}, "neither manifest.json nor index.json"),
        ({"manifest.json": b"{}"}, "not of the kind"),
        ({"manifest.json": b"["}, "is not JSON"),
        ({**docker_archive("a"), "manifest.json": b'[{"Config": "gone.json", "Layers": []}]'}, "gone.json"),
        ({"index.json": b"{}"}, "has no manifests"),
    ],
)
def test_what_is_no_image_archive(store: ImageStore, tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        store.load(files_tar(files))
    assert left_on_disk(tmp_path) == []


def test_a_lying_configuration_is_not_loaded(store: ImageStore, tmp_path: Path) -> None:
    files = docker_archive("app")
    files["cfg.json"] = CONFIG.replace(digest(LAYER).encode(), digest(b"").encode())
    with pytest.raises(InvalidArgument, match="the image says"):
        store.load(files_tar(files))
    assert left_on_disk(tmp_path) == []
