"""The shop's HTTP API. Each replica says who it is.

GET /         who answers, visits so far, orders so far
GET /products products and their prices
POST /orders  {"product": …}: takes an order; the worker writes it down
GET /ready    200 once the cache and the database answer
"""

import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from backends import Cache, sql

PORT = 8000
HOSTNAME = socket.gethostname()


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        match self.path:
            case "/":
                visits = Cache()("INCR", "visits")
                orders = sql("SELECT count(*) FROM orders")[0][0]
                self.answer(200, {"host": HOSTNAME, "visits": visits, "orders": orders})
            case "/products":
                self.answer(200, dict(sql("SELECT name, cents FROM products ORDER BY name")))
            case "/ready":
                self.answer(200, {"cache": Cache()("PING"), "database": bool(sql("SELECT 1"))})
            case _:
                self.answer(404, {"error": f"no {self.path} here"})

    def do_POST(self) -> None:
        product = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["product"]
        if not sql("SELECT 1 FROM products WHERE name = ?", product):
            return self.answer(404, {"error": f"no product {product!r}"})
        waiting = Cache()("LPUSH", "orders", json.dumps({"product": product, "taken_by": HOSTNAME}))
        return self.answer(202, {"host": HOSTNAME, "waiting": waiting})

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, form: str, *values: object) -> None:
        if self.path != "/ready":
            print("api:", form % values)


print(f"api: {HOSTNAME}, ready on port {PORT}")
ThreadingHTTPServer(("", PORT), Api).serve_forever()
