"""Requests on a published port from many clients, while something happens to who answers."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager

WORKERS_EACH = 2


class Load:
    """Requests without a pause, each on a connection of its own, from some threads for each address."""

    def __init__(self, port: int, addresses: tuple[str, ...]) -> None:
        self._port = port
        self._over = threading.Event()
        self._seen = threading.Condition()
        self.answers: list[tuple[str, str]] = []
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask_on, args=(one,)) for one in addresses for _ in range(WORKERS_EACH)]

    def _ask_on(self, address: str) -> None:
        while not self._over.is_set():
            try:
                told = self._answer(address)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{address}: {error!r}")
            else:
                with self._seen:
                    self.answers.append((address, told))
                    self._seen.notify_all()

    def _answer(self, address: str) -> str:
        connection = http.client.HTTPConnection(address, self._port, timeout=5)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            text = response.read().decode().strip()
            return text if response.status == 200 else f"status {response.status}"
        finally:
            connection.close()

    def wait_for(self, *wanted: tuple[str, str]) -> None:
        with self._seen:
            assert self._seen.wait_for(lambda: set(wanted) <= set(self.answers[-200:]), 20), (wanted, self.failures[:5])

    @contextmanager
    def running(self) -> Iterator[None]:
        for one in self._threads:
            one.start()
        try:
            yield
        finally:
            self._over.set()
            for one in self._threads:
                one.join()
