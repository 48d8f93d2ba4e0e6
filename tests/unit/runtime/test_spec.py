"""What a configuration means, and with which words it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stackrun.errors import InvalidArgument, NotFound, StackrunError, Unsupported
from stackrun.kernel import caps
from stackrun.runtime import spec


def config(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "process": {"args": ["sh"], "cwd": "/", "env": ["A=1", "B=x=y", "C"], "user": {"uid": 1, "gid": 2, "additionalGids": [3]}},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "network", "path": "/proc/7/ns/net"}]},
    }
    return {**base, **changes}


def test_a_plain_configuration() -> None:
    checked = spec.check(config(hostname="box"), "/bundle")
    assert checked.root == "/bundle/rootfs"
    assert checked.namespaces == {"mount": "", "uts": "", "network": "/proc/7/ns/net"}
    process = checked.process
    assert (process.uid, process.gid, process.groups, process.umask) == (1, 2, [3], 0o022)
    assert process.environment == {"A": "1", "B": "x=y", "C": ""}


def test_capabilities_become_masks_in_order() -> None:
    process = spec.Process({"args": ["x"], "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"], "ambient": ["CAP_CHOWN"]}})
    assert process.capabilities == (caps.mask(["CAP_CHOWN", "CAP_KILL"]), 0, 0, 0, 1)


def test_mount_sources_are_relative_to_the_bundle_and_binds_are_known_by_option() -> None:
    mounts = [{"destination": "data/", "type": "none", "source": "volume", "options": ["rbind", "ro"]}]
    (mount,) = spec.check(config(mounts=mounts), "/bundle").mounts
    assert (mount.kind, mount.source, mount.destination, mount.options.recursive) == ("bind", "/bundle/volume", "/data", True)


def test_sysctl_names_become_paths() -> None:
    linux = {"namespaces": [{"type": "mount"}, {"type": "network"}], "sysctl": {"net.ipv4.conf.eth0/1.rp_filter": "1"}}
    assert spec.check(config(linux=linux), "/").sysctls == [("net/ipv4/conf/eth0.1/rp_filter", "1")]


def test_unknown_capabilities_are_left_out_and_told() -> None:
    process = spec.Process({"args": ["x"], "capabilities": {"bounding": ["CAP_X", "CAP_CHOWN"], "effective": ["CAP_X"]}})
    assert process.capabilities[0] == caps.mask(["CAP_CHOWN"]) and process.unknown_capabilities == ("CAP_X",)


def test_no_limit_has_many_spellings() -> None:
    rlimits = [{"type": "RLIMIT_NOFILE", "soft": -1, "hard": 2**64 - 1}]
    assert spec.Process({"args": ["x"], "rlimits": rlimits}).rlimits == [(7, -1, -1)]


REFUSED: list[tuple[dict[str, Any], type[StackrunError], str]] = [
    ({"process": {"args": []}}, InvalidArgument, "process.args: no command specified"),
    ({"process": None}, InvalidArgument, "process: no command specified"),
    ({"process": {"args": ["a\0b"]}}, InvalidArgument, "process.args: it must be a list of texts"),
    ({"process": {"args": ["x"], "cwd": "rel"}}, InvalidArgument, "process.cwd: 'rel' is not an absolute path"),
    ({"process": {"args": ["x"], "user": {"uid": 2**31}}}, InvalidArgument, "process.user.uid: 2147483648 is not a number"),
    ({"process": {"args": ["x"], "user": {"uid": True}}}, InvalidArgument, "process.user.uid: True is not a number"),
    ({"process": {"args": ["x"], "rlimits": [{"type": "RLIMIT_CPU"}] * 2}}, InvalidArgument, "process.rlimits: a type is there twice"),
    ({"process": {"args": ["x"], "scheduler": {"policy": "SCHED_X"}}}, InvalidArgument, "process.scheduler.policy: unknown policy"),
    ({"process": {"args": ["x"], "scheduler": {"policy": "SCHED_ISO"}}}, Unsupported, "process.scheduler.policy: Linux never got"),
    (
        {"process": {"args": ["x"], "scheduler": {"policy": "SCHED_OTHER", "priority": 1}}},
        InvalidArgument,
        "process.scheduler.priority: only",
    ),
    ({"process": {"args": ["x"], "scheduler": {"policy": "SCHED_RR", "nice": 20}}}, InvalidArgument, "process.scheduler.nice: 20 is out"),
    ({"process": {"args": ["x"], "scheduler": {"policy": "SCHED_RR", "period": 2}}}, InvalidArgument, "are for SCHED_DEADLINE"),
    ({"process": {"args": ["x"], "ioPriority": {"class": "IOPRIO_CLASS_X"}}}, InvalidArgument, "process.ioPriority.class: unknown class"),
    (
        {"process": {"args": ["x"], "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}},
        InvalidArgument,
        "process.ioPriority.priority",
    ),
    ({"process": {"args": ["x"], "execCPUAffinity": {"initial": "3-1"}}}, InvalidArgument, "process.execCPUAffinity.initial: '3-1' is no"),
    ({"process": {"args": ["x"], "rlimits": [{"type": "NOFILE"}]}}, InvalidArgument, "process.rlimits: unknown type 'NOFILE'"),
    ({"process": {"args": ["x"], "apparmorProfile": "p"}}, Unsupported, "process.apparmorProfile is not supported"),
    ({"hooks": {"prestart": [{}]}}, InvalidArgument, "hooks.prestart[0].path: None is not an absolute path"),
    ({"hooks": {"prestart": [{"path": "/x", "timeout": 0}]}}, InvalidArgument, "hooks.prestart[0].timeout: 0 is not a number of seconds"),
    ({"hooks": {"poststart": [{"path": "/x", "args": "y"}]}}, InvalidArgument, "hooks.poststart[0].args: it must be a list of texts"),
    ({"hooks": {"preStart": []}}, InvalidArgument, "hooks.preStart: there is no such hook"),
    ({"hostname": "box", "linux": {"namespaces": [{"type": "mount"}]}}, InvalidArgument, "hostname: it takes a uts namespace"),
    ({"linux": {"namespaces": []}}, InvalidArgument, "linux.namespaces: a new mount namespace is required"),
    ({"linux": {"namespaces": [{"type": "mount", "path": "/x"}]}}, InvalidArgument, "a new mount namespace is required"),
    ({"linux": {"namespaces": [{"type": "mount"}, {"type": "mount"}]}}, InvalidArgument, "mount is there twice"),
    ({"linux": {"namespaces": [{"type": "nets"}]}}, InvalidArgument, "unknown type 'nets'"),
    ({"linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]}}, InvalidArgument, "linux.uidMappings: a new user namespace needs it"),
    (
        {"linux": {"namespaces": [{"type": "mount"}], "timeOffsets": {"boottime": {"secs": 1}}}},
        InvalidArgument,
        "boottime: it takes a time",
    ),
    (
        {"linux": {"namespaces": [{"type": "mount"}, {"type": "time"}], "timeOffsets": {"tai": {}}}},
        InvalidArgument,
        "there is no such clock",
    ),
    ({"linux": {"namespaces": [{"type": "mount"}], "personality": {"domain": "BSD"}}}, InvalidArgument, "linux.personality.domain"),
    (
        {"linux": {"namespaces": [{"type": "mount"}], "personality": {"domain": "LINUX", "flags": ["X"]}}},
        Unsupported,
        "linux.personality.flags",
    ),
    (
        {
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "user", "path": "/p"}],
                "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
            }
        },
        InvalidArgument,
        "linux.uidMappings: a user namespace that is joined has its mappings",
    ),
    ({"linux": {"namespaces": [{"type": "mount"}], "sysctl": {"net.x": "1"}}}, InvalidArgument, "linux.sysctl.net.x: it is not of a"),
    ({"linux": {"namespaces": [{"type": "mount"}], "sysctl": {"vm.swappiness": "1"}}}, InvalidArgument, "linux.sysctl.vm.swappiness"),
    ({"linux": {"namespaces": [{"type": "mount"}], "maskedPaths": ["x"]}}, InvalidArgument, "linux.maskedPaths: 'x' is not an absolute"),
    ({"linux": {"namespaces": [{"type": "mount"}], "devices": [{"path": "/dev/x", "type": "z"}]}}, InvalidArgument, "linux.devices[0]"),
    ({"mounts": [{"type": "tmpfs"}]}, InvalidArgument, "mounts[0].destination: it is missing"),
    ({"mounts": [{"destination": "/x"}]}, InvalidArgument, "mounts[0].type: it is missing"),
    ({"mounts": [{"destination": "/x", "type": "bind", "options": ["zz"]}]}, InvalidArgument, "mounts[0]: unknown option 'zz' for a bind"),
    ({"mounts": [{"destination": "/x", "type": "bind", "options": ["idmap"]}]}, InvalidArgument, "mounts[0]"),
    ({"mounts": 7}, InvalidArgument, "a value has the wrong type"),
]


@pytest.mark.parametrize(("changes", "error", "text"), REFUSED, ids=[text for _, _, text in REFUSED])
def test_refusals_name_the_field(changes: dict[str, Any], error: type[StackrunError], text: str) -> None:
    with pytest.raises(error) as raised:
        spec.check(config(**changes), "/bundle")
    assert text in str(raised.value)


def test_load_tells_a_missing_file_from_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no configuration"):
        spec.load(str(tmp_path))
    for text in ("{", "[]"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InvalidArgument):
            spec.load(str(tmp_path))


@pytest.mark.parametrize(("text", "number"), [("9", 9), ("KILL", 9), ("sigterm", 15), ("SIGRTMIN+3", 37)])
def test_signals_by_any_name(text: str, number: int) -> None:
    assert spec.signal_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "FOO", "SIG_DFL", "RTMIN+x"])
def test_unknown_signals(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid signal: "):
        spec.signal_number(text)
