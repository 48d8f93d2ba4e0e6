from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackrun.api.stacks import DownOptions, Phase, StackEvent, StackSource, StackSummary, UpOptions
from stackrun.api.types import (
    Event,
    Healthcheck,
    Image,
    ImageConfig,
    Info,
    IpamPool,
    Network,
    NetworkMember,
    NetworkSpec,
    Progress,
    RegistryAuth,
    Version,
    Volume,
    VolumeSpec,
)
from stackrun.api.wire import failures, frames, images, networks, stacks, system, times
from stackrun.errors import (
    CommandNotFound,
    ComposeError,
    Conflict,
    Diagnostic,
    ExecuteFailed,
    Forbidden,
    InvalidArgument,
    KernelError,
    NotFound,
    PermissionDenied,
    StackrunError,
    Unavailable,
)


def travelled(value: object) -> object:
    """As it comes out at the other end of a connection."""
    return json.loads(json.dumps(value))


# --- values both ways


def test_images_survive_the_way() -> None:
    check = Healthcheck(("CMD", "x"))
    config = ImageConfig(("sh",), ("/init",), ("A=1",), {"a": "b"}, "u", "/w", ("80/tcp",), ("/data",), "SIGINT", check, ("sh",))
    made = "2026-01-01T00:00:00Z"
    image = Image("sha256:" + "a" * 64, config, ("x:1",), ("x@sha256:b",), made, 5, "arm64", "linux", "v8", "me", ("sha256:c",), "p")
    assert images.image_from_json(travelled(images.image_to_json(image))) == image
    assert images.image_summary_to_json(image)["Created"] == 1767225600


def test_an_image_without_configuration_is_read() -> None:
    image = images.image_from_json({"Id": "sha256:a", "Config": None, "RepoTags": None, "RootFS": {"Type": "layers"}})
    assert image == Image("sha256:a", ImageConfig())


@pytest.mark.parametrize(
    "line",
    [
        Progress("Downloading", "abc", 5, 10),
        Progress(status="Status: done"),
        Progress(stream="Loaded image: x:1\n"),
        Progress(aux={"ID": "sha256:a"}),
        Progress(error="broken"),
    ],
)
def test_progress_lines_survive_the_way(line: Progress) -> None:
    assert images.progress_from_json(travelled(images.progress_to_json(line))) == line


@pytest.mark.parametrize("header", ["", "e30=", "e30", base64.urlsafe_b64encode(b"null").decode()])
def test_no_credentials_are_written_in_several_ways(header: str) -> None:
    assert images.auth_from_header(header) is None


def test_credentials_survive_the_way_and_hide_from_repr() -> None:
    auth = RegistryAuth("me", "secret??>", "", "r.example")
    assert images.auth_from_header(images.auth_to_header(auth)) == auth
    assert "secret" not in repr(auth)
    with pytest.raises(InvalidArgument, match="X-Registry-Auth"):
        images.auth_from_header("not json")


def test_networks_survive_the_way() -> None:
    pools = (IpamPool("10.0.0.0/16", "10.0.1.0/24", "10.0.0.1", {"x": "10.0.0.9"}),)
    spec = NetworkSpec("back", "bridge", True, True, False, pools, "default", {"a": "b"}, {"o": "1"}, {"l": "v"})
    assert networks.network_spec_from_json(travelled(networks.network_spec_to_json(spec))) == (spec, ())
    network = Network("a" * 64, "2026-01-01T00:00:00Z", spec, (NetworkMember("c", "web", "e", "02:00", "10.0.0.2/16"),))
    assert networks.network_from_json(travelled(networks.network_to_json(network))) == network


def test_a_network_needs_a_name_and_says_what_it_left_out() -> None:
    with pytest.raises(InvalidArgument, match="name is empty"):
        networks.network_spec_from_json({"Driver": "bridge"})
    _, warnings = networks.network_spec_from_json({"Name": "x", "Ingress": True, "ConfigFrom": {"Network": ""}})
    assert warnings == ("Ingress is not supported and was left out",)


def test_volumes_survive_the_way() -> None:
    spec = VolumeSpec("data", "local", {"type": "tmpfs"}, {"a": "b"})
    assert networks.volume_spec_from_json(travelled(networks.volume_spec_to_json(spec))) == spec
    volume = Volume("data", "/x", "2026-01-01T00:00:00Z", "local", {"o": "1"}, {"a": "b"})
    assert networks.volume_from_json(travelled(networks.volume_to_json(volume))) == volume


def test_the_engine_itself_survives_the_way() -> None:
    version = Version("1.0", "1.47", "1.24", "linux", "amd64", "6.1", python_version="3.11.2")
    assert system.version_from_json(travelled(system.version_to_json(version))) == version
    info = Info("I", "host", "1.0", "/var", 1, 2, 3, 4, 5, 6, "6.1", "Debian", "x86_64", "2", warnings=("w",))
    told = system.info_to_json(info)
    assert system.info_from_json(travelled(told)) == info
    assert (told["Containers"], told["OSType"], told["Swarm"]["LocalNodeState"]) == (6, "linux", "inactive")
    event = Event("container", "die", "abc", {"exitCode": "1", "image": "x"}, 1_700_000_000_123_456_789)
    assert system.event_from_json(travelled(system.event_to_json(event))) == event
    assert system.event_to_json(event)["status"] == "die"
    assert "status" not in system.event_to_json(Event("network", "create", "n"))


