"""A container that prints without end fills its own rotated log and nothing else."""

from prison import Prison


def test_the_log_is_bounded(prison: Prison) -> None:
    machine = prison.machine
    options = ["--log-opt", "max-size=100k", "--log-opt", "max-file=2"]
    machine.docker("run", "-d", "--name", "flood", *options, "host", "sh", "-c", "seq 1 400000")
    try:
        machine.docker("wait", "flood")
        folder = machine.state / "containers" / machine.inspect("flood")["Id"]
        logs = [path for path in folder.iterdir() if "json.log" in path.name]
        assert len(logs) == 2 and sum(path.stat().st_size for path in logs) < 300_000
        assert machine.docker("logs", "--tail", "1", "flood").stdout == "400000\n"
    finally:
        machine.docker("rm", "-f", "flood")
