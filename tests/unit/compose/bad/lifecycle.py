"""Faults of the group lifecycle, one a file."""

from __future__ import annotations

from unit.compose.bad.case import Case

CASES = [
    Case(
        "limits-conflict",
        4,
        16,
        """\
services:
  web:
    image: nginx:1.27.3
    mem_limit: 1g
    deploy:
      resources:
        limits:
          memory: 2g
""",
    ),
    Case(
        "limits-conflict",
        4,
        11,
        """\
services:
  web:
    image: nginx:1.27.3
    cpus: 2
    deploy: {resources: {limits: {memory: 2g}}}
""",
    ),
    Case(
        "limits-conflict",
        4,
        17,
        """\
services:
  web:
    image: nginx:1.27.3
    pids_limit: 5
    deploy: {resources: {limits: {pids: 6}}}
""",
    ),
    Case(
        "invalid-restart-policy",
        4,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    restart: sometimes
""",
    ),
    Case(
        "invalid-restart-policy",
        4,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    restart: "on-failure:often"
""",
    ),
    Case(
        "invalid-restart-policy",
        4,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    restart: never
""",
    ),
    Case(
        "job-always-restarted",
        6,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    x-stackrun:
      kind: job
    restart: always
""",
    ),
    Case(
        "job-always-restarted",
        5,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    x-stackrun: {kind: job}
    restart: unless-stopped
""",
    ),
    Case(
        "no-restart-policy",
        2,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["127.0.0.1:8080:80"]
""",
    ),
    Case(
        "no-restart-policy",
        2,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck: {test: x}
""",
    ),
    Case(
        "restart-policies-differ",
        4,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    restart: always
    deploy:
      restart_policy:
        condition: on-failure
""",
    ),
    Case(
        "restart-policies-differ",
        4,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    restart: "no"
    deploy: {restart_policy: {condition: any}}
""",
    ),
    Case(
        "shell-as-first-process",
        4,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    command: ["sh", "-c", "migrate && serve"]
""",
    ),
    Case(
        "shell-as-first-process",
        4,
        17,
        """\
services:
  web:
    image: nginx:1.27.3
    entrypoint: ["/bin/bash", "-ec", "migrate; serve"]
""",
    ),
    Case(
        "unknown-stop-signal",
        4,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    stop_signal: SIGQIT
""",
    ),
    Case(
        "unknown-stop-signal",
        4,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    stop_signal: STOPIT
""",
    ),
    Case(
        "killing-stop-signal",
        4,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    stop_signal: SIGKILL
""",
    ),
    Case(
        "killing-stop-signal",
        4,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    stop_signal: "9"
""",
    ),
    Case(
        "no-time-to-stop",
        4,
        24,
        """\
services:
  web:
    image: nginx:1.27.3
    stop_grace_period: 0s
""",
    ),
    Case(
        "no-time-to-stop",
        4,
        24,
        """\
services:
  web:
    image: nginx:1.27.3
    stop_grace_period: 0ms
""",
    ),
    Case(
        "long-time-to-stop",
        4,
        24,
        """\
services:
  web:
    image: nginx:1.27.3
    stop_grace_period: 10m
""",
    ),
    Case(
        "long-time-to-stop",
        4,
        24,
        """\
services:
  web:
    image: nginx:1.27.3
    stop_grace_period: 1h
""",
    ),
    Case(
        "reservation-over-limit",
        9,
        19,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy:
      resources:
        limits:
          memory: 256m
        reservations:
          memory: 512m
""",
    ),
    Case(
        "reservation-over-limit",
        5,
        22,
        """\
services:
  web:
    image: nginx:1.27.3
    mem_limit: 10m
    mem_reservation: 20m
""",
    ),
    Case(
        "cpus-over-limit",
        9,
        17,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy:
      resources:
        limits:
          cpus: "0.5"
        reservations:
          cpus: "2"
""",
    ),
    Case(
        "cpus-over-limit",
        7,
        30,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy:
      resources:
        limits: {cpus: "1"}
        reservations: {cpus: "1.5"}
""",
    ),
    Case(
        "too-little-memory",
        4,
        16,
        """\
services:
  web:
    image: nginx:1.27.3
    mem_limit: 512
""",
    ),
    Case(
        "too-little-memory",
        6,
        26,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy:
      resources:
        limits: {memory: 5m}
""",
    ),
    Case(
        "swap-below-memory",
        5,
        20,
        """\
services:
  web:
    image: nginx:1.27.3
    mem_limit: 1g
    memswap_limit: 512m
""",
    ),
    Case(
        "swap-below-memory",
        4,
        20,
        """\
services:
  web:
    image: nginx:1.27.3
    memswap_limit: 1g
""",
    ),
    Case(
        "start-first-on-host-network",
        7,
        16,
        """\
services:
  web:
    image: nginx:1.27.3
    network_mode: host
    deploy:
      update_config:
        order: start-first
""",
    ),
    Case(
        "start-first-on-host-network",
        5,
        37,
        """\
services:
  web:
    image: nginx:1.27.3
    network_mode: host
    deploy: {update_config: {order: start-first}}
""",
    ),
    Case(
        "update-without-healthcheck",
        5,
        7,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy:
      update_config:
        parallelism: 1
""",
    ),
    Case(
        "update-without-healthcheck",
        4,
        27,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy: {replicas: 2, update_config: {order: stop-first}}
""",
    ),
    Case(
        "links",
        4,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    links: [db]
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "links",
        4,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    links: ["db:database"]
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "watched-path-missing",
        7,
        17,
        """\
services:
  web:
    image: nginx:1.27.3
    develop:
      watch:
        - action: sync
          path: ./src
          target: /src
""",
    ),
    Case(
        "watched-path-missing",
        4,
        47,
        """\
services:
  web:
    image: nginx:1.27.3
    develop: {watch: [{action: restart, path: conf/x}]}
""",
    ),
    Case(
        "watched-outside-context",
        7,
        17,
        """\
services:
  web:
    build: ./app
    develop:
      watch:
        - action: rebuild
          path: ./shared
""",
        files={"app/Dockerfile": "FROM busybox:1.37\n", "shared/x": "1\n"},
    ),
    Case(
        "watched-outside-context",
        4,
        47,
        """\
services:
  web:
    build: ./app
    develop: {watch: [{action: rebuild, path: .}]}
""",
        files={"app/Dockerfile": "FROM busybox:1.37\n", "shared/x": "1\n"},
    ),
    Case(
        "watched-and-mounted",
        9,
        19,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes: ["./:/src"]
    develop:
      watch:
        - action: sync
          path: .
          target: /src
""",
    ),
    Case(
        "watched-and-mounted",
        5,
        63,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes: [".:/a"]
    develop: {watch: [{action: sync+restart, path: ., target: /a}]}
""",
    ),
]
