"""What is wrong with variables, one fault a file."""

from __future__ import annotations

from unit.compose.bad.case import Case

_WEB = """\
services:
  web:
    image: nginx:1.27.3
"""

CASES = [
    Case(
        "unset-variable",
        5,
        12,
        _WEB
        + """\
    environment:
      LOG: $LOG
""",
    ),
    Case(
        "unset-variable",
        5,
        9,
        _WEB
        + """\
    labels:
      - "owner=${OWNER}"
""",
    ),
    Case("unset-variable", 4, 14, _WEB + "    command: echo ${A:+$B}\n", environment={"A": "1"}),
    Case(
        "missing-variable",
        5,
        12,
        _WEB
        + """\
    environment:
      KEY: ${KEY:?ask for it}
""",
    ),
    Case(
        "missing-variable",
        5,
        9,
        _WEB
        + """\
    environment:
      - KEY=${KEY?}
""",
    ),
    Case(
        "interpolation",
        5,
        12,
        _WEB
        + """\
    environment:
      KEY: "${1}"
""",
    ),
    Case("interpolation", 4, 14, _WEB + "    command: echo ${KEY\n"),
    Case(
        "eaten-dollar",
        5,
        13,
        _WEB
        + """\
    environment:
      HASH: admin:$2y$05$abcdefghijk
""",
    ),
    Case("eaten-dollar", 4, 14, _WEB + '    command: sh -c "for i in 1 2; do echo $i; done"\n'),
    Case(
        "eaten-dollar",
        7,
        27,
        _WEB
        + """\
    environment:
      DB_USER: shop
    healthcheck:
      test: ["CMD-SHELL", "pg_isready -U $DB_USER"]
""",
    ),
    Case(
        "eaten-dollar",
        5,
        9,
        _WEB
        + """\
    labels:
      - auth=me:$apr1$abcdefgh$xyz
""",
    ),
    Case("variable-of-caller", 4, 14, _WEB + '    command: sh -c "ls $HOME"\n', environment={"HOME": "/root"}),
    Case(
        "variable-of-caller",
        5,
        13,
        _WEB
        + """\
    environment:
      PATH: /opt/bin:${PATH}
""",
        environment={"PATH": "/bin:/usr/bin"},
    ),
    Case(
        "path-from-unset-variable",
        5,
        9,
        _WEB
        + """\
    volumes:
      - ${DATA}/html:/html
""",
    ),
    Case(
        "path-from-unset-variable",
        6,
        17,
        _WEB
        + """\
    volumes:
      - type: bind
        source: $DATA/html
        target: /html
""",
    ),
    Case(
        "different-defaults",
        6,
        11,
        _WEB
        + """\
    environment:
      A: ${PORT:-80}
      B: x${PORT:-81}
""",
    ),
    Case(
        "different-defaults",
        6,
        11,
        _WEB
        + """\
    environment:
      - A=${LOG-info}
      - B=${LOG:-debug}
""",
    ),
    Case(
        "unused-variable",
        1,
        1,
        _WEB
        + """\
    environment:
      LOG: ${LOG_LEVEL:-info}
""",
        files={".env": "LOGLEVEL=debug\n"},
        path=".env",
    ),
    Case(
        "unused-variable",
        3,
        8,
        _WEB
        + """\
    environment:
      LOG: ${LOG:-info}
""",
        files={".env": "LOG=debug\n# more\nexport PORT=80\n"},
        path=".env",
    ),
    Case(
        "env-file-twice",
        6,
        9,
        _WEB
        + """\
    env_file:
      - web.env
      - ./web.env
""",
        files={"web.env": "A=1\n"},
    ),
    Case(
        "env-file-twice",
        7,
        9,
        _WEB
        + """\
    env_file:
      - "a.env"
      - b.env
      - "a.env"
""",
        files={"a.env": "A=1\n", "b.env": "B=1\n"},
    ),
    Case(
        "overridden-variable",
        6,
        12,
        _WEB
        + """\
    env_file: web.env
    environment:
      LOG: info
""",
        files={"web.env": "LOG=debug\n"},
    ),
    Case(
        "overridden-variable",
        6,
        9,
        _WEB
        + """\
    env_file: [web.env]
    environment:
      - LOG=info
""",
        files={"web.env": "LOG=debug\n"},
    ),
    Case(
        "duplicate-variable",
        6,
        9,
        _WEB
        + """\
    environment:
      - A=1
      - A=2
""",
    ),
    Case(
        "duplicate-variable",
        8,
        9,
        _WEB
        + """\
    environment:
      - "A=1"
      - B=1

      - "A=2"
""",
    ),
    Case(
        "quotes-in-value",
        5,
        9,
        _WEB
        + """\
    environment:
      - TITLE="My shop"
""",
    ),
    Case(
        "quotes-in-value",
        6,
        9,
        _WEB
        + """\
    environment:
      - A=1
      - TITLE='shop'
""",
    ),
    Case(
        "space-in-variable",
        5,
        9,
        _WEB
        + """\
    environment:
      - LOG = info
""",
    ),
    Case(
        "space-in-variable",
        5,
        9,
        _WEB
        + """\
    environment:
      - "LOG= info"
""",
    ),
    Case(
        "variable-name",
        5,
        9,
        _WEB
        + """\
    environment:
      - "LOG: info"
""",
    ),
    Case(
        "variable-name",
        5,
        13,
        _WEB
        + """\
    environment:
      1LOG: info
""",
    ),
    Case(
        "variable-without-value",
        5,
        7,
        _WEB
        + """\
    environment:
      LICENCE:
""",
    ),
    Case(
        "variable-without-value",
        6,
        9,
        _WEB
        + """\
    environment:
      - A=1
      - LICENCE
""",
    ),
    Case(
        "path-without-system",
        5,
        13,
        _WEB
        + """\
    environment:
      PATH: /opt/bin
""",
    ),
    Case(
        "path-without-system",
        5,
        9,
        _WEB
        + """\
    environment:
      - PATH=/opt/bin:/usr/local/bin
""",
    ),
    Case(
        "changed-value",
        5,
        14,
        _WEB
        + """\
    environment:
      VALUE: 0755
""",
    ),
    Case(
        "changed-value",
        5,
        14,
        _WEB
        + """\
    environment:
      VALUE: 1_000
""",
    ),
    Case(
        "changed-value",
        5,
        14,
        _WEB
        + """\
    environment:
      VALUE: 1.10
""",
    ),
    Case(
        "changed-value",
        5,
        14,
        _WEB
        + """\
    environment:
      VALUE: 1e3
""",
    ),
    Case(
        "changed-value",
        5,
        14,
        _WEB
        + """\
    environment:
      VALUE: 0x1F
""",
    ),
    Case(
        "changed-value",
        5,
        14,
        _WEB
        + """\
    environment:
      VALUE: True
""",
    ),
    Case(
        "changed-value",
        5,
        16,
        _WEB
        + """\
    labels:
      version: 2.0  # the second
""",
    ),
    Case(
        "ambiguous-value",
        5,
        14,
        _WEB
        + """\
    environment:
      VALUE: yes
""",
    ),
    Case(
        "ambiguous-value",
        5,
        14,
        _WEB
        + """\
    environment:
      VALUE: off
""",
    ),
    Case(
        "ambiguous-value",
        5,
        14,
        _WEB
        + """\
    environment:
      VALUE: 12:30:45
""",
    ),
    Case(
        "ambiguous-value",
        5,
        14,
        _WEB
        + """\
    labels:
      debug: Off  # not now
""",
    ),
]
