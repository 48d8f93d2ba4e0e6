"""As much of GitHub's runner as our composite action sees: its steps in bash, with the environment that the runner sets."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from stackrun.cli import main

ROOT = Path(__file__).resolve().parents[1]
ACTION: Any = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
INSTALL, VALIDATE = ACTION["runs"]["steps"]


def expression(text: str, inputs: dict[str, str]) -> str:
    """`${{ CONTEXT.NAME }}` as the runner fills it in."""
    return re.sub(r"\$\{\{ ([a-z_.-]+) \}\}", lambda found: inputs[found[1].removeprefix("inputs.")], text)


class Runner:
    """`source` is where the action itself was fetched to."""

    def __init__(self, directory: Path, source: Path = ROOT) -> None:
        self.directory = directory
        self.source = source
        self.workspace = directory / "workspace"
        self.program = directory / "temp/stackrun/bin/stackrun"
        self.output = directory / "output"
        self.program.parent.mkdir(parents=True)
        self.workspace.mkdir()
        self.output.touch()

    def program_is(self, text: str) -> None:
        self.program.write_text(text, encoding="utf-8")
        self.program.chmod(0o755)

    def run(self, step: dict[str, Any], **given: str) -> subprocess.CompletedProcess[str]:
        """https://docs.github.com/actions: `shell: bash` is `bash --noprofile --norc -eo pipefail FILE`."""
        inputs = {name: str(one["default"]) for name, one in ACTION["inputs"].items()} | {k.replace("_", "-"): v for k, v in given.items()}
        inputs["github.action_path"] = str(self.source)
        script = self.directory / "step.sh"
        script.write_text(step["run"], encoding="utf-8")
        environment = {name: expression(value, inputs) for name, value in step["env"].items()}
        environment |= {"RUNNER_TEMP": str(self.directory / "temp"), "GITHUB_OUTPUT": str(self.output), "RECORD": str(self.recorded)}
        environment["GITHUB_STEP_SUMMARY"] = str(self.directory / "summary")
        environment |= {name: os.environ[name] for name in os.environ if name.startswith("PIP_")}
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.workspace / expression(step.get("working-directory", "."), inputs),
            env=environment | {"PATH": os.environ["PATH"], "HOME": str(self.directory)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    @property
    def recorded(self) -> Path:
        return self.directory / "record"

    def calls(self) -> list[str]:
        return self.recorded.read_text(encoding="utf-8").splitlines()


def validate_takes(flag: str) -> bool:
    """Whether the program has that option of `validate`."""
    return flag in main._verb_parser("validate", main._module("validate")).format_help()
