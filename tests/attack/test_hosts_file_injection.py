"""Names with a line's end in them: what follows would be an entry of its own in /etc/hosts or a name server in resolv.conf (CWE-93)."""

import json
from typing import Any

import pytest
from machine import Machine

EVIL = "6.6.6.6"
WAYS: dict[str, dict[str, Any]] = {
    "hostname": {"Hostname": f"x\n{EVIL} bank.example"},
    "hostname of two words": {"Hostname": "x bank.example"},
    "domain name": {"Domainname": f"x\n{EVIL} bank.example"},
    "extra host's address": {"HostConfig": {"ExtraHosts": [f"a:1.2.3.4\n{EVIL} bank.example"]}},
    "extra host's name": {"HostConfig": {"ExtraHosts": [f"a\n{EVIL} bank.example:1.2.3.4"]}},
    "extra host's second name": {"HostConfig": {"ExtraHosts": ["a bank.example:6.6.6.6"]}},
    "name server": {"HostConfig": {"Dns": [f"1.1.1.1\nnameserver {EVIL}"]}},
    "search domain": {"HostConfig": {"DnsSearch": [f"a\nnameserver {EVIL}"]}},
    "search domain with a return": {"HostConfig": {"DnsSearch": [f"a\rnameserver {EVIL}"]}},
    "resolver option": {"HostConfig": {"DnsOptions": [f"ndots:1\nnameserver {EVIL}"]}},
    "a unicode line's end": {"Hostname": f"x\u2028{EVIL} bank.example"},
}


def written(machine: Machine, more: dict[str, Any]) -> tuple[int, str]:
    """(status of the creation, what the container has in both files)."""
    body = {"Image": "host", "Cmd": ["cat", "/etc/hosts", "/etc/resolv.conf"], **more}
    body["HostConfig"] = {"NetworkMode": "none", **body.get("HostConfig", {})}
    status, answer = machine.request("POST", "/containers/create", body)
    if status != 201:
        return status, answer.decode()
    name = json.loads(answer)["Id"]
    machine.docker("start", name)
    machine.docker("wait", name)
    text = machine.docker("logs", name).stdout
    machine.docker("rm", name)
    return status, text


@pytest.mark.parametrize("way", WAYS)
def test_refused(machine: Machine, way: str) -> None:
    status, told = written(machine, WAYS[way])
    assert status == 400 and "space or a control character" in told


def test_one_word_is_written_so_the_attempt_reaches_the_file(machine: Machine) -> None:
    status, text = written(machine, {"HostConfig": {"ExtraHosts": [f"bank.example:{EVIL}"], "DnsSearch": ["example"]}})
    assert status == 201 and f"{EVIL}\tbank.example\n" in text and "search example\n" in text


def test_a_stack_file_says_it_too(machine: Machine) -> None:
    for key in ('hostname: "x\\n6.6.6.6 bank.example"', 'extra_hosts: ["a:1.2.3.4\\n6.6.6.6 bank.example"]'):
        folder = machine.project("hosts", f"services:\n  web:\n    image: host\n    command: [cat, /etc/hosts]\n    {key}\n")
        done = machine.run("up", "--no-keep", cwd=folder, code=None)
        assert done.returncode != 0 and "6.6.6.6\t" not in done.stdout
        machine.run("down", cwd=folder, code=None)
