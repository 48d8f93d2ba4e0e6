"""Messages with descriptors, and failures that cross a process border."""

from __future__ import annotations

import os

import pytest

from stackrun import errors
from stackrun.runtime import messages


def test_a_message_with_descriptors() -> None:
    ours, theirs = messages.pair()
    with ours, theirs:
        reader, writer = os.pipe()
        messages.send(ours, {"a": [1, "é"]}, [writer])
        os.close(writer)
        message, fds = messages.receive(theirs)
        assert message == {"a": [1, "é"]}
        assert not os.get_inheritable(fds[0])
        os.write(fds[0], b"x")
        assert os.read(reader, 1) == b"x"
        for fd in (reader, *fds):
            os.close(fd)


def test_a_body_that_fits_no_packet() -> None:
    ours, theirs = messages.pair()
    with ours, theirs:
        reader, writer = os.pipe()
        messages.send(ours, {"long": "x" * 1_000_000}, [writer])
        message, fds = messages.receive(theirs)
        assert message is not None and len(message["long"]) == 1_000_000 and len(fds) == 1
        for fd in (reader, writer, *fds):
            os.close(fd)


def test_the_end_of_file() -> None:
    ours, theirs = messages.pair()
    ours.close()
    with theirs:
        assert messages.receive(theirs) == (None, [])
        with pytest.raises(BrokenPipeError):
            messages.send(theirs, {})


@pytest.mark.parametrize(
    "error",
    [
        errors.KernelError("mount proc", 1, hint="why"),
        errors.CommandNotFound('exec: "x": …'),
        errors.InvalidArgument("field: wrong", hint="do"),
        errors.Unsupported("no"),
    ],
)
def test_a_failure_arrives_as_what_it_was(error: errors.StackrunError) -> None:
    with pytest.raises(type(error)) as raised:
        messages.raise_error({"error": messages.pack_error(error)})
    assert (str(raised.value), raised.value.hint) == (str(error), error.hint)


def test_a_bug_arrives_with_its_place() -> None:
    try:
        {}["missing"]
    except KeyError as error:
        packed = messages.pack_error(error)
    with pytest.raises(RuntimeError, match=r"KeyError: 'missing' \(.*test_messages.py:\d+\)"):
        messages.raise_error({"error": packed})


def test_an_operating_system_error_keeps_its_number() -> None:
    error = messages.unpack_error(messages.pack_error(FileNotFoundError(2, "No such file or directory", "/x")))
    assert isinstance(error, errors.KernelError) and error.errno == 2 and "/x" in str(error)


def test_no_error_is_no_error() -> None:
    messages.raise_error({"fine": 1})
