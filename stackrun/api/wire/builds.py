"""What a build is told, as `POST /build` takes it: a query, headers, and the last object of a build that failed.

Named contexts and secrets are not in Docker's API; they travel in a header of ours, to our own server alone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from stackrun.api.builds import BuildSpec
from stackrun.api.types import RegistryAuth
from stackrun.api.wire.failures import error_from_json, error_to_json
from stackrun.api.wire.fields import members, pairs
from stackrun.api.wire.images import auth_from_object, auth_to_object
from stackrun.errors import BuildFailed, InvalidArgument, StackrunError, Unsupported

REGISTRIES = "X-Registry-Config"
OWN = "X-Stackrun-Build"
_REFUSED = {
    "remote": "a context from elsewhere", "memory": "memory limits", "memswap": "memory limits", "cpushares": "CPU limits",
    "cpuperiod": "CPU limits", "cpuquota": "CPU limits", "cpusetcpus": "CPU limits", "cpusetmems": "CPU limits",
    "cgroupparent": "a parent of the control group", "ulimits": "ulimits", "squash": "squashing layers", "isolation": "isolation",
    "securityopt": "security options", "outputs": "outputs", "session": "sessions of BuildKit",
}  # fmt: skip
"""What Docker's query may ask for besides: refused by its name rather than left out silently."""
_NOTHING = frozenset({"", "0", "-1", "[]", "{}", "null", "false", "default"})


def spec_to_query(spec: BuildSpec) -> dict[str, object]:
    """Without what travels in headers."""
    return {
        "version": "1", "rm": True, "forcerm": True, "dockerfile": spec.dockerfile, "t": tuple(spec.tags) or None,
        "target": spec.target or None, "buildargs": dict(spec.arguments) or None, "labels": dict(spec.labels) or None,
        "nocache": spec.no_cache or None, "pull": spec.pull or None, "platform": spec.platform or None,
        "networkmode": spec.network or None, "extrahosts": tuple(spec.extra_hosts) or None, "shmsize": spec.shm_size_bytes or None,
    }  # fmt: skip


def spec_to_headers(spec: BuildSpec) -> tuple[tuple[str, str], ...]:
    headers = []
    if spec.registries:
        headers.append((REGISTRIES, _encoded({name: auth_to_object(auth) for name, auth in spec.registries.items()})))
    if spec.contexts or spec.secrets:
        secrets = {name: base64.b64encode(content).decode() for name, content in spec.secrets.items()}
        headers.append((OWN, _encoded({"contexts": dict(spec.contexts), "secrets": secrets})))
    return tuple(headers)


def spec_from_request(query: Mapping[str, str], values: Callable[[str], tuple[str, ...]], headers: Mapping[str, str]) -> BuildSpec:
    """`values(name)` are all of a name that may come more than once; `headers` by lower-case name.

    InvalidArgument for what is malformed, Unsupported naming a parameter that we do not carry out.
    """
    _refuse(query)
    own = members(_decoded(headers.get(OWN.lower(), ""), OWN), OWN)
    return BuildSpec(
        tags=tuple(one for one in values("t") if one),
        dockerfile=query.get("dockerfile") or "Dockerfile",
        target=query.get("target", ""),
        arguments=_arguments(_json(query, "buildargs")),
        labels=pairs(_json(query, "labels"), "labels"),
        no_cache=_flag(query, "nocache"),
        pull=_flag(query, "pull"),
        platform=query.get("platform", ""),
        network=query.get("networkmode", ""),
        extra_hosts=tuple(one for one in values("extrahosts") if one),
        shm_size_bytes=_number(query, "shmsize"),
        contexts=pairs(own.get("contexts"), "contexts"),
        secrets=_secrets(own.get("secrets")),
        registries=_registries(headers.get(REGISTRIES.lower(), "")),
    )


def _refuse(query: Mapping[str, str]) -> None:
    if query.get("version") == "2":
        raise Unsupported("building with BuildKit is not supported", hint="set DOCKER_BUILDKIT=0 to build with the classic builder")
    for name, purpose in _REFUSED.items():
        if query.get(name, "").strip().lower() not in _NOTHING:
            raise Unsupported(f"a build with {purpose} ({name}) is not supported")


def _json(query: Mapping[str, str], name: str) -> Any:
    text = query.get(name, "")
    try:
        return json.loads(text) if text else None
    except ValueError:
        raise InvalidArgument(f"invalid value for {name}: it is no JSON object") from None


def _arguments(asked: Any) -> dict[str, str | None]:
    found = members(asked, "buildargs")
    for name, value in found.items():
        if value is not None and not isinstance(value, str):
            raise InvalidArgument(f"invalid JSON: buildargs.{name} must be a string")
    return found


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").strip().lower() not in ("", "0", "no", "false", "none")


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "")
    try:
        return int(text) if text else 0
    except ValueError:
        raise InvalidArgument(f"invalid value for {name}: {text!r} is no number") from None


def _secrets(asked: Any) -> dict[str, bytes]:
    try:
        return {name: base64.b64decode(content, validate=True) for name, content in pairs(asked, "secrets").items()}
    except ValueError:
        raise InvalidArgument("a secret of the build is not base64") from None


def _registries(header: str) -> dict[str, RegistryAuth]:
    found = {name: auth_from_object(auth) for name, auth in members(_decoded(header, REGISTRIES), REGISTRIES).items()}
    return {name: auth for name, auth in found.items() if auth is not None}


def _encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _decoded(header: str, name: str) -> Any:
    if not header:
        return None
    try:
        return json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except ValueError:
        raise InvalidArgument(f"invalid {name} header: it is not the base64url form of a JSON object") from None


def failure_to_json(error: StackrunError) -> dict[str, Any]:
    """Docker's last object; what tells the class and the hint is ours."""
    detail: dict[str, Any] = error_to_json(error)
    if isinstance(error, BuildFailed):
        detail["code"] = error.code
    return {"errorDetail": detail, "error": error.message}


def failure_from_json(line: Any) -> StackrunError | None:
    """None for a line that is no failure."""
    told = members(line, "the progress")
    if not told.get("error") and not told.get("errorDetail"):
        return None
    detail = {"message": told.get("error") or "the build failed", **members(told.get("errorDetail"), "errorDetail")}
    if isinstance(code := detail.get("code"), int) and code:
        return BuildFailed(str(detail["message"]), code, hint=str(detail.get("hint") or ""))
    return error_from_json(500, json.dumps(detail).encode())
