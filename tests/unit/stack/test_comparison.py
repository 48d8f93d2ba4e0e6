"""Two declared states: every field that differs, in the stack file's words, and the whole in a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stackrun.api.stacks import ResourceChange, StackSource, Symbol
from stackrun.compose.load import load
from stackrun.stack.comparison import NOTHING, Side, changes, summary
from stackrun.stack.content import read_contents
from stackrun.stack.desired import desired
from stackrun.stack.graph import start_order
from stackrun.stack.places import NoPlaces, Places
from stackrun.stack.secrecy import HIDDEN, Secrecy

ONE = """\
name: shop
services:
  web:
    image: busybox:1
    command: [sleep, "1"]
    environment: {LOG: info, OLD: "1", DB_PASSWORD: alpha}
    ports: ["80:80"]
    configs: [site]
    depends_on: [db]
  db: {image: "postgres:16", command: [serve, alpha-alpha], volumes: ["data:/d"]}
networks: {default: {driver_opts: {mtu: "1400"}}}
volumes: {data: {}}
configs: {site: {content: one}}
"""
TWO = """\
name: shop
services:
  web:
    image: busybox:2
    command: [sleep, "2"]
    environment: {LOG: debug, NEW: "1", DB_PASSWORD: beta}
    ports: ["81-83:80"]
    scale: 3
    pull_policy: always
    configs: [site]
    depends_on: {cache: {condition: service_healthy}}
  cache: {image: busybox:1, healthcheck: {test: [CMD, "true"]}, volumes: ["data:/d", "more:/m"]}
networks: {default: {driver_opts: {mtu: "1500"}}}
volumes: {data: {driver_opts: {type: tmpfs}}, more: {}}
configs: {site: {content: two}}
"""


def side(folder: Path, text: str, **images: str) -> tuple[Side, Places]:
    (folder / "compose.yaml").write_text(text)
    project = load(StackSource(str(folder)))
    wanted = desired(project, start_order(project), contents=read_contents(project), state_dir="/state", version="9")
    return Side(wanted, images), Places(project)


def told(found: tuple[ResourceChange, ...]) -> dict[str, dict[str, tuple[str | None, str | None]]]:
    return {f"{one.symbol} {one.resource}": {each.field: (each.before, each.after) for each in one.changes} for one in found}


def test_every_field_that_differs(tmp_path: Path) -> None:
    before, _ = side(tmp_path, ONE)
    after, _ = side(tmp_path, TWO)
    found = told(changes(before, after, Secrecy(), NoPlaces()))
    web = found.pop("~ Service web")
    old, new = web.pop("configs.site")
    assert old and new and old.startswith("content ") and old != new
    assert web == {
        "image": ("busybox:1", "busybox:2"), "command": ("sleep 1", "sleep 2"), "environment.LOG": ("info", "debug"),
        "environment.OLD": ("1", None), "environment.NEW": (None, "1"), "environment.DB_PASSWORD": (HIDDEN, HIDDEN),
        "ports.80/tcp": ("80", "81-83"), "scale": ("1", "3"), "pull_policy": (None, "always"), "depends_on.db": ("service_started", None),
        "depends_on.cache": (None, "service_healthy"),
    }  # fmt: skip
    assert found == {
        "+ Service cache": {"image": (None, "busybox:1")},
        "- Service db": {},
        "~ Network shop_default": {"driver_opts.mtu": ("1400", "1500")},
        "~ Volume shop_data": {"driver_opts.type": (None, "tmpfs")},
        "+ Volume shop_more": {},
    }


def test_the_same_state_differs_in_nothing(tmp_path: Path) -> None:
    for text in (ONE, TWO):
        (before, _), (after, places) = side(tmp_path, text, web="1"), side(tmp_path, text, web="1")
        assert changes(before, after, Secrecy(), places) == ()


def test_a_name_that_means_another_image_is_a_difference(tmp_path: Path) -> None:
    (before, _), (after, places) = side(tmp_path, ONE, web="sha256:" + "1" * 64), side(tmp_path, ONE, web="sha256:" + "2" * 64)
    (found,) = changes(before, after, Secrecy(), places)
    assert told((found,)) == {"~ Service web": {"image": ("busybox:1 (111111111111)", "busybox:1 (222222222222)")}}
    assert found.changes[0].place == "compose.yaml:4:12"


def test_secrets_are_hidden_wherever_they_stand(tmp_path: Path) -> None:
    (before, _), (after, places) = side(tmp_path, ONE), side(tmp_path, ONE.replace("serve, alpha-alpha", "serve, beta-beta"))
    (found,) = changes(before, after, Secrecy((b"alpha-alpha", b"beta-beta")), places)
    assert told((found,)) == {"~ Service db": {"command": (f"serve {HIDDEN}", f"serve {HIDDEN}")}}


def test_a_hash_that_no_field_explains_is_told(tmp_path: Path) -> None:
    (before, _), (after, places) = side(tmp_path, ONE), side(tmp_path, ONE)
    other = {**after.desired.services, "db": replace(after.desired.services["db"], config_hash="0123456789abcdef")}
    found = changes(before, Side(replace(after.desired, services=other)), Secrecy(), places)
    assert list(told(found)["~ Service db"]) == ["configuration"]


def test_the_line(tmp_path: Path) -> None:
    before, _ = side(tmp_path, ONE)
    after, places = side(tmp_path, TWO)
    line = summary(changes(before, after, Secrecy(), places))
    assert line == "+cache, -db, web image 1 → 2 and command and configs.site and 9 more"
    assert summary(changes(NOTHING, before, Secrecy(), places)) == "+db, +web"
    other, _ = side(tmp_path, ONE.replace("1400", "1500"))
    assert summary(changes(before, other, Secrecy(), places)) == "network shop_default driver_opts.mtu"
    assert summary(()) == ""
    many = Side(replace(before.desired, services={f"service{n}": before.desired.services["db"] for n in range(99)}))
    assert len(summary(changes(NOTHING, many, Secrecy(), places))) == 160


def test_the_line_shows_no_more_of_an_image_than_differs() -> None:
    from stackrun.api.stacks import FieldChange

    for before, after, words in (
        ("registry:5000/app:1", "registry:5000/app:2", "1 → 2"),
        ("nginx", "nginx:2", "nginx → nginx:2"),
        ("registry:5000/app", "registry:5000/web", "registry:5000/app → registry:5000/web"),
        ("app:1 (abc)", "app:1 (def)", "1 (abc) → 1 (def)"),
    ):
        change = ResourceChange(Symbol.CHANGE, "Service web", (FieldChange("image", before, after),))
        assert summary((change,)) == f"web image {words}"
