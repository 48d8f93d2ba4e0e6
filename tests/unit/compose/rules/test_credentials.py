"""What is taken for a credential, and what is left alone."""

from __future__ import annotations

import time

import pytest

from stackrun.compose.rules.credentials import in_command, in_url, is_credential, is_real


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSWORD", "sesame"),
        ("POSTGRES_PASSWORD", "postgres"),
        ("MYSQL_ROOT_PASSWORD_1", "open sesame"),
        ("jwtSecret", "a1b2c3"),
        ("PGPASSWORD", "sesame"),
        ("AWS_SECRET_ACCESS_KEY", "abc/def+ghi"),
        ("api-key", "k-123456"),
        ("spring.datasource.password", "sesame"),
        ("GITHUB_TOKEN", "abcdef"),
    ],
)
def test_a_name_that_asks_for_a_secret_and_a_value(name: str, value: str) -> None:
    assert is_credential(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSWORD", ""),
        ("PASSWORD", "${PASSWORD}"),
        ("PASSWORD", "<password>"),
        ("PASSWORD", "your-password-here"),
        ("PASSWORD", "********"),
        ("DB_PASSWORD_FILE", "/run/secrets/db"),
        ("DB_PASSWORD", "/run/secrets/db"),
        ("SSL_PRIVATE_KEY", "server.key"),
        ("ALLOW_EMPTY_PASSWORD", "yes"),
        ("USE_TOKEN", "true"),
        ("TOKEN_TTL", "3600s"),
        ("SECRET_NAME", "shop"),
        ("COMPASS", "north"),
        ("BYPASS", "north"),
        ("MONKEY", "george"),
    ],
)
def test_what_is_none(name: str, value: str) -> None:
    assert not is_credential(name, value)


@pytest.mark.parametrize(
    "value",
    [
        "ghp_" + "a1B2" * 9,
        "AKIA" + "Z7" * 8,
        "glpat-" + "x" * 20,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
        "eyJ" + "a" * 20 + ".eyJ" + "b" * 20 + "." + "c" * 30,
    ],
)
def test_forms_that_issuers_gave(value: str) -> None:
    assert is_real(value)
    assert is_real(f"bearer {value}")


@pytest.mark.parametrize("value", ["ghp_short", "AKIA", "-----BEGIN PUBLIC KEY-----", "sk-short", "plain"])
def test_forms_that_are_like_them(value: str) -> None:
    assert not is_real(value)


@pytest.mark.parametrize("value", ["postgres://me:sesame@db/shop", "a b amqp://:sesame@mq", "https://me:s%40x@example.com/x?y"])
def test_a_password_in_a_url(value: str) -> None:
    assert in_url(value)


@pytest.mark.parametrize(
    "value", ["postgres://db:5432/shop", "https://me@example.com", "http://a:${B}@c", "http://a:<b>@c", "mailto:a:b@c"]
)
def test_urls_without_one(value: str) -> None:
    assert not in_url(value)


@pytest.mark.parametrize("value", ["redis-server --requirepass sesame", "app --db-password=sesame -v", "x -password 'sesame'"])
def test_a_password_in_a_command(value: str) -> None:
    assert in_command(value)


@pytest.mark.parametrize(
    "value", ["app --password-file /run/x", "app --password $$PASSWORD", "app --token --verbose", "passwd root", "app --no-password"]
)
def test_commands_without_one(value: str) -> None:
    assert not in_command(value)


@pytest.mark.parametrize(
    "text", ["a-" * 200_000, "eyJaaaaaaaaaaaaaaaa-" * 20_000, "a://a:" * 70_000, " --a-pass " * 40_000, "-----BEGIN A " * 30_000]
)
def test_no_text_takes_long(text: str) -> None:
    begin = time.process_time()
    for judge in (is_real, in_url, in_command, lambda value: is_credential("PASSWORD", value), lambda name: is_credential(name, "x1y2")):
        judge(text)
    assert time.process_time() - begin < 5
