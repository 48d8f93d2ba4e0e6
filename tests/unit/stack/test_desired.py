"""What a project asks for: names, labels, hashes, configs and secrets."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.projects import COMPLETED, HEALTHY, order, project, service, wanted

from stackrun.api import labels
from stackrun.api.types import ContainerSpec, IpamPool, Mount, MountType
from stackrun.compose import model
from stackrun.errors import ComposeError, InvalidArgument
from stackrun.stack.desired import JOINED, Desired, bound, config_hash, config_hashes, container_spec, desired
from stackrun.stack.plan import WriteFile


def hash_of(stack: dict[str, Any] | None = None, **keys: Any) -> str:
    return wanted(service("web", **keys), service("db"), **(stack or {})).services["web"].config_hash


def test_labels_are_composes() -> None:
    target = wanted(service("db"), service("web", depends_on={"db": HEALTHY}, labels={"mine": "x"}), env_files=("/srv/shop/.env",))
    found = container_spec(target.services["web"], 2, "shop", image_id="sha256:1", replaces="shop-web-2")
    assert found.labels == {
        "mine": "x",
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "com.docker.compose.container-number": "2",
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.config-hash": target.services["web"].config_hash,
        "com.docker.compose.project.config_files": "/srv/shop/compose.yaml",
        "com.docker.compose.project.working_dir": "/srv/shop",
        "com.docker.compose.project.environment_file": "/srv/shop/.env",
        "com.docker.compose.depends_on": "db:service_healthy:false",
        "com.docker.compose.image": "sha256:1",
        "com.docker.compose.version": "",
        "com.docker.compose.replace": "shop-web-2",
    }


def test_names() -> None:
    target = wanted(service("web", scale=2), service("db", container_name="the-db"))
    assert target.container_name("web", 2) == "shop-web-2"
    assert target.container_name("db") == "the-db"


def test_services_come_in_start_order_and_know_their_jobs() -> None:
    target = wanted(service("a", "b"), service("b", depends_on={"c": COMPLETED}), service("c"))
    assert list(target.services) == ["c", "b", "a"]
    assert [one.name for one in target.services.values() if one.job] == ["c"]


def test_a_service_without_an_image_is_named_after_itself() -> None:
    assert wanted(service("app", image="", build=model.Build("."))).services["app"].image == "shop-app"


def test_networks_and_volumes() -> None:
    pool = model.IpamPool("10.9.0.0/24", "10.9.0.1", "10.9.0.128/25", {"host": "10.9.0.2"})
    flags = {"internal": True, "attachable": True, "enable_ipv6": True}
    network = model.Network("default", "shop_default", driver_opts={"o": "1"}, pools=(pool,), labels={"a": "b"}, **flags)
    target = wanted(service("web"), networks=[network], volumes=[model.Volume("data", "shop_data", driver_opts={"type": "tmpfs"})])
    spec = target.networks["shop_default"].spec
    assert (spec.driver, spec.internal, spec.attachable, spec.enable_ipv6, spec.options) == ("bridge", True, True, True, {"o": "1"})
    assert spec.pools == (IpamPool("10.9.0.0/24", "10.9.0.128/25", "10.9.0.1", {"host": "10.9.0.2"}),)
    assert spec.labels[labels.NETWORK] == "default" and spec.labels[labels.PROJECT] == "shop" and spec.labels["a"] == "b"
    volume = target.volumes["shop_data"].spec
    assert volume.driver == "local" and volume.options == {"type": "tmpfs"} and volume.labels[labels.VOLUME] == "data"


def test_a_networks_hash_follows_its_definition() -> None:
    def network_hash(**keys: Any) -> str:
        target = wanted(service("web"), networks=[model.Network("default", "shop_default", **keys)])
        return target.networks["shop_default"].spec.labels[labels.CONFIG_HASH]

    assert network_hash() == network_hash(driver="bridge")
    assert len({network_hash(), network_hash(internal=True), network_hash(labels={"a": "b"})}) == 3


# --- the configuration hash


def test_equal_services_have_equal_hashes() -> None:
    assert hash_of() == hash_of()
    assert len(hash_of()) == 64


@pytest.mark.parametrize(
    "keys",
    [
        {"image": "busybox:2"}, {"environment": {"A": "1"}}, {"command": ()}, {"labels": {"a": "b"}}, {"cpus": 1.0}, {"tty": True},
        {"ports": (model.Port(80, "80"),)}, {"network_mode": "host"}, {"restart": "always"}, {"healthcheck": model.Healthcheck(("NONE",))},
        {"container_name": "x", "hostname": "y"}, {"links": ("db",)},
    ],
)  # fmt: skip
def test_what_a_container_is_made_of_changes_its_hash(keys: dict[str, Any]) -> None:
    assert hash_of(**keys) != hash_of()


@pytest.mark.parametrize(
    "keys",
    [
        {"scale": 3}, {"depends_on": {"db": HEALTHY}}, {"profiles": ("p",)}, {"build": model.Build(".")}, {"pull_policy": "always"},
        {"deploy": model.Deploy(replicas=2, labels={"a": "b"})}, {"develop": (model.Trigger("/x", "sync"),)}, {"extensions": {"x-a": 1}},
    ],
)  # fmt: skip
def test_the_rest_does_not(keys: dict[str, Any]) -> None:
    assert hash_of(**keys) == hash_of()


def test_scaling_a_linked_service_changes_nothing() -> None:
    one = wanted(service("web", links=("db",)), service("db"))
    other = wanted(service("web", links=("db",)), service("db", scale=3))
    assert one.services["web"].config_hash == other.services["web"].config_hash


def test_where_the_file_lies_is_no_part_of_a_container() -> None:
    one = project(service("web"))
    other = model.Project("shop", "/elsewhere", ("/elsewhere/x.yaml",), one.services, {}, one.networks, {}, {}, {})
    assert config_hashes(one, {}) == config_hashes(other, {})


def test_a_default_written_out_is_the_default() -> None:
    assert config_hash(ContainerSpec("x")) == config_hash(ContainerSpec("x", tty=False, mounts=()))


# --- configs and secrets

HUSH = {"secrets": [model.Secret("token", "shop_token", content="hush")]}
FILE = {"configs": [model.Config("nginx", "shop_nginx", file="/srv/shop/nginx.conf")]}


def files_of(target: Desired) -> tuple[WriteFile, ...]:
    return target.services["web"].files


def mount_of(target: Desired) -> Mount:
    (mount,) = target.services["web"].spec.mounts
    return mount


def test_a_file_of_the_user_is_mounted_as_it_is() -> None:
    target = wanted(service("web", configs=(model.FileReference("nginx"),)), contents={"/srv/shop/nginx.conf": b"x"}, **FILE)
    assert mount_of(target) == Mount(MountType.BIND, "/nginx", "/srv/shop/nginx.conf", read_only=True)
    assert files_of(target) == ()


def test_content_is_written_to_a_private_file() -> None:
    target = wanted(service("web", secrets=(model.FileReference("token"),)), **HUSH)
    (file,) = files_of(target)
    assert (file.content, file.mode, file.uid, file.gid) == (b"hush", 0o444, 0, 0)
    assert file.path.startswith("/state/shop/") and mount_of(target).source == file.path
    assert mount_of(target).target == "/run/secrets/token"


@pytest.mark.parametrize(
    ("section", "given", "expected"),
    [
        ("secrets", "", "/run/secrets/token"), ("secrets", "pw", "/run/secrets/pw"), ("secrets", "/etc/pw", "/etc/pw"),
        ("configs", "", "/token"), ("configs", "a/b", "/a/b"), ("configs", "/etc/x", "/etc/x"),
    ],
)  # fmt: skip
def test_targets(section: str, given: str, expected: str) -> None:
    kind = model.Secret if section == "secrets" else model.Config
    reference = (model.FileReference("token", given),)
    target = wanted(service("web", **{section: reference}), **{section: [kind("token", "shop_token", content="x")]})
    assert mount_of(target).target == expected


def test_an_owner_or_a_mode_makes_a_private_copy() -> None:
    reference = model.FileReference("nginx", uid="33", gid="34", mode=0o400)
    target = wanted(service("web", configs=(reference,)), contents={"/srv/shop/nginx.conf": b"x"}, **FILE)
    (file,) = files_of(target)
    assert (file.content, file.mode, file.uid, file.gid) == (b"x", 0o400, 33, 34)


def test_a_variable_gives_the_content() -> None:
    target = wanted(
        service("web", secrets=(model.FileReference("token"),)),
        secrets=[model.Secret("token", "shop_token", environment="TOKEN")],
        environment={"TOKEN": "from outside"},
    )
    assert files_of(target)[0].content == b"from outside"


def test_new_content_is_a_new_hash_wherever_it_is_kept() -> None:
    def of_content(text: str) -> str:
        return hash_of({"secrets": [model.Secret("token", "t", content=text)]}, secrets=(model.FileReference("token"),))

    def of_file(text: bytes) -> str:
        return hash_of({**FILE, "contents": {"/srv/shop/nginx.conf": text}}, configs=(model.FileReference("nginx"),))

    assert of_content("a") == of_content("a") != of_content("b")
    assert of_file(b"a") == of_file(b"a") != of_file(b"b")


def test_the_state_folder_is_no_part_of_the_hash() -> None:
    stack = project(service("web", secrets=(model.FileReference("token"),)), **HUSH)
    found = {desired(stack, order(stack), contents={}, state_dir=where).services["web"].config_hash for where in ("/a", "/b")}
    assert len(found) == 1


def test_secrets_without_content_are_all_refused() -> None:
    references = (model.FileReference("a"), model.FileReference("b"))
    secrets = [model.Secret("a", "a", external=True), model.Secret("b", "b", environment="UNSET")]
    with pytest.raises(ComposeError) as caught:
        wanted(service("web", secrets=references), secrets=secrets)
    assert [one.message for one in caught.value.diagnostics] == [
        "service web: secret a has no content on this machine", "service web: secret b has no content on this machine",
    ]  # fmt: skip


# --- scale and binding


def test_a_fixed_name_cannot_be_scaled() -> None:
    with pytest.raises(InvalidArgument, match="service web: 2 containers cannot share the name front"):
        wanted(service("web", container_name="front"), scale={"web": 2})


def test_scaling_an_unknown_service_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no such service: wbe"):
        wanted(service("web"), scale={"wbe": 2})


def test_names_become_the_ids_of_the_very_containers() -> None:
    ids = {"app": "a" * 64, "data": "d" * 64}
    found = bound(ContainerSpec("x", network_mode="container:app", ipc_mode="container:app", volumes_from=("data:ro", "other")), ids)
    assert found.network_mode == found.ipc_mode == f"container:{'a' * 64}"
    assert found.volumes_from == (f"{'d' * 64}:ro", "other")
    assert found.labels == {JOINED: f"{'a' * 64},{'d' * 64}"}


def test_what_is_bound_to_nothing_stays_as_it_is() -> None:
    spec = ContainerSpec("x", network_mode="shop_default", pid_mode="host")
    assert bound(spec, {"shop_default": "1", "host": "2"}) is spec
