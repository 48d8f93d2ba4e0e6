"""From files to the model, and from the model back to a file."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from unit.compose.stack_files import Stack

from stackrun.api.stacks import StackSource
from stackrun.compose import model
from stackrun.compose.load import load
from stackrun.compose.render import to_json, to_yaml
from stackrun.compose.schema import load_schema
from stackrun.errors import ComposeError

FULL = """
name: full
services:
  web:
    image: nginx:1
    build: {context: ./ctx, args: [A=1, HOME], ssh: [default], additional_contexts: [q=../q], shm_size: 1m, ulimits: {nofile: 3},
            secrets: [pw], labels: [a=b], tags: [t]}
    command: echo "a b" $$HOME
    entrypoint: []
    environment: {A: 1, B: true, C: , D: 1.50, HOME: , E: "${X:-x$$y}"}
    env_file: [web.env, {path: gone, required: false}]
    labels: [a, b=c=d]
    annotations: {k: v}
    ports: [80, "127.0.0.1:8080-8081:80-81/udp", {target: 443, published: "443", name: tls, app_protocol: https, mode: host}]
    expose: [81, "82-83/udp"]
    networks: {front: {aliases: [w], ipv4_address: 10.5.0.9, priority: 5, driver_opts: {a: 1}}, default: }
    volumes: ["data:/data:ro,nocopy", "./site:/site", "~/x:/x/../y", /anon, {type: tmpfs, target: /t, tmpfs: {size: 10m, mode: 01777}},
              {type: bind, source: ., target: /b, bind: {propagation: rslave}}]
    tmpfs: /run
    configs: [conf, {source: conf, target: /c, uid: "1", gid: "2", mode: 0440}]
    secrets: [pw]
    depends_on: {db: {condition: service_healthy, restart: true}, job: {condition: service_completed_successfully, required: true}}
    links: [db:database]
    healthcheck: {test: curl -f localhost, interval: 1m30s, timeout: 10s, retries: 3, start_period: 500ms, start_interval: 1s}
    restart: on-failure:3
    deploy:
      replicas: 2
      mode: replicated
      labels: {d: 1}
      resources: {limits: {cpus: "0.50", memory: 50M, pids: 10}, reservations: {memory: 20m}}
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 2m}
      update_config: {parallelism: 2, delay: 10s, order: start-first, max_failure_ratio: 0.1}
      placement: {constraints: [a==b], preferences: [{spread: z}]}
    logging: {driver: json-file, options: {max-size: 10m, max-file: 3}}
    ulimits: {nofile: {soft: 10, hard: 20}, nproc: 5}
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    sysctls: {net.core.somaxconn: 1024}
    extra_hosts: ["b:1.2.3.4", "a=[::1]"]
    dns: 1.1.1.1
    devices: ["/dev/null:/dev/x:r", /dev/zero]
    security_opt: [no-new-privileges:true]
    stop_grace_period: 1m
    stop_signal: SIGINT
    shm_size: 64m
    memswap_limit: -1
    cpu_shares: 512
    cpuset: "0"
    pids_limit: 10
    oom_score_adj: -5
    group_add: [1000, adm]
    user: "1000:1000"
    working_dir: /w
    hostname: h
    domainname: example.org
    init: true
    tty: true
    stdin_open: true
    read_only: true
    attach: false
    pull_policy: if_not_present
    x-own: {a: [1]}
    blkio_config: {weight: 300, device_read_bps: [{path: /dev/x, rate: 1mb}]}
    develop: {watch: [{path: ./src, action: sync, target: /src, ignore: [a]}]}
    post_start: [{command: a b, environment: [A=1]}]
  db: {image: postgres, healthcheck: {test: [CMD, "true"]}, network_mode: none}
  job: {image: busybox, ipc: "service:db", volumes_from: [db:ro]}
  off: {image: x, profiles: [debug]}
networks:
  front: {driver: bridge, internal: true, ipam: {config: [{subnet: 10.5.0.0/16, gateway: 10.5.0.1}]}, labels: {a: 1}, enable_ipv6: false}
  unused:
