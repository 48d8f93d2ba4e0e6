"""Services built upon others, and files made of files."""

from __future__ import annotations

import pytest
from unit.compose.stack_files import Stack


def test_extends_in_the_same_file(stack: Stack) -> None:
    text = """
        services:
          base: {image: x, expose: [1], environment: {A: 1, B: 2}, command: a, container_name: one}
          a: {extends: base, expose: [2], environment: [B=3], container_name: two}
          b: {extends: {service: a}, image: z, container_name: three}
    """
    services = stack.load(text).services
    assert (services["a"].image, services["a"].expose, services["a"].environment) == ("x", ("1", "2"), {"A": "1", "B": "3"})
    assert (services["b"].image, services["b"].command, services["b"].container_name) == ("z", ("a",), "three")


def test_extends_of_another_file_starts_its_paths_there(stack: Stack) -> None:
    project = stack.load(
        "services: {a: {extends: {service: base, file: sub/base.yaml}, volumes: ['./x:/x']}}",
        sub__base_DOT_yaml="services:\n"
        "  base: {extends: {service: deep, file: ../deep.yaml}, volumes: ['./y:/y'], env_file: e}\n  bad: {imag: 1}",
        sub__e="Q=1\n",
        deep_DOT_yaml="services: {deep: {image: d, build: .}}",
    )
    found = project.services["a"]
    here = str(stack.directory)
    assert [mount.source for mount in found.volumes] == [f"{here}/sub/y", f"{here}/x"]
    assert found.build is not None and (found.image, found.build.context, found.environment) == ("d", here, {"Q": "1"})


def test_places_lead_into_the_extended_file(stack: Stack) -> None:
    findings = stack.findings(
        "services: {a: {extends: {service: b, file: base.yaml}}}", base_DOT_yaml="services:\n  b: {image: x, mem_limit: lots}\n"
    )
    assert findings == ["base.yaml:2:28: invalid size: 'lots'"]


def test_extends_faults(stack: Stack) -> None:
    assert stack.findings("services: {a: {extends: b}, b: {extends: a}}") == ["1:25: services extend each other in a circle: a → b → a"]
    assert stack.findings("services: {a: {extends: bb}, b: {image: x}}") == ['1:25: service "bb" to extend is not in compose.yaml']
    assert stack.findings("services: {a: {extends: {service: b, file: no.yaml}}}") == [
        "1:25: cannot read no.yaml: no such file or directory"
    ]
    assert stack.findings("services: {a: {image: x, extends: {servce: b}}}") == [
        "1:35: extends has no service",
        '1:36: unknown key "servce" in extends',
    ]


def test_a_long_chain_is_refused(stack: Stack) -> None:
    text = "services:\n" + "".join(f"  s{number}: {{extends: s{number + 1}}}\n" for number in range(150)) + "  s150: {image: x}\n"
    assert stack.findings(text) == ["102:19: more than 100 services extend each other"]


def test_include(stack: Stack) -> None:
    project = stack.load(
        "include: [inc/i.yaml, {path: [j/j.yaml, j/k.yaml], env_file: j/x.env}]\nservices: {a: {image: x, depends_on: [i]}}\nname: main\n",
        inc__i_DOT_yaml="name: other\n"
        "services: {i: {image: 'x:${T:-none}', volumes: ['./d:/d', 'vol:/v'], env_file: f.env}}\nvolumes: {vol: }\n",
        inc___DOT_env="T=dotenv\n",
        inc__f_DOT_env="F=1\n",
        j__j_DOT_yaml="services: {j: {image: 'j:${T}', expose: [1]}}\n",
        j__k_DOT_yaml="services: {j: {expose: [2]}}\n",
        j__x_DOT_env="T=given\n",
    )
    here = str(stack.directory)
    assert project.name == "main"
    assert {name: service.image for name, service in project.services.items()} == {"a": "x", "i": "x:dotenv", "j": "j:given"}
    assert project.services["i"].volumes[0].source == f"{here}/inc/d"
    assert project.services["i"].environment == {"F": "1"}
    assert project.services["j"].expose == ("1", "2")
    assert project.volumes["vol"].name == "main_vol"
    assert {path.removeprefix(here) for path in project.inputs} >= {"/inc/i.yaml", "/inc/.env", "/inc/f.env", "/j/k.yaml", "/j/x.env"}


