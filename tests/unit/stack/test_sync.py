"""What a container lacks of a `develop.watch` rule's files, and what is sent for it."""

from __future__ import annotations

import pytest

from stackrun.compose.model import Build, Hook, Project, Service, Trigger
from stackrun.image.ignore import Ignore
from stackrun.stack.sync import (
    EPHEMERAL,
    NOTHING,
    Change,
    Delivery,
    Item,
    Kind,
    Rule,
    Upload,
    delivery,
    difference,
    rules_of,
)


def file(content: str = "a", mode: int = 0o644) -> Item:
    return Item(Kind.FILE, mode, content)


FOLDER = Item(Kind.FOLDER, 0o755)
RULE = Rule("web", 0, "/src", "sync", "/app")


@pytest.mark.parametrize(
    ("given", "now", "sent", "removed"),
    [
        ({"a": file()}, {"a": file()}, (), ()),
        ({"a": file()}, {"a": file("b")}, ("a",), ()),
        ({"a": file()}, {"a": file(mode=0o755)}, ("a",), ()),
        ({"a": file()}, {"b": file()}, ("b",), ("a",)),
        ({"d": FOLDER, "d/a": file(), "d/e": FOLDER, "d/e/f": file()}, {}, (), ("d",)),
        ({"d": FOLDER, "d/a": file()}, {"d": file()}, ("d",), ("d",)),
        ({"d": file()}, {"d": FOLDER, "d/a": file()}, ("d", "d/a"), ("d",)),
        ({"l": Item(Kind.LINK, 0, "x")}, {"l": Item(Kind.LINK, 0, "y")}, ("l",), ()),
        (NOTHING, {".": FOLDER, "d/a": file(), "d": FOLDER}, (".", "d", "d/a"), ()),
        ({".": FOLDER, "a": file(), "d": FOLDER, "d/e": file()}, {}, (), ("a", "d")),
        ({".": file()}, {}, (), (".",)),
        ({"d": FOLDER, "d-x": file(), "d/a": file()}, {"d-x": file()}, (), ("d",)),
    ],
    ids=[
        "same",
        "content",
        "mode",
        "rename",
        "folder gone",
        "folder to file",
        "file to folder",
        "link",
        "first",
        "all gone",
        "the file gone",
        "alike names",
    ],
)
def test_the_difference(given: dict[str, Item], now: dict[str, Item], sent: tuple[str, ...], removed: tuple[str, ...]) -> None:
    assert difference(given, now) == Change(sent, removed)


def test_a_file_that_is_the_rules_path_goes_to_the_target_itself() -> None:
    rule = Rule("web", 0, "/src/app.conf", "sync", "/etc/app.conf")
    assert delivery([(rule, Change((".",)))]).uploads == (Upload("/src/app.conf", ".", "/etc/app.conf"),)
    assert delivery([(rule, Change(removed=(".",)))]).removals == ("/etc/app.conf",)


def test_each_action_does_its_own() -> None:
    hook = Hook(("reload",))
    rules = {
        action: Rule("web", 0, "/src", action, "/app", hook if action == "sync+exec" else None)
        for action in ("sync", "restart", "sync+restart", "sync+exec")
    }
    change = Change(("a",), ("b",))
    files = ((Upload("/src", "a", "/app/a"),), ("/app/b",))
    assert delivery([(rules["sync"], change)]) == Delivery(*files)
    assert delivery([(rules["restart"], change)]) == Delivery(restarts=True)
    assert delivery([(rules["sync+restart"], change)]) == Delivery(*files, restarts=True)
    assert delivery([(rules["sync+exec"], change)]) == Delivery(*files, commands=(hook,))
    assert not delivery([(rule, Change()) for rule in rules.values()])


def test_several_rules_are_one_delivery() -> None:
    hook = Hook(("reload",))
    one = Rule("web", 0, "/src", "sync+exec", "/app", hook)
    two = Rule("web", 1, "/src/conf", "sync+exec", "/app/conf", hook)
    wanted = delivery([(one, Change(("conf/a",))), (two, Change(("a",)))])
    assert [upload.target for upload in wanted.uploads] == ["/app/conf/a"] and wanted.commands == (hook,)
    assert wanted.summary() == "1 file, exec reload"


def project(*triggers: Trigger, context: str = "") -> Project:
    service = Service("web", image="x", develop=triggers, build=Build(context) if context else None)
    return Project("p", "/p", (), {"web": service}, {}, {}, {}, {}, {})


def test_rules_that_build_deliver_nothing() -> None:
    stack = project(Trigger("/src", "rebuild"), Trigger("/src", "sync", "/app"))
    assert [(one.key, one.rebuilds) for one in rules_of(stack, (), lambda _: "")] == [
        ("web.develop.watch[0]", True), ("web.develop.watch[1]", False),
    ]  # fmt: skip
    assert rules_of(stack, ("other",), lambda _: "") == ()
    change = Change(("a",), ("b",))
    assert not delivery([(rules_of(stack, (), lambda _: "")[0], change)])


def test_the_build_contexts_dockerignore_counts_below_it() -> None:
    stack = project(Trigger("/src/app", "sync", "/app", ignore=("*.log",)), context="/src")
    (rule,) = rules_of(stack, (), lambda file: {"/src/.dockerignore": "app/dist\n"}.get(file, ""))
    assert [one for one in ("dist/x", "a.log", "deep/a.log", "dist2") if rule.leaves_out(one)] == ["dist/x", "a.log"]
    assert rule.closes("dist") and not rule.closes("src")


def test_a_dockerfiles_own_dockerignore_goes_first() -> None:
    stack = project(Trigger("/src/app", "sync", "/app"), context="/src")
    files = {"/src/.dockerignore": "app/dist\n", "/src/Dockerfile.dockerignore": "app/other\n"}
    (rule,) = rules_of(stack, (), lambda file: files.get(file, ""))
    assert rule.leaves_out("other") and not rule.leaves_out("dist")


def test_what_is_taken_in() -> None:
    rule = Rule("web", 0, "/src", "sync", "/app", include=Ignore(["**/*.py"]))
    assert rule.takes_in("d/a.py") and not rule.takes_in("a.txt") and RULE.takes_in("a.txt")


@pytest.mark.parametrize(
    "name", [".git/HEAD", "d/.git", "a.py~", ".a.py.swp", "d/.a.py.swx", "4913", ".#a.py", "#a.py#", ".idea/x", "a.py___jb_tmp___"]
)
def test_what_editors_leave_behind_never_counts(name: str) -> None:
    assert RULE.leaves_out(name)


def test_ordinary_names_are_none_of_an_editors() -> None:
    assert not any(EPHEMERAL.matches(one) for one in ("a.py", ".env", ".gitignore", "swp", "a.swp.py", "49130"))
