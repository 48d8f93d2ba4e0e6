"""What opens a container further than it needs, one fault a file."""

from __future__ import annotations

from unit.compose.bad.case import Case

_WEB = """\
services:
  web:
    image: nginx:1.27.3
"""

CASES = [
    Case("privileged-container", 4, 5, _WEB + "    privileged: true\n"),
    Case(
        "privileged-container",
        5,
        5,
        _WEB
        + """\
    restart: always
    privileged: "true"
""",
    ),
    Case(
        "privileged-build",
        5,
        7,
        """\
services:
  app:
    build:
      context: .
      privileged: true
""",
    ),
    Case(
        "privileged-build",
        6,
        11,
        """\
services:
  app:
    build:
      context: .
      entitlements:
        - security.insecure
""",
    ),
    Case("all-capabilities", 4, 15, _WEB + "    cap_add: [ALL]\n"),
    Case(
        "all-capabilities",
        6,
        9,
        _WEB
        + """\
    cap_add:
      - CHOWN
      - all
""",
    ),
    Case(
        "dangerous-capability",
        5,
        9,
        _WEB
        + """\
    cap_add:
      - SYS_ADMIN
""",
    ),
    Case("dangerous-capability", 4, 22, _WEB + "    cap_add: [CHOWN, CAP_NET_ADMIN]\n"),
    Case(
        "dangerous-capability",
        5,
        9,
        _WEB
        + """\
    cap_add:
      - sys_ptrace
""",
    ),
    Case(
        "kept-capabilities",
        2,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
""",
    ),
    Case(
        "privileges-can-grow",
        2,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
""",
    ),
    Case(
        "user-of-image",
        2,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
""",
    ),
    Case(
        "writable-root",
        2,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
""",
    ),
    Case(
        "unlimited-memory",
        2,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
""",
    ),
    Case(
        "unlimited-cpu",
        2,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
""",
    ),
    Case(
        "unlimited-pids",
        2,
        3,
        """\
services:
  web:
    image: nginx:1.27.3
""",
    ),
    Case("root-user", 4, 11, _WEB + "    user: root\n"),
    Case("root-user", 4, 11, _WEB + '    user: "0:0"\n'),
    Case("powerful-group", 4, 17, _WEB + "    group_add: [docker]\n"),
    Case(
        "powerful-group",
        6,
        9,
        _WEB
        + """\
    group_add:
      - "2000"
      - 0
""",
    ),
    Case("kept-capabilities", 2, 3, _WEB + "    cap_add: [CHOWN]\n"),
    Case("privileges-can-grow", 2, 3, _WEB + '    security_opt: ["no-new-privileges:false"]\n'),
    Case(
        "user-of-image",
        3,
        3,
        """\
services:
  a: {image: busybox:1.37, user: "1000"}
  b: {image: busybox:1.37}
""",
    ),
    Case("writable-root", 2, 3, _WEB + "    read_only: false\n"),
    Case("unlimited-memory", 2, 3, _WEB + '    deploy: {resources: {limits: {cpus: "1"}}}\n'),
    Case("unlimited-cpu", 2, 3, _WEB + "    mem_limit: 64m\n"),
    Case("unlimited-pids", 2, 3, _WEB + "    deploy: {resources: {limits: {memory: 64m}}}\n"),
    Case("host-network", 4, 19, _WEB + "    network_mode: host\n"),
    Case(
        "host-network",
        4,
        19,
        _WEB
        + """\
    network_mode: "host"
    restart: always
""",
    ),
    Case("host-namespace", 4, 10, _WEB + "    pid: host\n"),
    Case("host-namespace", 4, 10, _WEB + "    ipc: host\n"),
    Case("host-namespace", 4, 10, _WEB + "    uts: host\n"),
    Case("host-namespace", 4, 13, _WEB + "    cgroup: host\n"),
    Case("host-namespace", 4, 18, _WEB + "    userns_mode: host\n"),
    Case(
        "profile-disabled",
        5,
        9,
        _WEB
        + """\
    security_opt:
      - seccomp:unconfined
""",
    ),
    Case("profile-disabled", 4, 39, _WEB + "    security_opt: [no-new-privileges, apparmor=unconfined]\n"),
    Case(
        "profile-disabled",
        5,
        9,
        _WEB
        + """\
    security_opt:
      - label:disable
""",
    ),
    Case(
        "unmasked-paths",
        5,
        9,
        _WEB
        + """\
    security_opt:
      - systempaths=unconfined
""",
    ),
    Case("unmasked-paths", 4, 20, _WEB + "    security_opt: [unmask=ALL]\n"),
    Case(
        "dangerous-device",
        5,
        9,
        _WEB
        + """\
    devices:
      - /dev/sda:/dev/sda
""",
    ),
    Case("dangerous-device", 4, 26, _WEB + "    devices: [/dev/fuse, /dev/mem]\n"),
    Case(
        "all-devices-allowed",
        5,
        9,
        _WEB
        + """\
    device_cgroup_rules:
      - 'a *:* rwm'
""",
    ),
    Case("all-devices-allowed", 4, 38, _WEB + '    device_cgroup_rules: ["c 1:3 r", "b *:* rwm"]\n'),
    Case(
        "unsafe-sysctl",
        5,
        7,
        _WEB
        + """\
    sysctls:
      vm.max_map_count: 262144
""",
    ),
    Case(
        "unsafe-sysctl",
        6,
        9,
        _WEB
        + """\
    sysctls:
      - net.core.somaxconn=1024
      - kernel.panic=1
""",
    ),
    Case(
        "unsafe-sysctl",
        6,
        7,
        _WEB
        + """\
    network_mode: host
    sysctls:
      net.ipv4.ip_forward: 1
""",
    ),
    Case("protected-from-oom", 4, 20, _WEB + "    oom_score_adj: -500\n"),
    Case("protected-from-oom", 4, 23, _WEB + "    oom_kill_disable: true\n"),
    Case(
        "unlimited-ulimit",
        5,
        7,
        _WEB
        + """\
    ulimits:
      core: -1
""",
    ),
    Case(
        "unlimited-ulimit",
        5,
        7,
        _WEB
        + """\
    ulimits:
      memlock:
        soft: -1
        hard: -1
""",
    ),
    Case(
        "literal-credential",
        5,
        20,
        _WEB
        + """\
    environment:
      DB_PASSWORD: open-sesame
""",
    ),
    Case(
        "literal-credential",
        6,
        9,
        _WEB
        + """\
    environment:
      - LOG=1
      - API_KEY=abcdef123456
""",
    ),
    Case("literal-credential", 4, 30, _WEB + '    environment: {jwtSecret: "open sesame"}\n'),
    Case(
        "leaked-credential",
        5,
        11,
        _WEB
        + """\
    environment:
      GH: ghp_a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1
""",
    ),
    Case(
        "leaked-credential",
        5,
        26,
        _WEB
        + """\
    environment:
      AWS_ACCESS_KEY_ID: AKIAABCDABCDABCDABCD
""",
    ),
    Case(
        "leaked-credential",
        7,
        14,
        _WEB
        + """\
    configs: [key]
configs:
  key:
    content: |
      -----BEGIN RSA PRIVATE KEY-----
      abc
""",
    ),
    Case(
        "credential-in-url",
        5,
        12,
        _WEB
        + """\
    environment:
      URL: postgres://shop:sesame@db.example.com/shop
""",
    ),
    Case(
        "credential-in-url",
        5,
        9,
        _WEB
        + """\
    environment:
      - "AMQP=amqp://guest:sesame@mq.example.com"
""",
    ),
    Case(
        "credential-in-build",
        6,
        20,
        """\
services:
  app:
    build:
      context: .
      args:
        NPM_TOKEN: open-sesame
""",
    ),
    Case(
        "credential-in-build",
        6,
        11,
        """\
services:
  app:
    build:
      context: .
      args:
        - GIT=https://me:sesame@git.example.com/x
""",
    ),
    Case(
        "credential-in-label",
        5,
        23,
        _WEB
        + """\
    labels:
      admin.password: open-sesame
""",
    ),
    Case(
        "credential-in-label",
        5,
        9,
        _WEB
        + """\
    labels:
      - backup.url=ftp://me:sesame@ftp.example.com
""",
    ),
    Case(
        "credential-in-command",
        4,
        14,
        """\
services:
  app:
    image: redis:7.4.1
    command: redis-server --requirepass sesame
""",
    ),
    Case(
        "credential-in-command",
        4,
        17,
        """\
services:
  app:
    image: shop/app:1
    entrypoint: ["app", "--db-password=sesame"]
""",
    ),
    Case(
        "no-password",
        5,
        35,
        """\
services:
  app:
    image: mysql:8.4
    environment:
      MYSQL_ALLOW_EMPTY_PASSWORD: "yes"
""",
    ),
    Case(
        "no-password",
        5,
        9,
        """\
services:
  app:
    image: postgres:17.2
    environment:
      - POSTGRES_HOST_AUTH_METHOD=trust
""",
    ),
    Case(
        "front-beside-database",
        7,
        3,
        """\
services:
  front:
    image: nginx:1.27
    ports: ["127.0.0.1:80:80"]
  app:
    image: shop/app:1
  db:
    image: postgres:17.2
""",
    ),
    Case(
        "front-beside-database",
        2,
        3,
        """\
services:
  db:
    image: mysql:8.4
    networks: [all]
  app:
    image: shop/app:1
    networks: [all]
  front:
    image: nginx:1.27
    ports: ["127.0.0.1:80:80"]
    networks: [all]
networks:
  all:
""",
    ),
]