def test_the_callers_environment_wins_in_an_include(stack: Stack) -> None:
    stack.environment["T"] = "caller"
    project = stack.load("include: [i/i.yaml]\n", i__i_DOT_yaml="services: {i: {image: '$T'}}\n", i___DOT_env="T=file\n")
    assert project.services["i"].image == "caller"


def test_the_same_file_included_twice_is_one(stack: Stack) -> None:
    one = "services: {b: {image: y}}\n"
    assert list(stack.load("include: [i.yaml, j.yaml]\n", i_DOT_yaml=one, j_DOT_yaml="include: [i.yaml]\n").services) == ["b"]


def test_include_faults(stack: Stack) -> None:
    one = "services: {a: {image: y}}\n"
    assert stack.findings("include: [i.yaml]\nservices: {a: {image: x}}\n", i_DOT_yaml=one) == [
        "2:12: services.a is defined here and in i.yaml"
    ]
    assert stack.findings("include: [no.yaml]\nservices: {a: {image: x}}\n") == ["1:11: cannot read no.yaml: no such file or directory"]
    assert stack.findings("include: [i.yaml]\n", i_DOT_yaml="include: [compose.yaml]\nservices: {a: {image: x}}\n") == [
        "i.yaml:1:11: files include each other in a circle: compose.yaml → i.yaml → compose.yaml"
    ]
    assert stack.findings("include: i.yaml\nservices: {a: {image: x}}\n") == ["1:10: include must be a list, not the string 'i.yaml'"]
    assert stack.findings("include: [{pth: i.yaml}]\nservices: {a: {image: x}}\n") == ['1:12: unknown key "pth" in include']


def test_a_base_in_another_file_is_judged_by_what_is_left_of_it(stack: Stack) -> None:
    """What the service over it replaces is never looked at, as in Docker Compose; what is left is refused at its place."""
    text = "services: {a: {extends: {file: base.yaml, service: b}, %s}}"
    base = "services: {b: {image: x, command: 5, environment: , tty: 1}}"
    project = stack.load(text % "command: y, environment: {A: 1}, tty: true", base_DOT_yaml=base)
    assert project.services["a"].command == ("y",) and project.services["a"].environment == {"A": "1"}
    assert "base.yaml:1:35: command must be a string or a list, not the number 5" in stack.findings(text % "environment: {}, tty: true")


@pytest.mark.parametrize("file", ["https://example.org/a.git", "git@example.org:a.git", "oci://example.org/a"])
def test_remote_files_are_not_fetched(stack: Stack, file: str) -> None:
    said = f"{file} is a remote file"
    assert stack.findings(f"include: ['{file}']\nservices: {{a: {{image: x}}}}") == [f"1:11: {said}"]
    assert stack.findings(f"services: {{a: {{extends: {{file: '{file}', service: a}}}}}}") == [f"1:25: {said}"]


def test_a_base_has_its_long_forms_before_it_is_laid_over_its_own_base(stack: Stack) -> None:
    """The defaults of a long form win over what the service below says: `required` here."""
    project = stack.load(
        "services: {a: {extends: {file: one.yaml, service: b}}, d: {image: y}}",
        one_DOT_yaml="services: {b: {extends: {file: two.yaml, service: c}, depends_on: {d: {condition: service_healthy}}, gpus: all}}",
        two_DOT_yaml="services: {c: {image: x, depends_on: {d: {condition: service_started, required: false}}, gpus: all}}",
    )
    assert project.services["a"].depends_on["d"].required is True
    assert [one.count for one in project.services["a"].gpus] == [-1, -1]