volumes:
  data: {driver: local, driver_opts: {type: none, o: bind, device: ./data}, labels: [v=1]}
  unused:
configs: {conf: {content: "a $$b"}}
secrets: {pw: {environment: HOME}}
x-top: {a: 1}
"""


@pytest.fixture
def full(stack: Stack) -> model.Project:
    return stack.load(FULL, web_DOT_env="F=from file\nA=no\nG='$A'\n")


def test_the_canonical_form_is_its_own_canonical_form(stack: Stack, full: model.Project) -> None:
    for text in (to_json(full.to_dict()), to_yaml(full.to_dict()), yaml.safe_dump(json.loads(to_json(full.to_dict())))):
        again = load(StackSource("/elsewhere", ("-",), stdin=text, environment={}), for_up=False)
        assert json.loads(to_json(again.to_dict())) == json.loads(to_json(full.to_dict()))


def test_yaml_keeps_extensions_and_json_drops_them_below_the_top(full: model.Project) -> None:
    assert yaml.safe_load(to_yaml(full.to_dict()))["services"]["web"]["x-own"] == {"a": [1]}
    printed = json.loads(to_json(full.to_dict()))
    assert "x-own" not in printed["services"]["web"] and printed["x-top"] == {"a": 1}
    assert list(yaml.safe_load(to_yaml(full.to_dict())))[:2] == ["name", "services"]


def test_the_model(stack: Stack, full: model.Project) -> None:
    web, here = full.services["web"], str(stack.directory)
    assert web.command == ("echo", "a b", "$HOME") and web.entrypoint == ()
    assert web.environment == {"A": "1", "B": "true", "C": None, "D": "1.5", "HOME": "/home/user", "E": "x$y", "F": "from file", "G": "$A"}
    assert web.labels == {"a": "", "b": "c=d"}
    assert [(port.host_ip, port.published, port.target, port.protocol) for port in web.ports] == [
        ("", "", 80, "tcp"), ("127.0.0.1", "8080", 80, "udp"), ("127.0.0.1", "8081", 81, "udp"), ("", "443", 443, "tcp"),
    ]  # fmt: skip
    assert [(mount.type, mount.source, mount.target, mount.read_only) for mount in web.volumes] == [
        ("volume", "data", "/data", True), ("bind", f"{here}/site", "/site", False), ("bind", "/home/user/x", "/y", False),
        ("volume", "", "/anon", False), ("tmpfs", "", "/t", False), ("bind", here, "/b", False),
    ]  # fmt: skip
    assert web.volumes[1].bind == model.BindOptions(create_host_path=True)
    assert web.volumes[4].tmpfs == model.TmpfsOptions(10 << 20, 0o1777)
    assert web.configs[1] == model.FileReference("conf", "/c", "1", "2", 0o440)
    assert web.secrets == (model.FileReference("pw", "/run/secrets/pw"),)
    assert web.depends_on == {
        "db": model.Dependency("service_healthy", True, True),
        "job": model.Dependency("service_completed_successfully"),
    }
    assert web.healthcheck == model.Healthcheck(("CMD-SHELL", "curl -f localhost"), 90.0, 10.0, 3, 0.5, 1.0)
    assert web.networks["front"] == model.NetworkAttachment(("w",), "10.5.0.9", driver_opts={"a": "1"}, priority=5)
    assert web.deploy is not None and web.replicas == 2
    assert web.deploy.limits == model.ResourceLimits(0.5, 50 << 20, 10)
    assert web.deploy.restart_policy == model.RestartPolicy("on-failure", 5.0, 3, 120.0)
    assert web.deploy.update_config == model.UpdateConfig(2, 10.0, max_failure_ratio=0.1, order="start-first")
    assert web.ulimits == (model.Ulimit("nofile", 10, 20), model.Ulimit("nproc", 5, 5))
    assert web.devices == (model.Device("/dev/null", "/dev/x", "r"), model.Device("/dev/zero", "/dev/zero"))
    assert web.extra_hosts == ("a=::1", "b=1.2.3.4") and web.group_add == ("1000", "adm")
    assert (web.memswap_limit_bytes, web.shm_size_bytes, web.stop_grace_period_s, web.attach) == (-1, 64 << 20, 60.0, False)
    assert web.blkio_config is not None and web.blkio_config.device_read_bps[0].rate == 1 << 20
    assert web.build is not None and web.build.args == {"A": "1", "HOME": "/home/user"} and web.build.ssh == {"default": ""}
    assert web.pull_policy == "missing" and web.extensions == {"x-own": {"a": [1]}}


def test_resources_have_the_names_that_the_engine_knows(stack: Stack, full: model.Project) -> None:
    assert {key: one.name for key, one in full.networks.items()} == {"default": "full_default", "front": "full_front"}
    assert full.networks["front"].pools == (model.IpamPool("10.5.0.0/16", "10.5.0.1"),)
    assert full.networks["front"].enable_ipv6 is False
    assert (full.volumes["data"].name, full.volumes["data"].driver_opts["device"]) == ("full_data", f"{stack.directory}/data")
    assert list(full.volumes) == ["data"]
    assert full.configs["conf"].content == "a $b" and full.secrets["pw"].content == "/home/user"
    assert list(full.services) == ["db", "job", "web"] and list(full.disabled_services) == ["off"]


def test_namespaces_and_volumes_of_others_are_dependencies(full: model.Project) -> None:
    assert full.services["job"].depends_on == {"db": model.Dependency(restart=True)}
    assert full.services["db"].networks == {}


def test_a_secret_is_never_printed(stack: Stack, full: model.Project) -> None:
    assert full.secrets["pw"].content == "/home/user"
    assert json.loads(to_json(full.to_dict()))["secrets"]["pw"] == {"environment": "HOME", "name": "full_pw"}


def test_every_value_knows_its_place(stack: Stack) -> None:
    project = stack.load("services:\n  a:\n    image: x\n    ports:\n      - '80:80'\n    deploy: {replicas: 2}\n")
    assert str(project.place("services", "a", "image")) == "compose.yaml:3:12"
    assert str(project.place("services", "a", "ports", 0)) == "compose.yaml:5:9"
    assert str(project.place("services", "a", "ports", 0, "published")) == "compose.yaml:5:9"
    assert str(project.place("services", "a", "deploy", "replicas")) == "compose.yaml:6:24"
    assert str(project.place("services", "a", "networks")) == "compose.yaml:3:5"


def test_the_model_is_frozen_and_slotted() -> None:
    kinds = [kind for kind in vars(model).values() if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == model.__name__]
    assert len(kinds) > 30
    for kind in kinds:
        assert kind.__dataclass_params__.frozen and hasattr(kind, "__slots__"), kind  # type: ignore[attr-defined]


def test_every_key_of_a_service_is_in_the_model() -> None:
    renamed = {
        "env_file": "env_files", "label_file": "label_files", "mem_limit": "mem_limit_bytes", "mem_reservation": "mem_reservation_bytes",
        "memswap_limit": "memswap_limit_bytes", "shm_size": "shm_size_bytes", "cpu_quota": "cpu_quota_us", "cpu_period": "cpu_period_us",
        "cpu_rt_runtime": "cpu_rt_runtime_us", "cpu_rt_period": "cpu_rt_period_us", "stop_grace_period": "stop_grace_period_s",
    }  # fmt: skip
    elsewhere = {"extends", "pull_refresh_after", "x-stackrun"}
    known = {one.name for one in fields(model.Service)}
    keys = load_schema()["definitions"]["service"]["properties"].keys() - elsewhere
    assert {renamed.get(key, key) for key in keys} - known == set()


def test_a_service_tells_the_same_text_however_it_was_written(stack: Stack) -> None:
    long = """
        services:
          a:
            image: x
            environment: {B: 2, A: 1}
            ports: [{target: 80, published: '8080'}]
            depends_on: {b: {condition: service_started}}
          b: {image: y}
    """
    short = "services: {b: {image: y}, a: {depends_on: [b], ports: ['8080:80'], environment: [A=1, B=2], image: x}}"
    assert json.dumps(stack.load(long).services["a"].to_dict()) == json.dumps(stack.load(short).services["a"].to_dict())


def test_warnings_come_with_the_project(stack: Stack) -> None:
    project = stack.load("version: '3'\nservices: {a: {image: x}}")
    assert [(one.line, one.code) for one in project.warnings] == [(1, "obsolete-version")]


def test_errors_are_sorted_and_all_there(stack: Stack) -> None:
    stack.write({"compose.yaml": "services:\n  b: {image: 5}\n  a: {imge: x, image: y}\n  c: {image: x, networks: [gone]}\n"})
    with pytest.raises(ComposeError) as caught:
        load(stack.source())
    assert [(one.line, one.code) for one in caught.value.diagnostics] == [(2, "wrong-type"), (3, "unknown-key"), (4, "undefined-network")]


_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=8)
_NAMES = st.from_regex(r"[a-z][a-z0-9_]{1,5}", fullmatch=True)
_SERVICES = st.fixed_dictionaries(
    {"image": _NAMES},
    optional={
        "environment": st.dictionaries(_NAMES, st.none() | _TEXT | st.integers() | st.booleans(), max_size=3),
        "command": st.lists(_TEXT, max_size=3) | st.none(),
        "labels": st.dictionaries(_NAMES, _TEXT, max_size=3),
        "ports": st.lists(st.integers(1, 65535).map(str), unique=True, max_size=3),
        "mem_limit": st.integers(1, 1 << 40).map(str),
        "stop_grace_period": st.integers(0, 10**6).map(lambda ms: f"{ms}ms"),
        "volumes": st.lists(_NAMES.map(lambda name: f"/{name}"), unique=True, max_size=2),
        "tty": st.booleans(),
    },
)


@example({"a0": {"image": "a0", "environment": {"a0": "0E0", "a1": "0o17", "a2": "yes", "a3": "2001-01-01", "a4": "a\n b"}}})
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(st.dictionaries(_NAMES, _SERVICES, min_size=1, max_size=3))
def test_any_stack_is_a_fixed_point(services: dict[str, Any]) -> None:
    source = StackSource(
        "/nowhere", ("-",), stdin=json.dumps({"name": "p", "services": services}, ensure_ascii=False).replace("$", "$$"), environment={}
    )
    once = load(source, for_up=False)
    again = load(StackSource("/nowhere", ("-",), stdin=to_yaml(once.to_dict()), environment={}), for_up=False)
    assert again.to_dict() == once.to_dict()
    assert again.services == once.services


def test_a_label_file_sees_nothing_but_itself(stack: Stack) -> None:
    project = stack.load("services: {a: {image: x, label_file: l, env_file: l}}", l="B=2\nA=$B$HOME\n")
    assert project.services["a"].labels == {"A": "2", "B": "2"}
    assert project.services["a"].environment == {"A": "2/home/user", "B": "2"}


@pytest.mark.parametrize("text", ["%s\n---\n", "---\n---\n%s", "%s\n---\nnull\n"])
def test_an_empty_document_beside_others_is_refused(stack: Stack, text: str) -> None:
    assert "an empty document" in stack.findings(text % "services: {a: {image: x}}")[0]


def test_base64_is_the_text_that_it_is_of(stack: Stack) -> None:
    assert stack.load("services: {a: {image: x, environment: {D: !!binary aGk=}}}").services["a"].environment == {"D": "hi"}


def test_a_folder_below_the_root_is_told_as_a_folder_not_as_a_stack_without_a_name() -> None:
    with pytest.raises(ComposeError, match="cannot read tmp: is a directory"):
        load(StackSource(working_dir="/", files=("/tmp",)))
