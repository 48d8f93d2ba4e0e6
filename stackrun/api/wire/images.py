"""Images, their progress lines and registry credentials, both ways."""

from __future__ import annotations

import base64
import json
from typing import Any

from stackrun.api.history import HistoryEntry
from stackrun.api.types import Healthcheck, Image, ImageConfig, ImageDeletion, Progress, RegistryAuth
from stackrun.api.wire.fields import INTEGER, KEYS, PAIRS, TEXT, TEXTS, Field, Table, items, members, read, record, write
from stackrun.api.wire.specs import HEALTHCHECK
from stackrun.api.wire.times import epoch_ns, rfc3339
from stackrun.errors import InvalidArgument

_CONFIG: Table = (
    Field("command", "Cmd", TEXTS), Field("entrypoint", "Entrypoint", TEXTS), Field("environment", "Env", TEXTS),
    Field("labels", "Labels", PAIRS), Field("user", "User", TEXT), Field("working_dir", "WorkingDir", TEXT),
    Field("exposed_ports", "ExposedPorts", KEYS), Field("volumes", "Volumes", KEYS), Field("stop_signal", "StopSignal", TEXT),
    Field("healthcheck", "Healthcheck", record(HEALTHCHECK, Healthcheck)), Field("shell", "Shell", TEXTS),
)  # fmt: skip
_IMAGE: Table = (
    Field("id", "Id", TEXT), Field("config", "Config", record(_CONFIG, ImageConfig)), Field("repo_tags", "RepoTags", TEXTS),
    Field("repo_digests", "RepoDigests", TEXTS), Field("created", "Created", TEXT), Field("size_bytes", "Size", INTEGER),
    Field("architecture", "Architecture", TEXT), Field("os", "Os", TEXT), Field("variant", "Variant", TEXT),
    Field("author", "Author", TEXT), Field("parent", "Parent", TEXT),
)  # fmt: skip


def image_to_json(image: Image) -> dict[str, Any]:
    """The inspect form."""
    return {
        **write(_IMAGE, image),
        "Comment": "",
        "DockerVersion": "",
        "VirtualSize": image.size_bytes,
        "GraphDriver": {"Name": "overlay2", "Data": {}},
        "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
    }


def image_from_json(body: Any) -> Image:
    source = members(body, "the image")
    layers = members(source.get("RootFS"), "RootFS").get("Layers")
    return Image(**{"config": ImageConfig(), **read(_IMAGE, source)}, diff_ids=tuple(items(layers, "RootFS.Layers")))


def image_summary_to_json(image: Image) -> dict[str, Any]:
    """The list form."""
    return {
        "Id": image.id,
        "ParentId": image.parent,
        "RepoTags": list(image.repo_tags),
        "RepoDigests": list(image.repo_digests),
        "Created": epoch_ns(image.created) // 1_000_000_000,
        "Size": image.size_bytes,
        "VirtualSize": image.size_bytes,
        "SharedSize": -1,
        "Labels": dict(image.config.labels) or None,
        "Containers": -1,
    }


def progress_to_json(line: Progress) -> dict[str, Any]:
    """One line of pull, load and import; only what it tells."""
    body: dict[str, Any] = {}
    if line.stream:
        body["stream"] = line.stream
    if line.status:
        body |= {"status": line.status}
        body |= {"progressDetail": {"current": line.current, "total": line.total} if line.total or line.current else {}}
    if line.id:
        body["id"] = line.id
    if line.aux:
        body["aux"] = dict(line.aux)
    if line.error:
        body |= {"errorDetail": {"message": line.error}, "error": line.error}
    return body


def progress_from_json(body: Any) -> Progress:
    source = members(body, "the progress")
    detail = members(source.get("progressDetail"), "progressDetail")
    aux = source.get("aux")
    return Progress(
        status=str(source.get("status") or ""), id=str(source.get("id") or ""), stream=str(source.get("stream") or ""),
        current=int(detail.get("current") or 0), total=int(detail.get("total") or 0),
        aux=aux if isinstance(aux, dict) else {},
        error=str(source.get("error") or members(source.get("errorDetail"), "errorDetail").get("message") or ""),
    )  # fmt: skip


_DELETION: Table = (Field("untagged", "Untagged", TEXT), Field("deleted", "Deleted", TEXT))


def deletions_to_json(deletions: tuple[ImageDeletion, ...]) -> list[dict[str, str]]:
    return [{key: value for key, value in write(_DELETION, one).items() if value} for one in deletions]


def deletions_from_json(body: Any) -> tuple[ImageDeletion, ...]:
    return tuple(ImageDeletion(**read(_DELETION, one)) for one in items(body, "the answer"))


_MISSING = "<missing>"


def history_to_json(entries: tuple[HistoryEntry, ...]) -> list[dict[str, Any]]:
    return [
        {
            "Id": one.id or _MISSING, "Created": epoch_ns(one.created) // 1_000_000_000, "CreatedBy": one.created_by,
            "Tags": list(one.tags) or None, "Size": one.size_bytes, "Comment": one.comment,
        }
        for one in entries
    ]  # fmt: skip


def history_from_json(body: Any) -> tuple[HistoryEntry, ...]:
    found = []
    for index, one in enumerate(items(body, "the history")):
        told = members(one, f"the history[{index}]")
        image_id = str(told.get("Id") or "")
        created = int(told.get("Created") or 0)
        found.append(
            HistoryEntry(
                rfc3339(created * 1_000_000_000) if created else "", str(told.get("CreatedBy") or ""), str(told.get("Comment") or ""),
                int(told.get("Size") or 0), "" if image_id == _MISSING else image_id, tuple(map(str, told.get("Tags") or ())),
            )
        )  # fmt: skip
    return tuple(found)


_AUTH: Table = (
    Field("username", "username", TEXT), Field("password", "password", TEXT), Field("identity_token", "identitytoken", TEXT),
    Field("server_address", "serveraddress", TEXT),
)  # fmt: skip


def auth_from_header(header: str) -> RegistryAuth | None:
    """`X-Registry-Auth`: base64url of a JSON object; absent, `null` and `{}` (`e30=`) are None.  Clients pad it or do not."""
    if not header:
        return None
    try:
        asked = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except ValueError:
        raise InvalidArgument("invalid X-Registry-Auth header: it is not the base64url form of a JSON object") from None
    return auth_from_object(asked)


def auth_from_object(asked: Any) -> RegistryAuth | None:
    return RegistryAuth(**read(_AUTH, asked)) if asked else None


def auth_to_header(auth: RegistryAuth | None) -> str:
    return base64.urlsafe_b64encode(json.dumps(auth_to_object(auth)).encode()).decode()


def auth_to_object(auth: RegistryAuth | None) -> dict[str, str]:
    return {key: value for key, value in write(_AUTH, auth).items() if value} if auth else {}
