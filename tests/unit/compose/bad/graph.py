"""Faults of the group graph, one a file."""

from __future__ import annotations

from unit.compose.bad.case import Case

CASES = [
    Case(
        "cycle",
        4,
        18,
        """\
services:
  a:
    image: nginx:1.27.3
    depends_on: [b]
  b:
    image: nginx:1.27.3
    network_mode: service:a
""",
    ),
    Case(
        "cycle",
        4,
        13,
        """\
services:
  a:
    image: nginx:1.27.3
    links: [b]
  b:
    image: nginx:1.27.3
    volumes_from: [c]
  c:
    image: nginx:1.27.3
    depends_on: [a]
""",
    ),
    Case(
        "self-dependency",
        4,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on: [web]
""",
    ),
    Case(
        "self-dependency",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    links: ["web:me"]
""",
    ),
    Case(
        "completion-of-restarted",
        6,
        20,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on:
      init:
        condition: service_completed_successfully
  init:
    image: nginx:1.27.3
    restart: always
""",
    ),
    Case(
        "completion-of-restarted",
        4,
        36,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on: {init: {condition: service_completed_successfully}}
  init:
    image: nginx:1.27.3
    restart: unless-stopped
""",
    ),
    Case(
        "completion-of-restarted",
        4,
        36,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on: {init: {condition: service_completed_successfully}}
  init:
    image: nginx:1.27.3
    deploy: {restart_policy: {condition: any}}
""",
    ),
    Case(
        "job-not-awaited",
        4,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on: [init]
  init:
    image: nginx:1.27.3
    x-stackrun:
      kind: job
""",
    ),
    Case(
        "job-not-awaited",
        4,
        36,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on: {init: {condition: service_started}}
  init:
    image: nginx:1.27.3
    x-stackrun:
      kind: job
""",
    ),
    Case(
        "restart-of-job",
        7,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on:
      init:
        condition: service_completed_successfully
        restart: true
  init:
    image: nginx:1.27.3
""",
    ),
    Case(
        "restart-of-job",
        4,
        74,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on: {a: {condition: service_completed_successfully, restart: true}}
  a:
    image: nginx:1.27.3
""",
    ),
    Case(
        "slow-start",
        4,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on:
      db:
        condition: service_healthy
  db:
    image: postgres:17.2
    healthcheck:
      test: ["CMD", "true-check"]
      interval: 5m
      retries: 5
""",
    ),
    Case(
        "slow-start",
        4,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on: {db: {condition: service_healthy}}
  db:
    image: postgres:17.2
    healthcheck:
      test: ["CMD", "true-check"]
      start_period: 20m
      retries: 5
""",
    ),
    Case(
        "no-common-network",
        5,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [front]
    depends_on: [db]
  db:
    image: postgres:17.2
    networks: [back]
    expose: ["5432"]
networks:
  front:
  back:
""",
    ),
    Case(
        "no-common-network",
        5,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [front]
    depends_on: {db: {condition: service_started}}
  db:
    image: postgres:17.2
    networks: [back]
    ports: ["127.0.0.1:5433:5432"]
networks:
  front:
  back:
""",
    ),
    Case(
        "unknown-host",
        5,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    environment:
      CACHE_URL: redis://cahce:6379
  cache:
    image: redis:7.4
""",
    ),
    Case(
        "unknown-host",
        5,
        16,
        """\
services:
  web:
    image: nginx:1.27.3
    environment:
      DB_HOST: databse
  database:
    image: nginx:1.27.3
""",
    ),
    Case(
        "unknown-host",
        4,
        19,
        """\
services:
  web:
    image: nginx:1.27.3
    environment: ["API=http://backend:8080/v1"]
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "unknown-host",
        4,
        22,
        """\
services:
  web:
    image: nginx:1.27.3
    command: [serve, "--upstream=http://apii:80"]
  api:
    image: nginx:1.27.3
""",
    ),
    Case(
        "unreachable-host",
        6,
        16,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [front]
    environment:
      DB_HOST: db
  db:
    image: postgres:17.2
    networks: [back]
networks:
  front:
  back:
""",
    ),
    Case(
        "unreachable-host",
        5,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [front]
    command: [x, "postgres://u@db:5432/x"]
  db:
    image: postgres:17.2
    networks: [back]
networks:
  front:
  back:
""",
    ),
    Case(
        "unexposed-port",
        5,
        12,
        """\
services:
  web:
    image: nginx:1.27.3
    environment:
      API: http://api:8080/
  api:
    image: nginx:1.27.3
    ports: ["127.0.0.1:8080:80"]
""",
    ),
    Case(
        "unexposed-port",
        4,
        19,
        """\
services:
  web:
    image: nginx:1.27.3
    environment: ["DB_HOST=db:5433"]
  db:
    image: postgres:17.2
    expose: ["5432"]
""",
    ),
    Case(
        "needed-optional-dependency",
        9,
        19,
        """\
services:
  web:
    image: nginx:1.27.3
    environment:
      DB_HOST: db
    depends_on:
      db:
        condition: service_started
        required: false
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "needed-optional-dependency",
        5,
        61,
        """\
services:
  web:
    image: nginx:1.27.3
    environment: [URL=http://db:80]
    depends_on: {db: {condition: service_started, required: false}}
  db:
    image: postgres:17.2
""",
    ),
]
