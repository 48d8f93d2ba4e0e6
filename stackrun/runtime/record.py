"""What `stackrun-runtime` remembers of a container, in a directory of its own below --root::

    <root>/<id>/container.json   {"id", "bundle", "cgroup_path", "created", "annotations", "pid"}
    <root>/<id>/run/             the shim's (see `container`)
"""

from __future__ import annotations

import os
import re
import shutil
from typing import Any

from stackrun.errors import Conflict, InvalidArgument, NotFound
from stackrun.runtime import container, state
from stackrun.runtime.container import Handle

_ID = re.compile(r"[A-Za-z0-9_+.-]{1,1024}")
SOCKET_PATH_BYTES_MAX = 107


class Record:
    """One container below `root`, which exists (`load`) or is about to (`reserve`)."""

    def __init__(self, root: str, container_id: str) -> None:
        if not _ID.fullmatch(container_id) or container_id in (".", ".."):
            raise InvalidArgument(f"invalid container ID format: {container_id!r}")
        self.id = container_id
        self.directory = f"{root}/{container_id}"
        self.run_dir = f"{self.directory}/run"
        self.values: dict[str, Any] = {}
        if len(state.socket_path(self.run_dir).encode()) > SOCKET_PATH_BYTES_MAX:
            raise InvalidArgument(f"the path {self.run_dir} is too long for a socket", hint="use a shorter --root or id")

    @classmethod
    def reserve(cls, root: str, container_id: str) -> Record:
        record = cls(root, container_id)
        os.makedirs(root, mode=0o711, exist_ok=True)
        try:
            os.mkdir(record.directory, 0o711)
        except FileExistsError:
            raise Conflict("container with given ID already exists") from None
        return record

    @classmethod
    def load(cls, root: str, container_id: str) -> Record:
        record = cls(root, container_id)
        values = state.read(f"{record.directory}/container.json")
        if values is None:
            raise NotFound("container does not exist")
        record.values = values
        return record

    def save(self, **values: Any) -> None:
        self.values.update(values)
        state.write(f"{self.directory}/container.json", self.values)

    def handle(self) -> Handle:
        """The living container; NotFound when it has ended."""
        handle = Handle.connect(self.id, self.run_dir)
        if handle is None:
            raise NotFound("container not running")
        return handle

    def state(self) -> dict[str, Any]:
        """The OCI state object ("State" in runtime.md) and what runc's `list` adds."""
        handle = Handle.connect(self.id, self.run_dir)
        status = "stopped"
        if handle is not None:
            status = handle.status()
            handle.close()
        return {
            "ociVersion": "1.2.0",
            "id": self.id,
            "pid": 0 if status == "stopped" else self.values["pid"],
            "status": status,
            "bundle": self.values["bundle"],
            "rootfs": self.values["rootfs"],
            "created": self.values["created"],
            "annotations": self.values["annotations"],
            "owner": "",
        }

    def remove(self) -> None:
        """Everything of a container that has ended."""
        container.cleanup(self.run_dir, self.values.get("cgroup_path", ""))
        shutil.rmtree(self.directory, ignore_errors=True)


def all_records(root: str) -> list[Record]:
    names = sorted(os.listdir(root)) if os.path.isdir(root) else []
    return [Record.load(root, name) for name in names if os.path.exists(f"{root}/{name}/container.json")]