def test_stack_requests_survive_the_way() -> None:
    source = StackSource("/srv", ("a.yaml",), "shop", "/srv", (".env",), ("dev",), {"A": "1"}, "services: {}")
    up = UpOptions(("web",), True, False, True, False, True, False, "always", {"web": 3}, 1.5, True, 60.0)
    body = travelled(stacks.request_to_json(source, options=stacks.up_options_to_json(up)))
    assert stacks.source_from_json(body) == source
    assert stacks.up_options_from_json(body) == up
    down = DownOptions(True, True, 2.0, ("web",))
    assert stacks.down_options_from_json({"options": travelled(stacks.down_options_to_json(down))}) == down
    assert stacks.arguments_from_json({"services": ["a"], "timeout_s": 3, "signal": "TERM"}) == (("a",), 3.0, "TERM")
    assert stacks.up_options_from_json({}) == UpOptions()


def test_a_stack_must_say_where_it_is() -> None:
    with pytest.raises(InvalidArgument, match="absolute path"):
        stacks.source_from_json({"source": {"working_dir": "here"}})


def test_stack_events_survive_the_way() -> None:
    event = StackEvent("Container web", Phase.WAITING, "Waiting", "for db", "hint", 1, 2, 0)
    assert stacks.event_from_json(travelled(stacks.event_to_json(event))) == event
    summary = StackSummary("shop", "running(3)", ("/srv/compose.yaml",))
    assert stacks.summaries_from_json(travelled(stacks.summaries_to_json((summary,)))) == (summary,)
    failed = stacks.failure_event(ExecuteFailed("2 steps failed", ("start a: x", "start b: y"), hint="look"))
    assert (failed.phase, failed.exit_code, failed.detail) == (Phase.FAILED, 1, "2 steps failed\nstart a: x\nstart b: y")


# --- failures


@pytest.mark.parametrize(
    "error",
    [
        NotFound("No such container: x"),
        Conflict("taken", hint="choose another"),
        Forbidden("in use"),
        PermissionDenied("no"),
        CommandNotFound("exec: x"),
        Unavailable("gone"),
        ExecuteFailed("partly", ("a", "b")),
        ComposeError([Diagnostic("c.yaml", 3, 5, "unknown key", hint="did you mean", code="unknown-key")]),
    ],
)
def test_errors_keep_their_class_over_the_wire(error: StackrunError) -> None:
    back = failures.error_from_json(error.http_status, json.dumps(failures.error_to_json(error)).encode())
    assert type(back) is type(error)
    assert (back.message, back.hint) == (error.message, error.hint)
    assert getattr(back, "failures", None) == getattr(error, "failures", None)


def test_a_kernel_error_arrives_as_a_plain_failure() -> None:
    error = KernelError("mount overlay", 2)
    back = failures.error_from_json(500, json.dumps(failures.error_to_json(error)).encode())
    assert (type(back), back.message) == (StackrunError, "mount overlay: ENOENT (No such file or directory)")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b'{"message":"No such container: x"}', NotFound),
        (400, b'{"message":"bad"}', InvalidArgument),
        (403, b'{"message":"in use"}', Forbidden),
        (500, b'{"message":"server error"}', StackrunError),
        (502, b"<html>proxy</html>", StackrunError),
        (400, b'{"message":"OCI runtime create failed: exec: \\"/x\\": stat /x: no such file or directory: unknown"}', CommandNotFound),
        (503, b"", Unavailable),
        (404, b"[]", NotFound),
    ],
)
def test_another_engines_errors_are_known_by_their_status(status: int, body: bytes, kind: type[StackrunError]) -> None:
    error = failures.error_from_json(status, body)
    assert type(error) is kind
    assert error.message


# --- frames and times


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=8), st.integers(1, 7))
def test_frames_are_found_however_the_stream_is_cut(sent: list[tuple[int, bytes]], size: int) -> None:
    stream = b"".join(frames.frame(*one) for one in sent)
    reader = frames.Frames()
    found = [one for start in range(0, len(stream), size) for one in reader.feed(stream[start : start + size])]
    assert found == sent


def test_what_is_not_framed_is_noticed() -> None:
    with pytest.raises(ValueError, match="not a stdcopy frame"):
        frames.Frames().feed(b"plain text of a terminal")


@given(st.integers(1, 4_000_000_000_000_000_000))
def test_times_keep_their_nanoseconds(time_ns: int) -> None:
    assert times.epoch_ns(times.rfc3339(time_ns)) == time_ns


def test_times_are_read_in_every_form_that_clients_send() -> None:
    assert times.timestamp_s("") == 0
    assert times.timestamp_s("1700000000.5") == 1700000000.5
    assert times.timestamp_s("2023-11-14T22:13:20Z") == 1700000000
    assert times.timestamp_s("2023-11-15T00:13:20.25+02:00") == pytest.approx(1700000000.25)
    assert times.epoch_ns("0001-01-01T00:00:00Z") == 0
    with pytest.raises(InvalidArgument, match="invalid time"):
        times.timestamp_s("yesterday")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "Less than a second"), (1.9, "1 second"), (59, "59 seconds"), (119, "About a minute"), (3599, "59 minutes"),
        (3600, "About an hour"), (86400, "24 hours"), (86400 * 2, "2 days"), (86400 * 14, "2 weeks"), (86400 * 70, "2 months"),
        (86400 * 800, "2 years"),
    ],
)  # fmt: skip
def test_durations_in_dockers_words(seconds: float, words: str) -> None:
    assert times.in_words(seconds) == words
