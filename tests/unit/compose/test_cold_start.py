"""What reading a stack file that is right does without: most of these take longer to import than a small file to read."""

from __future__ import annotations

import subprocess
import sys

from unit.compose.stack_files import Stack

HEAVY = {
    "dataclasses",
    "difflib",
    "importlib.resources",
    "inspect",
    "ipaddress",
    "jsonschema",
    "networkx",
    "pathlib",
    "stackrun.compose.model",
}
TEXT = """
services:
  a: {image: x, ports: ['80:80'], environment: {A: '${HOME}'}}
  b: {image: y, depends_on: [a]}
"""


def test_a_right_file_is_read_with_little(stack: Stack) -> None:
    stack.write({"compose.yaml": TEXT})
    code = "import sys; from stackrun.cli.main import run; assert run(['-f', 'compose.yaml', 'config', '-q']) == 0; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=stack.directory, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
