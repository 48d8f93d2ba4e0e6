"""News of the kernel that concern our networks: one descriptor that is readable when it may be worth looking again.

Rules are heard of from nfnetlink, links, addresses and routes from rtnetlink, each from a socket of its own in one epoll(7).  What we
did ourselves is left out where the kernel says who did it, and so is a link that is as it should be: a start's own steps wake nobody.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Collection

from stackrun.kernel import interfaces, netlink, nft
from stackrun.kernel.interfaces import News
from stackrun.kernel.netlink import Connection
from stackrun.network import foreign
from stackrun.network.endpoint import HOST_PREFIX


class Watch:
    """`own_ports`: our sockets' addresses; `links`, `bridges`: the names that there should be now, of veths' ends here and of bridges."""

    def __init__(
        self, owner: str, own_ports: Collection[int], links: Callable[[], Collection[str]], bridges: Callable[[], Collection[str]]
    ) -> None:
        self._owner = owner
        self._own_ports = frozenset(own_ports)
        self._links = links
        self._bridges = bridges
        self._rules = Connection(netlink.NETFILTER, groups=(nft.EVENT_GROUP,))
        self._state = Connection(netlink.ROUTE, groups=interfaces.NEWS_GROUPS)
        self._either = select.epoll()
        for one in (self._rules, self._state):
            self._either.register(one, select.EPOLLIN)

    def fileno(self) -> int:
        return self._either.fileno()

    def changed(self) -> bool:
        """Reads all news; True when some concern us, or were lost."""
        bridges = frozenset(self._bridges())
        rules = nft.events(self._rules)
        state = interfaces.news(self._state, lambda name: name.startswith(HOST_PREFIX) or name in bridges)
        if rules is None or state is None:
            return True
        if any(event.port not in self._own_ports and event.table in (self._owner, foreign.TABLE) for event in rules):
            return True
        foreign_news = [one for one in state if one.port not in self._own_ports and not one.is_sound]
        return bool(foreign_news) and self._concern(foreign_news, bridges)

    def _concern(self, news: Collection[News], bridges: Collection[str]) -> bool:
        """Addresses and routes are those of bridges; a container's own are in its namespace, which nobody hears of here."""
        named = {one.name for one in news if one.name}
        unnamed = {one.index for one in news if not one.name}
        if not named.isdisjoint(bridges) or not unnamed.isdisjoint(map(netlink.interface_index, bridges) if unnamed else ()):
            return True
        return bool(named) and not named.isdisjoint(self._links())

    def close(self) -> None:
        self._either.close()
        self._rules.close()
        self._state.close()
