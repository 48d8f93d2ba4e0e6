"""A database: SQLite behind HTTP. `POST /query` with {"statement", "values"} answers the rows as JSON."""

import json
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

PORT = 5400


class Database(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    connection_to_file = sqlite3.connect(sys.argv[1])

    def do_GET(self) -> None:
        self.connection_to_file.execute("SELECT 1")
        self.answer(200, "ready")

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            with self.connection_to_file:
                rows = self.connection_to_file.execute(query["statement"], query["values"]).fetchall()
        except sqlite3.Error as error:
            print(f"db: {error}: {query['statement']}", file=sys.stderr)
            return self.answer(400, str(error))
        return self.answer(200, rows)

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, *_: object) -> None:
        """A database does not tell every query."""


print(f"db: {sys.argv[1]}, ready on port {PORT}")
HTTPServer(("", PORT), Database).serve_forever()
