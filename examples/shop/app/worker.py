"""Takes orders off the queue, one at a time, and writes them to the database."""

import json

from backends import Cache, sql

cache = Cache()
print("worker: waiting for orders")
while True:
    _, order = cache("BRPOP", "orders", 0)
    order = json.loads(order)
    sql("INSERT INTO orders (product, taken_by) VALUES (?, ?)", order["product"], order["taken_by"])
    print(f"worker: {order['product']}, taken by {order['taken_by']}")
