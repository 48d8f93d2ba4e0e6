"""Why two containers differ, field by field, through everything that engines and images fill in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from fakes.projects import container, digest, network, service, wanted

from stackrun.api.types import (
    Container,
    ContainerSpec,
    EndpointSpec,
    Healthcheck,
    ImageConfig,
    Mount,
    MountPoint,
    MountType,
    PortBinding,
    Resources,
)
from stackrun.compose import model
from stackrun.stack.desired import CONTENTS, Desired, container_spec
from stackrun.stack.difference import Images, container_differences, network_differences

IMAGE = ImageConfig(
    command=("serve",), entrypoint=("/entry",), environment=("PATH=/bin", "VERSION=1"), labels={"maker": "us"}, user="www",
    working_dir="/srv", exposed_ports=("80/tcp",), stop_signal="SIGQUIT", healthcheck=Healthcheck(("CMD", "probe"), interval_s=5.0),
)  # fmt: skip
NEWER = replace(IMAGE, environment=("PATH=/bin", "VERSION=2", "EXTRA=1"), labels={}, user="app", command=("serve", "--fast"))


def desired(**keys: Any) -> Desired:
    return wanted(service("web", **keys))


BARE, UNKNOWN = ImageConfig(), Images()


def inspected(target: Desired, image: ImageConfig = BARE, **filled_in: Any) -> Container:
    """As an engine shows a container of `web`: with the image's own, and what the engine adds by itself."""
    found = container(target, "web", id=digest("web"))
    spec = found.spec
    asked = {one.partition("=")[0] for one in spec.environment}
    inherited = tuple(one for one in image.environment if one.partition("=")[0] not in asked)
    full = replace(
        spec,
        environment=(*(one for one in spec.environment if "=" in one), *inherited),
        command=spec.command if spec.command is not None or spec.entrypoint is not None else image.command or None,
        entrypoint=spec.entrypoint if spec.entrypoint is not None else image.entrypoint or None,
        labels={**image.labels, **spec.labels},
        user=spec.user or image.user,
        working_dir=spec.working_dir or image.working_dir,
        stop_signal=spec.stop_signal or image.stop_signal,
        exposed_ports=(*spec.exposed_ports, *image.exposed_ports),
        healthcheck=spec.healthcheck or image.healthcheck,
        hostname=spec.hostname or found.id[:12],
        shm_size_bytes=spec.shm_size_bytes or 64 << 20,
        ipc_mode=spec.ipc_mode or "private",
        cgroupns_mode="private",
        runtime="runc",
        cap_add=tuple(f"CAP_{one}" for one in spec.cap_add),
        endpoints=tuple(replace(one, aliases=(*one.aliases, found.id[:12])) for one in spec.endpoints),
        **filled_in,
    )
    return replace(found, spec=full)


def differences(
    target: Desired, found: Container, images: Images = UNKNOWN, names: Mapping[str, str] | None = None
) -> dict[str, tuple[str | None, str | None]]:
    spec = container_spec(target.services["web"], 1, "shop")
    told = container_differences(spec, target.services["web"], found, images, names or {})
    return {one.field: (one.before, one.after) for one in told}


FULL: dict[str, Any] = {
    "command": ("run",), "environment": {"A": "1", "B": None}, "labels": {"team": "shop"}, "user": "0", "tty": True,
    "cap_add": ("NET_ADMIN",), "ports": (model.Port(80, "8080"),),
    "volumes": (model.VolumeMount("volume", "/data", "data"), model.VolumeMount("volume", "/anonymous")),
    "tmpfs": ("/scratch:size=1m",), "ulimits": (model.Ulimit("nofile", 1, 2),), "sysctls": {"net.core.somaxconn": "9"}, "cpus": 0.5,
    "mem_limit_bytes": 64 << 20, "restart": "on-failure:3", "stop_grace_period_s": 3.0, "hostname": "box", "extra_hosts": ("a=1.2.3.4",),
    "healthcheck": model.Healthcheck(("CMD", "true"), interval_s=1.0), "entrypoint": (), "expose": ("99",),
    "logging": model.Logging("json-file", {"max-size": "1m"}), "networks": {"default": model.NetworkAttachment(aliases=("www",))},
}  # fmt: skip


