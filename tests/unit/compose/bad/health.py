"""Faults of the group health, one a file."""

from __future__ import annotations

from unit.compose.bad.case import Case

CASES = [
    Case(
        "healthcheck-form",
        5,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck:
      test: ["curl", "-f", "http://localhost/"]
""",
    ),
    Case(
        "healthcheck-form",
        4,
        25,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck: {test: [shell, x]}
""",
    ),
    Case(
        "disabled-healthcheck",
        6,
        20,
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
      disable: true
""",
    ),
    Case(
        "disabled-healthcheck",
        4,
        34,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on: {db: {condition: service_healthy}}
  db:
    image: postgres:17.2
    healthcheck: {test: [NONE]}
""",
    ),
    Case(
        "no-healthcheck",
        6,
        20,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on:
      db:
        condition: service_healthy
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "no-healthcheck",
        4,
        34,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on: {db: {condition: service_healthy}}
  db:
    image: postgres:17.2
    healthcheck: {interval: 5s}
""",
    ),
    Case(
        "unchecked-dependency",
        5,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on: [db]
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "unchecked-dependency",
        5,
        3,
        """\
services:
  a:
    image: nginx:1.27.3
    depends_on: [b]
  b:
    image: redis:7.4
""",
    ),
    Case(
        "timeout-over-interval",
        7,
        16,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck:
      test: ["CMD", "check"]
      interval: 5s
      timeout: 10s
""",
    ),
    Case(
        "timeout-over-interval",
        6,
        16,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck:
      test: ["CMD", "check"]
      timeout: 31s
""",
    ),
    Case(
        "zero-retries",
        6,
        16,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck:
      test: ["CMD", "check"]
      retries: 0
""",
    ),
    Case(
        "zero-retries",
        4,
        37,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck: {test: x, retries: 0}
""",
    ),
    Case(
        "start-interval-without-period",
        6,
        23,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck:
      test: ["CMD", "check"]
      start_interval: 1s
""",
    ),
    Case(
        "start-interval-without-period",
        4,
        44,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck: {test: x, start_interval: 2s, start_period: 0s}
""",
    ),
    Case(
        "start-interval-over-period",
        7,
        23,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck:
      test: ["CMD", "check"]
      start_period: 10s
      start_interval: 30s
""",
    ),
    Case(
        "start-interval-over-period",
        4,
        62,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck: {test: x, start_period: 1s, start_interval: 1m}
""",
    ),
    Case(
        "test-in-pieces",
        5,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck:
      test: ["CMD-SHELL", "curl", "-f", "http://localhost/"]
""",
    ),
    Case(
        "test-in-pieces",
        4,
        25,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck: {test: [CMD-SHELL, pg_isready, -q]}
""",
    ),
    Case(
        "shell-words-without-shell",
        5,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck:
      test: ["CMD", "check", "||", "exit", "1"]
""",
    ),
    Case(
        "shell-words-without-shell",
        4,
        25,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck: {test: [CMD, "pg_isready -U postgres"]}
""",
    ),
    Case(
        "shell-words-without-shell",
        4,
        25,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck: {test: [CMD, a, ">", /dev/null]}
""",
    ),
    Case(
        "healthcheck-cannot-fail",
        5,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck:
      test: check || true
""",
    ),
    Case(
        "healthcheck-cannot-fail",
        4,
        25,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck: {test: "a; exit 0"}
""",
    ),
    Case(
        "healthcheck-cannot-fail",
        4,
        25,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck: {test: [CMD, "true"]}
""",
    ),
    Case(
        "curl-without-fail",
        5,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck:
      test: curl http://localhost/health
""",
    ),
    Case(
        "curl-without-fail",
        4,
        25,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck: {test: [CMD, curl, -s, "http://localhost"]}
""",
    ),
    Case(
        "unknown-probe-port",
        6,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["127.0.0.1:8080:80"]
    healthcheck:
      test: curl -f http://localhost:8080/
""",
    ),
    Case(
        "unknown-probe-port",
        5,
        25,
        """\
services:
  web:
    image: nginx:1.27.3
    expose: ["80"]
    healthcheck: {test: [CMD, nc, -z, "127.0.0.1:81"]}
""",
    ),
]
