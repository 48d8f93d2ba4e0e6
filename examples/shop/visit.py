"""Visits the shop at the URL given: looks until both replicas have answered, buys a cup, waits until the worker has written it down."""

import json
import sys
import time
import urllib.request

URL = sys.argv[1]
DEADLINE = time.monotonic() + 30


def ask(path: str, order: dict | None = None) -> dict:
    body = None if order is None else json.dumps(order).encode()
    with urllib.request.urlopen(URL + path, body, timeout=10) as response:
        return json.load(response)


def until(done, what: str) -> None:
    while not done():
        if time.monotonic() > DEADLINE:
            sys.exit(f"{what}: not within 30 seconds")
        time.sleep(0.05)


def replica_answers() -> bool:
    answer = ask("/")
    if answer["host"] not in seen:
        seen.append(answer["host"])
        print(f"GET /          {json.dumps(answer)}")
    return len(seen) == 2


seen: list[str] = []
until(replica_answers, "both replicas")
print(f"GET /products  {json.dumps(ask('/products'))}")

orders = ask("/")["orders"]
print(f"POST /orders   {json.dumps(ask('/orders', {'product': 'cup'}))}")
until(lambda: ask("/")["orders"] > orders, "the order in the database")
print(f"GET /          {json.dumps(ask('/'))}")
