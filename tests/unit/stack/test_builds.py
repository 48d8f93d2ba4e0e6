"""Images that a stack file says how to build: when they are built, of what, and what becomes of their containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from unit.stack.stage import Play, Scene

from stackrun.api.stacks import BuildOptions, Phase, StackEvent, StackPlan
from stackrun.errors import BuildFailed, ComposeError, Conflict, InvalidArgument, NotFound, RegistryError
from stackrun.stack.building import line_of
from stackrun.stack.builds import LABEL, digest_of

DOCKERFILE = "FROM scratch\nCOPY . /\nRUN make\n"
STACK = """\
name: shop
services:
  db:
    image: busybox:1
  web:
    build: ./web
    depends_on: [db]
"""
DONE = StackEvent("", Phase.DONE, "Done")


def stack(stage: Scene, text: str = STACK, dockerfile: str = DOCKERFILE, **files: str) -> Path:
    web = stage.folder / "web"
    web.mkdir(exist_ok=True)
    (web / "Dockerfile").write_text(dockerfile)
    for name, content in ({"app.py": "1"} | files).items():
        (web / name).write_text(content)
    stage.write(text)
    return web


def image_lines(plan: StackPlan) -> list[str]:
    return [f"{one.symbol} {one.resource}: {', '.join(one.steps)} ({one.cause})" for one in plan.actions if one.resource[:6] == "Image "]


def symbols(plan: StackPlan) -> dict[str, str]:
    return {one.resource: f"{one.symbol} {one.cause}" for one in plan.actions}


def test_up_builds_what_is_missing_and_then_there_is_nothing_to_do(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stack(stage)
        assert image_lines(await stage.plan()) == ["+ Image shop-web: build (missing)"]
        assert (await stage.plan()).summary == "plan: 1 to build, 3 to create, 0 to replace, 0 to remove; 0 unchanged"
        assert not stage.engine.builds, "a plan does nothing"
        assert await stage.up() == DONE
        (built,) = stage.engine.builds
        assert built.files == {"Dockerfile": DOCKERFILE.encode(), "app.py": b"1"}
        assert built.spec.tags == ("shop-web",) and built.spec.dockerfile == "Dockerfile"
        assert (await stage.states())["shop-web-1"] == "running"
        assert (await stage.plan()).actions == ()
        stage.engine.calls.clear()
        assert await stage.up() == DONE and stage.engine.calls == []

    play(scene)


def test_a_change_of_the_context_is_planned_with_its_files_and_carried_out(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        web = stack(stage)
        await stage.up()
        (web / "app.py").write_text("2")
        (web / "new.py").write_text("")
        plan = await stage.plan()
        assert symbols(plan) == {
            "Image shop-web": "-/+ build context changed (2 files: app.py, new.py)", "Container shop-web-1": "-/+ image changed",
        }  # fmt: skip
        image, container = plan.actions
        assert [(one.field, one.before is None, one.place) for one in image.changes] == [
            ("build.context app.py", False, "compose.yaml:6:12"),
            ("build.context new.py", True, "compose.yaml:6:12"),
        ]
        assert (container.changes[0].field, (container.changes[0].after or "").endswith("(built anew)")) == ("image", True)
        assert plan.summary == "plan: 1 to build, 0 to create, 1 to replace, 0 to remove; 2 unchanged"
        before = (await stage.engine.container("shop-web-1")).image_id
        assert await stage.up(seal=plan.seal) == DONE, "exactly this was planned"
        assert (await stage.engine.container("shop-web-1")).image_id != before
        assert (await stage.plan()).actions == ()

    play(scene)


def test_what_is_ignored_and_what_editors_leave_is_no_change(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        web = stack(stage, **{".dockerignore": "*.log\nDockerfile\n"})
        await stage.up()
        assert set(stage.engine.builds[0].files) >= {"app.py", ".dockerignore"} and "a.log" not in stage.engine.builds[0].files
        for name in ("a.log", "app.py~", ".app.py.swp", "4913"):
            (web / name).write_text("x")
        (web / ".git").mkdir()
        (web / ".git" / "HEAD").write_text("x")
        os.utime(web / "app.py")
        assert (await stage.plan()).actions == ()
        (web / "app.py").chmod(0o755)
        assert "app.py" in (await stage.plan()).actions[0].cause

    play(scene)


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        ("build: ./web", "build: {context: ./web, args: {V: '1'}}", "build.args.V changed"),
        ("build: {context: ./web, args: {V: '1'}}", "build: {context: ./web, args: {V: '2'}}", "build.args.V changed"),
        ("build: ./web", "build: {context: ./web, target: x}", "build.target changed"),
        ("build: ./web", "build: {context: ./web, labels: {a: b}, network: none}", "build.labels.a, build.network changed"),
        ("build: ./web", "build: {context: ./web, dockerfile_inline: FROM busybox}", "Dockerfile changed, build context changed"),
        ("build: {context: ./web, no_cache: true}", "build: {context: ./web, pull: true}", ""),
    ],
)
def test_every_key_that_makes_another_image_counts(play: Play, before: str, after: str, cause: str) -> None:
    async def scene(stage: Scene) -> None:
        stack(stage, STACK.replace("build: ./web", before))
        await stage.up()
        stage.write(STACK.replace("build: ./web", after))
        told = [one.cause for one in (await stage.plan()).actions if one.resource == "Image shop-web"]
        assert [one[: len(cause)] for one in told] == ([cause] if cause else [])

    play(scene)


def test_an_argument_that_may_be_secret_is_not_shown(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stack(stage, STACK.replace("build: ./web", "build: {context: ./web, args: {API_TOKEN: hush1}}"))
        await stage.up()
        stage.write(STACK.replace("build: ./web", "build: {context: ./web, args: {API_TOKEN: hush2}}"))
        (change,) = (await stage.plan()).actions[0].changes
        assert (change.field, change.before, change.after) == ("build.args.API_TOKEN", "(hidden)", "(hidden)")

    play(scene)


def test_an_image_that_somebody_else_built_is_left_unless_asked_for(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stack(stage)
        stage.engine.add_image("shop-web:latest")
        assert image_lines(await stage.plan()) == []
        assert image_lines(await stage.plan(build="always")) == ["~ Image shop-web: build (asked for)"]
        await stage.up()
        assert not stage.engine.builds
        await stage.up(build="always")
        assert len(stage.engine.builds) == 1

    play(scene)


def test_the_image_that_a_stack_is_deployed_with_needs_no_source(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stage.write(STACK)
        stage.engine.add_image("shop-web:latest")
        assert await stage.up() == DONE
        with pytest.raises(NotFound, match=r"service web is built from .*/web, which is no folder"):
            await stage.plan(build="always")

    play(scene)


def test_no_build_refuses_what_is_missing_and_names_what_has_changed(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        web = stack(stage)
        with pytest.raises(NotFound, match=r"No such image: shop-web \(service web\)"):
            await stage.up(build="never")
        with pytest.raises(InvalidArgument, match="none of always and never"):
            await stage.up(build="perhaps")
        await stage.up()
        (web / "app.py").write_text("2")
        plan = await stage.plan(build="never")
        assert (plan.actions, [one.resource for one in plan.notices]) == ((), ["Image shop-web"])

    play(scene)


def test_an_image_with_a_name_is_pulled_first_as_docker_compose_does(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stack(stage, STACK.replace("build: ./web", "build: ./web\n    image: acme/web:1"))
        assert image_lines(await stage.plan()) == ["+ Image acme/web:1: pull, else build (missing)"]
        assert image_lines(await stage.plan(build="never")) == ["+ Image acme/web:1: pull (missing)"]
        stage.engine.fail("pull_image", RegistryError("no such host"), ref="acme/web:1")
        assert await stage.up() == DONE
        assert [one.spec.tags for one in stage.engine.builds] == [("acme/web:1",)]
        assert (await stage.plan()).actions == ()

    play(scene)


def test_a_failed_build_changes_nothing_and_says_where(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        web = stack(stage)
        await stage.up()
        before = await stage.states()
        (web / "app.py").write_text("2")
        stage.engine.fail("build_image", BuildFailed("The command '/bin/sh -c make' returned a non-zero code: 2", 2), ref="shop-web")
        last = await stage.up()
        assert last.phase is Phase.FAILED
        assert last.detail == "build shop-web: The command '/bin/sh -c make' returned a non-zero code: 2"
        assert await stage.states() == before
        assert len((await stage.plan()).actions) == 2, "the next up tries again"

    play(scene)


def test_a_saved_plan_is_refused_once_the_context_is_another(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        web = stack(stage)
        plan = await stage.plan()
        (web / "app.py").write_text("2")
        with pytest.raises(Conflict, match="what is built as shop-web has changed"):
            await stage.up(seal=plan.seal)
        assert await stage.up(seal=(await stage.plan()).seal) == DONE

    play(scene)


TWO = """\
name: shop
services:
  app:
    build: {context: ./web, additional_contexts: {base: 'service:base', deb: 'docker-image://debian:12'}}
  base:
    build: {context: ./web, target: base}
    profiles: []
