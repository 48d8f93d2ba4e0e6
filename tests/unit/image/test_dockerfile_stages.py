"""Stages: which are needed, and what the arguments of a build are in each."""

from __future__ import annotations

import pytest

from stackrun.errors import InvalidArgument
from stackrun.image.arguments import GlobalArguments, StageArguments, platform_arguments
from stackrun.image.dockerfile import needed_stages, parse, stage_named, stage_of_copy
from stackrun.image.instructions import Arg, Dockerfile
from stackrun.image.substitution import expand

SHOP = """\
ARG BASE=base
FROM scratch AS base
FROM node AS assets
FROM golang AS Build
COPY --from=ASSETS /a /b
FROM ${BASE} AS test
RUN --mount=from=build,target=/x,source=/y true
FROM base
COPY --from=2 /a /b
COPY --from=nginx /a /b
FROM python AS later
"""


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("", (5,)),
        ("base", (0,)),
        ("BUILD", (1, 2)),
        ("test", (0, 1, 2, 3)),
        ("4", (0, 1, 2, 4)),
        ("0", (0,)),
        ("later", (5,)),
    ],
)
def test_a_target_needs_its_bases_and_what_it_copies_from(target: str, expected: tuple[int, ...]) -> None:
    assert needed_stages(parse(SHOP), target, {"BASE": "base"}) == expected


def test_a_base_that_is_a_variable_is_a_stage_only_by_its_value() -> None:
    assert needed_stages(parse(SHOP), "test", {"BASE": "alpine"}) == (1, 2, 3)


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("tset", 'did you mean "test"?'),
        ("6", "its stages are base, assets, build, test, later"),
        ("9" * 30, "its stages are base"),
        ("²", "its stages are base"),
        ("-1", "its stages are base"),
    ],
)
def test_a_target_that_is_not_there(target: str, hint: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        needed_stages(parse(SHOP), target)
    assert caught.value.message == f'target stage "{target}" could not be found'
    assert hint in caught.value.hint


def test_only_stages_before_are_a_base_but_any_is_copied_from() -> None:
    found = parse("FROM b AS a\nCOPY --from=b x y\nFROM c AS b\n")
    assert needed_stages(found, "a") == (1, 0)
    assert needed_stages(parse("FROM a AS a\nFROM a AS b")) == (0, 1)


@pytest.mark.parametrize("text", ["FROM x AS a\nCOPY --from=a b c", "FROM x AS a\nCOPY --from=b c d\nFROM x AS b\nCOPY --from=a c d"])
def test_stages_that_need_each_other(text: str) -> None:
    with pytest.raises(InvalidArgument, match="circular dependency detected on stage: a"):
        needed_stages(parse(text), "a")


def test_where_copy_takes_files_from() -> None:
    shop = parse(SHOP)
    assert [stage_of_copy(shop, name) for name in ("assets", "BUILD", "2", "nginx", "")] == [1, 2, 2, None, None]
    assert (stage_named(shop, "build"), stage_named(shop, "build", before=2), stage_named(shop, "2")) == (2, None, None)
    for number in ("6", "99999999999"):
        with pytest.raises(InvalidArgument, match="invalid stage index"):
            stage_of_copy(shop, number)


def test_thousands_of_stages_are_no_burden() -> None:
    text = "FROM x AS s0\n" + "".join(f"FROM s{index} AS s{index + 1}\n" for index in range(5000))
    assert needed_stages(parse(text)) == tuple(range(5001))


def _declared(dockerfile: Dockerfile, given: dict[str, str | None], environment: dict[str, str] | None = None) -> dict[str, str]:
    """The variables at the end of the last stage."""
    scope = GlobalArguments(dockerfile, given, platform_arguments("linux/arm64/v8", "linux/amd64"))
    found: list[StageArguments] = []
    for stage in dockerfile.stages:
        base = stage_named(dockerfile, scope.base_of(stage), before=len(found))
        found.append(scope.stage(None if base is None else found[base]))
        for one in stage.instructions:
            assert isinstance(one, Arg)
            found[-1].declare(one, environment or {})
    return found[-1].variables(environment or {})


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("ARG A=1\nFROM x", {}, {}),
        ("ARG A=1\nFROM x\nARG A", {}, {"A": "1"}),
        ("ARG A=1\nFROM x\nARG A=2", {}, {"A": "2"}),
        ("ARG A=1\nFROM x\nARG A=2", {"A": "3"}, {"A": "3"}),
        ("ARG A=1\nFROM x\nARG A=2", {"A": None}, {"A": "2"}),
        ("ARG A\nFROM x\nARG A", {}, {}),
        ("ARG A=1\nARG B=${A}2\nFROM x\nARG B", {"A": "7"}, {"B": "72"}),
        ("FROM x\nARG A=1 B=$A C", {"D": "4"}, {"A": "1", "B": "1"}),
        ("FROM x\nARG A='$B' C=\"x y\"", {"B": "2"}, {"A": "$B", "C": "x y"}),
        ("FROM x\nARG A=1\nARG A", {}, {"A": "1"}),
        ("FROM x AS b\nARG A=1\nFROM b\nARG B=$A", {}, {"A": "1", "B": "1"}),
        ("FROM x AS b\nARG A=1\nFROM y\nARG B=$A", {}, {"B": ""}),
        ("FROM x\nARG TARGETARCH TARGETVARIANT", {}, {"TARGETARCH": "arm64", "TARGETVARIANT": "v8"}),
        ("FROM x\nARG BUILDPLATFORM BUILDVARIANT", {}, {"BUILDPLATFORM": "linux/amd64", "BUILDVARIANT": ""}),
        ("FROM x\nARG TARGETOS=plan9", {"TARGETOS": "linux"}, {"TARGETOS": "linux"}),
    ],
)  # fmt: skip
def test_the_scope_of_arguments(text: str, given: dict[str, str | None], expected: dict[str, str]) -> None:
    assert _declared(parse(text), given) == expected


def test_the_environment_wins() -> None:
    assert _declared(parse("FROM x\nARG A=1 B=$A"), {"A": "3"}, {"A": "e"}) == {"A": "e", "B": "e"}


def test_proxies_are_for_run_alone() -> None:
    dockerfile = parse("FROM x")
    scope = GlobalArguments(dockerfile, {"http_proxy": "p", "X": "1"}, {})
    stage = scope.stage()
    assert stage.variables({}) == {}
    assert stage.run_environment({"A": "1"}) == {"http_proxy": "p", "A": "1"}
    assert scope.unused(dockerfile) == ("X",)


def test_the_base_by_arguments() -> None:
    dockerfile = parse("ARG V=1\nARG N\nFROM --platform=$BUILDPLATFORM a:$V\nFROM $N\nFROM a")
    scope = GlobalArguments(dockerfile, {}, platform_arguments("linux/arm64", "linux/amd64"))
    first, second, third = dockerfile.stages
    assert (scope.base_of(first), scope.platform_of(first), scope.platform_of(third)) == ("a:1", "linux/amd64", "")
    with pytest.raises(InvalidArgument, match=r"base name \(\$N\) should not be blank"):
        scope.base_of(second)


def test_words_of_a_trigger_are_expanded_by_the_escape_of_the_file() -> None:
    dockerfile = parse("# escape=`\nARG A=`$x\nFROM a\nARG A")
    assert _declared(dockerfile, {}) == {"A": "$x"}
    assert expand(dockerfile.arguments[0].names["A"] or "", {}, dockerfile.escape) == "$x"
