"""A memory bomb ends at the container's limit, is told of as OOMKilled, and the host goes on."""

from prison import Prison


def test_it_is_killed_and_told_of(prison: Prison) -> None:
    machine = prison.machine
    machine.docker("run", "-d", "--name", "bomb", "--memory", "40m", "host", "python3", "-c", "x = b'x' * (400 << 20)")
    try:
        assert machine.docker("wait", "bomb").stdout.strip() == "137"
        assert machine.inspect("bomb")["State"]["OOMKilled"] is True
    finally:
        machine.docker("rm", "-f", "bomb")
