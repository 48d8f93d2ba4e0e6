"""The renderings of `graph`, each read by somebody else's reader where there is one."""

from __future__ import annotations

import json
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from stackrun.cli import main
from stackrun.cli.drawing import to_svg
from stackrun.cli.graphs import to_dot, to_json, to_mermaid, to_text
from stackrun.compose.check import Edge
from stackrun.compose.tree import Place
from stackrun.errors import ComposeError
from stackrun.stack.critical import CriticalPath, Node, Start, Wait

SHOP = """
name: shop
services:
  db: {image: db:1, healthcheck: {test: probe, interval: 5s, start_period: 20s}}
  cache: {image: cache:1}
  migrate: {image: app:1, depends_on: {db: {condition: service_healthy}}}
  api: {image: app:1, scale: 2, links: [cache], depends_on: {migrate: {condition: service_completed_successfully, required: false}}}
"""
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text(SHOP, encoding="utf-8")
    return tmp_path


def hostile() -> Start:
    """Names that no stack file can have, and an image that one can: what the renderers must not rely on."""
    names = ('end" ]; <b>&', "a\\b|`#;\n-->")
    wait = Wait(Edge(names[1], names[0], "service_<x>", True, False, Place("f", 1, 1), 'a "reason"'), 1.0, False, "<why>")
    nodes = (Node(names[0], "<img src=x>\x07", 1, 1, 0.0, False), Node(names[1], "", 1, 2, 1.0, False))
    return Start("</title><script>", nodes, (wait,), ((names[0],), (names[1],)), CriticalPath(names, (wait,), ()))


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main.run(["graph", *argv]) == 0
    return capsys.readouterr().out


def test_text(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        told(capsys)
        == """\
shop: 4 services, started in 3 waves

  1  cache
     db

  2  migrate  after db healthy

  3  api ×2   after cache started (links, restarts with it), migrate completed (optional)

critical path: db → migrate → api
     db healthy: at most 35s (start_period 20s + 3 × interval 5s)
     migrate completed (optional): as long as it runs
api starts after at most 35s of waiting for health, and however long migrate takes
"""
    )


