"""Faults of the group ports, one a file."""

from __future__ import annotations

from unit.compose.bad.case import Case

CASES = [
    Case(
        "invalid-port",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    ports:
      - 8000-8010:80-85
""",
    ),
    Case(
        "invalid-port",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["80:99999"]
""",
    ),
    Case(
        "invalid-port",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["90-80"]
""",
    ),
    Case(
        "invalid-port",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["80:80/icmp"]
""",
    ),
    Case(
        "invalid-port",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["a:80"]
""",
    ),
    Case(
        "invalid-address",
        7,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    ports:
      - target: 80
        published: "8080"
        host_ip: localhost
""",
    ),
    Case(
        "invalid-address",
        4,
        35,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: [{target: 80, host_ip: 1.2.3}]
""",
    ),
    Case(
        "invalid-published-port",
        6,
        20,
        """\
services:
  web:
    image: nginx:1.27.3
    ports:
      - target: 80
        published: http
""",
    ),
    Case(
        "invalid-published-port",
        4,
        37,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: [{target: 80, published: "90-80"}]
""",
    ),
    Case(
        "zero-port",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    ports:
      - target: 0
        published: "8080"
""",
    ),
    Case(
        "zero-port",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: [{target: 0}]
""",
    ),
    Case(
        "scaled-host-port",
        5,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    scale: 2
    ports: ["127.0.0.1:8080:80"]
""",
    ),
    Case(
        "scaled-host-port",
        6,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy: {replicas: 3}
    ports:
      - target: 80
        published: "8080"
""",
    ),
    Case(
        "port-clash",
        7,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["8080:80"]
  db:
    image: postgres:17.2
    ports: ["127.0.0.1:8080:5432"]
""",
    ),
    Case(
        "port-clash",
        4,
        22,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["80:80", "80:81"]
""",
    ),
    Case(
        "port-clash",
        9,
        20,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["8000-8002:80-82"]
  db:
    image: postgres:17.2
    ports:
      - target: 1
        published: "8001"
""",
    ),
    Case(
        "port-clash",
        7,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["[::]:90:80"]
  db:
    image: postgres:17.2
    ports: ["90:1"]
""",
    ),
    Case(
        "port-range-clash",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["127.0.0.1:8000-8010:80"]
  db:
    image: postgres:17.2
    ports: ["127.0.0.1:8005:5432"]
""",
    ),
    Case(
        "port-range-clash",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["127.0.0.1:1000-2000:80"]
  db:
    image: postgres:17.2
    ports: ["127.0.0.1:2000-2100:5432"]
""",
    ),
    Case(
        "container-port-twice",
        4,
        34,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["127.0.0.1:8080:80", "127.0.0.1:8081:80"]
""",
    ),
    Case(
        "container-port-twice",
        4,
        22,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["80:80", "127.0.0.1:81:80"]
""",
    ),
    Case(
        "too-few-ports",
        5,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    scale: 3
    ports: ["127.0.0.1:8080-8081:80"]
""",
    ),
    Case(
        "too-few-ports",
        5,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy: {replicas: 4}
    ports: ["90-92:80"]
""",
    ),
    Case(
        "ports-without-effect",
        5,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    network_mode: host
    ports: ["80:80"]
""",
    ),
    Case(
        "ports-without-effect",
        5,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    network_mode: service:db
    ports: ["80:80"]
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "ports-without-effect",
        5,
        5,
        """\
services:
  web:
    image: nginx:1.27.3
    network_mode: none
    ports: ["80:80"]
""",
    ),
    Case(
        "public-port",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    ports:
      - 8080:80
""",
    ),
    Case(
        "public-port",
        6,
        20,
        """\
services:
  web:
    image: nginx:1.27.3
    ports:
      - target: 80
        published: "8080"
""",
    ),
    Case(
        "public-database-port",
        7,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
  db:
    image: postgres:17.2
    ports:
      - 5432:5432
""",
    ),
    Case(
        "public-database-port",
        6,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
  cache:
    image: redis:7.4
    ports: ["0.0.0.0:6380:6379"]
""",
    ),
    Case(
        "public-ssh-port",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    ports:
      - 2222:22
""",
    ),
    Case(
        "public-ssh-port",
        4,
        37,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: [{target: 22, published: "22"}]
""",
    ),
    Case(
        "privileged-port",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    ports:
      - 127.0.0.1:80:80
""",
    ),
    Case(
        "privileged-port",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["127.0.0.1:1023:80"]
""",
    ),
    Case(
        "ephemeral-port",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    ports:
      - 127.0.0.1:40000:80
""",
    ),
    Case(
        "ephemeral-port",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    ports: ["127.0.0.1:32760-32770:80"]
""",
    ),
    Case(
        "invalid-expose",
        5,
        9,
        """\
services:
  web:
    image: nginx:1.27.3
    expose:
      - "8080:80"
""",
    ),
    Case(
        "invalid-expose",
        4,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    expose: [http]
""",
    ),
    Case(
        "invalid-expose",
        4,
        20,
        """\
services:
  web:
    image: nginx:1.27.3
    expose: ["80", "70000"]
""",
    ),
]
