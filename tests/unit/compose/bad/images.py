"""What is wrong with images, one fault a file."""

from __future__ import annotations

from unit.compose.bad.case import Case

_WEB = """\
services:
  web:
    image: nginx:1.27.3
"""

CASES = [
    Case(
        "no-image",
        2,
        3,
        """\
services:
  app:
    command: sleep 1
""",
    ),
    Case(
        "no-image",
        4,
        3,
        """\
services:
  web:
    image: nginx:1.27
  worker:
    restart: always
""",
    ),
    Case(
        "invalid-image",
        3,
        12,
        """\
services:
  app:
    image: Nginx:1.27
""",
    ),
    Case(
        "invalid-image",
        3,
        12,
        """\
services:
  app:
    image: "nginx:"
""",
    ),
    Case(
        "invalid-image",
        3,
        12,
        """\
services:
  app:
    image: https://docker.io/nginx:1
""",
    ),
    Case(
        "invalid-image",
        3,
        12,
        """\
services:
  app:
    image: nginx:1:2
""",
    ),
    Case(
        "invalid-image",
        3,
        12,
        """\
services:
  app:
    image: "-nginx"
""",
    ),
    Case(
        "invalid-image",
        3,
        12,
        """\
services:
  app:
    image: nginx@sha256:abc
""",
    ),
    Case(
        "invalid-image",
        3,
        12,
        """\
services:
  app:
    image: "reg.example.com/:1"
""",
    ),
    Case(
        "invalid-image",
        3,
        12,
        """\
services:
  app:
    image: nginx:1.27 alpine
""",
    ),
    Case(
        "invalid-image",
        3,
        12,
        """\
services:
  web:
    image: app:${TAG}
""",
    ),
    Case(
        "untagged-image",
        3,
        12,
        """\
services:
  app:
    image: nginx
""",
    ),
    Case(
        "untagged-image",
        3,
        12,
        """\
services:
  app:
    image: "registry.example.com:5000/shop/web"
""",
    ),
    Case(
        "latest-image",
        3,
        12,
        """\
services:
  app:
    image: nginx:latest
""",
    ),
    Case(
        "latest-image",
        2,
        14,
        """\
services:
  a: {image: redis:latest}
""",
    ),
    Case(
        "image-without-digest",
        3,
        12,
        """\
services:
  app:
    image: nginx:1.27.3
""",
    ),
    Case(
        "image-without-digest",
        3,
        12,
        """\
services:
  app:
    image: 'ghcr.io/shop/web:1'
""",
    ),
    Case(
        "unsupported-image",
        3,
        12,
        """\
services:
  app:
    image: mysql:5.7
""",
    ),
    Case(
        "unsupported-image",
        3,
        12,
        """\
services:
  app:
    image: postgres:12-alpine
""",
    ),
    Case(
        "unsupported-image",
        3,
        12,
        """\
services:
  app:
    image: python:3.8-slim
""",
    ),
    Case(
        "unsupported-image",
        3,
        12,
        """\
services:
  app:
    image: node:16
""",
    ),
    Case(
        "unsupported-image",
        3,
        12,
        """\
services:
  app:
    image: ubuntu:18.04
""",
    ),
    Case(
        "build-takes-public-name",
        4,
        12,
        """\
services:
  web:
    build: .
    image: nginx
""",
    ),
    Case(
        "build-takes-public-name",
        4,
        12,
        """\
services:
  db:
    build: {context: .}
    image: docker.io/library/postgres:16
""",
    ),
    Case(
        "image-built-twice",
        7,
        12,
        """\
services:
  a:
    build: ./a
    image: shop/app:1
  b:
    build: ./b
    image: shop/app:1
""",
    ),
    Case(
        "image-built-twice",
        7,
        12,
        """\
services:
  a:
    build: {context: ., target: dev}
    image: shop/app
  b:
    build: {context: ., target: prod}
    image: shop/app:latest
""",
    ),
    Case(
        "mixed-image-tags",
        3,
        14,
        """\
services:
  a: {image: redis:7.4}
  b: {image: redis:7.2}
""",
    ),
    Case(
        "mixed-image-tags",
        7,
        12,
        """\
services:
  a:
    image: shop/app:1
  b:
    image: shop/app:1
  c:
    image: shop/app:2
""",
    ),
    Case(
        "local-registry",
        3,
        12,
        """\
services:
  app:
    image: localhost:5000/web:1
""",
    ),
    Case(
        "local-registry",
        3,
        12,
        """\
services:
  app:
    image: 127.0.0.1:5000/web:1
""",
    ),
    Case("nothing-to-build", 4, 18, _WEB + "    pull_policy: build\n"),
    Case(
        "nothing-to-build",
        3,
        18,
        """\
services:
  a:
    pull_policy: "build"
    image: shop/a:1
""",
    ),
    Case(
        "pull-of-fixed-image",
        4,
        18,
        """\
services:
  app:
    image: nginx@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    pull_policy: always
""",
    ),
    Case(
        "pull-of-fixed-image",
        3,
        18,
        """\
services:
  a:
    pull_policy: always
    image: nginx:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
""",
    ),
]
