"""Faults of the group names, one a file."""

from __future__ import annotations

from unit.compose.bad.case import Case

CASES = [
    Case(
        "duplicate-container-name",
        7,
        21,
        """\
services:
  web:
    image: nginx:1.27.3
    container_name: app
  db:
    image: postgres:17.2
    container_name: app
""",
    ),
    Case(
        "duplicate-container-name",
        10,
        21,
        """\
services:
  web:
    image: nginx:1.27.3
    container_name: x1
  a:
    image: nginx:1.27.3
    container_name: x2
  b:
    image: nginx:1.27.3
    container_name: x1
""",
    ),
    Case(
        "scaled-container-name",
        5,
        21,
        """\
services:
  web:
    image: nginx:1.27.3
    scale: 2
    container_name: app
""",
    ),
    Case(
        "scaled-container-name",
        5,
        21,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy: {replicas: 2}
    container_name: a1
""",
    ),
    Case(
        "scale-conflict",
        4,
        12,
        """\
services:
  web:
    image: nginx:1.27.3
    scale: 2
    deploy:
      replicas: 3
""",
    ),
    Case(
        "scale-conflict",
        5,
        12,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy: {replicas: 1}
    scale: 2
""",
    ),
    Case(
        "negative-scale",
        4,
        12,
        """\
services:
  web:
    image: nginx:1.27.3
    scale: -1
""",
    ),
    Case(
        "negative-scale",
        4,
        13,
        """\
services:
  web:
    image: nginx:1.27.3
    deploy: {replicas: -2}
""",
    ),
    Case(
        "invalid-subnet",
        8,
        19,
        """\
services:
  web:
    image: nginx:1.27.3
networks:
  default:
    ipam:
      config:
        - subnet: 172.30.0.0-172.30.0.255
""",
    ),
    Case(
        "invalid-subnet",
        6,
        32,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [n]
networks:
  n: {ipam: {config: [{subnet: 10.0.0.0/33}]}}
""",
    ),
    Case(
        "invalid-hostname",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    hostname: web_server
""",
    ),
    Case(
        "invalid-hostname",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    hostname: -web
""",
    ),
    Case(
        "invalid-hostname",
        4,
        17,
        """\
services:
  web:
    image: nginx:1.27.3
    domainname: a..b
""",
    ),
    Case(
        "long-name",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    hostname: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
""",
    ),
    Case(
        "long-name",
        5,
        27,
        """\
services:
  web:
    image: nginx:1.27.3
    networks:
      default: {aliases: [bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb]}
""",
    ),
    Case(
        "name-of-other-service",
        6,
        19,
        """\
services:
  web:
    image: nginx:1.27.3
    networks:
      default:
        aliases: [db]
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "name-of-other-service",
        4,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    hostname: db
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "name-of-other-service",
        4,
        21,
        """\
services:
  web:
    image: nginx:1.27.3
    container_name: db
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "alias-clash",
        11,
        19,
        """\
services:
  web:
    image: nginx:1.27.3
    networks:
      default:
        aliases: [api]
  db:
    image: postgres:17.2
    networks:
      default:
        aliases: [api]
""",
    ),
    Case(
        "alias-clash",
        7,
        15,
        """\
services:
  web:
    image: nginx:1.27.3
    hostname: h
  db:
    image: postgres:17.2
    hostname: h
""",
    ),
    Case(
        "shared-resource-name",
        9,
        11,
        """\
services:
  web:
    image: nginx:1.27.3
    volumes: ["one:/a", "two:/b"]
volumes:
  one:
    name: data
  two:
    name: data
""",
    ),
    Case(
        "shared-resource-name",
        7,
        14,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [a1, b1]
networks:
  a1: {name: x}
  b1: {name: x}
""",
    ),
    Case(
        "invalid-fixed-address",
        6,
        23,
        """\
services:
  web:
    image: nginx:1.27.3
    networks:
      back:
        ipv4_address: 172.30.0
networks:
  back:
    ipam:
      config:
        - subnet: 172.30.0.0/24
""",
    ),
    Case(
        "invalid-fixed-address",
        4,
        37,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: {back: {ipv6_address: 172.30.0.2}}
networks:
  back:
    ipam:
      config:
        - subnet: 172.30.0.0/24
""",
    ),
    Case(
        "address-outside-subnet",
        6,
        23,
        """\
services:
  web:
    image: nginx:1.27.3
    networks:
      back:
        ipv4_address: 172.31.0.10
networks:
  back:
    ipam:
      config:
        - subnet: 172.30.0.0/24
""",
    ),
    Case(
        "address-outside-subnet",
        4,
        34,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: {n: {ipv6_address: "fd01::5"}}
networks:
  n: {ipam: {config: [{subnet: "fd00::/64"}]}}
""",
    ),
    Case(
        "address-without-subnet",
        6,
        23,
        """\
services:
  web:
    image: nginx:1.27.3
    networks:
      back:
        ipv4_address: 172.30.0.10
networks:
  back:
""",
    ),
    Case(
        "address-without-subnet",
        4,
        40,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: {default: {ipv4_address: 10.0.0.9}}
""",
    ),
    Case(
        "reserved-address",
        6,
        23,
        """\
services:
  web:
    image: nginx:1.27.3
    networks:
      back:
        ipv4_address: 172.30.0.1
networks:
  back:
    ipam:
      config:
        - subnet: 172.30.0.0/24
""",
    ),
    Case(
        "reserved-address",
        6,
        23,
        """\
services:
  web:
    image: nginx:1.27.3
    networks:
      back:
        ipv4_address: 172.30.0.255
networks:
  back:
    ipam:
      config:
        - subnet: 172.30.0.0/24
""",
    ),
    Case(
        "reserved-address",
        6,
        23,
        """\
services:
  web:
    image: nginx:1.27.3
    networks:
      back:
        ipv4_address: 172.30.0.0
networks:
  back:
    ipam:
      config:
        - subnet: 172.30.0.0/24
""",
    ),
    Case(
        "duplicate-address",
        11,
        23,
        """\
services:
  web:
    image: nginx:1.27.3
    networks:
      back:
        ipv4_address: 172.30.0.10
  db:
    image: postgres:17.2
    networks:
      back:
        ipv4_address: 172.30.0.10
networks:
  back:
    ipam:
      config:
        - subnet: 172.30.0.0/24
""",
    ),
    Case(
        "duplicate-address",
        5,
        37,
        """\
services:
  web:
    image: nginx:1.27.3
    scale: 2
    networks: {back: {ipv4_address: 172.30.0.5}}
networks:
  back:
    ipam:
      config:
        - subnet: 172.30.0.0/24
""",
    ),
    Case(
        "duplicate-mac-address",
        7,
        18,
        """\
services:
  web:
    image: nginx:1.27.3
    mac_address: 02:42:ac:11:00:02
  db:
    image: postgres:17.2
    mac_address: 02:42:ac:11:00:02
""",
    ),
    Case(
        "duplicate-mac-address",
        7,
        39,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: {default: {mac_address: "02:42:AC:11:00:03"}}
  db:
    image: postgres:17.2
    networks: {default: {mac_address: "02-42-ac-11-00-03"}}
""",
    ),
    Case(
        "gateway-outside-subnet",
        10,
        20,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [back]
networks:
  back:
    ipam:
      config:
        - subnet: 172.30.0.0/24
          gateway: 172.31.0.1
""",
    ),
    Case(
        "gateway-outside-subnet",
        6,
        54,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [n]
networks:
  n: {ipam: {config: [{subnet: 10.1.0.0/16, gateway: 10.2.0.1}]}}
""",
    ),
    Case(
        "range-outside-subnet",
        10,
        21,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [back]
networks:
  back:
    ipam:
      config:
        - subnet: 172.30.0.0/24
          ip_range: 172.31.0.0/28
""",
    ),
    Case(
        "range-outside-subnet",
        6,
        55,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [n]
networks:
  n: {ipam: {config: [{subnet: 10.1.0.0/16, ip_range: 10.0.0.0/8}]}}
""",
    ),
    Case(
        "host-bits-in-subnet",
        8,
        19,
        """\
services:
  web:
    image: nginx:1.27.3
networks:
  default:
    ipam:
      config:
        - subnet: 172.30.0.1/24
""",
    ),
    Case(
        "host-bits-in-subnet",
        5,
        38,
        """\
services:
  web:
    image: nginx:1.27.3
networks:
  default: {ipam: {config: [{subnet: 10.1.2.0/16}]}}
""",
    ),
    Case(
        "overlapping-subnets",
        13,
        19,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [back, front]
networks:
  back:
    ipam:
      config:
        - subnet: 172.30.0.0/24
  front:
    ipam:
      config:
        - subnet: 172.30.0.128/25
""",
    ),
    Case(
        "overlapping-subnets",
        7,
        32,
        """\
services:
  web:
    image: nginx:1.27.3
    networks: [a, b]
networks:
  a: {ipam: {config: [{subnet: 10.0.0.0/8}]}}
  b: {ipam: {config: [{subnet: 10.5.0.0/16}]}}
""",
    ),
]