@pytest.mark.parametrize("keys", [{}, FULL])
@pytest.mark.parametrize("image", [ImageConfig(), IMAGE])
def test_what_was_made_for_a_definition_does_not_differ_from_it(keys: dict[str, Any], image: ImageConfig) -> None:
    target = desired(**keys)
    assert differences(target, inspected(target, image), Images(image, image)) == {}


@pytest.mark.parametrize("key", FULL.keys() - {"stop_grace_period_s", "entrypoint", "tty"})
def test_every_key_that_is_added_or_removed_is_told(key: str) -> None:
    plain, with_it = desired(), desired(**{key: FULL[key]})
    images = Images(ImageConfig(), ImageConfig())
    added, removed = differences(with_it, inspected(plain), images), differences(plain, inspected(with_it), images)
    assert added and removed
    told = key.removesuffix("_bytes").removesuffix("_s").replace("mem_limit", "memory limit")
    assert all(field.partition(".")[0] == told for field in added | removed)
    assert {field: (after, before) for field, (before, after) in removed.items()} == added


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"environment": {"LOG": "info"}}, {"environment": {"LOG": "debug"}}, {"environment.LOG": ("info", "debug")}),
        ({"environment": {"LOG": "x"}}, {"environment": {"LOG": None}}, {"environment.LOG": ("x", None)}),
        ({"image": "busybox:1"}, {"image": "busybox:2"}, {"image": ("busybox:1", "busybox:2")}),
        ({"command": ("a", "b c")}, {"command": ("a",)}, {"command": ("a 'b c'", "a")}),
        ({"mem_limit_bytes": 64 << 20}, {"mem_limit_bytes": 1 << 30}, {"memory limit": ("64m", "1g")}),
        ({"cpus": 0.5}, {"cpus": 2.0}, {"cpus": ("0.5", "2")}),
        (
            {"ports": (model.Port(80, "8080"),)},
            {"ports": (model.Port(80, "8081", host_ip="127.0.0.1"),)},
            {"ports.80/tcp": ("8080", "127.0.0.1:8081")},
        ),
        (
            {"volumes": (model.VolumeMount("bind", "/d", "/a"),)},
            {"volumes": (model.VolumeMount("bind", "/d", "/b", read_only=True),)},
            {"volumes./d": ("bind /a", "bind /b (read-only)")},
        ),
        ({"network_mode": "host"}, {"network_mode": "none"}, {"network_mode": ("host", "none")}),
        ({"networks": {}, "network_mode": "none"}, {}, {"network_mode": ("none", None), "networks.shop_default": (None, "joined")}),
        ({"stop_grace_period_s": 3.0}, {}, {"stop_grace_period": ("3s", None)}),
        ({"privileged": True}, {}, {"privileged": ("true", None)}),
    ],
)  # fmt: skip
def test_values_are_in_the_files_words(before: dict[str, Any], after: dict[str, Any], told: dict[str, Any]) -> None:
    assert differences(desired(**after), inspected(desired(**before))) == told


def test_another_image_is_one_difference_whatever_it_brings() -> None:
    target = desired()
    found = inspected(target, IMAGE)
    assert differences(target, found, Images(IMAGE, NEWER, "sha256:" + "2" * 64)) == {
        "image": ("busybox:1 (111111111111)", "busybox:1 (222222222222)")
    }


def test_what_a_file_says_over_an_image_still_counts() -> None:
    target = desired(environment={"VERSION": "mine"}, user="root")
    found = inspected(desired(), IMAGE)
    assert differences(target, found, Images(IMAGE, NEWER)) == {"environment.VERSION": ("1", "mine"), "user": ("www", "root")}


def test_what_a_file_no_longer_says_falls_back_to_the_image() -> None:
    found = inspected(desired(environment={"VERSION": "mine"}, command=("other",), entrypoint=("/own",)), IMAGE)
    assert differences(desired(), found, Images(IMAGE, IMAGE)) == {
        "environment.VERSION": ("mine", "1"), "command": ("other", "serve"), "entrypoint": ("/own", "/entry"),
    }  # fmt: skip


