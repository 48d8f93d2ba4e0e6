"""The short forms of ports, volumes, devices and commands, each as its long form.

A form that cannot be read raises ShortFormError: the caller knows the place.
"""

from __future__ import annotations

import re
from typing import Any

from stackrun.compose.paths import clean
from stackrun.compose.tree import Map


class ShortFormError(Exception):
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


# --- ports ----------------------------------------------------------------------------------------

_PROTOCOLS = ("tcp", "udp", "sctp")
_RANGE = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")


def parse_ports(text: str) -> list[Map]:
    """`[[address:]published:]target[/protocol]` → one long form a container port, in the order Compose lists them."""
    body, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    address, published, target = _split_port(body)
    if not target:
        raise ShortFormError(f"no container port in {text!r}", "write PUBLISHED:TARGET, such as 8080:80")
    if protocol not in _PROTOCOLS:
        raise ShortFormError(f"unknown protocol {protocol!r} in port {text!r}", f"one of {', '.join(_PROTOCOLS)}")
    targets = _port_range(target, "container")
    if 0 in targets:
        raise ShortFormError(f"port 0 in {text!r} is none that a container could listen on", "write PUBLISHED:TARGET, such as 8080:80")
    hosts = _port_range(published, "published") if published else None
    return [_port(address, host, number, protocol) for number, host in _paired(text, targets, hosts, published)]


def _split_port(body: str) -> tuple[str, str, str]:
    head, _, target = body.rpartition(":")
    address, _, published = head.rpartition(":")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address:
        import ipaddress

        try:
            ipaddress.ip_address(address.replace("%", "/"))  # a zone is refused, too
        except ValueError:
            raise ShortFormError(f"{address!r} is not an IP address", "write [[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL]") from None
    return address, published, target


def _port_range(text: str, what: str) -> range:
    match = _RANGE.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not match or first > last or last > 65535:
        raise ShortFormError(f"invalid {what} port {text!r}", "a port is a number up to 65535, a range is written 8000-8010")
    return range(first, last + 1)


def _paired(text: str, targets: range, hosts: range | None, published: str) -> list[tuple[int, str]]:
    if hosts is None:
        return [(number, "") for number in sorted(targets, key=str)]
    if len(hosts) == len(targets):
        pairs = zip(targets, hosts, strict=True)
        return sorted(((number, str(host)) for number, host in pairs), key=lambda pair: str(pair[0]))
    if len(targets) == 1:
        return [(targets[0], published)]
    raise ShortFormError(f"the ranges of port {text!r} differ in length", "publish as many ports as the container has")


def _port(address: str, published: str, target: int, protocol: str) -> Map:
    port: dict[str, Any] = {"mode": "ingress", "target": target, "protocol": protocol}
    if published:
        port["published"] = published
    if address:
        port["host_ip"] = address
    return Map(port)


# --- volumes --------------------------------------------------------------------------------------

_PROPAGATIONS = frozenset(("private", "rprivate", "shared", "rshared", "slave", "rslave"))


def parse_volume(text: str) -> Map:
    """`[source:]target[:options]` → the long form; a source that looks like a path makes it a bind mount."""
    if len(text) < 3:
        if not text:
            raise ShortFormError("an empty volume", "write [SOURCE:]TARGET[:OPTIONS]")
        return Map({"type": "volume", "target": text})
    parts = _split_volume(text)
    if any(not part for part in parts):
        raise ShortFormError(f"an empty part in volume {text!r}", "is a variable in it unset? write [SOURCE:]TARGET[:OPTIONS]")
    if len(parts) > 3:
        raise ShortFormError(f"too many colons in volume {text!r}", "write [SOURCE:]TARGET[:OPTIONS]")
    source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
    volume = Map({"type": "bind" if is_path(source) else "volume", "target": clean(target)})
    if source:
        volume["source"] = source
    for option in parts[2].split(",") if len(parts) > 2 else ():
        _volume_option(volume, option)
    if volume["type"] == "bind":
        volume["bind"] = Map({**volume.get("bind", {}), "create_host_path": True})
    else:
        volume.setdefault("volume", Map())
    return volume