def test_text_has_colours_when_asked_for(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = told(capsys)
    coloured = told(capsys, "--ansi", "always")
    assert "\x1b[32mhealthy\x1b[0m" in coloured and re.sub(r"\x1b\[\d*m", "", coloured) == plain
    assert told(capsys, "--ansi", "always", "--no-color") == plain


def test_text_of_a_stack_without_dependencies(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "compose.yaml").write_text("name: x\nservices: {a: {image: x}, b: {image: x}}\n", encoding="utf-8")
    assert told(capsys) == "x: 2 services, started in 1 wave\n\n  1  a\n     b\n\nnothing waits for anything else\n"
    (shop / "compose.yaml").write_text("name: x\nservices: {}\n", encoding="utf-8")
    assert told(capsys) == "x: 0 services\n"


def test_a_file_instead_of_stdout(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "-o", "out.txt", "--ansi", "always", "db") == ""
    assert (shop / "out.txt").read_text(encoding="utf-8").startswith("shop: 1 service, started in 1 wave\n")


def test_a_cycle_is_a_fault_of_the_file(shop: Path) -> None:
    (shop / "compose.yaml").write_text("services: {a: {image: x, depends_on: [b]}, b: {image: x, links: [a]}}\n", encoding="utf-8")
    with pytest.raises(ComposeError) as caught:
        main.run(["graph"])
    assert caught.value.diagnostics[0].message == "dependency cycle: a → b → a"


def test_json_is_versioned(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = json.loads(told(capsys, "--format", "json"))
    assert (graph["version"], graph["project"], graph["waves"]) == (1, "shop", [["cache", "db"], ["migrate"], ["api"]])
    assert graph["critical_path"]["services"] == ["db", "migrate", "api"]
    assert (graph["critical_path"]["seconds"], graph["critical_path"]["open_on"]) == (35.0, ["migrate"])
    link = next(edge for edge in graph["edges"] if edge["reason"] == "links")
    assert (link["from"], link["to"], link["condition"]) == ("cache", "api", "service_started")
    assert link["place"]["path"].endswith("compose.yaml") and link["place"]["line"] == 7
    assert graph["services"][-1] == {
        "name": "api", "image": "app:1", "replicas": 2, "wave": 3, "starts_within_s": 35.0, "open": True,
    }  # fmt: skip


def test_mermaid(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        told(capsys, "--format", "mermaid")
        == """\
flowchart LR
    s0["cache"]
    s1["db"]
    s2["migrate"]
    s3["api ×2"]
    s0 -->|"started (links, restarts with it)"| s3
    s2 -.->|"completed (optional)"| s3
    s1 -->|"healthy"| s2
    classDef critical stroke-width:3px
    class s1,s2,s3 critical
    linkStyle 1,2 stroke-width:3px
"""
    )


def test_mermaid_quotes() -> None:
    lines = to_mermaid(hostile()).splitlines()
    assert lines[1] == '    s0["end#34; ]; #60;b#62;#38;"]' and lines[2] == '    s1["a#92;b#124;#96;#35;;#10;--#62;"]'
    assert lines[3] == '    s0 -->|"service_#60;x#62; (a #34;reason#34;)"| s1'


@pytest.mark.parametrize("which", ["shop", "hostile"])
def test_graphviz_reads_it(shop: Path, capsys: pytest.CaptureFixture[str], which: str) -> None:
    text = told(capsys, "--format", "dot") if which == "shop" else to_dot(hostile())
    plain = subprocess.run(["dot", "-Tjson0"], input=text, capture_output=True, text=True, check=True)
    assert plain.stderr == ""
    drawn = json.loads(plain.stdout)
    nodes = {one["name"]: one for one in drawn["objects"] if "nodes" not in one}
    if which == "hostile":
        assert len(nodes) == 2 and len(drawn["edges"]) == 1
        return
    assert set(nodes) == {"api", "cache", "db", "migrate"} and nodes["api"]["label"] == "api ×2"
    ends = {(nodes_by_id(drawn)[edge["tail"]], nodes_by_id(drawn)[edge["head"]]): edge for edge in drawn["edges"]}
    assert ends["db", "migrate"]["label"] == "healthy" and ends["db", "migrate"]["penwidth"] == "3"
    assert ends["migrate", "api"]["style"] == "dashed"


def nodes_by_id(drawn: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {one["_gvid"]: one["name"] for one in drawn["objects"]}


def test_svg_stands_alone(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "--format", "svg")
    root = ElementTree.fromstring(text)
    shown = {one.text for one in root.iter(f"{SVG}text")}
    assert {"shop", "db", "cache", "migrate", "api ×2", "wave 1", "wave 3"} <= shown
    edges = [one for one in root.iter(f"{SVG}path") if one.find(f"{SVG}title") is not None]
    assert len(edges) == 3 and sum("critical" in (one.get("class") or "") for one in edges) == 2
    assert [one.get("class") for one in edges if "optional" in (one.get("class") or "")] == ["edge optional critical"]
    assert "href" not in text and "@import" not in text and text.count("http") == 1


def test_svg_escapes_and_stays_well_formed() -> None:
    root = ElementTree.fromstring(to_svg(hostile()))
    assert not list(root.iter(f"{SVG}script")) and not list(root.iter(f"{SVG}img"))
    assert root.find(f"{SVG}title").text == "</title><script>"  # type: ignore[union-attr]


def test_fifty_services_are_drawn_without_one_box_on_another(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    services = [f"  service-{number:02}: {{image: x, depends_on: [{', '.join(needed(number))}]}}\n" for number in range(50)]
    (shop / "compose.yaml").write_text("services:\n" + "".join(services), encoding="utf-8")
    root = ElementTree.fromstring(told(capsys, "--format", "svg"))
    boxes = [one for one in root.iter(f"{SVG}rect") if "box" in (one.get("class") or "")]
    placed = [tuple(float(one.get(key) or 0) for key in ("x", "y", "width", "height")) for one in boxes]
    assert len(placed) == 50
    for number, (x, y, width, height) in enumerate(placed):
        assert x >= 0 and x + width <= float(root.get("width") or 0) and y >= 0 and y + height <= float(root.get("height") or 0)
        for left, top, other_width, other_height in placed[:number]:
            assert x + width <= left or left + other_width <= x or y + height <= top or top + other_height <= y


def needed(number: int) -> list[str]:
    return [f"service-{one:02}" for one in {number // 2, number // 3, number - 7} if 0 <= one < number]


def test_text_and_json_of_anything(shop: Path) -> None:
    assert to_text(hostile()) and json.loads(to_json(hostile()))["version"] == 1