def test_of_an_image_that_is_gone_nothing_is_made_up() -> None:
    """Neither image is here: what nobody asks for may have come from one."""
    found = inspected(desired(), IMAGE)
    assert differences(desired(command=("x",)), found) == {"command": ("serve", "x")}


def test_one_image_stands_for_the_other_when_that_is_gone() -> None:
    target = desired()
    assert differences(target, inspected(target, IMAGE), Images(None, IMAGE)) == {}
    assert differences(target, inspected(target, IMAGE), Images(IMAGE, None)) == {}


def test_an_engines_own_additions_are_no_difference() -> None:
    target = desired(mem_limit_bytes=64 << 20, privileged=True)
    found = inspected(target, security_opt=("label=disable",))
    resources = replace(found.spec.resources, memory_swap_bytes=128 << 20)
    assert differences(target, replace(found, spec=replace(found.spec, resources=resources))) == {}


def test_a_shared_namespace_is_told_by_name_and_brings_its_hostname() -> None:
    joined = wanted(service("db"), service("web", network_mode="service:db"))
    found = container(joined, "web")
    spec = replace(found.spec, network_mode=f"container:{'d' * 64}", hostname="db-box", endpoints=(EndpointSpec("host"),))
    found = replace(found, spec=spec)
    assert differences(joined, found, names={"d" * 64: "shop-db-1"}) == {}
    assert differences(joined, found) == {"network_mode": ("container:dddddddddddd", "container:shop-db-1")}


def test_anonymous_volumes_that_go_over_are_no_difference() -> None:
    target = desired(volumes=(model.VolumeMount("volume", "/cache"),))
    name = digest("volume")
    found = replace(inspected(target), mounts=(MountPoint(MountType.VOLUME, "/cache", name=name),))
    spec = replace(container_spec(target.services["web"], 1, "shop"), mounts=(Mount(MountType.VOLUME, "/cache", name),))
    assert container_differences(spec, target.services["web"], found, Images(), {}) == ()


def secret(text: str) -> Desired:
    secrets = [model.Secret("token", "shop_token", content=text)]
    return wanted(service("web", secrets=(model.FileReference("token"),)), secrets=secrets)


def test_contents_are_told_by_digest_alone() -> None:
    ((field, (before, after)),) = differences(secret("new hush"), inspected(secret("old hush"))).items()
    assert field == "secrets.token" and before != after
    assert "hush" not in f"{before} {after}" and str(before).startswith("content ")
    assert differences(desired(), inspected(secret("old hush"))).keys() == {"secrets.token"}


def test_a_container_of_another_tool_says_nothing_of_contents() -> None:
    found = inspected(secret("old hush"))
    unlabelled = {name: text for name, text in found.spec.labels.items() if name != CONTENTS}
    assert differences(secret("new hush"), replace(found, spec=replace(found.spec, labels=unlabelled))) == {}


def test_ports_of_one_target_are_one_field() -> None:
    spec = ContainerSpec(
        "busybox:1", ports=(PortBinding(80, host_port=2), PortBinding(80, host_ip="::1", host_port=1), PortBinding(53, "udp"))
    )
    found = replace(inspected(desired()), spec=spec)
    told = differences(desired(), found)
    assert told["ports.80/tcp"] == ("2, [::1]:1", None) and told["ports.53/udp"] == ("any port", None)


def test_limits_that_are_lifted() -> None:
    found = inspected(desired(), resources=Resources(pids_limit=5, memory_swap_bytes=-1, cpuset_cpus="0-1"))
    assert differences(desired(), found) == {"pids limit": ("5", None), "memswap_limit": ("unlimited", None), "cpuset": ("0-1", None)}


def test_a_networks_definition() -> None:
    old = wanted(service("web"), networks=[model.Network("default", "shop_default", driver_opts={"mtu": "1400"})])
    new = wanted(service("web"), networks=[model.Network("default", "shop_default", internal=True, pools=(model.IpamPool("10.9.0.0/24"),))])
    told = {one.field: (one.before, one.after) for one in network_differences(network(old, "shop_default"), new)}
    assert told == {"driver_opts.mtu": ("1400", None), "internal": (None, "true"), "ipam.config": (None, "10.9.0.0/24")}
