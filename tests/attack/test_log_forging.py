"""Lines that look like entries of the log itself (CWE-117): a container's output must stay text of its own stream and time."""

import json

import pytest
from machine import Machine

ENTRY = '{"log":"forged\\\\n","stream":"stderr","time":"2001-01-01T00:00:00Z"}'
LINES = {
    "an entry": ENTRY,
    "the end of an entry": '","stream":"stderr","time":"2001-01-01T00:00:00Z"}\\n' + ENTRY,
    "line ends that json does not escape": "a\\u2028" + ENTRY + "\\x85" + ENTRY + "\\x0c\\x1e" + ENTRY,
    "no text at all": "\\udcff\\udcfe\\0" + ENTRY,
    "a return": "honest\\r" + ENTRY,
}
PRINT = "import sys; sys.stdout.buffer.write('{}\\n'.encode('utf-8', 'surrogateescape'))"


@pytest.mark.parametrize("what", LINES)
def test_it_stays_text(machine: Machine, what: str) -> None:
    machine.docker("run", "-d", "--name", "forger", "host", "python3", "-c", PRINT.format(LINES[what]))
    try:
        machine.docker("wait", "forger")
        path = machine.state / "containers" / machine.inspect("forger")["Id"]
        raw = next(path.glob("*-json.log")).read_bytes()
        entries = [json.loads(line) for line in raw.split(b"\n") if line]
        assert {entry["stream"] for entry in entries} == {"stdout"} and not [one for one in entries if one["time"].startswith("2001")]
        seen = machine.docker("logs", "-t", "forger")
        assert seen.stderr == "" and not [line for line in seen.stdout.split("\n") if line.startswith("2001")]
        assert '"forged' in seen.stdout, "it is told, as text"
    finally:
        machine.docker("rm", "forger")


def test_the_attempt_works_on_a_log_that_is_written_as_it_comes() -> None:
    written = "\n".join(["honest", ENTRY.replace("\\\\", "\\")])
    assert json.loads(written.split("\n")[1])["stream"] == "stderr"
