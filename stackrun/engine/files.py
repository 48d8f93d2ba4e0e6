"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container, as Docker writes them: texts in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stackrun.errors import InvalidArgument
from stackrun.network.endpoint import RESOLVER_ADDRESS

HOST_GATEWAY = "host-gateway"
_HOSTS_HEAD = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def hosts(names: Sequence[str], addresses: Sequence[str], extra: Sequence[str], gateway: str) -> str:
    """`names` (hostname first) for each own address; `extra` are `name:address` or `name=address`, `gateway` is what host-gateway means."""
    lines = [_extra_host(one, gateway) for one in extra] + [f"{address}\t{' '.join(names)}" for address in addresses]
    return _HOSTS_HEAD + "".join(f"{line}\n" for line in lines)


def _extra_host(text: str, gateway: str) -> str:
    name, separator, address = text.partition("=" if "=" in text else ":")
    if not separator or not name or not address:
        raise InvalidArgument(f'bad format for add-host: "{text}"', hint="write name:address")
    if address == HOST_GATEWAY:
        if not gateway:
            raise InvalidArgument(
                "unable to derive the IP value for host-gateway", hint="host-gateway needs a network that leads to the host"
            )
        address = gateway
    return f"{address.strip('[]')}\t{name}"


@dataclass(frozen=True, slots=True)
class Resolver:
    """What a resolv.conf says."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Resolver:
        """resolv.conf(5); the last `search` or `domain` wins, options add up."""
        nameservers: list[str] = []
        search: tuple[str, ...] = ()
        options: list[str] = []
        for line in text.splitlines():
            keyword, *values = line.split("#")[0].split(";")[0].split() or [""]
            if keyword == "nameserver" and values:
                nameservers.append(values[0])
            elif keyword in ("search", "domain"):
                search = tuple(values)
            elif keyword == "options":
                options += values
        return cls(tuple(nameservers), search, tuple(options))

    def text(self) -> str:
        lines = [f"nameserver {one}" for one in self.nameservers]
        if self.search:
            lines.append(f"search {' '.join(self.search)}")
        if self.options:
            lines.append(f"options {' '.join(self.options)}")
        return "".join(f"{line}\n" for line in lines)


def reachable(nameservers: Sequence[str]) -> tuple[str, ...]:
    """Those that a container can reach itself: not the host's own loopback."""
    return tuple(one for one in nameservers if not one.startswith("127.") and one != "::1")


def resolver(host: Resolver, *, own_dns: bool, servers: Sequence[str], search: Sequence[str], options: Sequence[str]) -> Resolver:
    """The container's resolv.conf. `own_dns`: our server at 127.0.0.11 answers, and asks `servers` or the host's by itself."""
    nameservers = (RESOLVER_ADDRESS,) if own_dns else tuple(servers) or reachable(host.nameservers)
    chosen_search = tuple(search) if search else host.search
    chosen_options = tuple(options) if options else host.options
    if own_dns and not any(one.startswith("ndots:") for one in chosen_options):
        chosen_options = (*chosen_options, "ndots:0")
    return Resolver(nameservers, () if chosen_search == (".",) else chosen_search, chosen_options)
