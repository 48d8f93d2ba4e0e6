"""The example stack, brought up from a copy of its folder on a port of its own."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from typing import Any

from free_ports import free_port
from machine import EXAMPLES, Machine, http_get

FOLDER = EXAMPLES / "shop"


class Shop:
    """`files`: the stack files named with -f, none for the one that is found; `env`: what they interpolate, beside SHOP_PORT."""

    def __init__(self, machine: Machine, files: tuple[str, ...] = (), env: Mapping[str, str] | None = None) -> None:
        self.machine = machine
        self.folder = machine.root / "shop"
        shutil.copytree(FOLDER, self.folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        self.port = free_port()
        self.files = [part for name in files for part in ("-f", name)]
        self.env = {"SHOP_PORT": str(self.port), **(env or {})}

    def run(self, *args: str, code: int | None = 0) -> str:
        done = self.machine.run(*self.files, *args, cwd=self.folder, env=self.env, code=code)
        return done.stdout + done.stderr

    def get(self, path: str, payload: Any = None) -> Any:
        data = None if payload is None else json.dumps(payload).encode()
        return json.loads(http_get(f"http://127.0.0.1:{self.port}{path}", data=data))

    def orders_reach(self, count: int, timeout_s: float = 20) -> None:
        """The worker writes them down in its own time; the API tells how many there are."""
        deadline = time.monotonic() + timeout_s
        while (found := self.get("/")["orders"]) < count:
            assert time.monotonic() < deadline, f"{found} of {count} orders after {timeout_s} s"
            time.sleep(0.05)
        assert found == count