"""


def test_a_build_waits_for_the_builds_it_needs_and_fails_with_them(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stack(stage, TWO)
        assert await stage.up() == DONE
        assert [one.spec.tags[0] for one in stage.engine.builds] == ["shop-base", "shop-app"]
        assert stage.engine.builds[1].spec.contexts == {"base": "shop-base", "deb": "debian:12"}
        stage.write(TWO.replace("target: base", "target: other"))
        plan = await stage.plan(services=("app",))
        assert [one.cause for one in plan.actions] == ["build.target changed", "image shop-base is built anew", "image changed"]
        stage.engine.fail("build_image", BuildFailed("no", 1), ref="shop-base")
        await stage.up()
        assert [one.text for one in stage.events if one.resource == "Image shop-app"] == ["Skipped"]
        stage.write(TWO.replace("target: base", "additional_contexts: {x: 'service:app'}"))
        with pytest.raises(ComposeError, match="builds need each other: app → base → app"):
            await stage.plan()

    play(scene)


def test_the_command_build_builds_always_and_touches_no_container(play: Play) -> None:
    async def build(stage: Scene, **options: object) -> StackEvent:
        return await stage.drain(await stage.operations.build(stage.source, BuildOptions(**options)))  # type: ignore[arg-type]

    async def scene(stage: Scene) -> None:
        stack(stage)
        assert await build(stage, no_cache=True, pull=True, arguments={"V": "9"}) == DONE
        spec = stage.engine.builds[0].spec
        assert (spec.no_cache, spec.pull, spec.arguments) == (True, True, {"V": "9"})
        assert await stage.states() == {}
        assert image_lines(await stage.plan()) == [], "an argument that was given by hand is no change of the file"
        assert await build(stage, services=("web",)) == DONE and len(stage.engine.builds) == 2
        assert await build(stage, services=("db",)) == DONE and len(stage.engine.builds) == 2
        assert [one.detail for one in stage.events if one.text == "Warning"] == ["it has no build: nothing is built for it"]

    play(scene)


def test_a_dockerfile_from_elsewhere_is_sent_along_and_not_copied(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stack(stage, STACK.replace("build: ./web", "build: {context: ./web, dockerfile: ../other.dockerfile}"))
        (stage.folder / "other.dockerfile").write_text("FROM busybox\n")
        assert await stage.up() == DONE
        (built,) = stage.engine.builds
        assert built.files[built.spec.dockerfile] == b"FROM busybox\n" and built.spec.dockerfile.startswith(".dockerfile.")
        assert built.files[".dockerignore"].decode().split() == [built.spec.dockerfile, ".dockerignore"]
        (stage.folder / "other.dockerfile").write_text("FROM debian\n")
        assert (await stage.plan()).actions[0].cause == "Dockerfile changed"

    play(scene)


def test_secrets_are_given_to_the_build_and_leave_no_trace_in_what_counts(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        text = STACK.replace("build: ./web", "build: {context: ./web, secrets: [token]}") + "secrets: {token: {environment: TOKEN}}\n"
        stack(stage, text)
        await stage.up()
        assert stage.engine.builds[0].spec.secrets == {"token": b"hush"}
        records = [one.read_text() for one in (stage.state / ".builds").rglob("*.json")]
        assert records and not any("hush" in one for one in records)

    play(scene)


def test_what_was_synced_is_no_reason_to_build(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        web = stack(stage)
        await stage.up()
        (web / "app.py").write_text("2")
        assert (await stage.plan(unbuilt=("web",))).actions == ()
        assert len((await stage.plan(unbuilt=("db",))).actions) == 2

    play(scene)


def test_a_rollback_takes_the_image_of_then_and_says_when_it_is_gone(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        web = stack(stage)
        await stage.up()
        first = (await stage.engine.container("shop-web-1")).image_id
        (web / "app.py").write_text("2")
        await stage.up()
        assert (await stage.plan(revision=1)).notices[0].detail.startswith("shop-web means another image now")
        assert await stage.up(revision=1) == DONE
        assert (await stage.engine.container("shop-web-1")).image_id == first
        assert symbols(await stage.plan()) == {"Container shop-web-1": "-/+ image changed"}, "the image of the file is there still"
        assert await stage.up() == DONE
        del stage.engine.images_by_id[first]
        told = (await stage.plan(revision=1)).notices[0].detail
        assert told.startswith("the image of revision 1") and "is gone: what the name means now is used" in told
        stage.engine.images_by_id.clear()
        with pytest.raises(NotFound, match=r"No such image: shop-web \(service web\)") as refused:
            await stage.up(revision=1)
        assert refused.value.hint == "`up` of the stack's file builds it"

    play(scene)


def test_the_journal_has_builds(play: Play) -> None:
    async def scene(stage: Scene) -> None:
        stack(stage)
        await stage.up()
        decisions = (await stage.operations.why(stage.source, "web")).decisions
        assert (decisions[0].resource, decisions[0].did, decisions[0].cause) == ("Image shop-web", "built", "missing")

    play(scene)


def test_an_unchanged_context_is_not_read_again(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Scene) -> None:
        from stackrun.stack import sourcetree
        from stackrun.stack.operations import StackOperations

        web = stack(stage)
        os.utime(web / "app.py", (1, 1))
        monkeypatch.setattr(sourcetree, "FRESH_NS", -1)
        await stage.up()
        read: list[str] = []
        original = sourcetree._content_digest
        monkeypatch.setattr(sourcetree, "_content_digest", lambda whole: (read.append(whole), original(whole))[1])
        await stage.plan()
        stage.operations = StackOperations(stage.engine, state_dir=str(stage.state))
        await stage.plan()
        dockerfile = f"{web}/Dockerfile"
        assert [one for one in read if one != dockerfile] == [], "neither by this process nor by another one"
        (web / "app.py").write_text("2")
        await stage.plan()
        assert [one for one in read if one != dockerfile] == [f"{web}/app.py"]

    play(scene)


def test_a_folder_that_several_images_are_built_from_is_looked_at_once(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Scene) -> None:
        from stackrun.stack.sourcetree import SourceTree

        stack(stage, STACK + "  worker: {build: {context: ./web, target: worker}}\n  own: {build: {context: ./web, dockerfile: Other}}\n")
        (stage.folder / "web" / "Other").write_text("FROM scratch\n")
        (stage.folder / "web" / "Other.dockerignore").write_text("app.py\n")
        looks: list[str] = []
        original = SourceTree.look
        monkeypatch.setattr(SourceTree, "look", lambda self, notice: (looks.append(self.root), original(self, notice))[1])
        await stage.plan()
        assert len(looks) == 2, "once for each that leaves out something else"
        assert await stage.up() == DONE
        sent = {one.spec.tags[0]: set(one.files) for one in stage.engine.builds}
        assert sent["shop-worker"] == sent["shop-web"] == sent["shop-own"] | {"app.py"}
        assert (await stage.plan()).actions == ()

    play(scene)


@pytest.mark.parametrize(("pull_policy", "built"), [("build", 2), ("missing", 1), ("never", 1)])
def test_pull_policy_build_builds_at_every_up(play: Play, pull_policy: str, built: int) -> None:
    async def scene(stage: Scene) -> None:
        stack(stage, STACK.replace("build: ./web", f"build: ./web\n    pull_policy: {pull_policy}"))
        await stage.up()
        await stage.up()
        assert len(stage.engine.builds) == built

    play(scene)


def test_a_context_that_changes_while_it_is_sent_is_sent_again(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Scene) -> None:
        from stackrun.stack import building

        web = stack(stage)
        original = building.archive
        times: list[int] = []

        def archive(*args: object) -> object:
            times.append(1)
            if len(times) == 1:
                (web / "app.py").write_text("in between")
            return original(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(building, "archive", archive)
        assert await stage.up() == DONE
        assert len(times) == 2 and [one.files["app.py"] for one in stage.engine.builds] == [b"in between"]
        assert (await stage.plan()).actions == (), "what is written on the image is what was sent"

    play(scene)


def test_an_inherited_label_is_not_an_images_own() -> None:
    assert digest_of("shop-web", {LABEL: "shop-web sha256:1"}) == "sha256:1"
    assert digest_of("shop-web", {LABEL: "shop-base sha256:1"}) == digest_of("shop-web", {}) == digest_of("shop-web", {LABEL: "x"}) == ""


@pytest.mark.parametrize(
    ("instruction", "step", "line"),
    [
        ("FROM a", 1, 1), ("RUN make", 2, 3), ("COPY x /y", 3, 4), ("RUN a && b", 4, 6), ("RUN make", 5, 8), ("RUN other", 6, 0),
    ],
)  # fmt: skip
def test_the_line_of_a_step(instruction: str, step: int, line: int) -> None:
    text = "FROM a\n# RUN make\nRUN make\ncopy  x /y\n\nRUN a && \\\n  b\nRUN make\n"
    assert line_of(text, instruction, f"Step {step}/6 : {instruction}") == line


