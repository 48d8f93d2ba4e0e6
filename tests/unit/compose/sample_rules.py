"""A small catalogue, so that what is done with findings can be tested whatever the real rules are."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest import mock

from stackrun.compose.rules import catalog
from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Stack

PACKAGE = Path(catalog.__file__).parents[2]
SOURCES = [*PACKAGE.glob("compose/*.py"), *PACKAGE.glob("stack/*.py"), *PACKAGE.glob("compose/rules/*.py")]
CODE = re.compile(r'(?:code(?:: str)? ?= ?|reported\(|belongs " in hint else )"([a-z-]+)"')
OURS = {"unused-suppression", "unknown-suppression", "suppression-without-reason", "suppressed-error"}
READ = {
    code for file in SOURCES for code in CODE.findall(file.read_text(encoding="utf-8")) if code not in OURS and not code.startswith("host-")
}
"""What the reader reports."""
WARNED = {"obsolete-version", "unset-variable", "no-effect"}

STRUCTURE = Group("structure", "schema")
for _code in sorted(READ | WARNED):
    STRUCTURE.reported(_code, f"The reader reports {_code}.", "warning" if _code in WARNED else "error")

SECURITY = Group("security")


@SECURITY.rule("privileged", "warning", "A service runs with every privilege of the host.")
def privileged(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.get("privileged") is True:
            yield Found(service.key_at("privileged"), f'service "{service.name}" is privileged', "grant single capabilities")


@SECURITY.rule("root-user", "note", "A service runs as root.")
def root_user(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if "user" not in service:
            yield Found(service.place, f'service "{service.name}" runs as root', "give it a user")


@SECURITY.rule("fixed-port", "error", "A port below 1024 is published.")
def fixed_port(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for port in service.nodes("ports"):
            if port.text("published") == "80":
                yield Found(port.place, f'service "{service.name}" publishes port 80')


@SECURITY.rule("label", "warning", "A label is shouted.")
def label(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for name, value, place in service.pairs("labels"):
            if str(value).isupper():
                yield Found(place, f"label {name} is {value}")


@contextmanager
def installed() -> Iterator[None]:
    """The catalogue is this one, with the suppressions' and the host's own rules."""
    modules = {f"stackrun.compose.rules.sample_{group.name}": ModuleType(group.name) for group in (STRUCTURE, SECURITY)}
    for module, group in zip(modules.values(), (STRUCTURE, SECURITY), strict=True):
        module.__dict__["GROUP"] = group
    names = ("sample_structure", "sample_security", "suppression", "host")
    with mock.patch.dict(sys.modules, modules), mock.patch.object(catalog, "GROUPS", names):
        catalog.rules.cache_clear()
        try:
            yield
        finally:
            catalog.rules.cache_clear()