def _split_volume(text: str) -> list[str]:
    """At colons, but not at a Windows drive's."""
    parts: list[str] = []
    for piece in text.split(":"):
        if parts and len(parts[-1]) == 1 and parts[-1].isalpha():
            parts[-1] += ":" + piece
        else:
            parts.append(piece)
    return parts


def _volume_option(volume: Map, option: str) -> None:
    if option in ("ro", "rw"):
        volume["read_only"] = option == "ro"
        if option == "rw":
            del volume["read_only"]
    elif option == "nocopy":
        volume["volume"] = Map({"nocopy": True})
    elif option in _PROPAGATIONS:
        volume["bind"] = Map({**volume.get("bind", {}), "propagation": option})
    elif option in ("z", "Z"):
        volume["bind"] = Map({**volume.get("bind", {}), "selinux": option})


def is_path(source: str) -> bool:
    return source[:1] in (".", "/", "~") or source.startswith("\\\\") or (source[1:2] == ":" and source[0].isalpha())


def parse_device(text: str) -> Map:
    """`source[:target[:permissions]]`."""
    parts = text.split(":")
    if len(parts) > 3:
        raise ShortFormError(f"invalid device {text!r}", "write SOURCE[:TARGET[:PERMISSIONS]]")
    target = parts[1] if len(parts) > 1 else ""
    return Map({"source": parts[0], "target": target or parts[0], "permissions": parts[2] if len(parts) > 2 else "rwm"})


# --- commands -------------------------------------------------------------------------------------


def split_command(text: str) -> tuple[list[str], str]:
    """Words of a command line as Compose splits them, and what it drops.

    Quotes and backslashes count as in a shell.  An operator (`; & | < >`) outside quotes ends the command: the rest is
    the second value, for a warning, since no shell will ever see it.  Source: mattn/go-shellwords, which Compose uses.
    """
    splitter = _Splitter()
    for position, char in enumerate(text):
        if splitter.take(char):
            return splitter.finish(), text[position:]
    return splitter.finish(), ""


class _Splitter:
    def __init__(self) -> None:
        self.words: list[str] = []
        self.word: list[str] = []
        self.begun = False
        self.escaped = False
        self.quote = ""
        """One of ' " ` and ( for a command substitution, which is taken literally."""

    def take(self, char: str) -> bool:
        """Whether the command ends before this character."""
        if self.escaped:
            self._add(char)
            self.escaped = False
        elif char == "\\" and self.quote != "'":
            self.escaped = True
        elif char in " \t\r\n" and not self.quote:
            self._end_word()
        elif char in "'\"" and self.quote in ("", char):
            self.quote = "" if self.quote else char
            self.begun = True
        elif char in "`()":
            self._substitution(char)
        elif char in ";&|<>" and not self.quote:
            if char == ">" and self.word and self.word[0].isdigit():
                self.word, self.begun = [], False
            return True
        else:
            self._add(char)
        return False

    def _substitution(self, char: str) -> None:
        if char == "`" and self.quote in ("", "`"):
            self.quote = "" if self.quote else "`"
        elif char == "(" and self.quote in ("", "("):
            if self.quote or self.word[-1:] != ["$"]:
                raise ShortFormError("an unquoted parenthesis in the command", "write the command as a list, or as sh -c '…'")
            self.quote = "("
        elif char == ")" and self.quote in ("", "("):
            self.quote = "" if self.quote else "("
        self._add(char)

    def _add(self, char: str) -> None:
        self.word.append(char)
        self.begun = True

    def _end_word(self) -> None:
        if self.begun:
            self.words.append("".join(self.word))
        self.word, self.begun = [], False

    def finish(self) -> list[str]:
        if self.quote or self.escaped:
            raise ShortFormError("the command has a quote that is not closed", "close it, or write the command as a list")
        self._end_word()
        return self.words
