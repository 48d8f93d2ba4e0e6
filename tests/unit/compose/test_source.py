"""Which files, directory, variables, profiles and name a request means."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.compose.stack_files import Stack

from stackrun.api.stacks import StackSource
from stackrun.compose.load import check, discover, load
from stackrun.compose.source import normalized_name, shown
from stackrun.errors import InvalidArgument, NoStackFile, NotFound

ONE = "services: {a: {image: x}}\n"


def test_discovery_prefers_our_names_and_takes_the_override(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert discover(str(below)) == ()
    (tmp_path / "docker-compose.yml").write_text(ONE)
    assert discover(str(below)) == (str(tmp_path / "docker-compose.yml"),)
    for name in ("compose.yml", "compose.override.yml"):
        (tmp_path / "a" / name).write_text(ONE)
    assert discover(str(below)) == (str(tmp_path / "a" / "compose.yml"), str(tmp_path / "a" / "compose.override.yml"))
    (tmp_path / "a" / "stack.yaml").write_text(ONE)
    assert discover(str(below)) == (str(tmp_path / "a" / "stack.yaml"),)


def test_compose_file_names_them_instead(tmp_path: Path) -> None:
    assert discover(str(tmp_path), {"COMPOSE_FILE": "a.yaml:b/../c.yaml"}) == (f"{tmp_path}/a.yaml", f"{tmp_path}/c.yaml")
    assert discover(str(tmp_path), {"COMPOSE_FILE": "a;b", "COMPOSE_PATH_SEPARATOR": ";"}) == (f"{tmp_path}/a", f"{tmp_path}/b")


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(NoStackFile) as caught:
        load(StackSource(str(tmp_path)))
    assert isinstance(caught.value, NotFound) and caught.value.exit_code == 2
    assert "stack.yaml" in caught.value.hint and "compose.yaml" in caught.value.hint


def test_dot_env_may_say_what_to_load(stack: Stack) -> None:
    stack.write({".env": "COMPOSE_FILE=other.yaml\nCOMPOSE_PROFILES=p,q\nCOMPOSE_PROJECT_NAME=named\n"})
    stack.write({"other.yaml": "services: {a: {image: x, profiles: [p]}, b: {image: y, profiles: [r]}}\n"})
    project = load(stack.source())
    assert (project.name, list(project.services), list(project.disabled_services), project.profiles) == ("named", ["a"], ["b"], ("p", "q"))
    assert project.files == (f"{stack.directory}/other.yaml",)


def test_the_project_directory_is_the_first_files(stack: Stack) -> None:
    stack.write({"sub/c.yaml": "services: {a: {image: 'x$T', volumes: ['./d:/d']}}\n", "sub/.env": "T=1\n"})
    project = load(stack.source("sub/c.yaml"))
    assert (project.name, project.working_dir) == ("sub", f"{stack.directory}/sub")
    assert project.services["a"].image == "x1"
    assert project.services["a"].volumes[0].source == f"{stack.directory}/sub/d"


def test_a_project_directory_may_be_given(stack: Stack) -> None:
    stack.write({"sub/c.yaml": "services: {a: {image: x, volumes: ['./d:/d']}}\n", "pd/x": ""})
    source = StackSource(str(stack.directory), ("sub/c.yaml",), project_directory="pd", environment={})
    project = load(source)
    assert (project.name, project.services["a"].volumes[0].source) == ("pd", f"{stack.directory}/pd/d")


def test_env_files_given_replace_dot_env_and_the_later_wins(stack: Stack) -> None:
    stack.write({"compose.yaml": "services: {a: {image: 'x$A$B$C'}}\n", ".env": "A=0\nB=0\nC=0\n", "e": "A=1\nB=1\n", "f": "B=2${A}\n"})
    project = load(stack.source(env_files=("e", "f")))
    assert project.services["a"].image == "x121"
    assert project.env_files == (f"{stack.directory}/e", f"{stack.directory}/f")


def test_an_env_file_that_is_missing_or_wrong_is_a_fault(stack: Stack) -> None:
    stack.write({"compose.yaml": ONE, "bad": "A B=1\n"})
    assert [str(one) for one in check(stack.source(env_files=("gone", "bad")))] == [
        "bad:1:2: unexpected ' ' in a variable's name",
        "gone:0:0: env file cannot be read: no such file or directory",
    ]


def test_stdin(tmp_path: Path) -> None:
    project = load(StackSource(str(tmp_path), ("-",), stdin=ONE, environment={}))
    assert (project.files, list(project.services), project.place("services", "a", "image")) == (("-",), ["a"], ("-", 1, 23))


@pytest.mark.parametrize(
    ("text", "name"), [("Shop", "shop"), ("My Shop!", "myshop"), ("_-x", "x"), ("a.b", "ab"), ("1a", "1a"), ("ä", ""), ("A-b_C", "a-b_c")]
)
def test_names_of_directories_are_normalised(text: str, name: str) -> None:
    assert normalized_name(text) == name


def test_the_name_in_a_file_counts_the_last_one_and_may_have_variables(stack: Stack) -> None:
    assert stack.merged("name: one\n" + ONE, "name: '${HOME}'\n").name == "homeuser"


def test_a_name_asked_for_must_be_one(stack: Stack) -> None:
    stack.write({"compose.yaml": ONE})
    with pytest.raises(InvalidArgument, match="invalid project name 'My Shop'"):
        load(StackSource(str(stack.directory), project_name="My Shop"))


def test_paths_are_shown_as_a_user_would_write_them() -> None:
    assert shown("/w/a/b.yaml", "/w") == "a/b.yaml"
    assert shown("/wx/b.yaml", "/w") == "/wx/b.yaml"
    assert shown("/b.yaml", "/") == "b.yaml"


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("", "c.yaml:1:1: the file is empty"),
        ("# nothing\n", "c.yaml:1:1: the file is empty"),
        ("- a\n", "c.yaml:1:1: a stack file must be a mapping at the top level"),
        ("a: [\n", "c.yaml:2:1: YAML syntax"),
        (None, "c.yaml:0:0: cannot read c.yaml: no such file or directory"),
    ],
)
def test_files_that_are_none(stack: Stack, content: str | None, finding: str) -> None:
    if content is not None:
        stack.write({"c.yaml": content})
    (found,) = check(stack.source("c.yaml"))
    assert str(found).startswith(finding)


def test_a_directory_is_no_file(stack: Stack) -> None:
    (stack.directory / "d.yaml").mkdir()
    assert str(check(stack.source("d.yaml"))[0]) == "d.yaml:0:0: cannot read d.yaml: is a directory\n  hint: name a file in it"
