"""Faults of the group support, one a file."""

from __future__ import annotations

from unit.compose.bad.case import Case

CASES = [
    Case(
        "unsupported",
        4,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    gpus: all
""",
    ),
    Case(
        "unsupported",
        5,
        7,
        """\
services:
  web:
    image: nginx:1.27.3
    logging:
      driver: syslog
""",
    ),
    Case(
        "unsupported",
        4,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    userns_mode: remap
""",
    ),
    Case(
        "unsupported",
        7,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [n]
networks:
  n:
    driver: macvlan
""",
    ),
    Case(
        "no-effect",
        4,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    mem_swappiness: 10
""",
    ),
    Case(
        "no-effect",
        5,
        7,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy:
      rollback_config: {parallelism: 1}
""",
    ),
    Case(
        "no-effect",
        4,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    pull_policy: daily
""",
    ),
    Case(
        "foreign-platform",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    platform: linux/s390x
""",
    ),
    Case(
        "foreign-platform",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    platform: linux/ppc64le
""",
    ),
    Case(
        "incomplete-device",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    devices:
      - source: /dev/null
""",
    ),
    Case(
        "incomplete-device",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    devices: [{source: /dev/null}]
""",
    ),
    Case(
        "invalid-device",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    devices:
      - /dev/null:/dev/null:rw:x
""",
    ),
    Case(
        "invalid-device",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    devices: ["a:b:c:d"]
""",
    ),
    Case(
        "relative-mount-target",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes:
      - data:site
volumes:
  data:
""",
    ),
    Case(
        "relative-mount-target",
        5,
        41,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes:
      - {type: bind, source: ., target: a/b}
""",
    ),
    Case(
        "invalid-mount",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes:
      - ./site::ro
""",
    ),
    Case(
        "invalid-mount",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes: [":/d"]
""",
    ),
    Case(
        "invalid-mount",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes: [""]
""",
    ),
]
