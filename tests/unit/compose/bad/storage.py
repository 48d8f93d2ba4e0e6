"""What is wrong with mounts and volumes, one fault a file."""

from __future__ import annotations

from unit.compose.bad.case import Case

_WEB = """\
services:
  web:
    image: nginx:1.27.3
"""

CASES = [
    Case(
        "repeated-mount",
        6,
        9,
        _WEB
        + """\
    volumes:
      - ./a:/data
      - ./b:/data
""",
    ),
    Case(
        "repeated-mount",
        8,
        9,
        _WEB
        + """\
    volumes:
      - "one:/data:ro"
      - ./c:/other
      # again
      - "two:/data/"
volumes:
  one:
  two:
""",
    ),
    Case(
        "mount-over-system",
        5,
        9,
        _WEB
        + """\
    volumes:
      - ./config:/etc
""",
    ),
    Case(
        "mount-over-system",
        7,
        17,
        _WEB
        + """\
    volumes:
      - type: bind
        source: ./x
        target: /usr
""",
    ),
    Case(
        "mount-over-system",
        5,
        9,
        _WEB
        + """\
    tmpfs:
      - /dev:size=1m
""",
    ),
    Case(
        "mount-inside-read-only",
        6,
        9,
        _WEB
        + """\
    volumes:
      - ./app:/app:ro
      - data:/app/data
volumes:
  data:
""",
        files={"app/x.txt": "x"},
    ),
    Case(
        "mount-inside-read-only",
        4,
        13,
        _WEB
        + """\
    tmpfs: ["/srv/tmp:size=1m"]
    volumes:
      - type: bind
        source: ./srv
        target: /srv
        read_only: true
""",
        files={"srv/x.txt": "x"},
    ),
    Case(
        "mount-hides-files",
        6,
        9,
        _WEB
        + """\
    volumes:
      - ./a:/a
      - data:/a/b
volumes:
  data:
""",
        files={"a/b/c.txt": "x"},
    ),
    Case(
        "mount-hides-files",
        4,
        13,
        _WEB
        + """\
    tmpfs: ["/a/b:size=1m"]
    volumes:
      - ./a:/a
""",
        files={"a/b/c.txt": "x"},
    ),
    Case(
        "file-inside-volume",
        7,
        17,
        _WEB
        + """\
    volumes: [data:/data]
    configs:
      - source: site
        target: /data/site.conf
volumes: {data: }
configs: {site: {content: x}}
""",
    ),
    Case(
        "file-inside-volume",
        7,
        17,
        _WEB
        + """\
    volumes: [data:/run/keys]
    secrets:
      - source: key
        target: /run/keys/key
volumes: {data: }
secrets: {key: {environment: KEY}}
""",
        environment={"KEY": "x"},
    ),
    Case(
        "engine-socket",
        5,
        9,
        _WEB
        + """\
    volumes:
      - /var/run/docker.sock:/var/run/docker.sock
""",
    ),
    Case(
        "engine-socket",
        6,
        17,
        _WEB
        + """\
    volumes:
      - type: bind
        source: /run/podman/podman.sock
        target: /sock
        read_only: true
""",
    ),
    Case("engine-socket", 4, 15, _WEB + '    volumes: ["/run/containerd/containerd.sock:/c.sock"]\n'),
    Case(
        "writable-system-path",
        5,
        9,
        _WEB
        + """\
    volumes:
      - /:/host
""",
    ),
    Case(
        "writable-system-path",
        5,
        9,
        _WEB
        + """\
    volumes:
      - /etc/:/x
""",
    ),
    Case(
        "writable-system-path",
        5,
        9,
        _WEB
        + """\
    volumes:
      - /var/run:/x
""",
    ),
    Case(
        "writable-system-path",
        5,
        9,
        _WEB
        + """\
    volumes:
      - /usr/bin:/x:rw
""",
    ),
    Case(
        "writable-system-path",
        5,
        9,
        _WEB
        + """\
    volumes:
      - /var/lib/docker:/x
""",
    ),
    Case(
        "readable-system-path",
        5,
        9,
        _WEB
        + """\
    volumes:
      - /:/host:ro
""",
    ),
    Case(
        "readable-system-path",
        6,
        17,
        _WEB
        + """\
    volumes:
      - type: bind
        source: /proc
        target: /host/proc
        read_only: true
""",
    ),
    Case(
        "mounted-credentials",
        5,
        9,
        _WEB
        + """\
    volumes:
      - /root/.ssh:/root/.ssh:ro
""",
    ),
    Case(
        "mounted-credentials",
        6,
        17,
        _WEB
        + """\
    volumes:
      - type: bind
        source: /home/anna/.aws
        target: /aws
""",
    ),
    Case(
        "shared-propagation",
        5,
        9,
        _WEB
        + """\
    volumes:
      - /mnt/a:/a:rshared
""",
    ),
    Case(
        "shared-propagation",
        9,
        24,
        _WEB
        + """\
    volumes:
      - type: bind
        source: /mnt/a
        target: /a
        bind:
          propagation: shared
""",
    ),
    Case(
        "personal-path",
        5,
        9,
        _WEB
        + """\
    volumes:
      - /home/anna/html:/html:ro
""",
    ),
    Case(
        "personal-path",
        6,
        17,
        _WEB
        + """\
    volumes:
      - type: bind
        source: /Users/anna/html
        target: /html
""",
    ),
    Case("windows-path", 5, 9, _WEB + "    volumes:\n      - C:\\shop\\html:/html\n"),
    Case(
        "windows-path",
        5,
        9,
        _WEB
        + """\
    volumes:
      - 'D:/shop:/html'
""",
    ),
    Case(
        "missing-bind-file",
        5,
        9,
        _WEB
        + """\
    volumes:
      - ./nginx.conf:/etc/nginx/nginx.conf
""",
    ),
    Case(
        "missing-bind-file",
        6,
        17,
        _WEB
        + """\
    volumes:
      - type: bind
        source: ./init.sql
        target: /init.sql
""",
    ),
    Case(
        "missing-bind-folder",
        5,
        9,
        _WEB
        + """\
    volumes:
      - ./html:/html
""",
    ),
    Case(
        "missing-bind-folder",
        6,
        17,
        _WEB
        + """\
    volumes:
      - type: bind
        source: ./conf.d
        target: /etc/nginx/conf.d
""",
    ),
    Case(
        "folder-for-file",
        5,
        9,
        _WEB
        + """\
    volumes:
      - ./app.conf:/etc/app.conf
""",
        files={"app.conf/x": "x"},
    ),
    Case(
        "folder-for-file",
        5,
        9,
        _WEB
        + """\
    volumes:
      - ./app.conf:/etc/app/:ro
""",
        files={"app.conf": "x"},
    ),
    Case(
        "missing-volume-device",
        11,
        15,
        _WEB
        + """\
    volumes: [data:/data]
volumes:
  data:
    driver: local
    driver_opts:
      type: none
      o: bind
      device: ./data
""",
    ),
    Case(
        "missing-volume-device",
        8,
        48,
        _WEB
        + """\
    volumes: [data:/data]
volumes:
  data:
    driver: local
    driver_opts: {o: bind, type: none, device: "./srv/data"}
""",
        files={"srv/x": "x"},
    ),
    Case(
        "readable-secret-file",
        7,
        11,
        _WEB
        + """\
    secrets: [key]
secrets:
  key:
    file: ./key.txt
""",
        files={"key.txt": "x"},
    ),
    Case(
        "readable-secret-file",
        5,
        23,
        _WEB
        + """\
    secrets: [key]
secrets: {key: {file: "keys/key.txt"}}
""",
        files={"keys/key.txt": "x"},
    ),
    Case(
        "database-without-volume",
        3,
        12,
        """\
services:
  app:
    image: postgres:17.2
""",
    ),
    Case(
        "database-without-volume",
        3,
        12,
        """\
services:
  app:
    image: mysql:8.4.3
    volumes: [data:/somewhere]
volumes: {data: }
""",
    ),
    Case(
        "database-without-volume",
        3,
        12,
        """\
services:
  app:
    image: minio/minio:RELEASE.2025-01-01
    command: server /srv
""",
    ),
    Case(
        "volume-beside-data",
        5,
        9,
        """\
services:
  app:
    image: postgres:18
    volumes:
      - data:/var/lib/postgresql/data
volumes: {data: }
""",
    ),
    Case(
        "volume-beside-data",
        7,
        17,
        """\
services:
  app:
    image: postgres:18.1-alpine
    volumes:
      - type: volume
        source: data
        target: /var/lib/postgresql/data
volumes: {data: }
""",
    ),
    Case(
        "database-files-shared",
        7,
        15,
        """\
services:
  a:
    image: mysql:8.4
    volumes: ["data:/var/lib/mysql"]
  b:
    image: mysql:8.4
    volumes: ["data:/var/lib/mysql"]
volumes: {data: }
""",
    ),
    Case(
        "database-files-shared",
        6,
        9,
        """\
services:
  app:
    image: mongo:8
    scale: 2
    volumes:
      - data:/data/db
volumes: {data: }
""",
    ),
    Case(
        "anonymous-volume",
        5,
        9,
        _WEB
        + """\
    volumes:
      - /var/uploads
""",
    ),
    Case(
        "anonymous-volume",
        5,
        9,
        _WEB
        + """\
    volumes:
      - type: volume
        target: /srv
""",
    ),
    Case(
        "shared-volume",
        7,
        15,
        """\
services:
  a:
    image: nginx:1.27
    volumes: [files:/srv]
  b:
    image: busybox:1.37
    volumes: [files:/srv]
volumes: {files: }
""",
    ),
    Case(
        "shared-volume",
        8,
        9,
        """\
services:
  a:
    image: nginx:1.27
    volumes: [files:/srv]
  b:
    image: busybox:1.37
    volumes:
      - type: volume
        source: files
        target: /data
volumes: {files: }
""",
    ),
    Case("tmpfs-lifts-protection", 4, 13, _WEB + '    tmpfs: ["/tmp:size=1m,suid"]\n'),
    Case(
        "tmpfs-lifts-protection",
        6,
        9,
        _WEB
        + """\
    tmpfs:
      - /run:size=1m
      - /tmp:dev,size=1m
""",
    ),
    Case("executable-tmpfs", 4, 12, _WEB + "    tmpfs: /tmp:exec,size=1m\n"),
    Case(
        "executable-tmpfs",
        5,
        9,
        _WEB
        + """\
    tmpfs:
      - /tmp:size=1m,exec
""",
    ),
    Case("unlimited-tmpfs", 4, 12, _WEB + "    tmpfs: /tmp\n"),
    Case(
        "unlimited-tmpfs",
        5,
        9,
        _WEB
        + """\
    volumes:
      - type: tmpfs
        target: /tmp
""",
    ),
    Case("read-only-without-tmp", 4, 16, _WEB + "    read_only: true\n"),
    Case(
        "read-only-without-tmp",
        4,
        16,
        _WEB
        + """\
    read_only: true
    tmpfs: ["/run:size=1m"]
""",
    ),
]
