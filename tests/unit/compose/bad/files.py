"""Faults of the group files, one a file."""

from __future__ import annotations

from unit.compose.bad.case import Case

CASES = [
    Case(
        "missing-file",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    env_file: app.env
""",
    ),
    Case(
        "missing-file",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    env_file:
      - one.env
""",
    ),
    Case(
        "missing-file",
        2,
        5,
        """\
include:
  - more.yaml
services:
  web:
    image: nginx:1.27.3
""",
    ),
    Case(
        "unreadable-file",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    env_file: .
""",
    ),
    Case(
        "unreadable-file",
        2,
        5,
        """\
include:
  - .
services:
  web:
    image: nginx:1.27.3
""",
    ),
    Case(
        "remote-file",
        2,
        5,
        """\
include:
  - https://example.org/stack.yaml
services:
  web:
    image: nginx:1.27.3
""",
    ),
    Case(
        "remote-file",
        3,
        14,
        """\
services:
  web:
    extends: {file: "https://example.org/a.yaml", service: a}
""",
    ),
    Case(
        "env-file",
        2,
        1,
        """\
services:
  web:
    image: nginx:1.27.3
    env_file: app.env
""",
        files={"app.env": "A=1\n=2\n"},
        path="app.env",
    ),
    Case(
        "env-file",
        1,
        4,
        """\
services:
  web:
    image: nginx:1.27.3
    env_file: app.env
""",
        files={"app.env": "two words=1\n"},
        path="app.env",
    ),
    Case(
        "env-file-format",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    env_file:
      - {path: app.env, format: json}
""",
        files={"app.env": "A=1\n"},
    ),
    Case(
        "env-file-format",
        4,
        16,
        """\
services:
  web:
    image: nginx:1.27.3
    env_file: [{path: a, format: yaml}]
""",
        files={"a": "A=1\n"},
    ),
    Case(
        "include-cycle",
        1,
        11,
        """\
include: [more.yaml]
services:
  web:
    image: nginx:1.27.3
""",
        files={"more.yaml": "include: [stack.yaml]\nservices:\n  db:\n    image: postgres:17.2\n"},
        path="more.yaml",
    ),
    Case(
        "include-cycle",
        1,
        11,
        """\
include: [stack.yaml]
services:
  web:
    image: nginx:1.27.3
""",
    ),
    Case(
        "include-conflict",
        3,
        3,
        """\
include: [more.yaml]
services:
  web:
    image: nginx:1.27.3
""",
        files={"more.yaml": "services:\n  web:\n    image: caddy:2.8\n"},
    ),
    Case(
        "include-conflict",
        7,
        3,
        """\
include: [m.yaml]
services:
  web:
    image: nginx:1.27.3
    volumes: ["data:/d"]
volumes:
  data: {name: one}
""",
        files={"m.yaml": 'services:\n  db:\n    image: postgres:17.2\n    volumes: ["data:/d"]\nvolumes:\n  data: {name: two}\n'},
    ),
    Case(
        "extends-cycle",
        4,
        14,
        """\
services:
  a:
    image: nginx:1.27.3
    extends: b
  b:
    image: nginx:1.27.3
    extends: a
""",
    ),
    Case(
        "extends-cycle",
        4,
        14,
        """\
services:
  a:
    image: nginx:1.27.3
    extends: a
""",
    ),
    Case(
        "undefined-base",
        3,
        14,
        """\
services:
  web:
    extends: bse
  base:
    image: nginx:1.27.3
""",
    ),
    Case(
        "undefined-base",
        3,
        14,
        """\
services:
  web:
    extends: {file: m.yaml, service: base}
""",
        files={"m.yaml": "services:\n  other:\n    image: x\n"},
    ),
    Case(
        "missing-context",
        3,
        12,
        """\
services:
  web:
    build: ./app
""",
    ),
    Case(
        "missing-context",
        4,
        16,
        """\
services:
  web:
    build:
      context: gone
""",
    ),
    Case(
        "missing-dockerfile",
        5,
        19,
        """\
services:
  web:
    build:
      context: .
      dockerfile: Dockerfile.prod
""",
    ),
    Case(
        "missing-dockerfile",
        3,
        12,
        """\
services:
  web:
    build: .
""",
    ),
    Case(
        "bad-dockerfile",
        2,
        1,
        """\
services:
  web:
    build: .
  api:
    build: .
""",
        files={"Dockerfile": "FROM busybox:1.37\nCOPPY a b\n"},
        path="Dockerfile",
    ),
    Case(
        "bad-dockerfile",
        8,
        1,
        """\
services:
  web:
    build:
      context: .
      dockerfile_inline: |
        FROM busybox:1.37

        CMD ["a", 1]
""",
    ),
    Case(
        "bad-dockerfile",
        3,
        44,
        """\
services:
  web:
    build: {context: ., dockerfile_inline: 'RUN true'}
""",
    ),
    Case(
        "bad-dockerfile",
        0,
        0,
        """\
services:
  web:
    build: {context: web, target: prod}
""",
        files={"web/Dockerfile": "# nothing yet\n"},
        path="web/Dockerfile",
    ),
    Case(
        "undefined-stage",
        5,
        15,
        """\
services:
  web:
    build:
      context: .
      target: prod
""",
        files={"Dockerfile": "FROM busybox:1.37 AS production\n"},
    ),
    Case(
        "undefined-stage",
        3,
        33,
        """\
services:
  web:
    build: {context: ., target: x}
""",
        files={"Dockerfile": "FROM busybox:1.37\n"},
    ),
    Case(
        "missing-secret-file",
        7,
        11,
        """\
services:
  web:
    image: nginx:1.27.3
    secrets: [token]
secrets:
  token:
    file: ./token.txt
""",
    ),
    Case(
        "missing-secret-file",
        6,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    secrets: [a]
secrets:
  a: {file: secrets/a}
""",
    ),
    Case(
        "missing-config-file",
        7,
        11,
        """\
services:
  web:
    image: nginx:1.27.3
    configs: [site]
configs:
  site:
    file: ./site.conf
""",
    ),
    Case(
        "missing-config-file",
        6,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    configs: [a]
configs:
  a: {file: conf/a}
""",
    ),
    Case(
        "unset-source",
        7,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    secrets: [token]
secrets:
  token:
    environment: TOKEN
""",
    ),
    Case(
        "unset-source",
        6,
        20,
        """\
services:
  web:
    image: nginx:1.27.3
    configs: [a]
configs:
  a: {environment: NOT_SET}
""",
    ),
    Case(
        "decimal-mode",
        6,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    secrets:
      - source: token
        mode: 440
secrets:
  token:
    environment: HOME
""",
    ),
    Case(
        "decimal-mode",
        4,
        33,
        """\
services:
  web:
    image: nginx:1.27.3
    configs: [{source: c, mode: 755}]
configs:
  c: {content: x}
""",
    ),
    Case(
        "decimal-mode",
        7,
        33,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes:
      - type: tmpfs
        target: /t
        tmpfs: {size: 1m, mode: 1777}
""",
    ),
]
