"""Faults of the group structure, one a file."""

from __future__ import annotations

from unit.compose.bad.case import Case

CASES = [
    Case(
        "yaml-syntax",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    command: a: b
""",
    ),
    Case(
        "yaml-syntax",
        5,
        1,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: [80:80
""",
    ),
    Case("yaml-encoding", 4, 17, 'services:\n  web:\n    image: nginx:1.27.3\n    hostname: "a\x07"\n'),
    Case("yaml-encoding", 4, 22, "services:\n  web:\n    image: nginx:1.27.3\n    # a comment with \x01 in it\n"),
    Case(
        "duplicate-key",
        5,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["127.0.0.1:80:80"]
    ports: ["127.0.0.1:443:443"]
""",
    ),
    Case(
        "duplicate-key",
        4,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
  web:
    image: nginx:1.27.3
""",
    ),
    Case(
        "duplicate-key",
        4,
        27,
        """\
services:
  web:
    image: nginx:1.27.3
    environment: {A: "1", A: "2"}
""",
    ),
    Case(
        "key-type",
        2,
        3,
        """\
services:
  1:
    image: nginx:1.27.3
""",
    ),
    Case(
        "key-type",
        5,
        7,
        """\
services:
  web:
    image: nginx:1.27.3
    labels:
      true: "1"
""",
    ),
    Case(
        "key-type",
        5,
        7,
        """\
services:
  web:
    image: nginx:1.27.3
    environment:
      1.5: x
""",
    ),
    Case(
        "merge-key",
        4,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    <<: nginx
""",
    ),
    Case(
        "merge-key",
        5,
        11,
        """\
services:
  web:
    image: nginx:1.27.3
    environment:
      <<: 1
""",
    ),
    Case(
        "no-mapping",
        1,
        1,
        """\
- web
- db
""",
    ),
    Case(
        "no-mapping",
        1,
        1,
        """\
just words
""",
    ),
    Case(
        "empty-file",
        1,
        1,
        """\
# nothing here
""",
    ),
    Case(
        "empty-file",
        1,
        1,
        """\

""",
    ),
    Case(
        "unknown-key",
        4,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    enviroment:
      A: "1"
""",
    ),
    Case(
        "unknown-key",
        6,
        7,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck:
      test: "true"
      intervall: 5s
""",
    ),
    Case(
        "unknown-key",
        4,
        1,
        """\
services:
  web:
    image: nginx:1.27.3
volume:
  data:
""",
    ),
    Case(
        "misplaced-key",
        5,
        7,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy:
      restart: always
""",
    ),
    Case(
        "misplaced-key",
        1,
        1,
        """\
web:
  image: nginx:1.27.3
services:
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "misplaced-key",
        4,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    replicas: 2
""",
    ),
    Case(
        "missing-key",
        5,
        11,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on:
      db: {required: false}
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "missing-key",
        6,
        11,
        """\
services:
  web:
    image: nginx:1.27.3
    develop:
      watch:
        - {path: .}
""",
    ),
    Case(
        "wrong-type",
        4,
        12,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: 80
""",
    ),
    Case(
        "wrong-type",
        3,
        12,
        """\
services:
  web:
    image: [nginx]
""",
    ),
    Case(
        "wrong-type",
        4,
        17,
        """\
services:
  web:
    image: nginx:1.27.3
    privileged: [yes]
""",
    ),
    Case(
        "invalid-value",
        4,
        24,
        """\
services:
  web:
    image: nginx:1.27.3
    stop_grace_period: "5"
""",
    ),
    Case(
        "invalid-value",
        4,
        16,
        """\
services:
  web:
    image: nginx:1.27.3
    mem_limit: lots
""",
    ),
    Case(
        "invalid-value",
        5,
        23,
        """\
services:
  web:
    image: nginx:1.27.3
    depends_on:
      db: {condition: healthy}
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "invalid-value",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    cgroup: mine
""",
    ),
    Case(
        "duplicate-item",
        4,
        23,
        """\
services:
  web:
    image: nginx:1.27.3
    group_add: ["33", "33"]
""",
    ),
    Case(
        "duplicate-item",
        4,
        25,
        """\
services:
  web:
    image: nginx:1.27.3
    external_links: [a, a]
""",
    ),
    Case(
        "duplicate-item",
        4,
        46,
        """\
services:
  web:
    image: nginx:1.27.3
    security_opt: ["no-new-privileges:true", "no-new-privileges:true"]
""",
    ),
    Case(
        "short-form",
        5,
        29,
        """\
services:
  web:
    build:
      context: .
      additional_contexts: [base]
""",
    ),
    Case(
        "short-form",
        5,
        13,
        """\
services:
  web:
    build:
      context: .
      ssh: [key]
""",
    ),
    Case(
        "invalid-extra-host",
        4,
        19,
        """\
services:
  web:
    image: nginx:1.27.3
    extra_hosts: [database]
""",
    ),
    Case(
        "invalid-extra-host",
        6,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    extra_hosts:
      - "a=192.0.2.1"
      - b
""",
    ),
    Case(
        "unclosed-quote",
        4,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    command: 'nginx -g "daemon off;'
""",
    ),
    Case(
        "unclosed-quote",
        4,
        17,
        """\
services:
  web:
    image: nginx:1.27.3
    entrypoint: "sh -c 'echo a"
""",
    ),
    Case(
        "merge-conflict",
        9,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    healthcheck:
      test: ["NONE"]
---
services:
  web:
    healthcheck: none
""",
    ),
    Case(
        "merge-conflict",
        8,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy: {replicas: 1}
---
services:
  web:
    deploy: none
""",
    ),
    Case(
        "external-name",
        8,
        7,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [back]
networks:
  back:
    external:
      name: shared
""",
    ),
    Case(
        "external-name",
        6,
        21,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes: ["data:/data"]
volumes:
  data: {external: {name: x}}
""",
    ),
    Case(
        "obsolete-version",
        1,
        1,
        """\
version: "3.8"
services:
  web:
    image: nginx:1.27.3
""",
    ),
    Case(
        "obsolete-version",
        4,
        1,
        """\
services:
  web:
    image: nginx:1.27.3
version: "2"
""",
    ),
    Case(
        "command-dropped",
        4,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    command: "migrate; serve"
""",
    ),
    Case(
        "command-dropped",
        4,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    command: serve | tee log
""",
    ),
    Case(
        "invalid-on-change",
        10,
        17,
        """\
services:
  web:
    image: nginx:1.27.3
    configs: [site]
configs:
  site:
    content: x
    x-stackrun:
      on_change:
        signal: HUPP
""",
    ),
    Case(
        "invalid-on-change",
        9,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    configs: [site]
configs:
  site:
    content: x
    x-stackrun:
      on_change: {signal: HUP, exec: [a]}
""",
    ),
    Case(
        "invalid-on-change",
        9,
        25,
        """\
services:
  web:
    image: nginx:1.27.3
    configs: [site]
configs:
  site:
    content: x
    x-stackrun:
      on_change: {exec: []}
""",
    ),
    Case(
        "yaml-boolean",
        4,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    restart: no
""",
    ),
    Case(
        "yaml-boolean",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    x-mode: on
""",
    ),
    Case(
        "yaml-boolean",
        4,
        17,
        """\
services:
  web:
    image: nginx:1.27.3
    x-list: [a, yes]
""",
    ),
    Case(
        "yaml-number",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    ports:
      - 53:53
""",
    ),
    Case(
        "yaml-number",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    x-time: 22:30
""",
    ),
    Case(
        "unused-anchor",
        2,
        8,
        """\
services:
  web: &base
    image: nginx:1.27.3
""",
    ),
    Case(
        "unused-anchor",
        4,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    environment: &env
      A: "1"
""",
    ),
    Case(
        "empty-section",
        4,
        1,
        """\
services:
  web:
    image: nginx:1.27.3
volumes: {}
""",
    ),
    Case(
        "empty-section",
        4,
        1,
        """\
services:
  web:
    image: nginx:1.27.3
secrets: {}
""",
    ),
]
