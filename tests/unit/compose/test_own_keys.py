"""What stackrun adds under x-stackrun: read into the model, a wrong value told at its place."""

from __future__ import annotations

import pytest
from unit.compose.stack_files import Stack

from stackrun.compose.model import OnChange
from stackrun.errors import ComposeError

TEXT = """\
services:
  web: {{image: x, configs: [site], secrets: [token]}}
configs:
  site:
    content: hello
    x-stackrun: {on_change}
secrets:
  token: {{environment: TOKEN, x-stackrun: {{on_change: none}}}}
"""


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("{}", OnChange()),
        ("{on_change: restart}", OnChange("restart")),
        ("{on_change: {signal: HUP}}", OnChange("signal", signal="SIGHUP")),
        ("{on_change: {signal: sigusr1}}", OnChange("signal", signal="SIGUSR1")),
        ("{on_change: {exec: [nginx, -s, reload]}}", OnChange("exec", command=("nginx", "-s", "reload"))),
    ],
)
def test_on_change(stack: Stack, said: str, meant: OnChange) -> None:
    project = stack.load(TEXT.format(on_change=said))
    assert project.configs["site"].on_change == meant
    assert project.secrets["token"].on_change == OnChange("none")


@pytest.mark.parametrize(
    ("said", "place", "message"),
    [
        ("{on_change: reload}", (6, 29), "on_change must be recreate, restart or none, not 'reload'"),
        ("{on_change: {signal: HUPP}}", (6, 38), "there is no signal HUPP"),
        ("{on_change: {exec: []}}", (6, 36), "exec has no command"),
        ("{on_change: {signal: HUP, exec: [x]}}", (6, 29), "on_change is a signal or an exec, one of them"),
        ("{onchange: none}", (6, 18), 'unknown key "onchange" in x-stackrun'),
    ],
)
def test_what_makes_no_sense_is_told_at_its_place(stack: Stack, said: str, place: tuple[int, int], message: str) -> None:
    with pytest.raises(ComposeError) as caught:
        stack.load(TEXT.format(on_change=said))
    (fault,) = caught.value.diagnostics
    assert ((fault.line, fault.column), fault.message) == (place, message)


def test_a_job_is_named_as_one(stack: Stack) -> None:
    project = stack.load("services: {a: {image: x, x-stackrun: {kind: job}}, b: {image: x}}")
    assert (project.services["a"].kind, project.services["b"].kind) == ("job", "service")
    with pytest.raises(ComposeError, match="kind must be service or job, not 'cron'"):
        stack.load("services: {a: {image: x, x-stackrun: {kind: cron}}}")


@pytest.mark.parametrize(
    ("also", "column"), [("restart: always", 26), ("restart: unless-stopped", 26), ("deploy: {restart_policy: {delay: 1s}}", 25)]
)
def test_a_job_that_is_restarted_for_ever_is_refused(stack: Stack, also: str, column: int) -> None:
    with pytest.raises(ComposeError, match="a job that is always restarted is never done") as caught:
        stack.load(f"services:\n  a: {{image: x, {also}, x-stackrun: {{kind: job}}}}\n")
    assert [(one.line, one.column) for one in caught.value.diagnostics] == [(2, column)]


@pytest.mark.parametrize("also", ["restart: on-failure:3", "restart: 'no'", "deploy: {restart_policy: {condition: on-failure}}"])
def test_a_job_may_be_tried_again(stack: Stack, also: str) -> None:
    assert stack.load(f"services: {{a: {{image: x, {also}, x-stackrun: {{kind: job}}}}}}").services["a"].kind == "job"
