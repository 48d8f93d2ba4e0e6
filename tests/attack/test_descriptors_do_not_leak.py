"""CVE-2016-9962, CVE-2024-21626: a descriptor of the runtime's that stays open in the container opens the host's file system."""

import json

from machine import Machine
from prison import Prison

SCRIPT = """
import json
found = {}
for name in os.listdir("/proc/self/fd"):
    try:
        found[name] = os.readlink(f"/proc/self/fd/{name}")
    except FileNotFoundError:
        pass  # the listing's own descriptor, closed by now
print(json.dumps(found))
"""


def only_standard_streams(text: str) -> bool:
    return set(json.loads(text)) == {"0", "1", "2"}


def test_the_first_process_has_three_descriptors(prison: Prison) -> None:
    assert only_standard_streams(prison.run(SCRIPT, code=0))


def test_an_exec_has_three_descriptors(machine: Machine) -> None:
    machine.docker("run", "-d", "--name", "leak", "host", "sleep", "1000")
    try:
        assert only_standard_streams(machine.docker("exec", "leak", "python3", "-c", "import os" + SCRIPT).stdout)
    finally:
        machine.docker("rm", "-f", "leak")


def test_a_working_directory_through_a_descriptor_is_refused(machine: Machine) -> None:
    for number in range(3, 20):
        done = machine.docker("run", "--rm", "-w", f"/proc/self/fd/{number}", "host", "cat", "../../../etc/shadow", code=None)
        assert done.returncode != 0 and "root:" not in done.stdout
