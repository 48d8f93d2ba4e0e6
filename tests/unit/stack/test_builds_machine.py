"""A stack of builds through a long life: whatever is edited, reverted, broken and brought up, an image is what its folder holds."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from unit.stack.stage import Scene

from stackrun.api.stacks import StackPlan
from stackrun.errors import BuildFailed

T = TypeVar("T")
SERVICES = ("base", "app", "web")
STACK = """\
name: shop
services:
  app:
    build: {{context: ./app, args: {{V: "{app}"}}, additional_contexts: {{base: "service:base"}}}}
    depends_on: [base]
  base:
    build: {{context: ./base, args: {{V: "{base}"}}}}
  web:
    build: {{context: ./web, args: {{V: "{web}"}}}}
  worker:
    image: shop-web
"""
FILES = ("a", "b/c", "b/d")
service = st.sampled_from(SERVICES)


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.stage = Scene(Path(self.folder.name))
        self.versions = dict.fromkeys(SERVICES, "1")
        for one in SERVICES:
            self.path(one, "b").mkdir(parents=True)
            self.path(one, "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
            self.path(one, ".dockerignore").write_text("*.log\n")
        self.write()

    def teardown(self) -> None:
        self.loop.close()
        self.folder.cleanup()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        async def within_a_limit() -> T:
            async with asyncio.timeout(20):
                return await work

        return self.loop.run_until_complete(within_a_limit())

    def path(self, service: str, name: str) -> Path:
        return self.stage.folder / service / name

    def write(self) -> None:
        self.stage.write(STACK.format(**self.versions))

    def now(self, service: str) -> dict[str, bytes]:
        """The files that its image is to be made of, whatever the code thinks of that."""
        folder = self.stage.folder / service
        found = (one for one in folder.rglob("*") if one.is_file() and not (one.suffix == ".log" and one.parent == folder))
        return {str(one.relative_to(folder)): one.read_bytes() for one in found}

    # --- what happens

    @rule(service=service, name=st.sampled_from(FILES), content=st.sampled_from("xyz"))
    def a_file_is_written(self, service: str, name: str, content: str) -> None:
        self.path(service, name).write_text(content)

    @rule(service=service, name=st.sampled_from(FILES))
    def a_file_is_removed(self, service: str, name: str) -> None:
        self.path(service, name).unlink(missing_ok=True)

    @rule(service=service, content=st.sampled_from("xyz"))
    def what_does_not_count_is_written(self, service: str, content: str) -> None:
        before = self.planned()
        self.path(service, "x.log").write_text(content)
        swap = self.path(service, "b/.c.swp")
        swap.write_text(content)
        assert self.planned().actions == before.actions
        swap.unlink()

    @rule(service=service, version=st.sampled_from("12"))
    def an_argument_is_changed(self, service: str, version: str) -> None:
        self.versions[service] = version
        self.write()

    @rule(service=service)
    def somebody_removes_the_image(self, service: str) -> None:
        for one in [one for one in self.stage.engine.images_by_id.values() if f"shop-{service}:latest" in one.repo_tags]:
            del self.stage.engine.images_by_id[one.id]

    @rule(service=service)
    def a_build_fails(self, service: str) -> None:
        """Then nothing is made of it or on it, and what runs runs on."""
        images = {one.name: one.image_id for one in self.do(self.stage.engine.containers(all=True))}
        self.stage.engine.fail("build_image", BuildFailed("no", 1), ref=f"shop-{service}")
        last = self.do(self.stage.up())
        self.stage.engine._faults.clear()
        if last.text != "Done":
            assert {one.name: one.image_id for one in self.do(self.stage.engine.containers(all=True))} == images

    @rule()
    def up_reaches_what_is_declared(self) -> None:
        plan = self.planned()
        last = self.do(self.stage.up(seal=plan.seal))
        if any(one.cause == "missing" and "are replaced as well" in "".join(one.notes) for one in plan.actions):
            last = self.do(self.stage.up())  # whether that is the image that its containers have is not known before
        assert last.text == "Done", last
        assert self.planned().actions == ()
        images = {tag: one for one in self.stage.engine.images_by_id.values() for tag in one.repo_tags}
        for one in SERVICES:
            container = self.do(self.stage.engine.container(f"shop-{one}-1"))
            assert container.image_id == images[f"shop-{one}:latest"].id
            sent = [build for build in self.stage.engine.builds if build.spec.tags == (f"shop-{one}",)][-1]
            assert {name: content for name, content in sent.files.items() if name.rstrip("/") != "b"} == self.now(one)
            assert sent.spec.arguments == {"V": self.versions[one]}
        worker = self.do(self.stage.engine.container("shop-worker-1"))
        assert worker.image_id == images["shop-web:latest"].id

    # --- what holds

    def planned(self) -> StackPlan:
        return self.do(self.stage.plan())

    @invariant()
    def a_plan_does_nothing(self) -> None:
        before = list(self.stage.engine.calls), len(self.stage.engine.builds)
        assert self.planned() == self.planned()
        assert (self.stage.engine.calls, len(self.stage.engine.builds)) == before


Life.TestCase.settings = settings(
    max_examples=12, stateful_step_count=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck),
    phases=[Phase.generate], report_multiple_bugs=False,
)  # fmt: skip

TestLife = Life.TestCase
