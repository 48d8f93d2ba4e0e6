"""Faults of the group references, one a file."""

from __future__ import annotations

from unit.compose.bad.case import Case

CASES = [
    Case(
        "undefined-service",
        4,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on: [databas]
  database:
    image: nginx:1.27.3
""",
    ),
    Case(
        "undefined-service",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    links: ["gone:db"]
""",
    ),
    Case(
        "undefined-service",
        4,
        19,
        """\
services:
  web:
    image: nginx:1.27.3
    network_mode: service:gone
""",
    ),
    Case(
        "undefined-service",
        4,
        20,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes_from: ["gone:ro"]
""",
    ),
    Case(
        "undefined-service",
        4,
        10,
        """\
services:
  web:
    image: nginx:1.27.3
    ipc: service:gone
""",
    ),
    Case(
        "undefined-service",
        4,
        10,
        """\
services:
  web:
    image: nginx:1.27.3
    pid: service:gone
""",
    ),
    Case(
        "undefined-service",
        6,
        15,
        """\
services:
  web:
    build:
      context: .
      additional_contexts:
        base: service:gone
""",
    ),
    Case(
        "undefined-network",
        4,
        16,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [back]
networks:
  backend:
""",
    ),
    Case(
        "undefined-network",
        5,
        7,
        """\
services:
  web:
    image: nginx:1.27.3
    networks:
      gone:
        aliases: [a]
""",
    ),
    Case(
        "undefined-volume",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes:
      - data:/data
""",
    ),
    Case(
        "undefined-volume",
        6,
        17,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes:
      - type: volume
        source: data
        target: /data
""",
    ),
    Case(
        "undefined-secret",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    secrets: [token]
""",
    ),
    Case(
        "undefined-secret",
        5,
        17,
        """\
services:
  web:
    image: nginx:1.27.3
    secrets:
      - source: gone
""",
    ),
    Case(
        "undefined-secret",
        5,
        17,
        """\
services:
  web:
    build:
      context: .
      secrets: [gone]
""",
    ),
    Case(
        "undefined-config",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    configs: [site]
""",
    ),
    Case(
        "undefined-config",
        5,
        17,
        """\
services:
  web:
    image: nginx:1.27.3
    configs:
      - source: gone
        target: /x
""",
    ),
    Case(
        "disabled-service",
        4,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on: [debug]
  debug:
    image: nginx:1.27.3
    profiles: [dev]
""",
    ),
    Case(
        "disabled-service",
        5,
        7,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on:
      db: {condition: service_started}
  db:
    image: postgres:17.2
    profiles: [x, y]
""",
    ),
    Case(
        "no-source",
        6,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
    secrets: [token]
secrets:
  token: {}
""",
    ),
    Case(
        "no-source",
        6,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
    configs: [a]
configs:
  a: {name: b}
""",
    ),
    Case(
        "several-sources",
        8,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    configs: [site]
configs:
  site:
    environment: HOME
    content: x
""",
    ),
    Case(
        "several-sources",
        8,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    secrets: [a]
secrets:
  a:
    file: stack.yaml
    environment: HOME
""",
    ),
    Case(
        "external-volume-options",
        8,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes: ["data:/data"]
volumes:
  data:
    external: true
    driver: local
""",
    ),
    Case(
        "external-volume-options",
        6,
        26,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes: ["data:/d"]
volumes:
  data: {external: true, labels: {a: b}}
""",
    ),
    Case(
        "network-mode-conflict",
        5,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    network_mode: host
    networks: [default]
""",
    ),
    Case(
        "network-mode-conflict",
        4,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [default]
    network_mode: none
""",
    ),
    Case(
        "dockerfile-conflict",
        6,
        7,
        """\
services:
  web:
    build:
      context: .
      dockerfile: Dockerfile
      dockerfile_inline: FROM busybox:1.37
""",
    ),
    Case(
        "dockerfile-conflict",
        4,
        7,
        """\
services:
  web:
    build:
      dockerfile_inline: FROM x
      dockerfile: other
""",
    ),
    Case(
        "context-not-built",
        6,
        15,
        """\
services:
  web:
    build:
      context: .
      additional_contexts:
        base: service:db
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "context-not-built",
        3,
        47,
        """\
services:
  web:
    build: {context: ., additional_contexts: ["b=service:db"]}
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "platform-conflict",
        6,
        18,
        """\
services:
  web:
    platform: linux/amd64
    build:
      context: .
      platforms: [linux/arm64]
""",
    ),
    Case(
        "platform-conflict",
        4,
        36,
        """\
services:
  web:
    platform: linux/amd64
    build: {context: ., platforms: ["linux/386"]}
""",
    ),
    Case(
        "mount-without-target",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes:
      - {type: bind, source: .}
""",
    ),
    Case(
        "mount-without-target",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes:
      - type: volume
        source: data
volumes:
  data:
""",
    ),
    Case(
        "bind-without-source",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes:
      - {type: bind, target: /site}
""",
    ),
    Case(
        "bind-without-source",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes:
      - type: bind
        target: /a
""",
    ),
    Case(
        "mount-conflict",
        6,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    tmpfs: [/run]
    volumes:
      - data:/run
volumes:
  data:
""",
    ),
    Case(
        "mount-conflict",
        5,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    tmpfs: ["/a:size=1m"]
    volumes: ["./b:/a"]
""",
    ),
    Case(
        "watch-without-path",
        7,
        17,
        """\
services:
  web:
    image: nginx:1.27.3
    develop:
      watch:
        - action: rebuild
          path: ""
""",
    ),
    Case(
        "watch-without-path",
        4,
        47,
        """\
services:
  web:
    image: nginx:1.27.3
    develop: {watch: [{action: restart, path: ""}]}
""",
    ),
    Case(
        "watch-without-target",
        6,
        11,
        """\
services:
  web:
    image: nginx:1.27.3
    develop:
      watch:
        - action: sync
          path: .
""",
    ),
    Case(
        "watch-without-target",
        4,
        23,
        """\
services:
  web:
    image: nginx:1.27.3
    develop: {watch: [{action: sync+restart, path: .}]}
""",
    ),
    Case(
        "unused-network",
        5,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
networks:
  back:
""",
    ),
    Case(
        "unused-network",
        7,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [a]
networks:
  a:
  b: {internal: true}
""",
    ),
    Case(
        "unused-volume",
        6,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes: ["./data:/data"]
volumes:
  data:
""",
    ),
    Case(
        "unused-volume",
        5,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
volumes:
  b:
""",
    ),
    Case(
        "unused-secret",
        5,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
secrets:
  token:
    environment: HOME
""",
    ),
    Case(
        "unused-secret",
        7,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
    secrets: [a]
secrets:
  a: {environment: HOME}
  b: {environment: HOME}
""",
    ),
    Case(
        "unused-config",
        5,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
configs:
  site:
    content: x
""",
    ),
    Case(
        "unused-config",
        7,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
    configs: [a]
configs:
  a: {content: x}
  b: {content: x}
""",
    ),
    Case(
        "undefined-when-enabled",
        5,
        16,
        """\
services:
  web:
    image: nginx:1.27.3
    profiles: [dev]
    networks: [back]
""",
    ),
    Case(
        "undefined-when-enabled",
        5,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    profiles: [dev]
    depends_on: [gone]
""",
    ),
    Case(
        "undefined-when-enabled",
        7,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
  debug:
    image: nginx:1.27.3
    profiles: [x]
    volumes: ["data:/d"]
""",
    ),
    Case(
        "undefined-when-enabled",
        7,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
  debug:
    image: nginx:1.27.3
    profiles: [x]
    links: [gone]
""",
    ),
    Case(
        "dependency-of-other-profile",
        5,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    profiles: [dev, test]
    depends_on: [db]
  db:
    image: postgres:17.2
    profiles: [dev]
""",
    ),
    Case(
        "dependency-of-other-profile",
        5,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    profiles: [a]
    depends_on: [db]
  db:
    image: postgres:17.2
    profiles: [b]
""",
    ),
]
