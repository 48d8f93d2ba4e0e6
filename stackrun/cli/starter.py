"""The stack file that `init` writes: it runs as it is, anywhere, and each line that is not obvious says why it is there."""

from __future__ import annotations

FILE = "stack.yaml"
SCHEMA_FILE = "stack.schema.json"
"""A copy beside the stack file: a path into this installation would be wrong on every other machine and after every update."""


def starter(name: str) -> str:
    """The text of a stack file for the project `name`."""
    return _TEXT.replace("PROJECT", name)


_TEXT = """\
# yaml-language-server: $schema=stack.schema.json
#
# The line above gives editors completion and descriptions, out of the copy of the schema beside this file.
#
#   stackrun validate        every fault of this file at once; run it in CI too
#   stackrun up -d --wait    then: curl http://127.0.0.1:8080
#   stackrun down            -v takes the volume too

name: PROJECT

# What the services have in common; `<<: *confined` takes it over.
x-confined: &confined
  image: host                     # built in: this machine's /usr, read-only. Yours has a fixed version: nginx:1.27.3
  init: true                      # a small process 1, which passes signals on: stopping takes no 10 seconds
  restart: unless-stopped         # again after a crash or a reboot, not after `stackrun stop`
  read_only: true                 # nothing to write to but volumes and tmpfs
  tmpfs: ["/tmp:size=16m"]
  cap_drop: [ALL]                 # cap_add gives back what is really needed
  security_opt: ["no-new-privileges:true"]
  logging:
    driver: json-file
    options: { max-size: 10m, max-file: "3" }     # else a talkative service fills the disk
  deploy:
    resources:
      limits: { cpus: "0.5", memory: 128m, pids: 64 }     # one service cannot take the machine from the others

services:
  web:
    <<: *confined
    command: [python3, -u, /app/web.py]
    user: "65534:65534"           # not root
    environment:
      STORE: http://store:8000    # services find each other by their names
    configs:
      - source: web
        target: /app/web.py
    ports:
      - "127.0.0.1:${WEB_PORT:-8080}:8080"     # this machine alone; without the address, every machine that reaches it
    networks: [front, back]
    depends_on:
      store:
        condition: service_healthy     # a list would only wait until it was started
    healthcheck:
      test: [CMD, python3, -c, "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health')"]
      interval: 10s
      timeout: 3s
      retries: 3
      start_period: 20s           # failures do not count yet
      start_interval: 250ms       # and it is asked often, so that whoever waits is not kept

  store:
    <<: *confined
    command: [python3, -u, /app/store.py]
    # stackrun: ignore[root-user] a new volume belongs to root; without capabilities it can do little else
    user: "0:0"
    configs:
      - source: store
        target: /app/store.py
    volumes:
      - data:/data                # outlives the container
    expose: ["8000"]              # for people and tools: nothing is published
    networks: [back]
    healthcheck:
      test: [CMD, python3, -c, "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/')"]
      interval: 10s
      timeout: 3s
      retries: 3
      start_period: 20s
      start_interval: 250ms

networks:
  front:
  back:
    internal: true                # no way out: what only talks to other services needs none

volumes:
  data:

# Small files can stand here; larger ones are taken from disk with `file: ./web.py`.
configs:
  web:
    content: |
      import http.server, os, urllib.request

      class Page(http.server.BaseHTTPRequestHandler):
          def do_GET(self):
              text = "healthy" if self.path == "/health" else "visit " + self.visit()
              self.send_response(200)
              self.end_headers()
              self.wfile.write((text + "\\n").encode())

          def visit(self):
              with urllib.request.urlopen(os.environ["STORE"] + "/visit", timeout=5) as answer:
                  return answer.read().decode()

      http.server.ThreadingHTTPServer(("", 8080), Page).serve_forever()
  store:
    content: |
      import http.server, pathlib

      COUNT = pathlib.Path("/data/count")

      class Store(http.server.BaseHTTPRequestHandler):
          def do_GET(self):
              count = int(COUNT.read_text()) if COUNT.exists() else 0
              if self.path == "/visit":
                  count += 1
                  COUNT.write_text(str(count))
              self.send_response(200)
              self.end_headers()
              self.wfile.write(str(count).encode())

      http.server.HTTPServer(("", 8000), Store).serve_forever()
"""
