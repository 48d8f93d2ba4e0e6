"""A reverse proxy: asks DNS for the backend's addresses on every request and takes them in turn."""

import itertools
import os
import socket
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080
BACKEND = urllib.parse.urlsplit(os.environ["BACKEND"])
turn = itertools.count()


def backends() -> list[str]:
    found = socket.getaddrinfo(BACKEND.hostname, BACKEND.port, socket.AF_INET, socket.SOCK_STREAM)
    addresses = sorted(address for *_, (address, _) in found)
    first = next(turn) % len(addresses)
    return addresses[first:] + addresses[:first]


class Proxy(BaseHTTPRequestHandler):
    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        headers = {"X-Forwarded-For": self.client_address[0], "Content-Type": self.headers.get("Content-Type", "")}
        for address in backends():
            url = f"http://{address}:{BACKEND.port}{self.path}"
            try:
                with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=self.command), timeout=10) as response:
                    return self.answer(response.status, response.read())
            except urllib.error.HTTPError as error:
                return self.answer(error.code, error.read())
            except OSError as error:
                print(f"proxy: {address}: {error}")
        return self.answer(502, b'{"error": "no backend answers"}\n')

    def do_GET(self) -> None:
        self.forward()

    def do_POST(self) -> None:
        self.forward()

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *values: object) -> None:
        if self.path != "/ready":
            print("proxy:", form % values)


print(f"proxy: {BACKEND.geturl()} on port {PORT}")
ThreadingHTTPServer(("", PORT), Proxy).serve_forever()
