"""`info`: what the engine is and what this machine lets it do."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from stackrun.cli.engines import chosen, connect
from stackrun.units import format_bytes


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("--format", choices=("pretty", "json"), default="pretty")


def run(options: argparse.Namespace) -> int:
    told: Any = connect(options).json("GET", "/info")
    if options.format == "json":
        print(json.dumps(told, ensure_ascii=False))
        return 0
    engine = chosen(options)
    for title, value in _facts(told, engine.host):
        print(f"{title + ':':16}{value}")
    if engine.own and os.geteuid() == 0:  # an ordinary user's is another one inside
        _print_probes()
    for warning in told.get("Warnings") or ():
        print(f"warning: {warning}")
    return 0


def _facts(told: dict[str, Any], host: str) -> list[tuple[str, str]]:
    counts = f"{told['ContainersRunning']} running, {told['ContainersPaused']} paused, {told['ContainersStopped']} stopped"
    return [
        ("Engine", f"{told['ServerVersion']} at {host}"),
        ("Containers", f"{told['Containers']} ({counts})"),
        ("Images", str(told["Images"])),
        ("Root", told["DockerRootDir"]),
        ("Storage", told["Driver"]),
        ("Cgroups", f"v{told.get('CgroupVersion', '?')}, {told.get('CgroupDriver', '?')}"),
        ("Security", ", ".join(told.get("SecurityOptions") or ()) or "none"),
        ("Rootless", "true" if "name=rootless" in (told.get("SecurityOptions") or ()) else "false"),
        ("Machine", f"{told['Name']}, {told['NCPU']} cpus, {format_bytes(told['MemTotal'])}"),
        ("Kernel", f"{told['KernelVersion']} {told['Architecture']}"),
        ("System", told["OperatingSystem"]),
    ]


def _print_probes() -> None:
    """What the kernel offers to this user, and why something is missing."""
    from stackrun.kernel.probe import probes

    found = probes()
    print(f"{'Kernel offers:':16}{', '.join(one.name for one in found if one.available)}")
    for one in found:
        if not one.available:
            print(f"{'':16}without {one.name}: {one.reason}")
