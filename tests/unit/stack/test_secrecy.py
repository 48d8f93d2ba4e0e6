"""What may be secret is not shown; what is not stays readable."""

from __future__ import annotations

import pytest

from stackrun.stack.secrecy import HIDDEN, Secrecy, is_secret_name


@pytest.mark.parametrize(
    "name",
    ["DB_PASSWORD", "PGPASSWORD", "API_KEY", "GITHUB_TOKEN", "SECRET_KEY_BASE", "SSH_KEY", "AWS_SECRET_ACCESS_KEY", "BASIC_AUTH", "pwd"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)
    assert Secrecy().shown(f"environment.{name}", "x") == HIDDEN
    assert Secrecy().shown(f"labels.app.{name}", "x") == HIDDEN


@pytest.mark.parametrize("name", ["LOG_LEVEL", "KEYBOARD", "AUTHOR", "PASSENGERS", "PORT", "DB_PASSWORD_FILE", "SSH_KEY_PATH", "MONKEY"])
def test_ordinary_names(name: str) -> None:
    assert not is_secret_name(name)
    assert Secrecy().shown(f"environment.{name}", "x") == "x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis --requirepass hush --port 1", f"redis --requirepass {HIDDEN} --port 1"),
        ("db --password=hush", f"db --password={HIDDEN}"),
        ("sh -c 'DB_TOKEN=hush run'", f"sh -c 'DB_TOKEN={HIDDEN} run'"),
        ("psql postgres://user:hush@db/shop", f"psql postgres://user:{HIDDEN}@db/shop"),
        ("sleep 100", "sleep 100"),
    ],
)
def test_secrets_in_command_lines(text: str, shown: str) -> None:
    assert Secrecy().shown("command", text) == shown


def test_what_the_stacks_secrets_hold_is_hidden_wherever_it_stands() -> None:
    secrecy = Secrecy([b"hush-hush\n", b"ab", b""])
    assert secrecy.shown("environment.URL", "http://x/?q=hush-hush&a=ab") == f"http://x/?q={HIDDEN}&a=ab"


def test_nothing_stays_nothing() -> None:
    assert Secrecy().shown("environment.TOKEN", None) is None
    assert Secrecy().shown("environment.TOKEN", "") == ""
