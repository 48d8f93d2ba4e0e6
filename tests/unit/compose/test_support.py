"""Keys that this engine cannot honour are never silence."""

from __future__ import annotations

import pytest
from unit.compose.stack_files import Stack

from stackrun.compose.load import check, load
from stackrun.errors import ComposeError


@pytest.mark.parametrize(
    ("body", "level", "finding"),
    [
        ("gpus: all", "error", "1:26: GPUs are not supported"),
        ("credential_spec: {file: x}", "error", "1:26: credential_spec is for Windows containers"),
        ("isolation: hyperv", "error", "1:26: isolation is for Windows containers"),
        ("cpu_rt_runtime: 5", "error", "1:26: real-time scheduling is not supported"),
        ("userns_mode: remap", "error", "1:26: user namespace mode remap is not supported"),
        ("storage_opt: {size: 1G}", "error", "1:26: options of the storage driver are not supported"),
        ("logging: {driver: syslog}", "error", "1:36: there is no log driver syslog"),
        ("post_start: [{command: a}]", "error", "1:26: post_start hooks are not supported"),
        ("runtime: runsc", "error", "1:26: there is no runtime runsc"),
        ("restart: sometimes", "error", "1:35: there is no restart policy 'sometimes'"),
        ("volumes: [{type: image, source: q, target: /x}]", "error", "1:37: mounts of type image are not supported"),
        ("volumes: ['v:/data:ro']", "error", "1:36: the mount's target 'ro' is not an absolute path"),
        ("ports: [{target: 80, published: abc}]", "error", "1:58: invalid published port 'abc'"),
        ("ports: ['80:80/sctp']", "error", "1:34: publishing sctp ports is not supported"),
        ("ports: ['80:80'], scale: 2", "error", "1:34: 2 containers cannot all publish port 80"),
        ("depends_on: {b: {condition: service_healthy}}", "warning", '1:54: service "b" has no healthcheck here: its image must have one'),
        ("build: 'https://github.com/a/b.git'", "error",
         "1:33: a build context that has to be fetched is not supported: https://github.com/a/b.git"),
        ("build: {context: ., additional_contexts: {src: ../src}}", "error",
         "1:68: a named context is an image here: service:NAME or docker-image://IMAGE"),
        ("build: {context: ., privileged: true}", "warning", "1:46: no build has more rights than others: privileged has no effect"),
        ("build: {context: ., ssh: [default]}", "warning", "1:46: no build is given the SSH agent: ssh has no effect"),
        ("build: {context: ., entitlements: [network.host]}", "warning",
         "1:46: no build has more rights than others: entitlements have no effect"),
        ("build: {context: ., isolation: hyperv}", "error", "1:46: isolation is for Windows containers"),
        ("build: {context: ., platforms: [linux/s390x]}", "error", "1:57: images are built for this machine, linux/"),
        ("build: {context: ., cache_from: [x]}", "warning", "1:46: the builder has its own cache: cache_from has no effect"),
        ("build: {context: ., cache_to: [x]}", "warning", "1:46: the builder has its own cache: cache_to has no effect"),
        ("build: {context: ., sbom: true}", "warning", "1:46: attestations are not made: sbom has no effect"),
        ("build: {context: ., ulimits: {nofile: 5}}", "warning", "1:46: limits of a build have no effect"),
        ("deploy: {rollback_config: {parallelism: 1}}", "warning",
         "1:35: a failed update goes back at once, in update_config's order: rollback_config has no effect"),
        ("deploy: {update_config: {failure_action: panic}}", "error", "1:51: there is no failure action panic"),
        ("pull_policy: daily", "warning", "1:26: pull policy daily pulls every time, as always does"),
        ("mem_swappiness: 10", "warning", "1:26: mem_swappiness has no effect"),
        ("platform: linux/s390x", "warning", "1:36: the image is for linux/s390x, this machine is linux/"),
    ],
)  # fmt: skip
def test_a_key_is_refused_or_named(stack: Stack, body: str, level: str, finding: str) -> None:
    stack.write({"compose.yaml": f"services: {{a: {{image: x, {body}}}, b: {{image: y}}}}"})
    (found,) = check(stack.source())
    assert (found.level, str(found).split("\n")[0][: len(finding) + 13]) == (level, f"compose.yaml:{finding}")


def test_a_disabled_healthcheck_never_gets_healthy(stack: Stack) -> None:
    text = "services: {a: {image: x, depends_on: {b: {condition: service_healthy}}}, b: {image: y, healthcheck: {disable: true}}}"
    assert stack.findings(text) == ['1:54: service "b" can never be healthy: its healthcheck is disabled']


def test_networks_and_volumes(stack: Stack) -> None:
    text = "services: {a: {image: x, networks: [n], volumes: ['vol:/v']}}\nnetworks: {n: {driver: overlay}, unused: {driver: macvlan}}\n"
    assert stack.findings(text + "volumes: {vol: {driver: nfs}}\n") == [
        "2:16: there is no network driver overlay",
        "3:17: there is no volume driver nfs",
    ]
    assert stack.findings(text.replace("driver: overlay", "external: true") + "volumes: {vol: {external: true}}\n") == []
    assert stack.findings("services: {a: {image: x}}\nnetworks: {default: {ipam: {config: [{subnet: here}]}}}") == [
        "2:47: 'here' is not a subnet"
    ]


def test_config_prints_what_up_refuses(stack: Stack) -> None:
    stack.write({"compose.yaml": "services: {a: {image: x, gpus: all}}"})
    assert load(stack.source(), for_up=False).services["a"].gpus[0].count == -1
    with pytest.raises(ComposeError, match="GPUs are not supported"):
        load(stack.source())


def test_disabled_services_are_not_judged(stack: Stack) -> None:
    text = "services: {a: {image: x}, b: {image: y, gpus: all, profiles: [p]}}"
    assert stack.findings(text) == []
    assert len(stack.findings(text, profiles=("p",))) == 1
