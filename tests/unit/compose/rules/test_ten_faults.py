"""A file with ten faults of every stage has ten findings, each once and at its place."""

from __future__ import annotations

from pathlib import Path

from stackrun.api.stacks import StackSource
from stackrun.compose.validation import validate
from stackrun.stack.graph import cycle_faults

TEXT = """\
version: "3"
services:
  web:
    image: nginx:1.27.3
    comand: [sleep]
    restart: sometimes
    depends_on: [nobody, db]
    networks: [missing]
    stop_grace_period: 5
    image: caddy:2
  db:
    image: postgres:17.2
    privileged: true
    networks: [back]
    depends_on: [cache]
  cache:
    image: redis:7.4
    networks: [back]
    depends_on: [db]
    environment: {LEVEL: "${LEVEL}"}
networks:
  back: {}
"""


def test_ten_faults_are_ten_findings(tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text(TEXT)
    found = validate(StackSource(str(tmp_path), ("stack.yaml",)), graph_faults=cycle_faults)
    told = [(one.place.line, one.code) for one in found.findings if one.level != "note"]
    expected = {
        (1, "obsolete-version"),
        (5, "unknown-key"),
        (6, "invalid-restart-policy"),
        (7, "undefined-service"),
        (8, "undefined-network"),
        (9, "wrong-type"),
        (10, "duplicate-key"),
        (13, "privileged-container"),
        (19, "cycle"),
        (20, "unset-variable"),
    }
    assert expected <= set(told), sorted(expected - set(told))
    assert len(set(told)) == len(told) and [line for line, _ in told] == sorted(line for line, _ in told)
